// SPDX-License-Identifier: GPL-2.0-only
//! Does not compile: borrowed data is kept in the patch's table of states.
#![no_std]

use klp::core::callbacks::{Callbacks, Object};
use klp::core::state::State;
use klp::prelude::*;

pub struct Patch;

// SAFETY: each version keeps a c_int there.
const LEVEL: State<c_int> = unsafe { State::new(replaced::states::LEVEL) };

impl Callbacks<replaced::objects::vmlinux> for Patch {
    fn post_patch(object: &Object<'_>) {
        let mut level = 7;
        LEVEL.set_data(object, Some(&mut level));
    }
}

klp::livepatch!(Patch);
