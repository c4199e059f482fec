// SPDX-License-Identifier: GPL-2.0-only
//! Counterpart of test_klp_state2.c in the kernel's selftests: version 2 of the state takes the data of another patch over.
//! As test_klp_state3.c includes test_klp_state2.c, a stream of this fix makes that module; so the messages ask for the
//! module's name.
#![no_std]

use core::ffi::CStr;

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

#[allow(improper_ctypes, reason = "the kernel's own struct")]
unsafe extern "C" {
    /// `THIS_MODULE`
    static __this_module: module;
}

fn level() -> *mut c_int {
    (&raw mut console_printk).cast()
}

/// Prints a message behind the module's name.
fn tell(text: &str) {
    // SAFETY: the name of a module ends with NUL and does not change.
    let name = unsafe { CStr::from_ptr((&raw const __this_module.name).cast()) };
    pr_info!("{}: {}", name.to_str().unwrap_or("?"), text);
}

impl Callbacks<replaced::objects::vmlinux> for Patch {
    fn pre_patch(object: &Object<'_>) -> Result<(), Errno> {
        tell("pre_patch_callback: vmlinux");
        if LOG_LEVEL.previous(object).is_some() {
            tell("allocate_loglevel_state: space to store console_loglevel already allocated");
            return Ok(());
        }
        LOG_LEVEL.set_data(object, Some(KBox::new(0, Gfp::KERNEL)?.leak()));
        tell("allocate_loglevel_state: allocating space to store console_loglevel");
        Ok(())
    }

    fn post_patch(object: &Object<'_>) {
        tell("post_patch_callback: vmlinux");
        if let Some(previous) = LOG_LEVEL.previous(object) {
            tell("fix_console_loglevel: taking over the console_loglevel change");
            LOG_LEVEL.take_over(object, previous);
            return;
        }
        if let Some(kept) = LOG_LEVEL.data(object) {
            tell("fix_console_loglevel: fixing console_loglevel");
            // SAFETY: `kept` is the valid data of this patch's own state. The log level is an integer that
            // any code may write.
            unsafe {
                kept.write(read_once(level()));
                write_once(level(), MOTORMOUTH);
            }
        }
    }

    fn pre_unpatch(object: &Object<'_>) {
        tell("pre_unpatch_callback: vmlinux");
        if let Some(kept) = LOG_LEVEL.data(object) {
            tell("restore_console_loglevel: restoring console_loglevel");
            // SAFETY: `kept` is the valid data of this patch's own state. The log level is an integer that
            // any code may write.
            unsafe { write_once(level(), kept.read()) };
        }
    }

    fn post_unpatch(object: &Object<'_>) {
        tell("post_unpatch_callback: vmlinux");
        if let Some(kept) = LOG_LEVEL.data(object) {
            tell("free_loglevel_state: freeing space for the stored console_loglevel");
            LOG_LEVEL.set_data(object, None);
            // SAFETY: the pointer comes from `KBox::leak`, and no other pointer to the box is in use.
            drop(unsafe { KBox::from_raw(kept) });
        }
    }
}

klp::livepatch!(Patch);
