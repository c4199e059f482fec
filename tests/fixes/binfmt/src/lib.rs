// SPDX-License-Identifier: GPL-2.0-only
//! Reports in the status file of binfmt_misc that it is patched, with the name of the module's file system.
//! The name is read from a static variable of the module.
#![no_std]

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

impl replaced::binfmt_misc for Patch {
    unsafe extern "C" fn bm_status_read(
        _file: *mut file,
        buf: *mut c_char,
        nbytes: usize,
        ppos: *mut loff_t,
    ) -> isize {
        const GREETING: &[u8] = b"patched from Rust: ";
        let mut text = [b'\n'; 64];
        let mut length = GREETING.len();
        text[..length].copy_from_slice(GREETING);
        // SAFETY: the module is loaded while its function runs. The name of a file system is a NUL-terminated
        // string that never changes.
        let name = unsafe { core::ffi::CStr::from_ptr((*(&raw const bm_fs_type)).name.cast()) };
        for (to, from) in text[length..].iter_mut().zip(name.to_bytes().iter().take(40)) {
            *to = *from;
            length += 1;
        }
        // SAFETY: the caller's arguments are valid and passed on unchanged; the text has at least `length +
        // 1` bytes.
        unsafe { simple_read_from_buffer(buf.cast(), nbytes, ppos, text.as_ptr().cast(), length + 1) }
    }
}

klp::livepatch!(Patch);
