// SPDX-License-Identifier: GPL-2.0-or-later
//! Index files of sorted lines `key<tab>rest`, searched without parsing them.

/// Text of sorted lines. Bytes decide the order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SortedLines {
    text: Vec<u8>,
}

impl SortedLines {
    /// Sorts lines and removes repeated ones.
    pub fn of(mut lines: Vec<String>) -> Self {
        lines.sort_unstable();
        lines.dedup();
        Self { text: lines.join("\n").into_bytes() }
    }

    /// Lines of a file that [`Self::text`] was written to.
    pub fn stored(text: Vec<u8>) -> Self {
        Self { text }
    }

    /// The text, for a file.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Rests of the lines with a key, in their order.
    pub fn with_key(&self, key: &str) -> impl Iterator<Item = String> {
        let wanted = format!("{key}\t").into_bytes();
        let start_of_line = |at: usize| {
            let before = self.text.get(..at).unwrap_or_default();
            before.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1)
        };
        let line_at = |at: usize| {
            let rest = self.text.get(at..).unwrap_or_default();
            rest.split(|byte| *byte == b'\n').next().unwrap_or_default()
        };
        let (mut low, mut high) = (0, self.text.len());
        while low < high {
            let start = start_of_line(low.midpoint(high));
            let line = line_at(start);
            if line < wanted.as_slice() { low = start + line.len() + 1 } else { high = start }
        }
        let lines = self.text.get(low..).unwrap_or_default().split(|byte| *byte == b'\n');
        lines.map_while(move |line| {
            Some(String::from_utf8_lossy(line.strip_prefix(wanted.as_slice())?).into_owned())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_lines_of_a_key_are_found_and_no_others() {
        let lines = ["b\t2", "a\t1", "b\t1", "b\t2", "b.cold\t1", "ba\t3", "c\t"].map(str::to_owned).to_vec();
        let index = SortedLines::stored(SortedLines::of(lines).text().to_vec());
        let rests = |key: &str| index.with_key(key).collect::<Vec<_>>();
        assert_eq!(rests("a"), ["1"]);
        assert_eq!(rests("b"), ["1", "2"]);
        assert_eq!(rests("ba"), ["3"]);
        assert_eq!(rests("c"), [""]);
        assert!(rests("").is_empty() && rests("bb").is_empty() && rests("d").is_empty());
        assert!(SortedLines::of(Vec::new()).with_key("a").next().is_none());
    }
}
