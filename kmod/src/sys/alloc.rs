// SPDX-License-Identifier: GPL-2.0-only
//! Memory: one value at a time.
//!
//! C header: `include/linux/slab.h`

use ::core::ops::{Deref, DerefMut};
use ::core::ptr::NonNull;

use crate::core::errno::Errno;
use crate::core::shadow::Gfp;

/// A value in memory of its own (`kmalloc`), freed when it is dropped.
///
/// # Invariants
/// The pointer comes from `kmalloc`, and holds a `T` that nobody else owns.
pub struct KBox<T>(NonNull<T>);

// SAFETY: it owns the value.
unsafe impl<T: Send> Send for KBox<T> {}
// SAFETY: as a reference to the value.
unsafe impl<T: Sync> Sync for KBox<T> {}

impl<T> KBox<T> {
    /// `kmalloc` aligns to at least this.
    const FITS: () = assert!(align_of::<T>() <= 8 && size_of::<T>() > 0);

    /// Puts a value into memory of its own.
    ///
    /// # Errors
    /// `ENOMEM`; the value is dropped.
    pub fn new(value: T, gfp: Gfp) -> Result<Self, Errno> {
        let () = Self::FITS;
        // SAFETY: any size and flags may be asked for.
        let memory = unsafe { bindings::own::__kmalloc(size_of::<T>(), gfp.flags()) };
        let memory = NonNull::new(memory.cast::<T>()).ok_or(Errno::new(bindings::ENOMEM))?;
        // SAFETY: it is room for a `T`.
        unsafe { memory.as_ptr().write(value) };
        Ok(Self(memory))
    }

    /// The value; it is not freed any more.
    pub fn leak(self) -> &'static mut T
    where
        T: 'static,
    {
        // SAFETY: by the type's invariants; nobody else owns it, and it stays.
        unsafe { ::core::mem::ManuallyDrop::new(self).0.as_mut() }
    }

    /// Takes back what [`KBox::leak`] gave.
    ///
    /// # Safety
    /// It must come from there, and nobody else may take it back.
    pub unsafe fn from_raw(pointer: NonNull<T>) -> Self {
        Self(pointer)
    }
}

impl<T> Deref for KBox<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: by the type's invariants.
        unsafe { self.0.as_ref() }
    }
}

impl<T> DerefMut for KBox<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: by the type's invariants.
        unsafe { self.0.as_mut() }
    }
}

impl<T> Drop for KBox<T> {
    fn drop(&mut self) {
        // SAFETY: by the type's invariants; the value is not used any more.
        unsafe {
            self.0.as_ptr().drop_in_place();
            bindings::own::kfree(self.0.as_ptr().cast());
        }
    }
}
