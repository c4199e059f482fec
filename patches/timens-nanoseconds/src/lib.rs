// SPDX-License-Identifier: GPL-2.0-only
//! CVE-2026-93146: time namespace offsets with a negative number of nanoseconds.
//!
//! A write to `/proc/<pid>/timens_offsets` contains seconds and nanoseconds. The parser reads the nanoseconds
//! as an unsigned number into a signed member and rejects only 10^9 and above; a number beyond the signed
//! range becomes negative and is accepted. `proc_timens_set_offset` then adds it to the time of the clock,
//! and the addition subtracts one second per iteration. The smallest number causes nine thousand million
//! iterations in the kernel, which cannot be interrupted. A negative number that passes the other checks is
//! stored, and every conversion of a time in that namespace uses it again.
//!
//! Upstream: "time/namespace: Validate nanosecond field in proc_timens_set_offset()". The upstream fix
//! rejects such an offset with EINVAL after the check of the clock and before any calculation; Debian has it
//! since 6.12.115-1. This fix reimplements the whole function with the same check in the same place. All
//! other results, their order, the lock and the references are the same as in the original.
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
/// Latest second to which an offset may move a clock. It is so far from `KTIME_MAX` that the clock never
/// overflows.
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
        // SAFETY: the caller passes a private array with `noffsets` elements.
        let offsets = unsafe { core::slice::from_raw_parts(offsets, count) };
        // SAFETY: `ns` is a member of a time namespace, and the reference to it is held until `timens_put`.
        let result =
            unsafe { set_offsets(file, ns.byte_sub(offset_of!(time_namespace, ns)).cast(), offsets) };
        // SAFETY: releases the reference that `timens_for_children_get` took.
        unsafe { timens_put(ns) };
        result.map_or_else(Errno::to_ret, |()| 0)
    }
}

/// # Safety
/// `time_ns` must be a time namespace that exists during the call, `file` the file that is being written.
unsafe fn set_offsets(
    file: *mut file,
    time_ns: *mut time_namespace,
    offsets: &[proc_timens_offset],
) -> Result<(), Errno> {
    // SAFETY: the owner of a namespace is set at its creation and exists as long as the namespace.
    if !unsafe { file_ns_capable(file, (*time_ns).user_ns, CAP_SYS_TIME) } {
        return Err(Errno::new(EPERM));
    }
    offsets.iter().try_for_each(check)?;

    // SAFETY: `offset_lock` is the lock of all offsets. This is process context, and no other lock is held.
    unsafe { mutex_lock(&raw mut offset_lock) };
    // SAFETY: the caller guarantees a valid `time_ns`, and the lock is held.
    let result = unsafe { store(time_ns, offsets) };
    // SAFETY: the mutex was locked above.
    unsafe { mutex_unlock(&raw mut offset_lock) };
    result
}

/// Checks that the clock accepts an offset.
fn check(offset: &proc_timens_offset) -> Result<(), Errno> {
    let now = match offset.clockid {
        CLOCK_MONOTONIC => {
            let mut now = timespec64 { tv_sec: 0, tv_nsec: 0 };
            // SAFETY: the function only writes to `now`, which is valid.
            unsafe { ktime_get_ts64(&raw mut now) };
            now
        }
        // SAFETY: both functions only read clocks and convert times.
        CLOCK_BOOTTIME => unsafe { ns_to_timespec64(ktime_get_with_offset(tk_offsets_TK_OFFS_BOOT)) },
        _ => return Err(Errno::new(EINVAL)),
    };
    let (seconds, nanoseconds) = (offset.val.tv_sec, offset.val.tv_nsec);
    // The check from the upstream fix.
    if !(0..NSEC_PER_SEC).contains(&nanoseconds) {
        return Err(Errno::new(EINVAL));
    }
    if !(-KTIME_SEC_MAX..=KTIME_SEC_MAX).contains(&seconds) {
        return Err(Errno::new(ERANGE));
    }
    // Both values are below one second, so the carry is at most one second.
    let carry = i64::from(now.tv_nsec + nanoseconds >= NSEC_PER_SEC);
    match now.tv_sec + seconds + carry {
        0..=LAST_SECOND => Ok(()),
        _ => Err(Errno::new(ERANGE)),
    }
}

/// # Safety
/// `time_ns` must be valid, and the lock of all offsets must be held.
unsafe fn store(time_ns: *mut time_namespace, offsets: &[proc_timens_offset]) -> Result<(), Errno> {
    // SAFETY: the caller guarantees a valid namespace, and its members are changed only under the held lock.
    let time_ns = unsafe { &mut *time_ns };
    if time_ns.frozen_offsets {
        return Err(Errno::new(EACCES));
    }
    for offset in offsets {
        match offset.clockid {
            CLOCK_MONOTONIC => time_ns.offsets.monotonic = offset.val,
            // CLOCK_BOOTTIME, because `check` rejects all other clocks.
            _ => time_ns.offsets.boottime = offset.val,
        }
    }
    Ok(())
}

klp::livepatch!(Patch);
