// SPDX-License-Identifier: GPL-2.0-or-later
//! Parser of the output of `run.sh` as it arrives: `ok - <claim>`, `not ok - <claim>` followed by `# ` lines with the
//! observation, and `# phase <name>`. Other lines are ignored, except failures: those of other tests (`not ok 3 name`),
//! and a failed claim after output without a line break.

use std::time::Duration;

use klp_base::events::Check;

/// Maximum size of the output in bytes; more output is dropped and fails the case.
const LIMIT: usize = 8 << 20;
/// Maximum number of detail lines of a check.
const DETAIL_LINES: usize = 30;

/// Phase of a case, named by its script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Phase {
    /// Name in the script.
    pub name: String,
    /// Wall time from the start of the case to the phase.
    pub at: Duration,
    /// CPU time of QEMU from the start of the case to the phase.
    pub cpu: Duration,
}

/// Output of one case.
#[derive(Debug, Default)]
pub(crate) struct Transcript {
    pub(crate) bytes: Vec<u8>,
    pub(crate) checks: Vec<Check>,
    pub(crate) phases: Vec<Phase>,
    pub(crate) overflow: bool,
    /// Offset of the first incomplete line.
    line: usize,
    in_detail: bool,
}

impl Transcript {
    /// Adds output; `now` returns wall and CPU time since the start of the case.
    pub(crate) fn push(&mut self, bytes: &[u8], now: impl Fn() -> (Duration, Duration)) {
        if self.bytes.len() + bytes.len() > LIMIT {
            self.overflow = true;
            return;
        }
        self.bytes.extend_from_slice(bytes);
        while let Some(length) =
            self.bytes.get(self.line..).and_then(|rest| rest.iter().position(|&b| b == b'\n'))
        {
            let end = self.line + length;
            let line =
                String::from_utf8_lossy(self.bytes.get(self.line..end).unwrap_or_default()).into_owned();
            self.line = end + 1;
            self.take_line(line.trim_end(), &now);
        }
    }

    /// Ends the output: the last line may have no line break.
    pub(crate) fn end(&mut self, now: impl Fn() -> (Duration, Duration)) {
        if self.line < self.bytes.len() {
            self.push(b"\n", now);
        }
    }

    fn take_line(&mut self, line: &str, now: impl Fn() -> (Duration, Duration)) {
        let detail = std::mem::replace(&mut self.in_detail, false);
        if let Some(name) = line.strip_prefix("ok - ") {
            self.checks.push(Check { name: name.to_owned(), ok: true, detail: None });
        } else if let Some(name) = failed_claim(line).filter(|_| !(detail && line.starts_with("# "))) {
            self.checks.push(Check { name: name.to_owned(), ok: false, detail: None });
            self.in_detail = true;
        } else if let Some(name) = line.strip_prefix("# phase ") {
            let (at, cpu) = now();
            self.phases.push(Phase { name: name.to_owned(), at, cpu });
        } else if let (true, Some(text), Some(check)) =
            (detail, line.strip_prefix("# "), self.checks.last_mut())
        {
            let known = check.detail.get_or_insert_default();
            if known.lines().count() < DETAIL_LINES {
                if !known.is_empty() {
                    known.push('\n');
                }
                known.push_str(text);
            }
            self.in_detail = true;
        }
    }
}

/// Claim of a line that reports a failure.
fn failed_claim(line: &str) -> Option<&str> {
    if let Some((_, name)) = line.split_once("not ok - ") {
        return Some(name);
    }
    let other = line.trim_start().strip_prefix("not ok")?;
    (other.is_empty() || other.starts_with([' ', '\t'])).then(|| line.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_never_noise() {
        for (text, name) in [
            ("progress...not ok - b\n", "b"),
            ("not ok 3 livepatch: x # exit=1\n", "not ok 3 livepatch: x # exit=1"),
            ("    not ok\n", "not ok"),
            ("not ok - without a line break", "without a line break"),
        ] {
            let mut transcript = Transcript::default();
            transcript.push(b"ok - a\n", Default::default);
            transcript.push(text.as_bytes(), Default::default);
            transcript.end(Default::default);
            let failed: Vec<&str> =
                transcript.checks.iter().filter(|check| !check.ok).map(|check| check.name.as_str()).collect();
            assert_eq!(failed, [name]);
        }
        let mut transcript = Transcript::default();
        transcript
            .push(b"not okay\nit was not ok\nnot ok - a\n# not ok - quoted\nok 1 - x\n", Default::default);
        assert_eq!(transcript.checks.len(), 1, "{:?}", transcript.checks);
    }

    #[test]
    fn checks_details_and_phases_from_single_bytes() {
        let text = "# phase before\nok - a\nnoise\nnot ok - b\n# one\n# two\nnoise\n# not detail\nok - c";
        let mut transcript = Transcript::default();
        for byte in text.as_bytes() {
            transcript.push(&[*byte], || (Duration::from_secs(1), Duration::ZERO));
        }
        let check = |name: &str, ok, detail: Option<&str>| Check {
            name: name.to_owned(),
            ok,
            detail: detail.map(ToOwned::to_owned),
        };
        assert_eq!(transcript.checks, [check("a", true, None), check("b", false, Some("one\ntwo"))]);
        assert_eq!(transcript.phases.len(), 1);
    }

    #[test]
    fn endless_output_is_cut_and_noted() {
        let mut transcript = Transcript::default();
        for _ in 0..10 {
            transcript.push(&vec![b'y'; 1 << 20], Default::default);
        }
        assert!(transcript.overflow && transcript.bytes.len() <= LIMIT);
        transcript.push(&[255, 0, b'\n'], Default::default);
    }
}
