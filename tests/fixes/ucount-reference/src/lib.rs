// SPDX-License-Identifier: GPL-2.0-only
//! A whole function in Rust: the change is in the middle of its loop. The walk takes its reference when a count leaves zero,
//! before it checks the limit. A rejected walk puts it again.
#![no_std]

use core::sync::atomic::{AtomicI64, Ordering};

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn inc_rlimit_get_ucounts(
        ucounts: *mut ucounts,
        type_: rlimit_type,
        override_rlimit: bool,
    ) -> c_long {
        let (mut iter, mut max, mut ret) = (ucounts, i64::MAX, 0);
        while !iter.is_null() {
            // SAFETY: the caller holds a reference to the first count, and each count holds the next one.
            let (count, ns) = unsafe { (count_of(iter, type_), (*iter).ns) };
            let new = count.fetch_add(1, Ordering::SeqCst).wrapping_add(1);
            // SAFETY: as above.
            if new == 1 && unsafe { get_ucounts(iter) }.is_null() {
                // Without a reference, there is none to put for this count.
                warn_on_once!(count.fetch_sub(1, Ordering::SeqCst) < 1);
                // SAFETY: the walk raised the counts before this one.
                unsafe { do_dec_rlimit_put_ucounts(ucounts, iter, type_) };
                return 0;
            }
            // SAFETY: the namespace holds its creator's count.
            let next = unsafe { (*ns).ucounts };
            if new < 0 || new > max {
                // SAFETY: the walk raised the counts up to this one.
                unsafe { do_dec_rlimit_put_ucounts(ucounts, next, type_) };
                return 0;
            }
            if iter == ucounts {
                ret = new;
            }
            if !override_rlimit {
                // SAFETY: the namespace exists as long as its counts.
                max = unsafe { read_once((&raw const (*ns).rlimit_max).cast::<i64>().add(type_ as usize)) };
            }
            iter = next;
        }
        ret as c_long
    }
}

/// Count of a resource.
///
/// # Safety
/// `ucounts` is referenced.
unsafe fn count_of<'a>(ucounts: *mut ucounts, type_: rlimit_type) -> &'a AtomicI64 {
    // SAFETY: the callers in the kernel pass one of the four types of the array.
    unsafe { AtomicI64::from_ptr((&raw mut (*ucounts).rlimit).cast::<i64>().add(type_ as usize)) }
}

klp::livepatch!(Patch);
