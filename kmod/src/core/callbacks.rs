// SPDX-License-Identifier: GPL-2.0-only
//! Patch and unpatch callbacks of an object.
//!
//! Source of the rules: [`Documentation/livepatch/callbacks.rst`]. All callbacks run in process context, one at a
//! time, under the mutex of the livepatch core. They may sleep. They must not wait for a task that waits for the
//! transition. After an atomic replace only the callbacks of the new patch run: unregister kernel objects in
//! [`Exit::exit`](super::exit::Exit::exit).
//!
//! C header: [`include/linux/livepatch.h`]
//!
//! [`Documentation/livepatch/callbacks.rst`]: srctree/Documentation/livepatch/callbacks.rst
//! [`include/linux/livepatch.h`]: srctree/include/linux/livepatch.h

use ::core::ffi::CStr;
use ::core::marker::PhantomData;

use bindings::ffi::c_int;
use bindings::{klp_callbacks, klp_object, module};

use super::errno::Errno;

/// Callbacks of a fix for one object. `O` is the type of the object in `replaced::objects`. Each callback is
/// optional.
///
/// `patch.toml` names the object in `callbacks`. The object may be one without replaced functions.
///
/// # Examples
/// ```ignore
/// impl Callbacks<replaced::objects::vmlinux> for Patch {
///     fn pre_patch(_object: &Object<'_>) -> Result<(), Errno> {
///         register() // an error rejects the patch
///     }
///
///     fn post_unpatch(_object: &Object<'_>) {
///         unregister();
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no callbacks for the object `{O}`, which `callbacks` of patch.toml names",
    note = "write `impl klp::core::callbacks::Callbacks<{O}> for {Self} {{ ... }}`, or take the object out of `callbacks`"
)]
pub trait Callbacks<O> {
    /// Runs before the object is patched: when the patch is loaded, or when the module of the object is loaded. An
    /// error rejects the load of the patch or of the module; no further callback runs.
    ///
    /// # Errors
    /// Reason of the rejection; `insmod` reports it.
    fn pre_patch(object: &Object<'_>) -> Result<(), Errno> {
        let _ = object;
        Ok(())
    }

    /// Runs after the object is patched: at the end of the transition, or when the module of the object is loaded.
    fn post_patch(object: &Object<'_>) {
        let _ = object;
    }

    /// Runs before the object is unpatched: when the patch is disabled, or when the module of the object is unloaded.
    fn pre_unpatch(object: &Object<'_>) {
        let _ = object;
    }

    /// Runs after the object is unpatched. Also runs if [`Callbacks::pre_patch`] succeeded and the transition of the
    /// loaded patch was reversed.
    fn post_unpatch(object: &Object<'_>) {
        let _ = object;
    }
}

/// Object during one of its callbacks.
///
/// # Invariants
/// The pointer is valid for `'a`, and the mutex of the livepatch core is held.
pub struct Object<'a> {
    object: *mut klp_object,
    lifetime: PhantomData<&'a klp_object>,
}

impl Object<'_> {
    /// Name of the module; `None` for vmlinux.
    pub fn name(&self) -> Option<&CStr> {
        // SAFETY: the object is valid (type invariant). A non-null `name` is a string of the patch tables; it ends
        // with NUL and lives as long as the patch, which outlives `'a`.
        unsafe {
            let name = (*self.object).name;
            if name.is_null() { None } else { Some(CStr::from_ptr(name.cast())) }
        }
    }

    /// Module of the object while it is loaded; null for vmlinux.
    pub fn module(&self) -> *mut module {
        // SAFETY: the object is valid, and the mutex of the livepatch core, which protects `mod`, is held (type
        // invariants).
        unsafe { (*self.object).mod_ }
    }
}

/// Callbacks of all fixes of a module for one object; `()` is the empty list.
///
/// Patch callbacks run in the order of the fixes, unpatch callbacks in reverse order. If one `pre_patch` fails,
/// `post_unpatch` runs for the fixes whose `pre_patch` succeeded, as the kernel does for a single callback.
#[doc(hidden)]
#[allow(missing_docs, reason = "as in Callbacks")]
pub trait All {
    const NONE: bool = false;
    fn pre_patch(object: &Object<'_>) -> Result<(), Errno>;
    fn post_patch(object: &Object<'_>);
    fn pre_unpatch(object: &Object<'_>);
    fn post_unpatch(object: &Object<'_>);
}

impl All for () {
    const NONE: bool = true;

    fn pre_patch(_: &Object<'_>) -> Result<(), Errno> {
        Ok(())
    }
    fn post_patch(_: &Object<'_>) {}
    fn pre_unpatch(_: &Object<'_>) {}
    fn post_unpatch(_: &Object<'_>) {}
}

/// Callbacks of fix `F` for object `O`, followed by those of the remaining fixes.
#[doc(hidden)]
pub struct Then<F, O, Rest>(PhantomData<(F, O, Rest)>);

impl<F: Callbacks<O>, O, Rest: All> All for Then<F, O, Rest> {
    fn pre_patch(object: &Object<'_>) -> Result<(), Errno> {
        F::pre_patch(object)?;
        let rest = Rest::pre_patch(object);
        if rest.is_err() {
            F::post_unpatch(object);
        }
        rest
    }

    fn post_patch(object: &Object<'_>) {
        F::post_patch(object);
        Rest::post_patch(object);
    }

    fn pre_unpatch(object: &Object<'_>) {
        Rest::pre_unpatch(object);
        F::pre_unpatch(object);
    }

    fn post_unpatch(object: &Object<'_>) {
        Rest::post_unpatch(object);
        F::post_unpatch(object);
    }
}

/// Callback entry of the patch tables.
#[doc(hidden)]
pub const fn table<C: All>() -> klp_callbacks {
    let mut table = super::tables::no_callbacks();
    if C::NONE {
        return table;
    }
    table.pre_patch = Some(pre_patch::<C>);
    table.post_patch = Some(post_patch::<C>);
    table.pre_unpatch = Some(pre_unpatch::<C>);
    table.post_unpatch = Some(post_unpatch::<C>);
    table
}

/// Wraps the argument of a callback.
///
/// # Safety
/// - `object` is the argument of a callback that the livepatch core is calling.
/// - `'a` does not outlive that call.
unsafe fn object<'a>(object: *mut klp_object) -> Object<'a> {
    // INVARIANT: the livepatch core calls callbacks with a valid object and holds its mutex, until the callback returns.
    Object { object, lifetime: PhantomData }
}

unsafe extern "C" fn pre_patch<C: All>(at: *mut klp_object) -> c_int {
    // SAFETY: the function is in the patch tables only, so the livepatch core calls it, with the object; the borrow
    // ends with the call.
    match C::pre_patch(&unsafe { object(at) }) {
        Ok(()) => 0,
        Err(error) => error.to_ret(),
    }
}

unsafe extern "C" fn post_patch<C: All>(at: *mut klp_object) {
    // SAFETY: the function is in the patch tables only, so the livepatch core calls it, with the object; the borrow
    // ends with the call.
    C::post_patch(&unsafe { object(at) });
}

unsafe extern "C" fn pre_unpatch<C: All>(at: *mut klp_object) {
    // SAFETY: the function is in the patch tables only, so the livepatch core calls it, with the object; the borrow
    // ends with the call.
    C::pre_unpatch(&unsafe { object(at) });
}

unsafe extern "C" fn post_unpatch<C: All>(at: *mut klp_object) {
    // SAFETY: the function is in the patch tables only, so the livepatch core calls it, with the object; the borrow
    // ends with the call.
    C::post_unpatch(&unsafe { object(at) });
}
