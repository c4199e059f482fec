// SPDX-License-Identifier: GPL-2.0-only
//! What a fix does when one of its objects is patched and unpatched.
//!
//! The rules are those of `Documentation/livepatch/callbacks.rst`. All callbacks run in process context and one at a
//! time (under the livepatch core's mutex); they may sleep, and they must not wait for a task that waits for the
//! transition. After an atomic replace only the new patch's callbacks run: what a fix registered with the kernel is taken back
//! in [`Exit::exit`](super::exit::Exit::exit).
//!
//! C header: `include/linux/livepatch.h`

use ::core::ffi::CStr;
use ::core::marker::PhantomData;

use bindings::ffi::c_int;
use bindings::{klp_callbacks, klp_object, module};

use super::errno::Errno;

/// The callbacks of a fix for one object: `O` is the object's type in `replaced::objects`. Each may be left out.
///
/// `patch.toml` names the object in `callbacks`; it need not have a function that is replaced.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no callbacks for the object `{O}`, which `callbacks` of patch.toml names",
    note = "write `impl klp::core::callbacks::Callbacks<{O}> for {Self} {{ ... }}`, or take the object out of `callbacks`"
)]
pub trait Callbacks<O> {
    /// Before the object is patched: when the patch is loaded, or when the object's module comes. An error vetoes: the
    /// patch is not loaded, or the module is not. No other callback runs then.
    ///
    /// # Errors
    /// The reason of the veto, which `insmod` reports.
    fn pre_patch(object: &Object<'_>) -> Result<(), Errno> {
        let _ = object;
        Ok(())
    }

    /// After it was patched: when the transition is over, or when the object's module has come.
    fn post_patch(object: &Object<'_>) {
        let _ = object;
    }

    /// Before it is unpatched: when the patch is disabled, or when the object's module goes.
    fn pre_unpatch(object: &Object<'_>) {
        let _ = object;
    }

    /// After it was unpatched. It runs also when a patch was loaded, [`Callbacks::pre_patch`] allowed it, and the
    /// transition was taken back.
    fn post_unpatch(object: &Object<'_>) {
        let _ = object;
    }
}

/// An object while one of its callbacks runs.
///
/// # Invariants
/// The pointer is valid for `'a`, and the livepatch core's mutex is held.
pub struct Object<'a> {
    object: *mut klp_object,
    lifetime: PhantomData<&'a klp_object>,
}

impl Object<'_> {
    /// Name of the module; none for the kernel itself.
    pub fn name(&self) -> Option<&CStr> {
        // SAFETY: by the type's invariants; a name is a string that lives as long as the patch.
        unsafe {
            let name = (*self.object).name;
            if name.is_null() { None } else { Some(CStr::from_ptr(name.cast())) }
        }
    }

    /// The module, while it is loaded; null for the kernel itself.
    pub fn module(&self) -> *mut module {
        // SAFETY: by the type's invariants.
        unsafe { (*self.object).mod_ }
    }
}

/// The callbacks of all fixes of a module for one object. `()` is none.
///
/// They run in the order of the fixes when the object is patched, and in the reverse order when it is unpatched. Where one
/// vetoes, those that allowed it before see their `post_unpatch`, as the kernel does it for one.
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

/// Fix `F` with its callbacks for `O`, and the fixes after it.
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

/// The entry for the tables.
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

/// An object for as long as a callback runs.
///
/// # Safety
/// The livepatch core must have called a callback with this object, and `'a` must not outlive it.
unsafe fn object<'a>(object: *mut klp_object) -> Object<'a> {
    Object { object, lifetime: PhantomData }
}

unsafe extern "C" fn pre_patch<C: All>(at: *mut klp_object) -> c_int {
    // SAFETY: the core calls it as a callback.
    match C::pre_patch(&unsafe { object(at) }) {
        Ok(()) => 0,
        Err(error) => error.to_ret(),
    }
}

unsafe extern "C" fn post_patch<C: All>(at: *mut klp_object) {
    // SAFETY: the core calls it as a callback.
    C::post_patch(&unsafe { object(at) });
}

unsafe extern "C" fn pre_unpatch<C: All>(at: *mut klp_object) {
    // SAFETY: the core calls it as a callback.
    C::pre_unpatch(&unsafe { object(at) });
}

unsafe extern "C" fn post_unpatch<C: All>(at: *mut klp_object) {
    // SAFETY: the core calls it as a callback.
    C::post_unpatch(&unsafe { object(at) });
}
