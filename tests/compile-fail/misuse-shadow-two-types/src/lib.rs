// SPDX-License-Identifier: GPL-2.0-only
//! Does not compile: one id of shadow variables has two types.
#![no_std]

use core::sync::atomic::{AtomicU32, AtomicU64};

use klp::core::callbacks::Callbacks;

pub struct Patch;

klp::shadow!(COUNT: AtomicU32, id = 7);
klp::shadow!(TIME: AtomicU64, id = 7);

impl Callbacks<replaced::objects::vmlinux> for Patch {}

klp::livepatch!(Patch);
