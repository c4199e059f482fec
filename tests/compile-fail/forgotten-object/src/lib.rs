// SPDX-License-Identifier: GPL-2.0-only
//! Does not compile: the trait is not implemented at all.
#![no_std]

pub struct Patch;

klp::livepatch!(Patch);
