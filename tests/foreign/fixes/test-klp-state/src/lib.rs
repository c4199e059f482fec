// SPDX-License-Identifier: GPL-2.0-only
//! Counterpart of test_klp_state.c in the kernel's selftests: version 1 of the state supports no migration.
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
/// `CONSOLE_LOGLEVEL_MOTORMOUTH`
const MOTORMOUTH: c_int = 15;

fn level() -> *mut c_int {
    (&raw mut console_printk).cast()
}

impl Callbacks<replaced::objects::vmlinux> for Patch {
    fn pre_patch(object: &Object<'_>) -> Result<(), Errno> {
        pr_info!("test_klp_state: pre_patch_callback: vmlinux");
        LOG_LEVEL.set_data(object, Some(KBox::new(0, Gfp::KERNEL)?.leak()));
        pr_info!("test_klp_state: allocate_loglevel_state: allocating space to store console_loglevel");
        Ok(())
    }

    fn post_patch(object: &Object<'_>) {
        pr_info!("test_klp_state: post_patch_callback: vmlinux");
        if let Some(kept) = LOG_LEVEL.data(object) {
            pr_info!("test_klp_state: fix_console_loglevel: fixing console_loglevel");
            // SAFETY: `kept` is the valid data of this patch's own state. The log level is an integer that
            // any code may write.
            unsafe {
                kept.write(read_once(level()));
                write_once(level(), MOTORMOUTH);
            }
        }
    }

    fn pre_unpatch(object: &Object<'_>) {
        pr_info!("test_klp_state: pre_unpatch_callback: vmlinux");
        if let Some(kept) = LOG_LEVEL.data(object) {
            pr_info!("test_klp_state: restore_console_loglevel: restoring console_loglevel");
            // SAFETY: `kept` is the valid data of this patch's own state. The log level is an integer that
            // any code may write.
            unsafe { write_once(level(), kept.read()) };
        }
    }

    fn post_unpatch(object: &Object<'_>) {
        pr_info!("test_klp_state: post_unpatch_callback: vmlinux");
        if let Some(kept) = LOG_LEVEL.data(object) {
            pr_info!("test_klp_state: free_loglevel_state: freeing space for the stored console_loglevel");
            LOG_LEVEL.set_data(object, None);
            // SAFETY: the pointer comes from `KBox::leak`, and no other pointer to the box is in use.
            drop(unsafe { KBox::from_raw(kept) });
        }
    }
}

klp::livepatch!(Patch);
