// SPDX-License-Identifier: GPL-2.0-only
//! Shadow variables: data that a fix attaches to kernel objects that have no room for it.
//!
//! Shadow variables outlive the patch: a later patch finds them by id. A patch that is removed for good frees them
//! ([`Documentation/livepatch/shadow-vars.rst`](srctree/Documentation/livepatch/shadow-vars.rst)).
//!
//! C header: [`include/linux/livepatch.h`](srctree/include/linux/livepatch.h)

use ::core::marker::PhantomData;
use ::core::mem::{align_of, needs_drop, size_of};
use ::core::ptr::NonNull;

use bindings::ffi::{c_int, c_ulong, c_void};

use super::errno::Errno;

/// Allocation flags.
#[derive(Clone, Copy)]
pub struct Gfp(bindings::gfp_t);

impl Gfp {
    /// The caller may sleep: process context, no spinlock held, outside an RCU read-side section.
    pub const KERNEL: Self = Self(bindings::GFP_KERNEL as bindings::gfp_t);
    /// The caller must not sleep.
    pub const ATOMIC: Self = Self(bindings::GFP_ATOMIC as bindings::gfp_t);

    /// The value that kernel functions take.
    pub const fn flags(self) -> bindings::gfp_t {
        self.0
    }
}

/// Type of the shadow variables with this id; `klp::shadow!` implements the trait once per id.
#[doc(hidden)]
pub trait HasShadow<const ID: c_ulong> {
    /// Type of the data.
    type Value: Send + Sync + 'static;
}

/// Type equality: two fixes of one module use the same type for the same id.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "two fixes of this module give shadow variables of one id different types: `{Self}` and `{Other}`",
    note = "give one of them another id"
)]
pub trait Is<Other: ?Sized> {}
impl<T: ?Sized> Is<T> for T {}

/// Compile-time check that two types are equal.
#[doc(hidden)]
pub const fn same<A: Is<B>, B>() {}

/// Declares the shadow variables of one id. The id must be unique in the whole kernel: only the id separates the variables
/// of patches from different projects. Two types for one id do not compile, within one fix or within one module.
///
/// # Examples
/// ```ignore
/// klp::shadow!(pub COUNT: AtomicU32, id = 0x4b4c_5001);
/// ```
#[macro_export]
#[allow(clippy::crate_in_macro_def, reason = "`__Patch` is a type of the fix")]
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

/// Shadow variables of type `T` with id `ID`, at most one per object address. `T` is shared: change it by atomics or locks.
///
/// # Invariants
/// Every shadow variable of this id holds a `T`.
pub struct Shadow<T: Send + Sync + 'static, const ID: c_ulong>(PhantomData<T>);

