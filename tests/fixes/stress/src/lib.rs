// SPDX-License-Identifier: GPL-2.0-only
//! Counts the reads of each open /proc/version in a shadow variable of the open file. All variables are freed
//! when the patch is disabled. Variables of closed files remain until then, so a file that is opened later
//! may continue the count of a closed one.
#![no_std]

use core::fmt::Write;
use core::sync::atomic::{AtomicU32, Ordering};

use klp::core::callbacks::{Callbacks, Object};
use klp::core::shadow::Gfp;
use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

klp::shadow!(READS: AtomicU32, id = 0x5354_5245);

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn version_proc_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
        // SAFETY: a show function may sleep. The variable is freed only after the last task has left this
        // function.
        let first = unsafe { READS.get_or_alloc(m, AtomicU32::new(0), Gfp::KERNEL) };
        // SAFETY: the variable is freed only after the last task has left this function.
        let again = unsafe { READS.get(m) };
        // SAFETY: the seq_file core passes a valid `m`.
        let mut file = unsafe { SeqFile::from_ptr(m) };
        // An overflow is not an error: seq_file calls this function again with a larger buffer.
        let _ = match (first, again) {
            (Ok(one), Some(two)) if core::ptr::eq(one, two) => {
                writeln!(file, "stress: read {} of this open file", two.fetch_add(1, Ordering::Relaxed) + 1)
            }
            _ => writeln!(file, "stress: shadow variable LOST"),
        };
        0
    }
}

impl Callbacks<replaced::objects::vmlinux> for Patch {
    fn post_unpatch(_object: &Object<'_>) {
        // SAFETY: the object is unpatched, so no task runs the replacement any more.
        unsafe { READS.free_all() };
    }
}

klp::livepatch!(Patch);
