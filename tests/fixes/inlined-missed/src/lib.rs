// SPDX-License-Identifier: GPL-2.0-only
//! What must not be done: the caller that has the function inlined is forgotten. `tests/fixes/inlined` is the same in full.
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
