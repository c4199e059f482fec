// SPDX-License-Identifier: GPL-2.0-or-later
//! System calls without a wrapper in std or rustix. The only unsafe code of this crate.
#![allow(unsafe_code, reason = "the crate's one system-call module")]

use std::io;
use std::time::Duration;

/// Exit status and resource usage of a child process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reaped {
    /// Raw wait status, for `ExitStatus::from_raw`.
    pub(crate) status: i32,
    /// User and system CPU time of the child and of the children that it reaped.
    pub(crate) cpu: Duration,
    /// Peak memory of one of these processes, in KiB.
    pub(crate) peak_kib: u64,
}

/// Waits for the child `pid`. If `block` is false, `None` means that the child is still running.
pub(crate) fn wait(pid: u32, block: bool) -> io::Result<Option<Reaped>> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let options = if block { 0 } else { libc::WNOHANG };
    loop {
        let mut status = 0;
        // SAFETY: `rusage` is plain data, and all zeroes is a valid value.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: both pointers refer to live local variables of the types that wait4(2) writes.
        let rc = unsafe { libc::wait4(pid, &raw mut status, options, &raw mut usage) };
        match rc {
            0 => return Ok(None),
            -1 => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
            _ => {
                let cpu = duration(usage.ru_utime) + duration(usage.ru_stime);
                let peak_kib = u64::try_from(usage.ru_maxrss).unwrap_or(0);
                return Ok(Some(Reaped { status, cpu, peak_kib }));
            }
        }
    }
}

/// Kills the process group `group`, the group of a child that was started with its own group.
pub(crate) fn kill_group(group: u32) {
    if let Ok(group) = libc::pid_t::try_from(group) {
        // SAFETY: killpg(2) takes no pointers; for a group that no longer exists it returns ESRCH.
        unsafe { libc::killpg(group, libc::SIGKILL) };
    }
}

fn duration(time: libc::timeval) -> Duration {
    let micros = u32::try_from(time.tv_usec).unwrap_or(0);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), micros.saturating_mul(1000))
}
