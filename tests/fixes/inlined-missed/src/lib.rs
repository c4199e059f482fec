// SPDX-License-Identifier: GPL-2.0-only
//! Example of a faulty fix: it omits the caller into which the function is inlined. `tests/fixes/inlined` is
//! the complete fix.
#![no_std]

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

impl replaced::klp_inlined for Patch {
    unsafe extern "C" fn klp_inlined_limit(value: c_int) -> c_int {
        value.min(8)
    }
}

klp::livepatch!(Patch);
