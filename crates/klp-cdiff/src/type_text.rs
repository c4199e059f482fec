// SPDX-License-Identifier: GPL-2.0-or-later
//! Text of a C file that layouts of structs depend on: directives and definitions of types. If a diff leaves it as it is, no
//! layout changes.

/// Directives, definitions of types, and uses of macros, without comments and with single blanks.
pub(crate) fn type_text(source: &[u8]) -> Vec<String> {
    let text = without_comments(&String::from_utf8_lossy(source).replace("\\\n", " "));
    let mut reader = Reader::default();
    for line in text.lines() {
        if line.trim_start().starts_with('#') {
            reader.directive(line);
        } else {
            reader.line(line);
        }
    }
    reader.finish()
}

/// Text with `0` for strings and characters.
fn without_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['/', '"', '\'']) {
        let (before, from) = rest.split_at(at);
        out.push_str(before);
        let end = if from.starts_with("/*") {
            out.push(' ');
            from.find("*/").map_or(from.len(), |end| end + 2)
        } else if from.starts_with("//") {
            from.find('\n').unwrap_or(from.len())
        } else {
            // Braces in strings and characters are none of the code.
            let end = if from.starts_with('/') { 1 } else { literal(from) };
            out.push_str(from.get(..1).filter(|_| end == 1).unwrap_or("0"));
            end
        };
        rest = from.get(end..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// Length of the string or character at the start of a text; a lone quote has length 1.
fn literal(text: &str) -> usize {
    let mut chars = text.char_indices();
    let quote = chars.next().map(|(_, quote)| quote);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                chars.next();
            }
            '\n' => return 1,
            c if Some(c) == quote => return at + 1,
            _ => {}
        }
    }
    1
}

/// Content of a pair of braces at the top.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Body {
    /// There is none.
    #[default]
    None,
    /// Members of a type.
    Type,
    /// Code or initial content.
    Other,
}

#[derive(Default)]
struct Reader {
    found: Vec<String>,
    /// Current declaration.
    declaration: String,
    /// True if the declaration defines a type.
    is_type: bool,
    body: Body,
    braces: usize,
    parentheses: usize,
}

impl Reader {
    fn directive(&mut self, line: &str) {
        let line = words(line);
        if !line.trim_start_matches('#').trim_start().starts_with("include") {
            self.found.push(line);
        }
    }

    fn line(&mut self, line: &str) {
        // A brace in the first column closes a function or type, whatever the branches of `#if` say.
        if line.starts_with('}') {
            (self.braces, self.parentheses) = (self.braces.min(1), 0);
        }
        for c in line.chars() {
            self.character(c);
        }
        self.declaration.push(' ');
    }

    fn character(&mut self, c: char) {
        match c {
            '(' => self.parentheses += 1,
            ')' => self.parentheses = self.parentheses.saturating_sub(1),
            '{' if self.parentheses == 0 => {
                if self.braces == 0 {
                    self.body = if defines_type(&self.declaration) { Body::Type } else { Body::Other };
                    self.is_type |= self.body == Body::Type;
                }
                self.braces += 1;
            }
            '}' if self.parentheses == 0 => {
                self.braces = self.braces.saturating_sub(1);
                if self.braces == 0 {
                    let was = std::mem::take(&mut self.body);
                    if was == Body::Other && !self.declaration.contains('=') {
                        // A function ends without a semicolon.
                        self.declaration.clear();
                        return;
                    }
                }
            }
            ';' if self.parentheses == 0 && self.braces == 0 => {
                self.end();
                return;
            }
            _ => {}
        }
        if self.body != Body::Other {
            self.declaration.push(c);
        }
    }

    /// End of a declaration.
    fn end(&mut self) {
        let text = words(&std::mem::take(&mut self.declaration));
        let first = text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
        let is_macro = !first.is_empty() && !first.contains(|c: char| c.is_lowercase());
        if std::mem::take(&mut self.is_type) || first == "typedef" || is_macro {
            self.found.push(text);
        }
    }

    fn finish(mut self) -> Vec<String> {
        self.end();
        self.found
    }
}

fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// True if the text before a brace is that of a type's definition: `static struct name`.
fn defines_type(before: &str) -> bool {
    let mut words: Vec<&str> = before.split_whitespace().collect();
    let keyword = words.iter().rposition(|word| matches!(*word, "struct" | "union" | "enum"));
    let Some(keyword) = keyword else { return false };
    let after: Vec<&str> = words.split_off(keyword + 1);
    // `struct name`, `struct __packed name`, `struct __attribute__((packed)) name`; not `struct name *f(int x)`.
    let is_name = |word: &&str| word.chars().all(|c| c.is_alphanumeric() || c == '_');
    let tags = after.iter().filter(|word| !word.starts_with("__"));
    after.iter().all(|word| is_name(word) || word.starts_with("__")) && tags.count() <= 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(source: &str) -> Vec<String> {
        type_text(source.as_bytes())
    }

    #[test]
    fn types_and_directives_are_kept() {
        assert_eq!(
            text(
                "#include <x.h>\n#define A 1 /* one */\nstruct a {\n\tint b; // c\n\tstruct { char *d; } e;\n} __packed;\n\
                 typedef int f_t;\nenum { G,\n  H = A };\nint i(struct a *j, int k);\nextern struct a l;\n\
                 struct __attribute__((packed)) m { int n; };\nTRACE_EVENT(o, TP_STRUCT__entry(__field(int, p)), TP_fast_assign(x; y;));\n"
            ),
            [
                "#define A 1",
                "struct a { int b; struct { char *d; } e; } __packed",
                "typedef int f_t",
                "enum { G, H = A }",
                "struct __attribute__((packed)) m { int n; }",
                "TRACE_EVENT(o, TP_STRUCT__entry(__field(int, p)), TP_fast_assign(x; y;))",
            ]
        );
    }

    #[test]
    fn code_and_initial_content_are_left_out() {
        let code = "static inline struct a *f(int x)\n{\n\tstruct b { int c; } d = { '{' };\n\tif (x) {\n\t\treturn \"}\";\n\t}\n\
                    #ifdef X\n\tif (y) {\n#else\n\tif (z) {\n#endif\n\t}\n}\nstatic struct o p = {\n\t.q = { 1 },\n};\nint r = 2;\n\
                    const char *s = \"/* {\";\nstruct t { int u; };\n";
        let expected = ["#ifdef X", "#else", "#endif", "struct t { int u; }"];
        assert_eq!(text(code), expected);
        assert_eq!(text(&code.replace("return", "goto out; out: return")), expected);
    }

    #[test]
    fn a_function_whose_head_has_two_forms_ends_at_its_brace() {
        let source =
            "#ifdef X\nint f(int a) {\n#else\nint f(void) {\n#endif\n\tg();\n}\nstruct t { int u; };\n";
        assert_eq!(text(source), ["#ifdef X", "#else", "#endif", "struct t { int u; }"]);
    }
}
