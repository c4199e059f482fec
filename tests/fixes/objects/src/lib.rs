// SPDX-License-Identifier: GPL-2.0-only
//! Makes /proc/version, the status file of binfmt_misc and the offset of a loop device say that they are patched.
#![no_std]

use core::fmt::Write;

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn version_proc_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
        // SAFETY: the seq_file core passes a valid `m`.
        let mut file = unsafe { SeqFile::from_ptr(m) };
        // A sequence file takes what fits and asks again for the rest; it does not fail.
        let _ = writeln!(file, "patched: vmlinux");
        0
    }
}

impl replaced::binfmt_misc for Patch {
    unsafe extern "C" fn bm_status_read(
        _file: *mut file,
        buf: *mut c_char,
        nbytes: usize,
        ppos: *mut loff_t,
    ) -> isize {
        const TEXT: &[u8] = b"patched: binfmt_misc\n";
        // SAFETY: the caller's arguments are passed on; the text has that length.
        unsafe { simple_read_from_buffer(buf.cast(), nbytes, ppos, TEXT.as_ptr().cast(), TEXT.len()) }
    }
}

impl replaced::r#loop for Patch {
    unsafe extern "C" fn loop_attr_do_show_offset(
        _dev: *mut device,
        _attr: *mut device_attribute,
        buf: *mut c_char,
    ) -> isize {
        const TEXT: &[u8] = b"patched: loop\n";
        // SAFETY: a show function of sysfs has a page for what it shows.
        unsafe { buf.cast::<u8>().copy_from_nonoverlapping(TEXT.as_ptr(), TEXT.len()) };
        TEXT.len() as isize
    }
}

klp::livepatch!(Patch);
