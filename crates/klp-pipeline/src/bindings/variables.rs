// SPDX-License-Identifier: GPL-2.0-or-later
//! Kernel variables: their C declarations for bindgen, and their names in Rust.
//!
//! bindgen supports link names for functions only. C allows one variable per name, but an object of the
//! kernel may contain several. Therefore the names are inserted after bindgen's run.

use klp_base::cache::sha256;

use crate::project::{Fix, Target, Variable};
use crate::resolved::{ExternKind, Resolved};

/// A variable in the bindings.
#[derive(Clone, Debug)]
pub(super) struct Linked {
    /// Name of the C declaration.
    pub(super) c_name: String,
    /// Name in Rust.
    pub(super) name: String,
    /// Link name.
    pub(super) link_name: String,
    /// True for a per-CPU variable.
    pub(super) per_cpu: bool,
}

/// Type of per-CPU variables; emitted with the first of them.
const PER_CPU: &str = "/// A per-CPU variable. Its address is an offset, of which C's `this_cpu_ptr` makes an address: nothing can be read here.
#[repr(transparent)]
pub struct PerCpu<T>(T);
";

fn all(target: &Target) -> impl Iterator<Item = &Variable> {
    let of_fix: fn(&Fix) -> &Vec<Variable> = |fix| &fix.imports.variables;
    target.fixes.iter().flat_map(of_fix)
}

/// Name of the C declaration of a variable: its own name, or a different one if Rust uses another name or C
/// has another variable with this name.
fn c_name(target: &Target, variable: &Variable) -> String {
    let Some(declaration) = &variable.declaration else { return variable.declared_as.clone() };
    let own = variable.declared_as == variable.symbol.symbol && variable.name == variable.declared_as;
    let differs = |other: &Variable| {
        other.declared_as == variable.declared_as
            && (other.symbol != variable.symbol || other.declaration != variable.declaration)
    };
    if own && !all(target).any(differs) {
        return variable.declared_as.clone();
    }
    let what = format!("{} {} {declaration}", variable.symbol.elf_name(), variable.name);
    format!("__klp_variable_{}", &sha256(what.as_bytes())[..16])
}

/// C declarations of the variables with a declaration in patch.toml.
pub(super) fn declarations(target: &Target) -> impl Iterator<Item = String> + '_ {
    all(target).filter_map(|variable| {
        let text = variable.declaration.as_ref()?;
        Some(format!("extern {};\n", renamed(text, &variable.declared_as, &c_name(target, variable))))
    })
}

/// Assertions in C that no variable is declared larger than the kernel has it: reads and writes would reach the next one.
pub(super) fn assertions(target: &Target, resolved: &Resolved) -> String {
    let assertion = |variable: &Variable| {
        // The size of an array without length is not known.
        let declaration = variable.declaration.as_ref().filter(|text| !text.contains("[]"))?;
        let room = resolved.externs.iter().find(|item| item.name == variable.name)?.room?;
        let (name, symbol) = (c_name(target, variable), &variable.symbol);
        Some(format!(
            "_Static_assert(sizeof({name}) <= {room}, \"{symbol}: `{declaration}` takes more than the {room} bytes that the kernel has there; \
             write its type as the source has it\");\n"
        ))
    };
    all(target).filter_map(assertion).collect()
}

/// Declaration with another variable name: replaces the first word `from` that is not a tag.
fn renamed(declaration: &str, from: &str, to: &str) -> String {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let found = declaration.match_indices(from).map(|(at, _)| at).find(|at| {
        let (before, after) = (&declaration[..*at], &declaration[at + from.len()..]);
        let tag = ["struct", "union", "enum"].contains(&before.split_whitespace().last().unwrap_or(""));
        !before.ends_with(word) && !after.starts_with(word) && !tag
    });
    match found {
        Some(at) => format!("{}{to}{}", &declaration[..at], &declaration[at + from.len()..]),
        None => declaration.to_owned(),
    }
}

/// Variables that the bindings declare.
pub(super) fn linked(target: &Target, resolved: &Resolved) -> Vec<Linked> {
    let externs = resolved.externs.iter().filter(|item| item.kind == ExternKind::Variable);
    let mut linked: Vec<Linked> = externs
        .filter_map(|item| {
            let variable = all(target).find(|variable| variable.name == item.name)?;
            Some(Linked {
                c_name: c_name(target, variable),
                name: item.name.clone(),
                link_name: item.link_name(),
                per_cpu: item.per_cpu,
            })
        })
        .collect();
    linked.sort_by(|a, b| (&a.c_name, &a.name).cmp(&(&b.c_name, &b.name)));
    linked
}

/// Inserts the Rust names and link names of the variables.
pub(super) fn name_links(mut text: String, variables: &[Linked]) -> String {
    for same in variables.chunk_by(|a, b| a.c_name == b.c_name) {
        let starts =
            ["pub static mut ", "pub static "].map(|start| (start, format!("{start}{}:", same[0].c_name)));
        for (start, whole) in starts {
            let Some(at) = text.find(&whole) else { continue };
            let Some(length) = text[at..].find(";\n") else { continue };
            let ty = text[at + whole.len()..at + length].to_owned();
            let items: Vec<String> = same.iter().map(|variable| item(variable, start, &ty)).collect();
            text.replace_range(at..at + length, &items.join(";\n    "));
            break;
        }
    }
    if variables.iter().any(|variable| variable.per_cpu) {
        text.push_str(PER_CPU);
    }
    text
}

fn item(variable: &Linked, start: &str, ty: &str) -> String {
    let Linked { name, link_name, .. } = variable;
    let link =
        if name == link_name { String::new() } else { format!("#[link_name = \"{link_name}\"]\n    ") };
    let ty = if variable.per_cpu { format!(" PerCpu<{}>", ty.trim()) } else { ty.to_owned() };
    format!("{link}{start}{name}:{ty}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_variable_gets_its_names() {
        let variable = |c_name: &str, name: &str, link_name: &str, per_cpu| Linked {
            c_name: c_name.to_owned(),
            name: name.to_owned(),
            link_name: link_name.to_owned(),
            per_cpu,
        };
        let text = "unsafe extern \"C\" {\n    pub static mut debug: [u8; 4usize];\n}\nunsafe extern \"C\" {\n    pub static x: u8;\n}\n";
        let made = name_links(
            text.to_owned(),
            &[
                variable("debug", "debug", "alias1", false),
                variable("debug", "debug2", "alias2", false),
                variable("x", "x", "x", true),
            ],
        );
        assert_eq!(
            made,
            format!(
                "unsafe extern \"C\" {{\n    #[link_name = \"alias1\"]\n    pub static mut debug: [u8; 4usize];\n    \
                 #[link_name = \"alias2\"]\n    pub static mut debug2: [u8; 4usize];\n}}\nunsafe extern \"C\" {{\n    \
                 pub static x: PerCpu<u8>;\n}}\n{PER_CPU}"
            )
        );
    }

    #[test]
    fn a_declaration_is_renamed_where_it_names_the_variable() {
        for (text, expected) in [
            ("struct debug debug", "struct debug y"),
            ("int debug_level, *debug[4]", "int debug_level, *y[4]"),
            ("void (*debug)(int debug)", "void (*y)(int debug)"),
        ] {
            assert_eq!(renamed(text, "debug", "y"), expected);
        }
    }
}
