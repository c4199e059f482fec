// SPDX-License-Identifier: GPL-2.0-only
//! Fault, on purpose: see fault.toml.
#![no_std]
#![allow(unused_imports)]

use core::fmt::Write;

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

impl replaced::no_such_module for Patch {
    unsafe extern "C" fn f(_a: c_int) -> c_int {
        0
    }
}

klp::livepatch!(Patch);
