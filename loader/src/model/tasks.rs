// SPDX-License-Identifier: GPL-2.0-or-later
//! Tasks that block a transition, with stack, age and advice.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::model::error::Error;
use crate::model::livepatch;
use crate::model::system::System;
use crate::model::trace::Frame;

/// Clock ticks per second in procfs (`USER_HZ`): 100 on every architecture with live patching.
const TICKS: u64 = 100;

/// Task that blocks a transition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Task {
    pub(crate) tid: u32,
    pub(crate) process: u32,
    pub(crate) name: String,
    /// State letter of proc(5): `S` sleeping, `D` in uninterruptible sleep, `R` running, ...
    pub(crate) state: Option<char>,
    /// Seconds since the task was started.
    pub(crate) age: Option<u64>,
    /// Unit of systemd that the task belongs to.
    pub(crate) unit: Option<String>,
    /// True if the task is a kernel thread.
    pub(crate) kernel_thread: bool,
    /// Stack frame that blocks the transition, if one is known.
    pub(crate) frame: Option<String>,
    /// Lines of `/proc/<pid>/task/<tid>/stack`.
    pub(crate) stack: Vec<String>,
}

/// Form of Red Hat's kpatch.
impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}\nstack:", self.tid, self.name)?;
        self.stack.iter().try_for_each(|line| write!(f, "\n{line}"))
    }
}

impl Task {
    /// Sentence with the blocking frame and the age.
    pub(crate) fn place(&self) -> String {
        let place = match &self.frame {
            Some(frame) => format!("is in {frame}"),
            None if self.stack.is_empty() => "is running: it has no stack to look at".to_owned(),
            None => "has no patched function on its stack now; the kernel could not rely on what it saw"
                .to_owned(),
        };
        let age = self.age.map(|age| format!(", was started {} ago", span(age))).unwrap_or_default();
        format!("{} {} {place}{age}", self.tid, self.name)
    }

    /// Advice to make the task leave the patched code.
    pub(crate) fn advice(&self) -> String {
        let restart = match &self.unit {
            Some(unit) if unit.ends_with(".service") => format!("systemctl restart {unit}"),
            _ => format!("end process {}", self.process),
        };
        if self.kernel_thread {
            return "it is a thread of the kernel: it leaves when its work is done; no signal reaches it"
                .to_owned();
        }
        match self.state {
            Some('D') => format!(
                "it waits for a device or a lock and cannot be woken by a signal: it leaves when that comes; after that: {restart}"
            ),
            Some('T' | 't') => format!("it is stopped: continue it (kill -CONT {}) or end it", self.process),
            Some('Z' | 'X') => "it has ended and will be gone when its parent has noticed".to_owned(),
            Some('R') => format!("it runs in the kernel and will leave by itself; if it does not: {restart}"),
            _ => format!(
                "it is asleep: the kernel wakes it every 15 seconds; if it goes back to sleep there: {restart}"
            ),
        }
    }
}

/// Duration in seconds, in a suitable unit.
fn span(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86400),
    }
}

/// Tasks that block a transition.
#[derive(Debug, Default)]
pub(crate) struct Stalled {
    pub(crate) tasks: Vec<Task>,
    /// Number of tasks without permission to read their state.
    pub(crate) hidden: usize,
}

/// Tasks that block the transition of `patch`: those with a `patch_state` other than -1 (no transition) and other than the
/// patch's `enabled`.
pub(crate) fn stalled(system: &System, patch: &str) -> Result<Stalled, Error> {
    let mut stalled = Stalled::default();
    let Some(enabled) = livepatch::flag(system, patch, "enabled")? else {
        return Ok(stalled);
    };
    let own = [patch.to_owned()];
    let functions = livepatch::replaced_by(system, patch)?;
    let others: Vec<String> =
        livepatch::patches(system)?.into_iter().filter(|other| other != patch).collect();
    let blocking = |line: &str| frame(line, if enabled { &others } else { &own }, enabled, &functions);
    let now = uptime(system)?;
    stalled.hidden = for_each_pending(system, enabled, |thread| {
        stalled.tasks.extend(thread.task(system, now, &blocking)?);
        Ok(())
    })?;
    Ok(stalled)
}

/// Number of tasks that still have to change over.
pub(crate) fn pending(system: &System, patch: &str) -> Result<usize, Error> {
    let Some(enabled) = livepatch::flag(system, patch, "enabled")? else {
        return Ok(0);
    };
    let mut count = 0;
    for_each_pending(system, enabled, |_| {
        count += 1;
        Ok(())
    })?;
    Ok(count)
}

