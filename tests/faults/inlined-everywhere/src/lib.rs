// SPDX-License-Identifier: GPL-2.0-only
//! Fault, on purpose: see fault.toml.
#![no_std]
#![allow(unused_imports)]

use core::fmt::Write;

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn ptrace_has_cap(_ns: *mut user_namespace, _mode: c_uint) -> bool {
        false
    }
}

klp::livepatch!(Patch);
