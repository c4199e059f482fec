// SPDX-License-Identifier: GPL-2.0-only
//! Shadow variables: data that a fix attaches to objects of the kernel which have no room for it.
//!
//! They outlive the patch: one that is loaded later finds them by their id. A patch that goes for good frees them
//! (`Documentation/livepatch/shadow-vars.rst`).
//!
//! C header: `include/linux/livepatch.h`

use ::core::marker::PhantomData;
use ::core::mem::{align_of, needs_drop, size_of};
use ::core::ptr::NonNull;

use bindings::ffi::{c_int, c_ulong, c_void};

use super::errno::Errno;

/// How memory may be had.
#[derive(Clone, Copy)]
pub struct Gfp(bindings::gfp_t);

impl Gfp {
    /// The caller may sleep: process context, without a spinlock, outside of an RCU read-side section.
    pub const KERNEL: Self = Self(bindings::GFP_KERNEL as bindings::gfp_t);
    /// The caller must not sleep.
    pub const ATOMIC: Self = Self(bindings::GFP_ATOMIC as bindings::gfp_t);

    /// The number that the kernel's functions take.
    pub const fn flags(self) -> bindings::gfp_t {
        self.0
    }
}

/// The type of the shadow variables with this id: `klp::shadow!` implements it, once per id.
#[doc(hidden)]
pub trait HasShadow<const ID: c_ulong> {
    /// What is stored.
    type Value: Send + Sync + 'static;
}

/// Holds where two types are one: what two fixes of a module attach under one id.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "two fixes of this module give shadow variables of one id different types: `{Self}` and `{Other}`",
    note = "give one of them another id"
)]
pub trait Is<Other: ?Sized> {}
impl<T: ?Sized> Is<T> for T {}

/// Compiles where the types are one.
#[doc(hidden)]
pub const fn same<A: Is<B>, B>() {}

/// Declares the shadow variables of one id: `klp::shadow!(pub COUNT: AtomicU32, id = 0x4b4c_5001);`.
///
/// The id is the author's choice and goes for the whole kernel, whatever patch uses it. One id with two types does not
/// compile, in one fix or in the fixes of one module. Where patches of different projects meet nothing can tell them
/// apart but their ids.
#[macro_export]
macro_rules! shadow {
    ($(#[$attribute:meta])* $visible:vis $name:ident: $type:ty, id = $id:literal) => {
        impl $crate::core::shadow::HasShadow<$id> for crate::__Patch {
            type Value = $type;
        }
        $(#[$attribute])*
        $visible const $name: $crate::core::shadow::Shadow<$type, $id> =
            $crate::core::shadow::Shadow::__new::<crate::__Patch>();
    };
}

/// Shadow variables of type `T` with this id, one for each object that has one.
///
/// An object is known by its address alone. `T` is shared by all who look at it: what changes in it is atomic or locked.
///
/// # Invariants
/// Every shadow variable of this id holds a `T`.
pub struct Shadow<T: Send + Sync + 'static, const ID: c_ulong>(PhantomData<T>);

impl<T: Send + Sync + 'static, const ID: c_ulong> Shadow<T, ID> {
    /// What the kernel allocates is aligned to eight bytes, and so is the data in it.
    const FITS: () =
        assert!(align_of::<T>() <= 8, "a shadow variable's type must not need more than 8 bytes' alignment");

    /// For `klp::shadow!` alone.
    #[doc(hidden)]
    pub const fn __new<P: HasShadow<ID, Value = T>>() -> Self {
        let () = Self::FITS;
        Self(PhantomData)
    }

    /// Where the object's variable is, if it has one.
    pub fn get_ptr<O>(&self, object: *const O) -> Option<NonNull<T>> {
        // SAFETY: the object is not looked into.
        NonNull::new(unsafe { bindings::own::klp_shadow_get(address(object), ID) }.cast())
    }

    /// The object's variable, if it has one.
    ///
    /// # Safety
    /// Nobody frees it during `'a`: usually because the object lives so long, and its variable is freed where the object
    /// is.
    pub unsafe fn get<'a, O>(&self, object: *const O) -> Option<&'a T> {
        // SAFETY: by the type's invariants it is a `T`; it stays by the caller's word.
        self.get_ptr(object).map(|found| unsafe { found.as_ref() })
    }

    /// Attaches `value` to the object.
    ///
    /// # Errors
    /// `EEXIST` where the object has one (the kernel warns where two tasks attach one at the same time), `ENOMEM` where
    /// there is no memory; `value` is dropped.
    ///
    /// # Safety
    /// As for [`Shadow::get`]; and the caller may wait for memory as `gfp` says.
    pub unsafe fn alloc<'a, O>(&self, object: *const O, value: T, gfp: Gfp) -> Result<&'a T, Errno> {
        if self.get_ptr(object).is_some() {
            return Err(Errno::new(bindings::EEXIST as c_int));
        }
        let mut make = Some(|| Ok(value));
        // SAFETY: the constructor's data is of the type that it takes; the caller's duty for the rest.
        unsafe {
            let at = bindings::own::klp_shadow_alloc(
                address(object),
                ID,
                size_of::<T>(),
                gfp.0,
                constructor(&make),
                (&raw mut make).cast(),
            );
            attached(at)
        }
    }

    /// The object's variable; where it has none, `value` is attached.
    ///
    /// # Errors
    /// `ENOMEM`.
    ///
    /// # Safety
    /// As for [`Shadow::alloc`].
    pub unsafe fn get_or_alloc<'a, O>(&self, object: *const O, value: T, gfp: Gfp) -> Result<&'a T, Errno> {
        // SAFETY: the constructor only moves a value; the caller's duty for the rest.
        unsafe { self.get_or_alloc_with(object, gfp, || Ok(value)) }
    }

    /// The object's variable; where it has none, what `make` gives is attached.
    ///
    /// # Errors
    /// The constructor's, or `ENOMEM`. (The kernel tells no one which: where the constructor fails it is its error.)
    ///
    /// # Safety
    /// As for [`Shadow::alloc`]. `make` runs with interrupts off, under the spinlock of all shadow variables: it must not
    /// sleep, and not use shadow variables.
    pub unsafe fn get_or_alloc_with<'a, O>(
        &self,
        object: *const O,
        gfp: Gfp,
        make: impl FnOnce() -> Result<T, Errno>,
    ) -> Result<&'a T, Errno> {
        let mut failed = None;
        let mut make = Some(|| make().inspect_err(|error| failed = Some(*error)));
        // SAFETY: as in `alloc`.
        let made = unsafe {
            let at = bindings::own::klp_shadow_get_or_alloc(
                address(object),
                ID,
                size_of::<T>(),
                gfp.0,
                constructor(&make),
                (&raw mut make).cast(),
            );
            attached(at)
        };
        drop(make);
        made.map_err(|error| failed.unwrap_or(error))
    }

    /// Detaches the object's variable, if it has one, and drops it.
    ///
    /// # Safety
    /// Nobody has a reference to it any more. `T` is dropped with interrupts off, under the spinlock of all shadow
    /// variables: it must not sleep then, and not use shadow variables.
    pub unsafe fn free<O>(&self, object: *const O) {
        // SAFETY: by the type's invariants the destructor's type is right; the caller's duty for the rest.
        unsafe { bindings::own::klp_shadow_free(address(object), ID, destructor::<T>()) };
    }

    /// Detaches all variables of this id, and drops them: what a fix does when it goes for good.
    ///
    /// # Safety
    /// As for [`Shadow::free`], for every object: usually because no function of the patch can run any more.
    pub unsafe fn free_all(&self) {
        // SAFETY: as above.
        unsafe { bindings::own::klp_shadow_free_all(ID, destructor::<T>()) };
    }

    /// As [`Shadow::free_all`]; `D` sees each object first.
    ///
    /// # Safety
    /// As for [`Shadow::free_all`]; `D` is under the same rules as dropping a `T`.
    pub unsafe fn free_all_with<D: Destructor<T>>(&self) {
        // SAFETY: as above.
        unsafe { bindings::own::klp_shadow_free_all(ID, Some(destroy_with::<T, D>)) };
    }
}