/// Calls `found` for each task with another state than `enabled`. Returns the number of tasks without read permission.
fn for_each_pending(
    system: &System,
    enabled: bool,
    mut found: impl FnMut(&Thread) -> Result<(), Error>,
) -> Result<usize, Error> {
    let goal = i32::from(enabled);
    let mut hidden = 0;
    for process in numbers(system, "/proc")? {
        for tid in numbers(system, &format!("/proc/{process}/task"))? {
            let thread = Thread { process, tid };
            match thread.patch_state(system) {
                Ok(state) if state.is_some_and(|state| state != -1 && state != goal) => found(&thread)?,
                Ok(_) => {}
                Err(error) if error.is_denied() => hidden += 1,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(hidden)
}

/// Entries of a directory with numbers as names, sorted.
fn numbers(system: &System, directory: &str) -> Result<Vec<u32>, Error> {
    let mut numbers: Vec<u32> =
        system.names(directory)?.iter().filter_map(|name| name.parse().ok()).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Directory of a task in procfs.
struct Thread {
    process: u32,
    tid: u32,
}

impl Thread {
    fn path(&self, file: &str) -> String {
        format!("/proc/{}/task/{}/{file}", self.process, self.tid)
    }

    /// Content of `patch_state`; `None` if the task has ended.
    fn patch_state(&self, system: &System) -> Result<Option<i32>, Error> {
        let text = system.read_line(&self.path("patch_state"))?;
        Ok(text.and_then(|text| text.trim().parse().ok()))
    }

    /// Data of the task; `None` if it has ended. `blocking` returns the name of a stack frame that blocks the transition.
    fn task(
        &self,
        system: &System,
        now: Duration,
        blocking: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<Task>, Error> {
        let Some(name) = system.read(&self.path("comm"))? else {
            return Ok(None);
        };
        let stack = system.read(&self.path("stack"))?.unwrap_or_default();
        let stat = system.read(&self.path("stat"))?.unwrap_or_default();
        // Fields after the name, which may contain any character: the state is the first, the start time the twentieth
        // (proc(5)).
        let fields: Vec<&str> =
            stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ').collect()).unwrap_or_default();
        let start = fields.get(19).and_then(|field| field.parse::<u64>().ok());
        let flags = fields.get(6).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
        let cgroup = system.read(&format!("/proc/{}/cgroup", self.process))?.unwrap_or_default();
        Ok(Some(Task {
            tid: self.tid,
            process: self.process,
            name: name.trim_end().to_owned(),
            state: fields.first().and_then(|field| field.chars().next()),
            age: start.map(|start| now.as_secs().saturating_sub(start / TICKS)),
            unit: unit(&cgroup),
            // PF_KTHREAD of include/linux/sched.h.
            kernel_thread: flags & 0x0020_0000 != 0,
            frame: stack.lines().find_map(blocking),
            stack: stack.lines().map(str::to_owned).collect(),
        }))
    }
}

/// Time since boot.
pub(crate) fn uptime(system: &System) -> Result<Duration, Error> {
    let text = system.read_line("/proc/uptime")?.unwrap_or_default();
    let seconds = text.split(' ').next().and_then(|word| word.parse::<f64>().ok()).unwrap_or(0.0);
    Ok(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

/// Name of the function in a stack line such as `[<0>] cmdline_proc_show+0x1d/0x40 [kpatch_x]` if it blocks the transition.
/// While a patch is enabled, these are its original functions and all functions of `patches`, which it replaces; while it is
/// disabled, these are the functions of `patches`, the patch itself.
fn frame(line: &str, patches: &[String], enabled: bool, functions: &[(String, String)]) -> Option<String> {
    let frame = Frame::parse(line)?;
    let original = |(object, function): &(String, String)| object == frame.object && function == frame.name;
    let blocks =
        patches.iter().any(|patch| patch == frame.object) || (enabled && functions.iter().any(original));
    blocks.then(|| frame.to_string())
}

/// Innermost unit in a line `0::/system.slice/sshd.service` of a cgroup file.
fn unit(cgroup: &str) -> Option<String> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::"))?;
    let is_unit = |part: &&str| [".service", ".scope", ".socket"].iter().any(|kind| part.ends_with(kind));
    path.split('/').rfind(is_unit).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frame_finds_blocking_functions() {
        let functions = [("vmlinux".to_owned(), "show".to_owned()), ("ext4".to_owned(), "open".to_owned())];
        let (fix, older) = (["fix".to_owned()], ["older".to_owned()]);
        let seen = |line, enabled| frame(line, if enabled { &older } else { &fix }, enabled, &functions);
        assert_eq!(seen("[<0>] x+0x1/0x20 [older]", true).as_deref(), Some("x [older]"));
        assert_eq!(seen("[<0>] show+0x1/0x20", true).as_deref(), Some("show"));
        assert_eq!(seen("[<0>] open+0x1/0x20 [ext4]", true).as_deref(), Some("open [ext4]"));
        for line in ["[<0>] showy+0x1/0x2", "[<0>] open+0x1/0x2", "[<0>] show+0x1/0x2 [fix]", ""] {
            assert_eq!(seen(line, true), None, "{line}");
        }
        assert_eq!(
            seen("[<0>] _RNvX3fix4show+0x1/0x2 [fix]", false).as_deref(),
            Some("_RNvX3fix4show [fix]")
        );
        assert_eq!(seen("[<0>] show+0x1/0x20", false), None);
    }

    #[test]
    fn unit_returns_the_innermost_unit() {
        assert_eq!(unit("0::/system.slice/ssh.service\n").as_deref(), Some("ssh.service"));
        assert_eq!(
            unit("1:name=x:/a\n0::/user.slice/user-0.slice/user@0.service/app.slice/x.scope\n").as_deref(),
            Some("x.scope")
        );
        assert_eq!(unit("0::/\n"), None);
    }
}
