// SPDX-License-Identifier: GPL-2.0-only
//! Does not compile: two fixes of a module give one id of shadow variables two types.
#![no_std]

use core::sync::atomic::AtomicU32;

use klp::core::callbacks::Callbacks;

pub struct Patch;

klp::shadow!(COUNT: AtomicU32, id = 7);

impl Callbacks<replaced::objects::vmlinux> for Patch {}

klp::livepatch!(Patch);
