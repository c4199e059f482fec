// SPDX-License-Identifier: GPL-2.0-only
//! Calls the original of klp_bench's function.
#![no_std]

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

impl replaced::klp_bench for Patch {
    unsafe extern "C" fn klp_bench_target(value: c_ulong) -> c_ulong {
        // SAFETY: the argument is that of the replacement.
        unsafe { replaced::original::klp_bench::klp_bench_target(value) }
    }
}

klp::livepatch!(Patch);
