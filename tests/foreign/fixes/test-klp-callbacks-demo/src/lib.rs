// SPDX-License-Identifier: GPL-2.0-only
//! Counterpart of test_klp_callbacks_demo.c in the kernel's selftests.
#![no_std]

use klp::core::callbacks::{Callbacks, Object};
use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

#[allow(non_upper_case_globals, reason = "names of C constants")]
fn tell(callback: &str, object: &Object<'_>) {
    let Some(name) = object.name() else {
        pr_info!("test_klp_callbacks_demo: {}: vmlinux", callback);
        return;
    };
    let name = name.to_str().unwrap_or("?");
    // SAFETY: the module of an object exists while the object's callback runs.
    let state = match unsafe { (*object.module()).state } {
        module_state_MODULE_STATE_LIVE => "[MODULE_STATE_LIVE] Normal state",
        module_state_MODULE_STATE_COMING => "[MODULE_STATE_COMING] Full formed, running module_init",
        module_state_MODULE_STATE_GOING => "[MODULE_STATE_GOING] Going away",
        _ => "[MODULE_STATE_UNFORMED] Still setting it up",
    };
    pr_info!("test_klp_callbacks_demo: {}: {} -> {}", callback, name, state);
}

macro_rules! callbacks {
    ($($object:ident)*) => {$(
        impl Callbacks<replaced::objects::$object> for Patch {
            fn pre_patch(object: &Object<'_>) -> Result<(), Errno> {
                tell("pre_patch_callback", object);
                to_result(replaced::params::pre_patch_ret())?;
                Ok(())
            }

            fn post_patch(object: &Object<'_>) {
                tell("post_patch_callback", object);
            }

            fn pre_unpatch(object: &Object<'_>) {
                tell("pre_unpatch_callback", object);
            }

            fn post_unpatch(object: &Object<'_>) {
                tell("post_unpatch_callback", object);
            }
        }
    )*};
}
callbacks!(vmlinux test_klp_callbacks_mod test_klp_callbacks_busy);

impl replaced::test_klp_callbacks_busy for Patch {
    unsafe extern "C" fn busymod_work_func(_work: *mut work_struct) {
        pr_info!("test_klp_callbacks_demo: patched_work_func");
    }
}

klp::livepatch!(Patch);
