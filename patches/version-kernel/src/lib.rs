// SPDX-License-Identifier: GPL-2.0-only
//! Shows square numbers in /proc/version. They are in an allocated vector under a mutex, as an example of the
//! `kernel` crate's abstractions in a live patch.
#![no_std]

use core::fmt::Write;

use kernel::sync::{Arc, Mutex, new_mutex};
use klp::prelude::*;

/// Number of squares.
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
                    // An overflow is not an error: seq_file calls this function again with a larger buffer.
                    let _ = writeln!(file, "{square}");
                }
                0
            }
            Err(error) => error.to_errno(),
        }
    }
}

/// The squares in an allocated vector behind a mutex. Dropping the last reference frees everything.
fn squares() -> Result<Arc<Mutex<KVec<u32>>>> {
    let squares = Arc::pin_init(new_mutex!(KVec::new(), "squares"), GFP_KERNEL)?;
    for number in 1..=COUNT {
        squares.lock().push(number * number, GFP_KERNEL)?;
    }
    Ok(squares)
}

klp::livepatch!(Patch);
