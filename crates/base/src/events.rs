// SPDX-License-Identifier: GPL-2.0-or-later
//! Progress and result events of engines. One enum; terminal, JSON lines, KTAP and JUnit output are renderers of it.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// Result of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StageEnd {
    /// Completed.
    Done,
    /// Skipped: the inputs are unchanged, the existing result is used.
    Unchanged,
    /// Skipped: the result of an earlier build with the same inputs was taken from the cache.
    Cached,
    /// Failed; the error follows.
    Failed,
}

/// Result of one case, or of all cases, in ascending order of severity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// All checks passed.
    Passed,
    /// The case does not apply to this kernel; a reason is given.
    Skipped,
    /// A check failed.
    Failed,
    /// The host lacks a tool, the network or disk space.
    NotAble,
    /// The guest did not answer before the deadline.
    Hung,
    /// The kernel of the guest panicked.
    Panicked,
}

impl Verdict {
    /// Exit code of the process: 0 passed, 1 failed, 5 panicked, 6 hung, 69 not able.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Passed | Self::Skipped => 0,
            Self::Failed => 1,
            Self::Panicked => 5,
            Self::Hung => 6,
            Self::NotAble => 69,
        }
    }

    /// Most severe of several verdicts. [`Verdict::NotAble`] if the list is empty or all cases are skipped, because
    /// nothing was tested.
    pub fn of_all(verdicts: impl IntoIterator<Item = Self>) -> Self {
        let (mut worst, mut shown) = (Self::Passed, false);
        for verdict in verdicts {
            shown |= verdict != Self::Skipped;
            worst = worst.max(verdict);
        }
        if shown { worst } else { Self::NotAble }
    }

    /// Word for terminal output.
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Skipped => "skipped",
            Self::Failed => "FAILED",
            Self::NotAble => "not able",
            Self::Hung => "HUNG",
            Self::Panicked => "PANICKED",
        }
    }
}

/// Check of a case, and its result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Name of the check.
    pub name: String,
    /// True if the check passed.
    pub ok: bool,
    /// Observed value if the check failed, or the reason why it did not run.
    pub detail: Option<String>,
}

/// Finished case on one kernel.
#[derive(Clone, Debug, Serialize)]
pub struct CaseEnd {
    /// Name of the case.
    pub case: String,
    /// Id of the kernel.
    pub kernel: String,
    /// Result of the case.
    pub verdict: Verdict,
    /// Checks of the case, in the order of execution.
    pub checks: Vec<Check>,
    /// Reason in one line, if the verdict is not `Passed`.
    pub reason: Option<String>,
    /// Last lines of the guest console, if the verdict is not `Passed`.
    pub console: String,
    /// Directory with the console log, the output of the case and the collected files.
    pub evidence: Option<std::path::PathBuf>,
    /// Command that repeats the case.
    pub repeat: String,
    /// Accelerator or emulator of the guest, as observed.
    pub accel: String,
    /// Duration from start to end of the case.
    pub wall: Duration,
}

/// Severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Information only; the module is accepted.
    Warning,
    /// The check could not run; this never counts as passed.
    Unchecked,
    /// The module must not be loaded.
    Error,
}

/// Finding of `verify` about a module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Id of the rule in docs/verify-rules.md.
    pub rule: &'static str,
    /// Severity of the finding.
    pub severity: Severity,
    /// Subject of the finding: a section, a symbol or a relocation.
    pub subject: String,
    /// Problem, consequence and remedy.
    pub message: String,
}

/// Event of an engine.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// Start of a stage.
    StageStarted {
        /// Name of the stage, as in `--from` and `--to`.
        stage: String,
        /// Subject of the stage.
        subject: String,
    },
    /// Progress of work, with or without a known length.
    Progress {
        /// Name of the work.
        label: String,
        /// Completed units.
        done: u64,
        /// Total units, if known.
        total: Option<u64>,
    },
    /// End of a stage.
    StageEnded {
        /// Name of the stage.
        stage: String,
        /// Subject of the stage.
        subject: String,
        /// Result of the stage.
        end: StageEnd,
        /// Elapsed wall time.
        wall: Duration,
    },
    /// Finding of a check.
    Finding(Finding),
    /// End of a case.
    Case(Box<CaseEnd>),
    /// Information for the user.
    Note {
        /// Text, one line.
        text: String,
    },
    /// Warning for the user, which may need an action.
    Warning {
        /// Text, one line.
        text: String,
    },
}

/// Receiver of events. Several threads call it concurrently.
pub trait Sink: Send + Sync {
    /// Receives one event.
    fn event(&self, event: &Event);

    /// Sends an [`Event::Note`].
    fn note(&self, text: String) {
        self.event(&Event::Note { text });
    }

    /// Sends an [`Event::Warning`].
    fn warn(&self, text: String) {
        self.event(&Event::Warning { text });
    }
}