/// What is done with a variable before it is dropped.
pub trait Destructor<T> {
    /// The object's address, and its variable. Runs with interrupts off: see [`Shadow::free`].
    fn destroy(object: *mut c_void, value: &mut T);
}

fn address<O>(object: *const O) -> *mut c_void {
    object.cast_mut().cast()
}

/// What an allocation came to.
///
/// # Safety
/// `at` is null or points to a `T` that stays for `'a`.
unsafe fn attached<'a, T>(at: *mut c_void) -> Result<&'a T, Errno> {
    // SAFETY: the caller's word.
    unsafe { at.cast::<T>().as_ref() }.ok_or(Errno::new(bindings::ENOMEM as c_int))
}

type Constructor = unsafe extern "C" fn(*mut c_void, *mut c_void, *mut c_void) -> c_int;

/// The constructor for data of this type.
fn constructor<T, F: FnOnce() -> Result<T, Errno>>(_: &Option<F>) -> Option<Constructor> {
    Some(construct::<T, F>)
}

/// # Safety
/// `at` is room for a `T`, `make` an `Option<F>`.
unsafe extern "C" fn construct<T, F: FnOnce() -> Result<T, Errno>>(
    _object: *mut c_void,
    at: *mut c_void,
    make: *mut c_void,
) -> c_int {
    // SAFETY: the caller's word; the kernel calls it once.
    let make = unsafe { (*make.cast::<Option<F>>()).take() };
    match make.map(|make| make()) {
        Some(Ok(value)) => {
            // SAFETY: the caller's word; alignment by `Shadow::FITS`.
            unsafe { at.cast::<T>().write(value) };
            0
        }
        Some(Err(error)) => error.to_ret(),
        None => Errno::new(bindings::EINVAL as c_int).to_ret(),
    }
}

/// What drops a `T`, where that does anything.
fn destructor<T>() -> Option<unsafe extern "C" fn(*mut c_void, *mut c_void)> {
    if needs_drop::<T>() { Some(destroy::<T>) } else { None }
}

/// # Safety
/// `value` is a `T` that nobody uses any more.
unsafe extern "C" fn destroy<T>(_object: *mut c_void, value: *mut c_void) {
    // SAFETY: the caller's word.
    unsafe { value.cast::<T>().drop_in_place() };
}

/// # Safety
/// As for [`destroy`].
unsafe extern "C" fn destroy_with<T, D: Destructor<T>>(object: *mut c_void, value: *mut c_void) {
    // SAFETY: the caller's word.
    unsafe {
        D::destroy(object, &mut *value.cast::<T>());
        value.cast::<T>().drop_in_place();
    }
}
