// SPDX-License-Identifier: GPL-2.0-or-later
//! C prototypes in patch.toml.

use crate::rust_name::is_rust_name;

/// A C prototype in patch.toml: `long f(const struct pt_regs *regs)`.
///
/// # Invariants
/// The text is one line without a semicolon, and the function's name is directly before its first
/// parenthesis.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CPrototype {
    text: String,
    name: String,
}

impl CPrototype {
    /// Parses a prototype.
    ///
    /// # Errors
    /// The text does not look like a prototype.
    pub fn new(text: &str) -> Result<Self, String> {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let wrong = || {
            format!(
                "`{text}` is no prototype; write it without `extern` and `;`, as \"long f(const struct pt_regs *regs)\""
            )
        };
        let good = text.chars().all(|c| word(c) || " *()[],.".contains(c)) && text.ends_with(')');
        let (before, _) = text.split_once('(').filter(|_| good).ok_or_else(wrong)?;
        let start = before.rfind(|c: char| !word(c)).ok_or_else(wrong)? + 1;
        let name = before.get(start..).filter(|name| is_c_name(name)).ok_or_else(wrong)?;
        Ok(Self { text: text.to_owned(), name: name.to_owned() })
    }

    /// Name of the function.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Text of the prototype.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The same prototype with another function name.
    pub fn renamed(&self, name: &str) -> String {
        self.text.replacen(&format!("{}(", self.name), &format!("{name}("), 1)
    }

    /// Return type: the text before the function's name.
    pub fn returns(&self) -> &str {
        let head = self.text.split_once('(').map_or("", |(head, _)| head);
        head.strip_suffix(self.name.as_str()).unwrap_or(head)
    }

    /// Parameters as written, without `void` and `...`.
    pub fn parameter_texts(&self) -> Vec<&str> {
        let inside = self.text.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or("");
        let mut depth = 0;
        let parts = inside.split(|c: char| {
            depth += i32::from(c == '(') - i32::from(c == ')');
            c == ',' && depth == 0
        });
        parts.map(str::trim).filter(|part| !["", "void", "..."].contains(part)).collect()
    }

    /// True if the function is variadic.
    pub fn is_variadic(&self) -> bool {
        self.text.contains("...")
    }

    /// Names of the parameters. `None` if a parameter has no name, or a name that Rust does not accept.
    pub fn parameters(&self) -> Option<Vec<&str>> {
        let inside = self.text.split_once('(')?.1.strip_suffix(')')?;
        if inside.trim() == "void" || inside.trim().is_empty() {
            return Some(Vec::new());
        }
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let name = |parameter: &'_ str| {
            let parameter = parameter.trim();
            let start = parameter.rfind(|c: char| !word(c))? + 1;
            parameter.get(start..).filter(|name| is_rust_name(name)).map(str::len)
        };
        inside
            .split(',')
            .map(|part| {
                name(part).map(|length| {
                    let part = part.trim();
                    &part[part.len() - length..]
                })
            })
            .collect()
    }
}

/// True if C allows a function or variable with this name.
pub(super) fn is_c_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prototype_has_its_parts() {
        let prototype = CPrototype::new("struct x *yield(int (*f)(int, char), void *data, ...)").unwrap();
        assert_eq!((prototype.name(), prototype.returns().trim()), ("yield", "struct x *"));
        assert_eq!(prototype.parameter_texts(), ["int (*f)(int, char)", "void *data"]);
        assert!(prototype.is_variadic());
        assert_eq!(CPrototype::new("int f(void)").unwrap().parameter_texts(), [""; 0]);
        assert!(CPrototype::new("int f(void);").is_err() && CPrototype::new("f(void)").is_err());
    }
}