impl<T: Send + Sync + 'static, const ID: c_ulong> Shadow<T, ID> {
    /// Compile-time check: the kernel aligns shadow data to 8 bytes only.
    const FITS: () =
        assert!(align_of::<T>() <= 8, "a shadow variable's type must not need more than 8 bytes' alignment");

    /// For `klp::shadow!` only.
    #[doc(hidden)]
    pub const fn __new<P: HasShadow<ID, Value = T>>() -> Self {
        let () = Self::FITS;
        // INVARIANT: `HasShadow` has one implementation per id, so variables of this id are created with the type `T` only.
        Self(PhantomData)
    }

    /// Pointer to the shadow variable of the object, if present.
    pub fn get_ptr<O>(&self, object: *const O) -> Option<NonNull<T>> {
        // SAFETY: `klp_shadow_get()` uses the address as a key and does not dereference it, so any address is valid.
        NonNull::new(unsafe { bindings::own::klp_shadow_get(address(object), ID) }.cast())
    }

    /// Shadow variable of the object, if present.
    ///
    /// # Safety
    /// The variable is not freed during `'a`. Usual reason: the object lives during `'a`, and the variable is freed
    /// together with the object.
    pub unsafe fn get<'a, O>(&self, object: *const O) -> Option<&'a T> {
        // SAFETY: the pointer points to a valid `T` (type invariant), which is not freed during `'a` (contract of
        // this function). `T` is `Sync`, so shared references from several tasks are allowed.
        self.get_ptr(object).map(|found| unsafe { found.as_ref() })
    }

    /// Attaches `value` to the object.
    ///
    /// # Errors
    /// `EEXIST` if the object already has a variable (the kernel also warns if two tasks attach one at the same
    /// time); `ENOMEM` if there is no memory. `value` is dropped.
    ///
    /// # Safety
    /// As for [`Shadow::get`]; in addition, the context allows an allocation with the flags `gfp`.
    pub unsafe fn alloc<'a, O>(&self, object: *const O, value: T, gfp: Gfp) -> Result<&'a T, Errno> {
        if self.get_ptr(object).is_some() {
            return Err(Errno::new(bindings::EEXIST as c_int));
        }
        let mut make = Some(|| Ok(value));
        // SAFETY:
        // - `klp_shadow_alloc()` does not dereference the object address; the context allows `gfp` (contract of this
        //   function).
        // - The constructor is instantiated for the type of `make`, and `make` lives until the call returns.
        // - The new variable has `size_of::<T>()` bytes and the alignment of `T` (`FITS`), so the constructor may
        //   write a `T`.
        // - The result is null or points to an initialised `T` that is not freed during `'a` (contract of this
        //   function).
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

    /// Shadow variable of the object; attaches `value` if there is none.
    ///
    /// # Errors
    /// `ENOMEM`.
    ///
    /// # Safety
    /// As for [`Shadow::alloc`].
    ///
    /// # Examples
    /// ```ignore
    /// // SAFETY: `file` lives while its show function runs, and `READS` is freed in `post_unpatch` only.
    /// let reads = unsafe { READS.get_or_alloc(file, AtomicU32::new(0), Gfp::KERNEL) }?;
    /// reads.fetch_add(1, Ordering::Relaxed);
    /// ```
    pub unsafe fn get_or_alloc<'a, O>(&self, object: *const O, value: T, gfp: Gfp) -> Result<&'a T, Errno> {
        // SAFETY: the contract of this function is that of `get_or_alloc_with`, except for `make`. The constructor
        // moves a value, so it does not sleep and does not use shadow variables.
        unsafe { self.get_or_alloc_with(object, gfp, || Ok(value)) }
    }

    /// Shadow variable of the object; attaches the result of `make` if there is none.
    ///
    /// # Errors
    /// The error of `make`, or `ENOMEM`. (The kernel returns null in both cases; if `make` failed, its error is
    /// returned.)
    ///
    /// # Safety
    /// As for [`Shadow::alloc`]. `make` runs with interrupts disabled, under the spinlock of all shadow variables: it
    /// must not sleep, and must not use shadow variables.
    pub unsafe fn get_or_alloc_with<'a, O>(
        &self,
        object: *const O,
        gfp: Gfp,
        make: impl FnOnce() -> Result<T, Errno>,
    ) -> Result<&'a T, Errno> {
        let mut failed = None;
        let mut make = Some(|| make().inspect_err(|error| failed = Some(*error)));
        // SAFETY:
        // - `klp_shadow_get_or_alloc()` does not dereference the object address; the context allows `gfp` (contract
        //   of this function).
        // - The constructor is instantiated for the type of `make`, and `make` lives until the call returns.
        // - A new variable has `size_of::<T>()` bytes and the alignment of `T` (`FITS`), so the constructor may write
        //   a `T`; an existing variable holds a `T` (type invariant).
        // - The result is null or points to an initialised `T` that is not freed during `'a` (contract of this
        //   function).
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

    /// Detaches and drops the shadow variable of the object, if present.
    ///
    /// # Safety
    /// - No reference to the variable is in use.
    /// - The drop of `T` does not sleep and does not use shadow variables: it runs with interrupts disabled, under
    ///   the spinlock of all shadow variables.
    pub unsafe fn free<O>(&self, object: *const O) {
        // SAFETY:
        // - `klp_shadow_free()` does not dereference the object address.
        // - Every variable of this id holds a `T` (type invariant), so the destructor of `T` matches.
        // - No reference to the variable is in use, and the drop obeys the rules of the spinlock (contract of this
        //   function).
        unsafe { bindings::own::klp_shadow_free(address(object), ID, destructor::<T>()) };
    }

    /// Like [`Shadow::free`], but calls `D` for the variable before its drop.
    ///
    /// # Safety
    /// As for [`Shadow::free`]; the rules for the drop of `T` apply to `D` too.
    pub unsafe fn free_with<O, D: Destructor<T>>(&self, object: *const O) {
        // SAFETY:
        // - `klp_shadow_free()` does not dereference the object address.
        // - Every variable of this id holds a `T` (type invariant), so `destroy_with::<T, D>` gets a `T`.
        // - No reference to the variable is in use, and `D` and the drop obey the rules of the spinlock (contract of this
        //   function).
        unsafe { bindings::own::klp_shadow_free(address(object), ID, Some(destroy_with::<T, D>)) };
    }

    /// Detaches and drops all shadow variables of this id. A fix calls it when it is removed for good.
    ///
    /// # Safety
    /// As for [`Shadow::free`], for every object. Usual reason: no function of the patch can run any more.
    ///
    /// # Examples
    /// ```ignore
    /// fn post_unpatch(_object: &Object<'_>) {
    ///     // SAFETY: the transition is complete, so no function of this patch runs or holds a reference.
    ///     unsafe { READS.free_all() };
    /// }
    /// ```
    pub unsafe fn free_all(&self) {
        // SAFETY:
        // - Every variable of this id holds a `T` (type invariant), so the destructor of `T` matches.
        // - No reference to one of them is in use, and the drops obey the rules of the spinlock (contract of this
        //   function).
        unsafe { bindings::own::klp_shadow_free_all(ID, destructor::<T>()) };
    }

    /// Like [`Shadow::free_all`], but calls `D` for each variable before its drop.
    ///
    /// # Safety
    /// As for [`Shadow::free_all`]; the rules for the drop of `T` apply to `D` too.
    pub unsafe fn free_all_with<D: Destructor<T>>(&self) {
        // SAFETY:
        // - Every variable of this id holds a `T` (type invariant), so `destroy_with::<T, D>` gets a `T`.
        // - No reference to one of them is in use, and `D` and the drops obey the rules of the spinlock (contract of
        //   this function).
        unsafe { bindings::own::klp_shadow_free_all(ID, Some(destroy_with::<T, D>)) };
    }
}

