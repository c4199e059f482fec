// SPDX-License-Identifier: GPL-2.0-only
//! Replaces the function of klp_bench in Rust.
#![no_std]

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

impl replaced::klp_bench for Patch {
    unsafe extern "C" fn klp_bench_target(value: c_ulong) -> c_ulong {
        let mut result = value;
        for _ in 0..16 {
            result = result.wrapping_mul(31).wrapping_add(result >> 7);
        }
        result
    }
}

klp::livepatch!(Patch);
