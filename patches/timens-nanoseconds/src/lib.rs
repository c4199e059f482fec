// SPDX-License-Identifier: GPL-2.0-only
//! CVE-2026-93146: offsets of a time namespace with a negative number of nanoseconds.
//!
//! Whoever writes to `/proc/<pid>/timens_offsets` gives seconds and nanoseconds. The parser reads the nanoseconds as an
//! unsigned number into a signed member and refuses 10^9 and more; what does not fit the sign passes as negative.
//! `proc_timens_set_offset` then adds it to the time of the clock, which takes away one second at a time: for the
//! smallest number nine thousand million rounds in the kernel, without a chance to be interrupted. A negative number
//! that passes the other checks is stored, and each conversion of a time in that namespace meets it again.
//!
//! Upstream: "time/namespace: Validate nanosecond field in proc_timens_set_offset()". It refuses such an offset with
//! EINVAL, once the clock is known and before anything is calculated; Debian has it since 6.12.115-1. Here the whole
//! function stands anew, with that check in the same place; all other answers, their order, the lock and the references
//! are those of the original.
//!
//! C source: `kernel/time/namespace.c`
#![no_std]

use core::mem::offset_of;

use klp::prelude::*;

/// `CLOCK_MONOTONIC` and `CLOCK_BOOTTIME` of `include/uapi/linux/time.h`.
const CLOCK_MONOTONIC: c_int = 1;
const CLOCK_BOOTTIME: c_int = 7;
/// `CAP_SYS_TIME` of `include/uapi/linux/capability.h`.
const CAP_SYS_TIME: c_int = 25;
/// `NSEC_PER_SEC` of `include/vdso/time64.h`.
const NSEC_PER_SEC: c_long = 1_000_000_000;
/// `KTIME_SEC_MAX` of `include/linux/ktime.h`: the seconds in the largest `ktime_t`.
const KTIME_SEC_MAX: i64 = i64::MAX / 1_000_000_000;
/// The last second that an offset may move a clock to: so far from `KTIME_MAX` that the clock never reaches that.
const LAST_SECOND: i64 = KTIME_SEC_MAX / 2;

/// The replacements of this fix.
pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn proc_timens_set_offset(
        file: *mut file,
        p: *mut task_struct,
        offsets: *mut proc_timens_offset,
        noffsets: c_int,
    ) -> c_int {
        // SAFETY: the caller holds a reference to the task.
        let ns = unsafe { timens_for_children_get(p) };
        if ns.is_null() {
            return -ESRCH;
        }
        let count = usize::try_from(noffsets).unwrap_or(0);
        // SAFETY: the caller passes an array of its own with `noffsets` elements.
        let offsets = unsafe { core::slice::from_raw_parts(offsets, count) };
        // SAFETY: `ns` is the member of a time namespace, and a reference to it is held until `timens_put`.
        let result =
            unsafe { set_offsets(file, ns.byte_sub(offset_of!(time_namespace, ns)).cast(), offsets) };
        // SAFETY: gives back the reference that `timens_for_children_get` took.
        unsafe { timens_put(ns) };
        result.map_or_else(Errno::to_ret, |()| 0)
    }
}

/// # Safety
/// `time_ns` must be a time namespace that stays for the call, `file` the file that is written to.
unsafe fn set_offsets(
    file: *mut file,
    time_ns: *mut time_namespace,
    offsets: &[proc_timens_offset],
) -> Result<(), Errno> {
    // SAFETY: the owner of a namespace is set when it is made and stays as long as it.
    if !unsafe { file_ns_capable(file, (*time_ns).user_ns, CAP_SYS_TIME) } {
        return Err(Errno::new(EPERM));
    }
    offsets.iter().try_for_each(check)?;

    // SAFETY: the lock of all offsets; process context, and nothing is held.
    unsafe { mutex_lock(&raw mut offset_lock) };
    // SAFETY: the lock is held.
    let result = unsafe { store(time_ns, offsets) };
    // SAFETY: it was locked above.
    unsafe { mutex_unlock(&raw mut offset_lock) };
    result
}

/// Whether an offset is one that the clock can have.
fn check(offset: &proc_timens_offset) -> Result<(), Errno> {
    let now = match offset.clockid {
        CLOCK_MONOTONIC => {
            let mut now = timespec64 { tv_sec: 0, tv_nsec: 0 };
            // SAFETY: it fills in the time.
            unsafe { ktime_get_ts64(&raw mut now) };
            now
        }
        // SAFETY: both read clocks and convert, nothing else.
        CLOCK_BOOTTIME => unsafe { ns_to_timespec64(ktime_get_with_offset(tk_offsets_TK_OFFS_BOOT)) },
        _ => return Err(Errno::new(EINVAL)),
    };
    let (seconds, nanoseconds) = (offset.val.tv_sec, offset.val.tv_nsec);
    // The repair.
    if !(0..NSEC_PER_SEC).contains(&nanoseconds) {
        return Err(Errno::new(EINVAL));
    }
    if !(-KTIME_SEC_MAX..=KTIME_SEC_MAX).contains(&seconds) {
        return Err(Errno::new(ERANGE));
    }
    // Both are below a second: their sum carries one second at most.
    let carry = i64::from(now.tv_nsec + nanoseconds >= NSEC_PER_SEC);
    match now.tv_sec + seconds + carry {
        0..=LAST_SECOND => Ok(()),
        _ => Err(Errno::new(ERANGE)),
    }
}

/// # Safety
/// `time_ns` must be valid, and the lock of all offsets held.
unsafe fn store(time_ns: *mut time_namespace, offsets: &[proc_timens_offset]) -> Result<(), Errno> {
    // SAFETY: the namespace is valid, and its members are changed under the lock only.
    let time_ns = unsafe { &mut *time_ns };
    if time_ns.frozen_offsets {
        return Err(Errno::new(EACCES));
    }
    for offset in offsets {
        match offset.clockid {
            CLOCK_MONOTONIC => time_ns.offsets.monotonic = offset.val,
            // `check` lets no third clock pass.
            _ => time_ns.offsets.boottime = offset.val,
        }
    }
    Ok(())
}

klp::livepatch!(Patch);
