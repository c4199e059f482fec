// SPDX-License-Identifier: GPL-2.0-or-later
//! Patterns in the Rust source of a fix that compile, and are wrong in a kernel.

use klp_base::cache;
use klp_base::files::read_text;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Expr, ExprCall, ExprMethodCall, Lit, Local, Pat};

use crate::error::Error;
use crate::project::Fix;

/// A place with a pattern, as `file:line:column`, and what is wrong there.
pub(crate) type Found = (String, &'static str);

/// Patterns in all source files of a fix.
///
/// # Errors
/// A file cannot be read.
pub(crate) fn of_fix(fix: &Fix) -> Result<Vec<Found>, Error> {
    let dir = fix.dir.join("src");
    if !dir.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for file in cache::walk(&dir)? {
        if file.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        // A file that does not parse does not compile.
        let Ok(parsed) = syn::parse_file(&read_text(&file)?) else { continue };
        let name = file.strip_prefix(&fix.dir).unwrap_or(&file).display().to_string();
        let mut patterns = Patterns { file: format!("{}/{name}", fix.name), found: &mut found };
        patterns.visit_file(&parsed);
    }
    Ok(found)
}

struct Patterns<'f> {
    file: String,
    found: &'f mut Vec<Found>,
}

impl Patterns<'_> {
    fn add(&mut self, at: &impl Spanned, message: &'static str) {
        let start = at.span().start();
        self.found.push((format!("{}:{}:{}", self.file, start.line, start.column + 1), message));
    }
}

/// Last word of the path of a called function.
fn called(call: &ExprCall) -> Option<Vec<String>> {
    let Expr::Path(path) = &*call.func else { return None };
    Some(path.path.segments.iter().map(|segment| segment.ident.to_string()).collect())
}

/// The call behind `unsafe` blocks, parentheses and `?`.
fn inner(expression: &Expr) -> &Expr {
    match expression {
        Expr::Unsafe(block) => match block.block.stmts.last() {
            Some(syn::Stmt::Expr(last, None)) => inner(last),
            _ => expression,
        },
        Expr::Paren(parenthesised) => inner(&parenthesised.expr),
        Expr::Try(tried) => inner(&tried.expr),
        _ => expression,
    }
}

impl<'ast> Visit<'ast> for Patterns<'_> {
    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        if call.method == "as_ptr"
            && let Expr::Lit(literal) = &*call.receiver
            && matches!(literal.lit, Lit::Str(_))
        {
            self.add(
                call,
                "a text of Rust has no zero at its end, and C reads on behind it; write `c\"...\"`",
            );
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_local(&mut self, local: &'ast Local) {
        if let (Pat::Wild(_), Some(init)) = (&local.pat, &local.init)
            && let Expr::Call(call) = inner(&init.expr)
            && called(call).is_some_and(|path| path.iter().any(|part| part == "Guard"))
        {
            self.add(
                local,
                "`let _` drops the guard at once, and the lock with it; bind it to a name, as in `let _held`",
            );
        }
        visit::visit_local(self, local);
    }

    fn visit_expr_call(&mut self, call: &'ast ExprCall) {
        if called(call).is_some_and(|path| path.ends_with(&["mem".to_owned(), "forget".to_owned()])) {
            self.add(call, "what is forgotten is never released: a lock stays held, memory stays taken");
        }
        visit::visit_expr_call(self, call);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_found_at_their_places() {
        let text = "fn f() {\n    g(\"x\".as_ptr());\n    g(c\"x\".as_ptr());\n    let _ = unsafe { Guard::lock(a, b, c) };\n    \
                    let _held = unsafe { Guard::lock(a, b, c) };\n    core::mem::forget(x);\n}\n";
        let mut found = Vec::new();
        let mut patterns = Patterns { file: "f.rs".to_owned(), found: &mut found };
        patterns.visit_file(&syn::parse_file(text).unwrap());
        let places: Vec<&str> = found.iter().map(|(place, _)| place.as_str()).collect();
        assert_eq!(places, ["f.rs:2:7", "f.rs:4:5", "f.rs:6:5"]);
    }
}
