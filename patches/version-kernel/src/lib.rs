// SPDX-License-Identifier: GPL-2.0-only
//! Makes /proc/version list squares that were put into an allocated vector under a mutex: the `kernel` crate's
//! abstractions in a live patch.
#![no_std]

use core::fmt::Write;

use kernel::sync::{Arc, Mutex, new_mutex};
use klp::prelude::*;

/// How many squares are listed.
const COUNT: u32 = 5;

/// The replacements of this fix.
pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn version_proc_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
        // SAFETY: the seq_file core passes a valid `m`.
        let mut file = unsafe { SeqFile::from_ptr(m) };
        match squares() {
            Ok(squares) => {
                let squares = squares.lock();
                pr_info!("{} squares were allocated\n", squares.len());
                for square in squares.iter() {
                    // A sequence file takes what fits and asks again for the rest; it does not fail.
                    let _ = writeln!(file, "{square}");
                }
                0
            }
            Err(error) => error.to_errno(),
        }
    }
}

/// The squares, in memory of their own, behind a lock: all of it is given back when the last reference goes.
fn squares() -> Result<Arc<Mutex<KVec<u32>>>> {
    let squares = Arc::pin_init(new_mutex!(KVec::new(), "squares"), GFP_KERNEL)?;
    for number in 1..=COUNT {
        squares.lock().push(number * number, GFP_KERNEL)?;
    }
    Ok(squares)
}

klp::livepatch!(Patch);
