// SPDX-License-Identifier: GPL-2.0-only
//! Does not compile: callbacks of an object are declared and not written.
#![no_std]

pub struct Patch;

klp::livepatch!(Patch);
