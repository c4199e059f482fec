// SPDX-License-Identifier: GPL-2.0-only
//! Fault, on purpose: see fault.toml.
#![no_std]
use klp::core::callbacks::{Callbacks, Object};
use klp::prelude::*;
/// The replacements of this fix.
pub struct Patch;
impl Callbacks<replaced::objects::vmlinux> for Patch {
    fn post_patch(_object: &Object<'_>) {}
}
klp::livepatch!(Patch);
