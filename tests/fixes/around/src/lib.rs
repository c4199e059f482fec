// SPDX-License-Identifier: GPL-2.0-only
//! Calls of the originals: `cmdline_proc_show` prints a line after the kernel's, `fifo_open` refuses what is
//! not to wait, and calls the original for the rest.
#![no_std]

use klp::prelude::*;
use replaced::original;

/// The replacements of this fix.
pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn cmdline_proc_show(m: *mut seq_file, v: *mut c_void) -> c_int {
        // SAFETY: the arguments are those of the replacement.
        let result = unsafe { original::vmlinux::cmdline_proc_show(m, v) };
        if result != 0 {
            return result;
        }
        // SAFETY: the seq_file core passes a valid `m`, which the original does not free.
        unsafe { SeqFile::from_ptr(m) }.puts(c"after the original\n")
    }

    unsafe extern "C" fn fifo_open(inode: *mut inode, filp: *mut file) -> c_int {
        // SAFETY: the caller passes the file that it opens.
        let flags = unsafe { (*filp).f_flags };
        if flags & O_NONBLOCK as c_uint != 0 {
            return Errno::new(EPERM).to_ret();
        }
        // SAFETY: the arguments are those of the replacement.
        unsafe { original::vmlinux::fifo_open(inode, filp) }
    }
}

klp::livepatch!(Patch);
