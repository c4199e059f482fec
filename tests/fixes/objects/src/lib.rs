// SPDX-License-Identifier: GPL-2.0-only
//! Reports in /proc/version, in the status file of binfmt_misc and in the offset of a loop device that they
//! are patched.
#![no_std]

use core::fmt::Write;

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn version_proc_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
        // SAFETY: the seq_file core passes a valid `m`.
        let mut file = unsafe { SeqFile::from_ptr(m) };
        // An overflow is not an error: seq_file calls this function again with a larger buffer.
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
        // SAFETY: the caller's arguments are valid and passed on unchanged; `TEXT` has the given length.
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
        // SAFETY: sysfs passes a buffer of one page to a show function.
        unsafe { buf.cast::<u8>().copy_from_nonoverlapping(TEXT.as_ptr(), TEXT.len()) };
        TEXT.len() as isize
    }
}

klp::livepatch!(Patch);
