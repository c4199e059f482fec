// SPDX-License-Identifier: GPL-2.0-or-later
//! Line numbers of a patched file as in the original, so that `__LINE__` changes no function that the diff does not change:
//! behind each changed part stands a `#line`.

use diffy::DiffOptions;

/// The patched file with `#line` directives.
pub(crate) fn keep(original: &[u8], patched: &[u8]) -> Vec<u8> {
    let mut options = DiffOptions::new();
    options.set_context_len(0);
    let patch = options.create_patch_bytes(original, patched);
    let lines: Vec<&[u8]> = patched.split_inclusive(|byte| *byte == b'\n').collect();
    let safe = safe_lines(&lines);
    // Number of the line in the original, by number of the line in the patched file; both from 0.
    let mut directives = Vec::new();
    let ends: Vec<(usize, usize)> = patch
        .hunks()
        .iter()
        .map(|hunk| {
            (
                end(hunk.new_range().start(), hunk.new_range().len()),
                end(hunk.old_range().start(), hunk.old_range().len()),
            )
        })
        .collect();
    for (number, (new, old)) in ends.iter().enumerate() {
        let next = patch
            .hunks()
            .get(number + 1)
            .map_or(lines.len(), |hunk| hunk.new_range().start().saturating_sub(1));
        if let Some(line) = (*new..next).find(|line| safe.get(*line).copied().unwrap_or(false)) {
            directives.push((line, old + (line - new) + 1));
        }
    }
    let mut text = Vec::with_capacity(patched.len() + 16 * directives.len());
    let mut pending = directives.iter().peekable();
    for (number, line) in lines.iter().enumerate() {
        if let Some((_, original)) = pending.next_if(|(at, _)| *at == number) {
            text.extend(format!("#line {original}\n").bytes());
        }
        text.extend(*line);
    }
    text
}

/// Line behind a range of a hunk, from 0. A range without lines has the number of the line before it.
fn end(start: usize, length: usize) -> usize {
    if length == 0 { start } else { start - 1 + length }
}

/// Lines before which a directive may stand: not in a comment, not behind a backslash, not between parentheses.
fn safe_lines(lines: &[&[u8]]) -> Vec<bool> {
    let mut state = State::default();
    lines
        .iter()
        .map(|line| {
            // A brace in the first column closes a function, whatever the parentheses of `#if` and `#else` say.
            if line.starts_with(b"}") {
                state.depth = 0;
            }
            let safe = !state.comment && !state.continued && state.depth == 0;
            state.read(line);
            safe
        })
        .collect()
}

#[derive(Default)]
struct State {
    comment: bool,
    continued: bool,
    directive: bool,
    depth: usize,
}

impl State {
    fn read(&mut self, line: &[u8]) {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if !self.continued && !self.comment {
            self.directive = line.trim_ascii_start().starts_with(b"#");
        }
        let mut at = 0;
        while let Some(byte) = line.get(at) {
            let next = line.get(at + 1);
            at += 1;
            match (byte, next) {
                (b'*', Some(b'/')) if self.comment => {
                    self.comment = false;
                    at += 1;
                }
                _ if self.comment => {}
                (b'/', Some(b'*')) => {
                    self.comment = true;
                    at += 1;
                }
                (b'/', Some(b'/')) => break,
                (b'"' | b'\'', _) => at = after_literal(line, at, *byte),
                (b'(', _) if !self.directive => self.depth += 1,
                (b')', _) if !self.directive => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
        self.continued = line.ends_with(b"\\");
    }
}

/// Offset behind the end of a string or character.
fn after_literal(line: &[u8], mut at: usize, quote: u8) -> usize {
    while let Some(byte) = line.get(at) {
        at += 1;
        match byte {
            b'\\' => at += 1,
            byte if *byte == quote => return at,
            _ => {}
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(original: &str, patched: &str) -> String {
        String::from_utf8(keep(original.as_bytes(), patched.as_bytes())).unwrap()
    }

    #[test]
    fn lines_behind_a_change_keep_their_numbers() {
        assert_eq!(kept("a\nb\nc\n", "a\nx\ny\nb\nc\n"), "a\nx\ny\n#line 2\nb\nc\n");
        assert_eq!(kept("a\nb\nc\nd\n", "a\nd\n"), "a\n#line 4\nd\n");
        assert_eq!(kept("a\nb\nc\n", "a\nx\nc\n"), "a\nx\n#line 3\nc\n");
        assert_eq!(kept("a\nb\n", "a\nb\nnew\n"), "a\nb\nnew\n");
        assert_eq!(kept("a\n", "a\n"), "a\n");
        assert_eq!(
            kept("a\nb\nc\nd\ne\n", "x\na\nb\nc\ny\nd\ne\n"),
            "x\n#line 1\na\nb\nc\ny\n#line 4\nd\ne\n"
        );
    }

    #[test]
    fn no_directive_stands_in_a_macro_a_comment_or_between_parentheses() {
        assert_eq!(
            kept("#define A \\\n b \\\n c\nd\n", "#define A \\\n x \\\n b \\\n c\nd\n"),
            "#define A \\\n x \\\n b \\\n c\n#line 4\nd\n"
        );
        assert_eq!(
            kept("/*\n * a\n */\nd\n", "/*\n * x\n * a\n */\nd\n"),
            "/*\n * x\n * a\n */\n#line 4\nd\n"
        );
        assert_eq!(kept("f(a,\n b);\nd\n", "f(a,\n x,\n b);\nd\n"), "f(a,\n x,\n b);\n#line 3\nd\n");
        assert_eq!(kept("f(\"(\");\nb\n", "f(\"(\");\nx\nb\n"), "f(\"(\");\nx\n#line 2\nb\n");
    }
}