/// Runs one stage, and sends its start and end events.
///
/// # Errors
/// The error of the work.
pub fn stage<T, E>(
    sink: &dyn Sink,
    name: &str,
    subject: &str,
    work: impl FnOnce() -> Result<(StageEnd, T), E>,
) -> Result<T, E> {
    let (stage, subject) = (name.to_owned(), subject.to_owned());
    sink.event(&Event::StageStarted { stage: stage.clone(), subject: subject.clone() });
    let started = std::time::Instant::now();
    let result = work();
    let end = result.as_ref().map_or(StageEnd::Failed, |(end, _)| *end);
    sink.event(&Event::StageEnded { stage, subject, end, wall: started.elapsed() });
    result.map(|(_, value)| value)
}

/// Sink that discards every event.
#[derive(Debug, Default)]
pub struct Silent;

impl Sink for Silent {
    fn event(&self, _: &Event) {}
}

/// Sink that stores every event, for tests and for renderers that need the whole list.
#[derive(Debug, Default)]
pub struct Recorder(Mutex<Vec<Event>>);

impl Recorder {
    /// Events received so far.
    pub fn events(&self) -> Vec<Event> {
        self.0.lock().map(|events| events.clone()).unwrap_or_default()
    }
}

impl Sink for Recorder {
    fn event(&self, event: &Event) {
        if let Ok(mut events) = self.0.lock() {
            events.push(event.clone());
        }
    }
}

/// Sink that forwards every event to several sinks.
pub struct Tee<'a>(pub Vec<&'a dyn Sink>);

impl Sink for Tee<'_> {
    fn event(&self, event: &Event) {
        for sink in &self.0 {
            sink.event(event);
        }
    }
}

/// Sink that prints one JSON object per line on standard output.
#[derive(Debug, Default)]
pub struct JsonLines;

impl Sink for JsonLines {
    fn event(&self, event: &Event) {
        if let Ok(line) = serde_json::to_string(event) {
            let _ = writeln!(std::io::stdout().lock(), "{line}");
        }
    }
}

/// Sink for a person, on stderr: a spinner if stderr is a terminal, otherwise one line per stage.
pub struct Terminal {
    bar: Option<ProgressBar>,
}

impl Terminal {
    /// Renderer for the current stderr: terminal or not.
    pub fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} [{elapsed}]") {
                bar.set_style(style);
            }
            bar
        });
        Self { bar }
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| eprintln!("{text}")),
            None => eprintln!("{text}"),
        }
    }

    fn spin(&self, message: String) {
        if let Some(bar) = &self.bar {
            bar.set_message(message);
            bar.enable_steady_tick(Duration::from_millis(100));
        }
    }
}

impl Default for Terminal {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Sink for Terminal {
    fn event(&self, event: &Event) {
        match event {
            Event::StageStarted { stage, subject } => self.spin(format!("{stage}: {subject}")),
            Event::Progress { label, done, total } => {
                let of = total.map_or_else(String::new, |total| format!(" of {total}"));
                self.spin(format!("{label}: {done}{of}"));
            }
            Event::StageEnded { stage, subject, end, wall } => {
                let how = match end {
                    StageEnd::Done => format!("{:.1} s", wall.as_secs_f64()),
                    StageEnd::Unchanged => "unchanged".to_owned(),
                    StageEnd::Cached => "cached".to_owned(),
                    StageEnd::Failed => "FAILED".to_owned(),
                };
                self.line(&format!("  {stage:<12} {subject} ({how})"));
            }
            Event::Finding(finding) => {
                let word = match finding.severity {
                    Severity::Warning => "warning",
                    Severity::Unchecked => "could not check",
                    Severity::Error => "error",
                };
                self.line(&format!("{word}[{}]: {}: {}", finding.rule, finding.subject, finding.message));
            }
            Event::Case(case) => self.line(&case_line(case)),
            Event::Note { text } => self.line(text),
            Event::Warning { text } => self.line(&format!("warning: {text}")),
        }
    }
}

fn case_line(case: &CaseEnd) -> String {
    let seen = case.checks.iter().filter(|check| check.ok).count();
    let mut text = format!(
        "  {:<9} {} on {} ({seen} of {} checks, {}, {:.1} s)",
        case.verdict.word(),
        case.case,
        case.kernel,
        case.checks.len(),
        case.accel,
        case.wall.as_secs_f64()
    );
    if let Some(reason) = &case.reason {
        text.push_str(&format!("\n            {reason}"));
    }
    if matches!(case.verdict, Verdict::Passed | Verdict::Skipped) {
        return text;
    }
    for check in case.checks.iter().filter(|check| !check.ok) {
        let detail = check.detail.as_deref().unwrap_or("");
        text.push_str(&format!("\n            not ok: {}", check.name));
        text.extend(detail.lines().map(|line| format!("\n              {line}")));
    }
    if !case.console.is_empty() {
        text.push_str("\n            end of the guest's console:");
        text.extend(case.console.lines().map(|line| format!("\n            | {line}")));
    }
    if let Some(evidence) = &case.evidence {
        text.push_str(&format!("\n            evidence: {}", evidence.display()));
    }
    text.push_str(&format!("\n            repeat: {}", case.repeat));
    text
}
