// SPDX-License-Identifier: GPL-2.0-only
//! The same as version 1, and takes over from a patch that has it.
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
        if LOG_LEVEL.previous(object).is_some() {
            pr_info!("selftest-state2: space to store console_loglevel already allocated");
            return Ok(());
        }
        pr_info!("selftest-state2: allocating space to store console_loglevel");
        LOG_LEVEL.set_data(object, Some(KBox::new(0, Gfp::KERNEL)?.leak()));
        Ok(())
    }

    fn post_patch(object: &Object<'_>) {
        if let Some(previous) = LOG_LEVEL.previous(object) {
            pr_info!("selftest-state2: taking over the console_loglevel change");
            // The patch before is not told that it was replaced: what it kept is ours now.
            LOG_LEVEL.take_over(object, previous);
            return;
        }
        if let Some(kept) = LOG_LEVEL.data(object) {
            pr_info!("selftest-state2: fixing console_loglevel");
            // SAFETY: the data is ours; the level is an integer that anyone may set.
            unsafe {
                kept.write(level().read_volatile());
                level().write_volatile(MOTORMOUTH);
            }
        }
    }

    fn pre_unpatch(object: &Object<'_>) {
        if let Some(kept) = LOG_LEVEL.data(object) {
            pr_info!("selftest-state2: restoring console_loglevel");
            // SAFETY: as above.
            unsafe { level().write_volatile(kept.read()) };
        }
    }

    fn post_unpatch(object: &Object<'_>) {
        if let Some(kept) = LOG_LEVEL.data(object) {
            pr_info!("selftest-state2: freeing space for the stored console_loglevel");
            LOG_LEVEL.set_data(object, None);
            // SAFETY: it was made as a box, and nobody has it any more.
            drop(unsafe { KBox::from_raw(kept) });
        }
    }
}

klp::livepatch!(Patch);
