// SPDX-License-Identifier: GPL-2.0-only
//! Memory allocation of single values, and of bytes.
//!
//! C header: [`include/linux/slab.h`]
//!
//! [`include/linux/slab.h`]: srctree/include/linux/slab.h

use ::core::ops::{Deref, DerefMut};
use ::core::ptr::NonNull;

use crate::core::errno::Errno;
use crate::core::shadow::Gfp;

/// Owning pointer to a value in `kmalloc` memory; the drop frees it.
///
/// # Invariants
/// The pointer comes from `kmalloc` and points to a valid `T` that only this `KBox` owns.
///
/// # Examples
/// ```ignore
/// let mut counted = KBox::new(Counted { processes: 0 }, Gfp::KERNEL)?;
/// counted.processes += 1;
/// ```
pub struct KBox<T>(NonNull<T>);

// SAFETY: `KBox` owns its `T` (type invariant), so a transfer of the box is a transfer of a `T`, which is `Send`;
// `kfree()` may run in any task.
unsafe impl<T: Send> Send for KBox<T> {}
// SAFETY: a shared `KBox` gives out only `&T`, and `T` is `Sync`.
unsafe impl<T: Sync> Sync for KBox<T> {}

impl<T> KBox<T> {
    /// Compile-time check: `kmalloc` guarantees an alignment of 8 bytes, and the size is not 0.
    const FITS: () = assert!(align_of::<T>() <= 8 && size_of::<T>() > 0);

    /// Allocates memory with `kmalloc` and moves `value` into it.
    ///
    /// # Errors
    /// `ENOMEM`; `value` is dropped.
    pub fn new(value: T, gfp: Gfp) -> Result<Self, Errno> {
        let () = Self::FITS;
        // SAFETY: `__kmalloc()` takes any size, and the flags come from `Gfp`; the result is checked for null.
        let memory = unsafe { bindings::own::__kmalloc(size_of::<T>(), gfp.flags()) };
        let memory = NonNull::new(memory.cast::<T>()).ok_or(Errno::new(bindings::ENOMEM))?;
        // SAFETY: `memory` is not null, has `size_of::<T>()` bytes, is aligned to 8 bytes, which `FITS` compares with
        // `T`, and has no other user.
        unsafe { memory.as_ptr().write(value) };
        // INVARIANT: `memory` comes from `kmalloc`, holds `value`, and has no other owner.
        Ok(Self(memory))
    }

    /// Gives up the allocation: returns a reference that stays valid, and never frees the memory.
    pub fn leak(self) -> &'static mut T
    where
        T: 'static,
    {
        // SAFETY: the pointer points to a valid `T` without another owner (type invariant). `ManuallyDrop` prevents
        // the free, so the reference stays valid for `'static`.
        unsafe { ::core::mem::ManuallyDrop::new(self).0.as_mut() }
    }

    /// Restores a box from the pointer of [`KBox::leak`].
    ///
    /// # Safety
    /// - `pointer` comes from [`KBox::leak`].
    /// - No other reference to the value is in use, and the pointer is not passed to this function a second time.
    pub unsafe fn from_raw(pointer: NonNull<T>) -> Self {
        // INVARIANT: `leak` gave up the ownership of the pointer, which only this call takes (contract of this function).
        Self(pointer)
    }
}

impl<T> Deref for KBox<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the pointer points to a valid `T` that this box owns (type invariant); the shared borrow of the box
        // excludes writers.
        unsafe { self.0.as_ref() }
    }
}

impl<T> DerefMut for KBox<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the pointer points to a valid `T` that this box owns (type invariant); the exclusive borrow of the
        // box excludes other users.
        unsafe { self.0.as_mut() }
    }
}

impl<T> Drop for KBox<T> {
    fn drop(&mut self) {
        // SAFETY:
        // - The pointer points to a valid `T` that only this box owns (type invariant); the drop is its last use.
        // - The memory comes from `kmalloc` (type invariant), and is freed once, after the value was dropped.
        unsafe {
            self.0.as_ptr().drop_in_place();
            bindings::own::kfree(self.0.as_ptr().cast());
        }
    }
}

/// Owning pointer to bytes in `kmalloc` memory; the drop frees them.
///
/// # Invariants
/// The pointer comes from `kmalloc` and points to `length` initialised bytes that only this `KBytes` owns.
///
/// # Examples
/// ```ignore
/// let mut text = KBytes::zeroed(length, Gfp::KERNEL)?;
/// user::copy_from(&mut text, from)?;
/// ```
pub struct KBytes {
    memory: NonNull<u8>,
    length: usize,
}

// SAFETY: `KBytes` owns its bytes (type invariant); `kfree()` may run in any task.
unsafe impl Send for KBytes {}
// SAFETY: a shared `KBytes` gives out only `&[u8]`.
unsafe impl Sync for KBytes {}

impl KBytes {
    /// Allocates `length` bytes with `kmalloc`, all zero.
    ///
    /// # Errors
    /// `ENOMEM`; also for lengths above the limit of `kmalloc`, for which the kernel may log a warning.
    pub fn zeroed(length: usize, gfp: Gfp) -> Result<Self, Errno> {
        // SAFETY: `__kmalloc()` takes any size, and the flags come from `Gfp`; the result is checked for null.
        let memory = unsafe { bindings::own::__kmalloc(length, gfp.flags()) };
        let memory = NonNull::new(memory.cast::<u8>()).ok_or(Errno::new(bindings::ENOMEM))?;
        // SAFETY: the memory has `length` bytes and no other user. (For length 0 the pointer is not null and nothing is written.)
        unsafe { memory.as_ptr().write_bytes(0, length) };
        // INVARIANT: the memory comes from `kmalloc`, is initialised, and has no other owner.
        Ok(Self { memory, length })
    }
}

impl Deref for KBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: the pointer points to `length` initialised bytes that this value owns (type invariant); the shared borrow excludes
        // writers.
        unsafe { ::core::slice::from_raw_parts(self.memory.as_ptr(), self.length) }
    }
}

impl DerefMut for KBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: the pointer points to `length` initialised bytes that this value owns (type invariant); the exclusive borrow
        // excludes other users.
        unsafe { ::core::slice::from_raw_parts_mut(self.memory.as_ptr(), self.length) }
    }
}

impl Drop for KBytes {
    fn drop(&mut self) {
        // SAFETY: the memory comes from `kmalloc` (type invariant), and is freed once; `kfree()` takes the pointer of length 0 too.
        unsafe { bindings::own::kfree(self.memory.as_ptr().cast()) };
    }
}
