// SPDX-License-Identifier: GPL-2.0-only
//! System states: changes that a patch makes outside the code, and that the replacing patch can take over.
//!
//! `patch.toml` declares them in `states`: an id, which stays the same in all versions of a stream, and a version.
//! The kernel refuses a replacing patch that does not support every state of the loaded patch at the same or a higher
//! version. The build refuses it earlier, by the predecessor of the stream
//! ([`Documentation/livepatch/system-state.rst`]).
//!
//! C header: [`include/linux/livepatch.h`]
//!
//! [`Documentation/livepatch/system-state.rst`]: srctree/Documentation/livepatch/system-state.rst
//! [`include/linux/livepatch.h`]: srctree/include/linux/livepatch.h

use ::core::marker::PhantomData;
use ::core::ptr::NonNull;

use bindings::ffi::{c_uint, c_ulong};
use bindings::{klp_patch, klp_state};

use super::callbacks::Object;

#[allow(improper_ctypes, reason = "the kernel's own struct, some members of which are empty in some kernels")]
unsafe extern "C" {
    // Defined by `klp::patch!` in the root of the module.
    static mut __klp_patch: klp_patch;
}

/// State of `patch.toml`, as listed in `replaced::states`.
pub struct Declared {
    id: c_ulong,
    version: c_uint,
}

impl Declared {
    /// For the generated crate `replaced` only.
    #[doc(hidden)]
    pub const fn new(id: c_ulong, version: c_uint) -> Self {
        Self { id, version }
    }
}

/// System state whose data, if present, is a `T`.
///
/// # Invariants
/// Every patch that supports a state of this id stores a `T` as its data, or no data.
///
/// # Examples
/// ```ignore
/// // SAFETY: each version of this stream stores a c_int.
/// const LEVEL: State<c_int> = unsafe { State::new(replaced::states::LOG_LEVEL) };
///
/// fn pre_patch(object: &Object<'_>) -> Result<(), Errno> {
///     match LEVEL.previous(object) {
///         Some(previous) => LEVEL.take_over(object, previous),
///         None => LEVEL.set_data(object, Some(KBox::new(0, Gfp::KERNEL)?.leak())),
///     }
///     Ok(())
/// }
/// ```
pub struct State<T: 'static> {
    declared: Declared,
    data: PhantomData<*mut T>,
}

/// State of the patch that is being replaced.
pub struct Previous<T: 'static> {
    /// Version of the state in that patch.
    pub version: c_uint,
    /// Data of the state in that patch.
    pub data: Option<NonNull<T>>,
}

impl<T: 'static> State<T> {
    /// State with data of type `T`.
    ///
    /// # Safety
    /// Every version of the stream that declares the state, earlier or later, gives its data the same type.
    pub const unsafe fn new(declared: Declared) -> Self {
        // INVARIANT: every version of the stream stores a `T` or no data (contract of this function).
        Self { declared, data: PhantomData }
    }

    /// Version of the state in this patch.
    pub const fn version(&self) -> c_uint {
        self.declared.version
    }

    /// Data of the state in this patch. Only callbacks access it, and they run one at a time.
    pub fn data(&self, _during: &Object<'_>) -> Option<NonNull<T>> {
        // SAFETY: the entry is part of the static tables of this module. `_during` shows that a callback runs, and
        // callbacks run one at a time, so nothing writes `data` during the read.
        self.entry().and_then(|entry| NonNull::new(unsafe { (*entry.as_ptr()).data }.cast()))
    }

    /// Sets the data of this patch. The data must stay valid until it is taken back; the caller owns the previous
    /// data. (In the own-`core` form: `KBox::leak`.)
    pub fn set_data(&self, during: &Object<'_>, data: Option<&'static mut T>) {
        self.set(during, data.map(NonNull::from));
    }

    /// Makes the data of the previous patch the data of this patch. The previous patch is not notified, and its
    /// callbacks do not run any more.
    pub fn take_over(&self, during: &Object<'_>, previous: Previous<T>) {
        self.set(during, previous.data);
    }

    fn set(&self, _during: &Object<'_>, data: Option<NonNull<T>>) {
        // Not null: the generated tables contain every state of crate `replaced`.
        if let Some(entry) = self.entry() {
            let data = data.map_or(::core::ptr::null_mut(), |data| data.as_ptr().cast());
            // SAFETY: the entry is part of the static, writable tables of this module. `_during` shows that a
            // callback runs, and callbacks run one at a time, so nothing else accesses `data` during the write.
            unsafe { (*entry.as_ptr()).data = data };
        }
    }

    /// The same state in the patch that this patch replaces; `None` if no loaded patch supports it.
    ///
    /// In `pre_patch` and `post_patch` this is the previous patch; while this patch is being disabled the result is `None`.
    pub fn previous(&self, _during: &Object<'_>) -> Option<Previous<T>> {
        // SAFETY: `klp_get_prev_state()` walks the list of patches, which the mutex of the livepatch core protects;
        // `_during` shows that a callback runs, so the mutex is held. Without a transition the result is null.
        let entry = NonNull::new(unsafe { bindings::own::klp_get_prev_state(self.declared.id) })?;
        // SAFETY: the entry is in the tables of a loaded patch, whose module stays loaded while the mutex of the
        // livepatch core is held. Only callbacks write it, and they run one at a time.
        let entry = unsafe { entry.as_ref() };
        Some(Previous { version: entry.version, data: NonNull::new(entry.data.cast()) })
    }

    fn entry(&self) -> Option<NonNull<klp_state>> {
        // SAFETY: `__klp_patch` is the patch of this module: a static whose list of states is null or ends with id 0,
        // as `klp_get_state()` requires.
        NonNull::new(unsafe { bindings::own::klp_get_state(&raw mut __klp_patch, self.declared.id) })
    }
}

/// State entry of the patch tables.
#[doc(hidden)]
pub const fn entry(id: c_ulong, version: c_uint) -> klp_state {
    // SAFETY: all zeroes is a valid `klp_state`: id 0, which ends a list, and no data.
    let mut state: klp_state = unsafe { ::core::mem::zeroed() };
    state.id = id;
    state.version = version;
    state
}
