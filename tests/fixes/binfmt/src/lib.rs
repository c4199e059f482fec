// SPDX-License-Identifier: GPL-2.0-only
//! Makes the status file of binfmt_misc say that it is patched, and tell the name of the module's file system, which it
//! reads from a static variable of the module.
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
        // SAFETY: the module is loaded while its function runs; a file system's name is a string that stays.
        let name = unsafe { core::ffi::CStr::from_ptr((*(&raw const bm_fs_type)).name.cast()) };
        for (to, from) in text[length..].iter_mut().zip(name.to_bytes().iter().take(40)) {
            *to = *from;
            length += 1;
        }
        // SAFETY: the caller's arguments are passed on; the text is longer than the length and its line break.
        unsafe { simple_read_from_buffer(buf.cast(), nbytes, ppos, text.as_ptr().cast(), length + 1) }
    }
}

klp::livepatch!(Patch);
