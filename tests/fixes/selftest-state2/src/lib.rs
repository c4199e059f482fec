// SPDX-License-Identifier: GPL-2.0-only
//! Same as version 1, and takes over the state of a patch that already has it.
#![no_std]

use klp::core::callbacks::{Callbacks, Object};
use klp::core::shadow::Gfp;
use klp::core::state::State;
use klp::prelude::*;
use klp::sys::alloc::KBox;

/// The replacements of this fix.
pub struct Patch;

/// State data with the previous log level.
// SAFETY: each version of this stream stores a c_int in this state's data.
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
            // The kernel does not run callbacks of the replaced patch, so this patch takes over the stored
            // data.
            LOG_LEVEL.take_over(object, previous);
            return;
        }
        if let Some(kept) = LOG_LEVEL.data(object) {
            pr_info!("selftest-state2: fixing console_loglevel");
            // SAFETY: `kept` is the valid data of this patch's own state. The log level is an integer that
            // any code may write.
            unsafe {
                kept.write(read_once(level()));
                write_once(level(), MOTORMOUTH);
            }
        }
    }

    fn pre_unpatch(object: &Object<'_>) {
        if let Some(kept) = LOG_LEVEL.data(object) {
            pr_info!("selftest-state2: restoring console_loglevel");
            // SAFETY: `kept` is the valid data of this patch's own state. The log level is an integer that
            // any code may write.
            unsafe { write_once(level(), kept.read()) };
        }
    }

    fn post_unpatch(object: &Object<'_>) {
        if let Some(kept) = LOG_LEVEL.data(object) {
            pr_info!("selftest-state2: freeing space for the stored console_loglevel");
            LOG_LEVEL.set_data(object, None);
            // SAFETY: the pointer comes from `KBox::leak`, and no other pointer to the box is in use.
            drop(unsafe { KBox::from_raw(kept) });
        }
    }
}

klp::livepatch!(Patch);
