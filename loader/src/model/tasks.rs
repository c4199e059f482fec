// SPDX-License-Identifier: GPL-2.0-or-later
//! The tasks that hold a transition up: which, where they are, for how long they run, and what would free them.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::model::error::Error;
use crate::model::livepatch;
use crate::model::system::System;

/// Clock ticks of a second in procfs: 100 on every architecture that has live patching (`USER_HZ`).
const TICKS: u64 = 100;

/// A task that holds a transition up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Task {
    pub(crate) tid: u32,
    pub(crate) process: u32,
    pub(crate) name: String,
    /// The kernel's letter: `S` asleep, `D` asleep and not to be woken by signals, `R` running, ...
    pub(crate) state: Option<char>,
    /// Seconds since it was started.
    pub(crate) age: Option<u64>,
    /// The unit of systemd that it belongs to.
    pub(crate) unit: Option<String>,
    /// Whether it is a thread of the kernel's own.
    pub(crate) kernel_thread: bool,
    /// The frame of its stack that is in the way, where one is seen.
    pub(crate) frame: Option<String>,
    /// As the kernel shows it, a frame each.
    pub(crate) stack: Vec<String>,
}

/// As the original shows it.
impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}\nstack:", self.tid, self.name)?;
        self.stack.iter().try_for_each(|line| write!(f, "\n{line}"))
    }
}

impl Task {
    /// One line: where it is, and for how long it runs.
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

    /// What would free it.
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

/// Seconds for people.
pub(crate) fn span(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86400),
    }
}

/// The tasks that hold a transition up.
#[derive(Debug, Default)]
pub(crate) struct Stalled {
    pub(crate) tasks: Vec<Task>,
    /// Tasks whose state only root may read.
    pub(crate) hidden: usize,
}

/// The tasks that hold the transition of `patch` up: those whose `patch_state` is neither -1 (no transition) nor the
/// patch's `enabled`. Tasks that vanish meanwhile are none.
pub(crate) fn stalled(system: &System, patch: &str) -> Result<Stalled, Error> {
    let mut stalled = Stalled::default();
    let Some(enabled) = livepatch::flag(system, patch, "enabled")? else {
        return Ok(stalled);
    };
    let own = [patch.to_owned()];
    let functions = livepatch::replaced_by(system, patch)?;
    let others: Vec<String> =
        livepatch::patches(system)?.into_iter().filter(|other| other != patch).collect();
    let in_the_way = |line: &str| frame(line, if enabled { &others } else { &own }, enabled, &functions);
    let now = uptime(system)?;
    stalled.hidden = each_pending(system, enabled, |process, tid, directory| {
        // Without the name the task has gone meanwhile.
        if let Some(name) = system.read(&format!("{directory}/comm"))? {
            stalled.tasks.push(task(system, process, tid, &name, directory, now, &in_the_way)?);
        }
        Ok(())
    })?;
    Ok(stalled)
}

/// How many tasks still have to change over.
pub(crate) fn pending(system: &System, patch: &str) -> Result<usize, Error> {
    let Some(enabled) = livepatch::flag(system, patch, "enabled")? else {
        return Ok(0);
    };
    let mut count = 0;
    each_pending(system, enabled, |_, _, _| {
        count += 1;
        Ok(())
    })?;
    Ok(count)
}

