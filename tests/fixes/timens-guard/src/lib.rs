// SPDX-License-Identifier: GPL-2.0-only
//! CVE-2026-93146 as a guard: the check stands before the kernel's own function, which does all else. The whole function in Rust is
//! patches/timens-nanoseconds, the C diff is tests/fixes/timens-diff.
//!
//! The order of the checks differs: a writer without the right gets EINVAL for an impossible offset, and not EPERM.
#![no_std]

use klp::prelude::*;

/// `NSEC_PER_SEC` of `include/vdso/time64.h`.
const NSEC_PER_SEC: c_long = 1_000_000_000;

/// The replacement of this fix.
pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn proc_timens_set_offset(
        file: *mut file,
        p: *mut task_struct,
        offsets: *mut proc_timens_offset,
        noffsets: c_int,
    ) -> c_int {
        let count = usize::try_from(noffsets).unwrap_or(0);
        // SAFETY: the caller passes a private array with `noffsets` elements.
        let given = unsafe { core::slice::from_raw_parts(offsets, count) };
        if given.iter().any(|offset| !(0..NSEC_PER_SEC).contains(&offset.val.tv_nsec)) {
            return -EINVAL;
        }
        // SAFETY: the arguments are those of the replacement.
        unsafe { replaced::original::vmlinux::proc_timens_set_offset(file, p, offsets, noffsets) }
    }
}

klp::livepatch!(Patch);