/// Hook that runs before the drop of a shadow variable; see [`Shadow::free_with`] and [`Shadow::free_all_with`].
pub trait Destructor<T> {
    /// Gets the address of the object, and its variable. Runs with interrupts disabled: see [`Shadow::free`].
    fn destroy(object: *mut c_void, value: &mut T);
}

fn address<O>(object: *const O) -> *mut c_void {
    object.cast_mut().cast()
}

/// Converts the result of an allocation; null is `ENOMEM`.
///
/// # Safety
/// `at` is null or points to a valid `T` that is not freed during `'a`.
unsafe fn attached<'a, T>(at: *mut c_void) -> Result<&'a T, Errno> {
    // SAFETY: `at` is null, for which `as_ref` returns `None`, or a valid `T` during `'a` (contract of this
    // function).
    unsafe { at.cast::<T>().as_ref() }.ok_or(Errno::new(bindings::ENOMEM as c_int))
}

type Constructor = unsafe extern "C" fn(*mut c_void, *mut c_void, *mut c_void) -> c_int;

/// Constructor for a `make` of this type.
fn constructor<T, F: FnOnce() -> Result<T, Errno>>(_: &Option<F>) -> Option<Constructor> {
    Some(construct::<T, F>)
}

/// Constructor: moves the result of `make` into the new variable.
///
/// # Safety
/// - `at` has the size and alignment of a `T` and is writable.
/// - `make` points to an `Option<F>` without another user.
unsafe extern "C" fn construct<T, F: FnOnce() -> Result<T, Errno>>(
    _object: *mut c_void,
    at: *mut c_void,
    make: *mut c_void,
) -> c_int {
    // SAFETY: `make` points to an `Option<F>` without another user (contract of this function); `take` leaves `None`,
    // so a second call finds no value.
    let make = unsafe { (*make.cast::<Option<F>>()).take() };
    match make.map(|make| make()) {
        Some(Ok(value)) => {
            // SAFETY: `at` is writable and has the size of a `T` (contract of this function) and its alignment
            // (`Shadow::FITS`).
            unsafe { at.cast::<T>().write(value) };
            0
        }
        Some(Err(error)) => error.to_ret(),
        None => Errno::new(bindings::EINVAL as c_int).to_ret(),
    }
}

/// Destructor of a `T`; `None` if the drop of `T` does nothing.
fn destructor<T>() -> Option<unsafe extern "C" fn(*mut c_void, *mut c_void)> {
    if needs_drop::<T>() { Some(destroy::<T>) } else { None }
}

/// Destructor: drops the variable.
///
/// # Safety
/// `value` points to a valid `T` that no other code uses any more.
unsafe extern "C" fn destroy<T>(_object: *mut c_void, value: *mut c_void) {
    // SAFETY: `value` points to a valid `T` without another user, now or later (contract of this function).
    unsafe { value.cast::<T>().drop_in_place() };
}

/// Destructor: calls `D`, then drops the variable.
///
/// # Safety
/// As for [`destroy`].
unsafe extern "C" fn destroy_with<T, D: Destructor<T>>(object: *mut c_void, value: *mut c_void) {
    // SAFETY:
    // - `value` points to a valid `T` without another user (contract of this function), so an exclusive reference is
    //   allowed.
    // - That reference ends before the drop, and the drop is the last use of the value.
    unsafe {
        D::destroy(object, &mut *value.cast::<T>());
        value.cast::<T>().drop_in_place();
    }
}
