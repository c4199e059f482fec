// SPDX-License-Identifier: GPL-2.0-only
//! Does not compile: the other fix.
#![no_std]

use core::sync::atomic::AtomicU64;

use klp::core::callbacks::Callbacks;

pub struct Patch;

klp::shadow!(COUNT: AtomicU64, id = 7);

impl Callbacks<replaced::objects::vmlinux> for Patch {}

klp::livepatch!(Patch);
