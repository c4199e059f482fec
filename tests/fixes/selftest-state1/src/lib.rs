// SPDX-License-Identifier: GPL-2.0-only
//! Raises the console's log level while it is loaded, and puts the old one back.
#![no_std]

use klp::core::callbacks::{Callbacks, Object};
use klp::core::shadow::Gfp;
use klp::core::state::State;
use klp::prelude::*;
use klp::sys::alloc::KBox;

/// The replacements of this fix.
pub struct Patch;

/// The old log level.
// SAFETY: each version of this stream keeps a c_int there.
const LOG_LEVEL: State<c_int> = unsafe { State::new(replaced::states::LOG_LEVEL) };
const MOTORMOUTH: c_int = 15;

fn level() -> *mut c_int {
    (&raw mut console_printk).cast()
}

impl Callbacks<replaced::objects::vmlinux> for Patch {
    fn pre_patch(object: &Object<'_>) -> Result<(), Errno> {
        pr_info!("selftest-state1: allocating space to store console_loglevel");
        LOG_LEVEL.set_data(object, Some(KBox::new(0, Gfp::KERNEL)?.leak()));
        Ok(())
    }

    fn post_patch(object: &Object<'_>) {
        if let Some(kept) = LOG_LEVEL.data(object) {
            pr_info!("selftest-state1: fixing console_loglevel");
            // SAFETY: the data is ours; the level is an integer that anyone may set.
            unsafe {
                kept.write(level().read_volatile());
                level().write_volatile(MOTORMOUTH);
            }
        }
    }

    fn pre_unpatch(object: &Object<'_>) {
        if let Some(kept) = LOG_LEVEL.data(object) {
            pr_info!("selftest-state1: restoring console_loglevel");
            // SAFETY: as above.
            unsafe { level().write_volatile(kept.read()) };
        }
    }

    fn post_unpatch(object: &Object<'_>) {
        if let Some(kept) = LOG_LEVEL.data(object) {
            pr_info!("selftest-state1: freeing space for the stored console_loglevel");
            LOG_LEVEL.set_data(object, None);
            // SAFETY: it was made as a box, and nobody has it any more.
            drop(unsafe { KBox::from_raw(kept) });
        }
    }
}

klp::livepatch!(Patch);
