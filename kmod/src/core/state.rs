// SPDX-License-Identifier: GPL-2.0-only
//! System states: what a patch changed beside the code, so that the patch that replaces it can take it over.
//!
//! `patch.toml` declares them (`states`), with the id that stays the same in all versions of a stream, and a version. The
//! kernel refuses a patch that replaces another and does not support all its states, at the same version or a higher one;
//! the build refuses it before, by the stream's predecessor (`Documentation/livepatch/system-state.rst`).
//!
//! C header: `include/linux/livepatch.h`

use ::core::marker::PhantomData;
use ::core::ptr::NonNull;

use bindings::ffi::{c_uint, c_ulong};
use bindings::{klp_patch, klp_state};

use super::callbacks::Object;

#[allow(improper_ctypes, reason = "the kernel's own struct, some members of which are empty in some kernels")]
unsafe extern "C" {
    // Made by `klp::patch!`, in the module's root.
    static mut __klp_patch: klp_patch;
}

/// A state of `patch.toml`, as `replaced::states` has it.
pub struct Declared {
    id: c_ulong,
    version: c_uint,
}

impl Declared {
    /// For the generated crate `replaced` alone.
    #[doc(hidden)]
    pub const fn new(id: c_ulong, version: c_uint) -> Self {
        Self { id, version }
    }
}

/// A state whose data, where it has any, is a `T`.
///
/// ```ignore
/// // SAFETY: each version of this stream keeps a c_int there.
/// const LEVEL: State<c_int> = unsafe { State::new(replaced::states::LOG_LEVEL) };
/// ```
///
/// # Invariants
/// Every patch that supports a state of this id keeps a `T` as its data, or none.
pub struct State<T: 'static> {
    declared: Declared,
    data: PhantomData<*mut T>,
}

/// A state as the patch has it that is being replaced.
pub struct Previous<T: 'static> {
    /// The version of the state there.
    pub version: c_uint,
    /// Its data.
    pub data: Option<NonNull<T>>,
}

impl<T: 'static> State<T> {
    /// A state with data of this type.
    ///
    /// # Safety
    /// Every version of the stream that declares the state, the versions before and after this one, must give its data
    /// the same type.
    pub const unsafe fn new(declared: Declared) -> Self {
        Self { declared, data: PhantomData }
    }

    /// This patch's version of the state.
    pub const fn version(&self) -> c_uint {
        self.declared.version
    }

    /// This patch's data of the state. Callbacks run one at a time, and only they see it.
    pub fn data(&self, _during: &Object<'_>) -> Option<NonNull<T>> {
        // SAFETY: the entry lives as long as the patch, and no other callback runs.
        self.entry().and_then(|entry| NonNull::new(unsafe { (*entry.as_ptr()).data }.cast()))
    }

    /// Sets this patch's data, which has to stay until it is taken back: what was there before belongs to the caller. (In the
    /// own-`core` form: `KBox::leak`.)
    pub fn set_data(&self, during: &Object<'_>, data: Option<&'static mut T>) {
        self.set(during, data.map(NonNull::from));
    }

    /// Makes the previous patch's data this one's. The previous patch is not told that it was replaced, and its callbacks
    /// do not run any more.
    pub fn take_over(&self, during: &Object<'_>, previous: Previous<T>) {
        self.set(during, previous.data);
    }

    fn set(&self, _during: &Object<'_>, data: Option<NonNull<T>>) {
        // The generated tables have every state that the crate `replaced` has.
        if let Some(entry) = self.entry() {
            let data = data.map_or(::core::ptr::null_mut(), |data| data.as_ptr().cast());
            // SAFETY: as in `data`.
            unsafe { (*entry.as_ptr()).data = data };
        }
    }

    /// The state as the patch has it that this one replaces; none where none of the loaded patches supports it.
    ///
    /// In `pre_patch` and `post_patch` that is the patch before; while this patch is taken back there is none.
    pub fn previous(&self, _during: &Object<'_>) -> Option<Previous<T>> {
        // SAFETY: a callback runs, so there is a transition; the entry lives as long as its patch.
        let entry = NonNull::new(unsafe { bindings::own::klp_get_prev_state(self.declared.id) })?;
        // SAFETY: as above.
        let entry = unsafe { entry.as_ref() };
        Some(Previous { version: entry.version, data: NonNull::new(entry.data.cast()) })
    }

    fn entry(&self) -> Option<NonNull<klp_state>> {
        // SAFETY: this module's patch, whose list of states has an end.
        NonNull::new(unsafe { bindings::own::klp_get_state(&raw mut __klp_patch, self.declared.id) })
    }
}

/// An entry for the tables.
#[doc(hidden)]
pub const fn entry(id: c_ulong, version: c_uint) -> klp_state {
    // SAFETY: all zeroes is a value of klp_state: without data, and with an id of 0 it ends a list.
    let mut state: klp_state = unsafe { ::core::mem::zeroed() };
    state.id = id;
    state.version = version;
    state
}
