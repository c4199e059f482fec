// SPDX-License-Identifier: GPL-2.0-only
//! Shows properties of the running kernel in /proc/sys/kernel/hostname and in the other files with the same
//! handler.
//!
//! Kernels before 6.11 pass a `struct ctl_table *` to the handler, later kernels a `const struct ctl_table
//! *`. Therefore the fix has one body and two signatures, selected by `cfg`. rustc checks each signature
//! against the kernel that it is compiled for.
#![no_std]

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

/// Content of the files.
const TEXT: &[u8] = {
    #[cfg(all(has_member = "ctl_table.child", has_member = "ctl_table.procname"))]
    const TEXT: &[u8] = b"patched, with ctl_table.child\n";
    #[cfg(all(not(has_member = "ctl_table.child"), has_member = "ctl_table.procname"))]
    const TEXT: &[u8] = b"patched, without ctl_table.child\n";
    TEXT
};

#[cfg(any(not(has_function = "proc_do_uts_string"), has_function = "no_such_function_anywhere"))]
compile_error!("the answers about functions are wrong");

impl replaced::vmlinux for Patch {
    #[cfg(kernel_at_least = "6.12")]
    unsafe extern "C" fn proc_do_uts_string(
        _table: *const ctl_table,
        write: c_int,
        buffer: *mut c_void,
        lenp: *mut usize,
        ppos: *mut loff_t,
    ) -> c_int {
        // SAFETY: the arguments come from the sysctl core unchanged, and it passes valid pointers.
        unsafe { show(write, buffer, lenp, ppos) }
    }

    #[cfg(not(kernel_at_least = "6.12"))]
    unsafe extern "C" fn proc_do_uts_string(
        _table: *mut ctl_table,
        write: c_int,
        buffer: *mut c_void,
        lenp: *mut usize,
        ppos: *mut loff_t,
    ) -> c_int {
        // SAFETY: the arguments come from the sysctl core unchanged, and it passes valid pointers.
        unsafe { show(write, buffer, lenp, ppos) }
    }
}

/// Answers a read with [`TEXT`] and rejects a write.
///
/// # Safety
/// `buffer` has room for `*lenp` bytes; `lenp` and `ppos` are valid.
unsafe fn show(write: c_int, buffer: *mut c_void, lenp: *mut usize, ppos: *mut loff_t) -> c_int {
    if write != 0 {
        return Errno::new(EPERM).to_ret();
    }
    // SAFETY: the caller guarantees valid pointers and room for `*lenp` bytes. Since 5.8 the buffer is in
    // kernel memory.
    unsafe {
        let length = if *ppos == 0 { TEXT.len().min(*lenp) } else { 0 };
        core::ptr::copy_nonoverlapping(TEXT.as_ptr(), buffer.cast(), length);
        *lenp = length;
        *ppos += length as loff_t;
    }
    0
}

klp::livepatch!(Patch);
