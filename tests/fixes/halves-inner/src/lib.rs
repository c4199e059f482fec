// SPDX-License-Identifier: GPL-2.0-only
//! Changes only the inner half of /proc/klp_halves to `new`. The result is a mixture, to show that the test
//! detects mixtures.
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
