// SPDX-License-Identifier: GPL-2.0-only
//! Makes only the inner half of /proc/klp_halves say `new`: a mix, to show that mixes are seen.
#![no_std]

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

impl replaced::klp_halves for Patch {
    unsafe extern "C" fn klp_halves_inner(m: *mut seq_file) {
        // SAFETY: the module passes a valid `m`.
        unsafe { SeqFile::from_ptr(m) }.puts(c"new\n");
    }
}

klp::livepatch!(Patch);
