// SPDX-License-Identifier: GPL-2.0-only
//! A guard in front of `fifo_open` with a tripwire.
#![no_std]

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn fifo_open(inode: *mut inode, filp: *mut file) -> c_int {
        // SAFETY: the kernel passes the file that it opens, and changes its flags only after the open.
        let flags = unsafe { (*filp).f_flags };
        if flags & O_ACCMODE as u32 == O_RDWR as u32 {
            klp::core::tripwire!(rdwr_open);
            return Errno::new(EPERM).to_ret();
        }
        if flags == u32::MAX {
            klp::core::tripwire!(never);
        }
        // SAFETY: the arguments are those of the replacement.
        unsafe { replaced::original::vmlinux::fifo_open(inode, filp) }
    }
}

klp::livepatch!(Patch);
