// SPDX-License-Identifier: GPL-2.0-or-later
//! What engines say while they work. One enum; terminal, JSON lines, KTAP and JUnit are renderers of it.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// How a stage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StageEnd {
    /// The work was done.
    Done,
    /// Its inputs did not change: what was there is used.
    Unchanged,
    /// It failed; the error follows.
    Failed,
}

/// What a run of one case, or of all of them, came to. The order is the order of gravity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Everything that was claimed was seen.
    Passed,
    /// The case cannot be run on this kernel; the reason stands beside it.
    Skipped,
    /// Something that was claimed was not seen.
    Failed,
    /// The host cannot do it: no tool, no network, no space.
    NotAble,
    /// The guest did not answer before the deadline.
    Hung,
    /// The guest's kernel panicked.
    Panicked,
}

impl Verdict {
    /// The process's exit code: 0 passed, 1 failed, 5 panicked, 6 hung, 69 not able.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Passed | Self::Skipped => 0,
            Self::Failed => 1,
            Self::Panicked => 5,
            Self::Hung => 6,
            Self::NotAble => 69,
        }
    }

    /// The gravest of several. Where nothing was shown, because there are none or all are skipped, that is
    /// [`Verdict::NotAble`].
    pub fn of_all(verdicts: impl IntoIterator<Item = Self>) -> Self {
        let (mut worst, mut shown) = (Self::Passed, false);
        for verdict in verdicts {
            shown |= verdict != Self::Skipped;
            worst = worst.max(verdict);
        }
        if shown { worst } else { Self::NotAble }
    }

    /// One word for people.
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

/// One claim of a case and whether it was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was claimed.
    pub name: String,
    /// Whether it was seen.
    pub ok: bool,
    /// What was seen instead, or why it was not looked at.
    pub detail: Option<String>,
}

/// One case on one kernel, finished.
#[derive(Clone, Debug, Serialize)]
pub struct CaseEnd {
    /// Name of the case.
    pub case: String,
    /// Id of the kernel.
    pub kernel: String,
    /// What it came to.
    pub verdict: Verdict,
    /// Its claims, in the order in which they were checked.
    pub checks: Vec<Check>,
    /// One line that says why, where the verdict is not `Passed`.
    pub reason: Option<String>,
    /// Last lines of the guest's console, where the verdict is not `Passed`.
    pub console: String,
    /// Directory with the console, the case's output and the collected files.
    pub evidence: Option<std::path::PathBuf>,
    /// The one command that repeats it.
    pub repeat: String,
    /// What the guest was emulated or accelerated by, as proved.
    pub accel: String,
    /// From the case's start to its end.
    pub wall: Duration,
}

/// Weight of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing; nothing is refused.
    Warning,
    /// It could not be checked, which is never "passed".
    Unchecked,
    /// The module must not be loaded.
    Error,
}

/// What `verify` has to say of a module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Id of the rule, as docs/verify-rules.md lists it.
    pub rule: &'static str,
    /// How grave it is.
    pub severity: Severity,
    /// What it is about: a section, a symbol, a relocation.
    pub subject: String,
    /// What is wrong, why it matters and what to do.
    pub message: String,
}

/// What an engine says.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A stage begins.
    StageStarted {
        /// Name of the stage, as `--from` and `--to` take it.
        stage: String,
        /// What it works on.
        subject: String,
    },
    /// Work of known or unknown length goes on.
    Progress {
        /// What is going on.
        label: String,
        /// Units done.
        done: u64,
        /// Units in all, where known.
        total: Option<u64>,
    },
    /// A stage ended.
    StageEnded {
        /// Name of the stage.
        stage: String,
        /// What it worked on.
        subject: String,
        /// How it ended.
        end: StageEnd,
        /// Wall time.
        wall: Duration,
    },
    /// A finding of a check.
    Finding(Finding),
    /// A case ended.
    Case(Box<CaseEnd>),
    /// One line worth reading.
    Note {
        /// The line.
        text: String,
    },
    /// One line worth acting on.
    Warning {
        /// The line.
        text: String,
    },
}

/// Takes events. Implementations are called from several threads.
pub trait Sink: Send + Sync {
    /// Takes one event.
    fn event(&self, event: &Event);

    /// Says a [`Event::Note`].
    fn note(&self, text: String) {
        self.event(&Event::Note { text });
    }

    /// Says a [`Event::Warning`].
    fn warn(&self, text: String) {
        self.event(&Event::Warning { text });
    }
}

/// Runs one stage between its two events.
///
/// # Errors
/// What the work returned.
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

/// Drops every event.
#[derive(Debug, Default)]
pub struct Silent;

impl Sink for Silent {
    fn event(&self, _: &Event) {}
}

/// Keeps every event, for tests and for renderers that need all of them.
#[derive(Debug, Default)]
pub struct Recorder(Mutex<Vec<Event>>);

impl Recorder {
    /// The events so far.
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

/// Gives every event to several sinks.
pub struct Tee<'a>(pub Vec<&'a dyn Sink>);

impl Sink for Tee<'_> {
    fn event(&self, event: &Event) {
        for sink in &self.0 {
            sink.event(event);
        }
    }
}

/// One JSON object a line on standard output.
#[derive(Debug, Default)]
pub struct JsonLines;

impl Sink for JsonLines {
    fn event(&self, event: &Event) {
        if let Ok(line) = serde_json::to_string(event) {
            let _ = writeln!(std::io::stdout().lock(), "{line}");
        }
    }
}

/// For people, on stderr: a spinner where stderr is a terminal, one line per stage elsewhere.
pub struct Terminal {
    bar: Option<ProgressBar>,
}

impl Terminal {
    /// A renderer that fits what stderr is.
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
