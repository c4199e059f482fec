// SPDX-License-Identifier: GPL-2.0-or-later
//! Function definitions of a C file of the kernel, found without its headers and configuration: what stands at the top level, has
//! parameters, and is followed by a body.

/// Words with parentheses that are no names of functions.
const ATTRIBUTES: [&str; 14] = [
    "__attribute__",
    "__acquires",
    "__releases",
    "__must_hold",
    "__cond_acquires",
    "__printf",
    "__scanf",
    "__section",
    "__aligned",
    "__alloc_size",
    "__assume_aligned",
    "__counted_by",
    "__typeof__",
    "typeof",
];

/// Start of the macro that defines a system call. Its digit is the number of arguments.
const SYSCALL: &str = "SYSCALL_DEFINE";

/// A function that a file defines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Definition {
    /// By its name, or by a macro whose first argument is the name.
    Function(String),
    /// A system call, by its name without `sys_`.
    Syscall(String),
}

/// Definitions in the order of the file, each once.
pub(super) fn definitions(text: &str) -> Vec<Definition> {
    let tokens = tokens(&without_comments(text));
    let mut found: Vec<Definition> = Vec::new();
    let mut candidate: Option<Definition> = None;
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(token) = tokens.get(at) {
        match token.as_str() {
            "(" if depth == 0 => {
                let end = closing(&tokens, at);
                let name = at.checked_sub(1).and_then(|before| tokens.get(before));
                if let (None, Some(name)) = (&candidate, name) {
                    candidate = defined(name, tokens.get(at + 1));
                }
                at = end;
            }
            "{" => {
                if depth == 0
                    && let Some(definition) =
                        candidate.take().filter(|definition| !found.contains(definition))
                {
                    found.push(definition);
                }
                depth += 1;
            }
            "}" => {
                depth = depth.saturating_sub(1);
                candidate = None;
            }
            ";" | "=" if depth == 0 => candidate = None,
            _ => {}
        }
        at += 1;
    }
    found
}

/// Definition by the word before the parameters, and the first word in them.
fn defined(name: &str, first: Option<&String>) -> Option<Definition> {
    if !is_word(name) || ATTRIBUTES.contains(&name) {
        return None;
    }
    if !name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_') {
        return Some(Definition::Function(name.to_owned()));
    }
    let first = first.filter(|word| is_word(word))?.clone();
    Some(if name.starts_with(SYSCALL) { Definition::Syscall(first) } else { Definition::Function(first) })
}

/// Index of the parenthesis that closes the one at `open`; the last index if there is none.
fn closing(tokens: &[String], open: usize) -> usize {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        match token.as_str() {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return index;
        }
    }
    tokens.len().saturating_sub(1)
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
}

/// Words and single characters of C text.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut word = String::new();
    for character in text.chars() {
        if character.is_ascii_alphanumeric() || character == '_' {
            word.push(character);
            continue;
        }
        if !word.is_empty() {
            tokens.push(std::mem::take(&mut word));
        }
        if !character.is_whitespace() {
            tokens.push(character.to_string());
        }
    }
    if !word.is_empty() {
        tokens.push(word);
    }
    tokens
}

/// The text without comments, preprocessor lines, and the content of strings and characters.
fn without_comments(text: &str) -> String {
    let text = text.replace("\\\n", " ");
    let mut code = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(character) = rest.chars().next() {
        let line_start = code.is_empty() || code.trim_end_matches([' ', '\t']).ends_with('\n');
        let skipped = if let Some(comment) = rest.strip_prefix("/*") {
            2 + comment.find("*/").map_or(comment.len(), |end| end + 2)
        } else if rest.starts_with("//") || (line_start && character == '#') {
            rest.find('\n').unwrap_or(rest.len())
        } else if character == '"' || character == '\'' {
            literal(rest, character)
        } else {
            code.push(character);
            character.len_utf8()
        };
        rest = rest.get(skipped..).unwrap_or_default();
    }
    code
}

/// Length of a string or character at the start of the text, quotes included.
fn literal(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, character) in text.char_indices().skip(1) {
        match character {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if character == quote || character == '\n' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_with_a_body_at_the_top_level_are_found() {
        let text = r#"
#define WRAPPED(x) do { other(x) } while (0)
/* int in_a_comment(void) { } */
// int in_a_line(void) { }
static int declared(int a);
static const struct ops table = { .open = call(1), };
int (*pointers[])(int) = { one, two };
static inline __printf(1, 2) int
first(const char *text, ...)
{
	if (text[0] == '{' || text[0] == '"')
		inner("} int quoted(void) {");
	return 0;
}
struct s { int (*member)(void); };
static void __init second(void) __acquires(lock)
{ }
SYSCALL_DEFINE2(ptrace_like, long, request, long, pid)
{
	return first("");
}
BPF_CALL_1(bpf_thing, int, a)
{
	return 0;
}
EXPORT_SYMBOL_GPL(first);
DEFINE_SHOW_ATTRIBUTE(name);
long __third(void *p) { struct s x = { 0 }; return (long)p; }
"#;
        let function = |name: &str| Definition::Function(name.to_owned());
        assert_eq!(
            definitions(text),
            [
                function("first"),
                function("second"),
                Definition::Syscall("ptrace_like".to_owned()),
                function("bpf_thing"),
                function("__third"),
            ]
        );
    }

    #[test]
    fn text_that_ends_early_is_read_to_its_end() {
        for text in ["int f(", "int f(void) {", "/* ", "\"", "int f(void) { '"] {
            assert!(definitions(text).len() <= 1, "{text}");
        }
    }
}
