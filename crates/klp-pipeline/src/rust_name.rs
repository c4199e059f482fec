// SPDX-License-Identifier: GPL-2.0-or-later
//! C names in Rust: keywords, the form that rustc's lint accepts, object names.

use klp_format::ObjectName;

/// True if rustc's lint `non_snake_case` accepts a name.
pub(crate) fn is_snake_case(name: &str) -> bool {
    let name = name.trim_matches('_');
    !name.contains("__") && !name.chars().any(char::is_uppercase)
}

/// A C name converted to snake case, which this lint accepts.
pub(crate) fn snake_case(name: &str) -> String {
    let mut name = name.to_ascii_lowercase();
    while !is_snake_case(&name) {
        let inner = name.trim_matches('_').to_owned();
        name = name.replacen(&inner, &inner.replace("__", "_"), 1);
    }
    name
}

/// Name of an object's trait, and of its type in `objects`. A module name may be a keyword or begin with a
/// digit, for example `loop` or `8021q`.
pub(crate) fn object_in_rust(object: &ObjectName) -> String {
    if is_rust_keyword(object.as_str()) {
        return format!("r#{object}");
    }
    let digit = object.as_str().starts_with(|c: char| c.is_ascii_digit());
    if digit { format!("_{object}") } else { object.to_string() }
}

/// True if a C name is a keyword in Rust.
pub fn is_rust_keyword(name: &str) -> bool {
    const KEYWORDS: [&str; 50] = [
        "as", "async", "await", "become", "box", "break", "const", "continue", "do", "dyn", "else", "enum",
        "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match",
        "mod", "move", "mut", "override", "priv", "pub", "ref", "return", "static", "struct", "trait",
        "true", "try", "type", "typeof", "unsafe", "use", "virtual", "where", "while", "yield", "self",
        "Self", "super", "crate",
    ];
    KEYWORDS.contains(&name)
}

/// True for the keywords that Rust does not take as raw names (`r#...`) either.
pub(crate) fn is_path_keyword(name: &str) -> bool {
    ["_", "self", "Self", "super", "crate"].contains(&name)
}

/// A C name that is no [path keyword](is_path_keyword), as a name in Rust.
pub(crate) fn raw_name(name: &str) -> String {
    if is_rust_keyword(name) { format!("r#{name}") } else { name.to_owned() }
}

/// True if a text is a valid name in Rust without changes.
pub(crate) fn is_rust_name(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !text.is_empty()
        && !is_path_keyword(text)
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(word)
        && !is_rust_keyword(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_converted_to_snake_case() {
        for name in ["m", "_m", "__m_", "a_b", "arg0"] {
            assert!(is_snake_case(name) && snake_case(name) == name, "{name}");
        }
        for (name, expected) in [("NODE", "node"), ("a___b", "a_b"), ("__a__B_", "__a_b_"), ("tDGL", "tdgl")]
        {
            assert!(!is_snake_case(name));
            assert_eq!(snake_case(name), expected);
        }
    }
}
