// SPDX-License-Identifier: GPL-2.0-only
//! Rate limits of messages: ten in five seconds for each place, as `printk_ratelimited()` has them.
//!
//! C header: [`include/linux/ratelimit.h`]
//!
//! [`include/linux/ratelimit.h`]: srctree/include/linux/ratelimit.h

use ::core::cell::UnsafeCell;
use ::core::ffi::CStr;
use ::core::mem::MaybeUninit;

use bindings::ffi::c_char;
use bindings::ratelimit_state;

// C function in `kmod/shims/ratelimit.c`. The pipeline compiles this file into a module that calls it.
unsafe extern "C" {
    fn klp_shim_ratelimit_allows(state: *mut ratelimit_state, ready: *mut bool, place: *const c_char)
    -> bool;
}

/// State of one place. [`ratelimited!`](crate::ratelimited) has one of each place.
#[doc(hidden)]
pub struct Place(UnsafeCell<(MaybeUninit<ratelimit_state>, bool)>);

// SAFETY: only the C function uses the state, which takes locks.
unsafe impl Sync for Place {}

impl Place {
    /// State before the first message.
    pub const fn unused() -> Self {
        Self(UnsafeCell::new((MaybeUninit::zeroed(), false)))
    }

    /// True if the message may be printed. The kernel logs how many were not, with the name.
    pub fn allows(&self, name: &CStr) -> bool {
        let state = self.0.get();
        // SAFETY: the state is static, and the C function alone reads and writes it; the name ends with NUL.
        unsafe {
            let (state, ready) = (&raw mut (*state).0, &raw mut (*state).1);
            klp_shim_ratelimit_allows(state.cast(), ready, name.as_ptr().cast())
        }
    }
}

/// Evaluates the expression, usually a message, at most ten times in five seconds. May be used where `printk()` may.
///
/// # Examples
/// ```ignore
/// ratelimited!(pr_warn!("packet of {length} bytes"));
/// ```
#[macro_export]
macro_rules! ratelimited {
    ($message:expr) => {{
        static PLACE: $crate::core::ratelimit::Place = $crate::core::ratelimit::Place::unused();
        if PLACE.allows($crate::__file!()) {
            $message;
        }
    }};
}