/// Calls `found` with process, task and directory of every task that is not where `enabled` wants it; how many could not
/// be looked at.
fn each_pending(
    system: &System,
    enabled: bool,
    mut found: impl FnMut(u32, u32, &str) -> Result<(), Error>,
) -> Result<usize, Error> {
    let goal = i32::from(enabled);
    let mut hidden = 0;
    let mut processes: Vec<u32> =
        system.names("/proc")?.iter().filter_map(|name| name.parse().ok()).collect();
    processes.sort_unstable();
    for process in processes {
        let mut tids: Vec<u32> = system
            .names(&format!("/proc/{process}/task"))?
            .iter()
            .filter_map(|tid| tid.parse().ok())
            .collect();
        tids.sort_unstable();
        for tid in tids {
            let directory = format!("/proc/{process}/task/{tid}");
            match system.read_line(&format!("{directory}/patch_state")) {
                Ok(text) => {
                    let state = text.and_then(|text| text.trim().parse::<i32>().ok());
                    if state.is_some_and(|state| state != -1 && state != goal) {
                        found(process, tid, &directory)?;
                    }
                }
                Err(Error::File { source, .. }) if source.kind() == std::io::ErrorKind::PermissionDenied => {
                    hidden += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(hidden)
}

fn task(
    system: &System,
    process: u32,
    tid: u32,
    name: &str,
    directory: &str,
    now: Duration,
    in_the_way: &dyn Fn(&str) -> Option<String>,
) -> Result<Task, Error> {
    let stack = system.read(&format!("{directory}/stack"))?.unwrap_or_default();
    let stat = system.read(&format!("{directory}/stat"))?.unwrap_or_default();
    // After the name, which may hold anything: state is the first field, the start the twentieth (proc(5)).
    let fields: Vec<&str> =
        stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ').collect()).unwrap_or_default();
    let start = fields.get(19).and_then(|field| field.parse::<u64>().ok());
    let flags = fields.get(6).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    let cgroup = system.read(&format!("/proc/{process}/cgroup"))?.unwrap_or_default();
    Ok(Task {
        tid,
        process,
        name: name.trim_end().to_owned(),
        state: fields.first().and_then(|field| field.chars().next()),
        age: start.map(|start| now.as_secs().saturating_sub(start / TICKS)),
        unit: unit(&cgroup),
        // PF_KTHREAD of include/linux/sched.h.
        kernel_thread: flags & 0x0020_0000 != 0,
        frame: stack.lines().find_map(in_the_way),
        stack: stack.lines().map(str::to_owned).collect(),
    })
}

/// Time since the boot.
pub(crate) fn uptime(system: &System) -> Result<Duration, Error> {
    let text = system.read_line("/proc/uptime")?.unwrap_or_default();
    let seconds = text.split(' ').next().and_then(|word| word.parse::<f64>().ok()).unwrap_or(0.0);
    Ok(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

/// A frame such as `[<0>] cmdline_proc_show+0x1d/0x40 [kpatch_x]` that keeps a task from changing over: on the way in an
/// original that is replaced, or a function of a patch that is replaced; on the way out any function of the patch itself.
fn frame(line: &str, patches: &[String], enabled: bool, functions: &[(String, String)]) -> Option<String> {
    let text = line.strip_prefix("[<0>] ").unwrap_or(line).trim();
    let (symbol, module) = match text.split_once(" [") {
        Some((symbol, module)) => (symbol, module.trim_end_matches(']')),
        None => (text, "vmlinux"),
    };
    let name = symbol.split('+').next().unwrap_or(symbol);
    let original = |(object, function): &(String, String)| object == module && function == name;
    let blocks = patches.iter().any(|patch| patch == module) || (enabled && functions.iter().any(original));
    blocks.then(|| if module == "vmlinux" { name.to_owned() } else { format!("{name} [{module}]") })
}

/// The unit in a line `0::/system.slice/sshd.service` of a task's cgroup file.
fn unit(cgroup: &str) -> Option<String> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::"))?;
    let is_unit = |part: &&str| [".service", ".scope", ".socket"].iter().any(|kind| part.ends_with(kind));
    path.split('/').rfind(is_unit).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_that_hold_a_transition_up() {
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
    fn units_are_the_innermost() {
        assert_eq!(unit("0::/system.slice/ssh.service\n").as_deref(), Some("ssh.service"));
        assert_eq!(
            unit("1:name=x:/a\n0::/user.slice/user-0.slice/user@0.service/app.slice/x.scope\n").as_deref(),
            Some("x.scope")
        );
        assert_eq!(unit("0::/\n"), None);
    }
}
