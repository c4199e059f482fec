// SPDX-License-Identifier: GPL-2.0-only
//! Locks of the kernel, let go on every path.
//!
//! What the kernel's lock functions are called, and which of them are static inline, differs between kernels and locks, so
//! the author names the pair, in `functions` or `inlines` of `patch.toml`; the types see to it that both are for the same kind
//! of lock.
//!
//! ```ignore
//! // SAFETY: the mutex lives as long as the module; a show function may sleep, and holds no lock that comes after this one.
//! let _held = unsafe { Guard::lock(&raw mut a_mutex, mutex_lock, mutex_unlock) };
//! ```
//!
//! C header: `include/linux/mutex.h`, `include/linux/spinlock.h`, `include/linux/rcupdate.h`

use ::core::marker::PhantomData;
use ::core::mem::ManuallyDrop;

use bindings::ffi::c_ulong;

/// A lock that is held, or a section that was entered, until it is dropped: by the task that did so, which is why it cannot be
/// sent to another.
///
/// # Invariants
/// `leave` undoes what was done when this was made, once.
#[must_use = "what is held is let go when this is dropped: bind it to a name, as in `let _held = ...`"]
pub struct Guard<F: FnOnce()> {
    leave: ManuallyDrop<F>,
    not_send: PhantomData<*mut ()>,
}

impl Guard<fn()> {
    /// Takes a lock: `Guard::lock(&raw mut a_mutex, mutex_lock, mutex_unlock)`.
    ///
    /// # Safety
    /// `lock` is set up and stays while this lives; `take` may be called here (it may sleep, or not; this task does not hold
    /// the lock; the order of locks is the kernel's), and `leave` lets go what it took.
    pub unsafe fn lock<T>(
        lock: *mut T,
        take: unsafe extern "C" fn(*mut T),
        leave: unsafe extern "C" fn(*mut T),
    ) -> Guard<impl FnOnce()> {
        // SAFETY: the caller's word.
        unsafe { take(lock) };
        // SAFETY: it is held, and the lock is there, by the caller's word.
        Guard::until_dropped(move || unsafe { leave(lock) })
    }

    /// Takes a lock with functions that turn interrupts off, and put them back as they were:
    /// `Guard::lock_irqsave(&raw mut lock, _raw_spin_lock_irqsave, _raw_spin_unlock_irqrestore)`.
    ///
    /// # Safety
    /// As for [`Guard::lock`]; guards of this kind are dropped in the reverse order.
    pub unsafe fn lock_irqsave<T>(
        lock: *mut T,
        take: unsafe extern "C" fn(*mut T) -> c_ulong,
        leave: unsafe extern "C" fn(*mut T, c_ulong),
    ) -> Guard<impl FnOnce()> {
        // SAFETY: the caller's word.
        let flags = unsafe { take(lock) };
        // SAFETY: it is held, and the lock is there, by the caller's word; the flags are those that it was taken with.
        Guard::until_dropped(move || unsafe { leave(lock, flags) })
    }

    /// Enters a section that has no lock: `Guard::section(rcu_read_lock, rcu_read_unlock)`.
    ///
    /// # Safety
    /// `enter` may be called here, nothing is done before the drop that is not allowed inside (sleeping, for RCU), and `leave`
    /// ends what it began.
    pub unsafe fn section(
        enter: unsafe extern "C" fn(),
        leave: unsafe extern "C" fn(),
    ) -> Guard<impl FnOnce()> {
        // SAFETY: the caller's word.
        unsafe { enter() };
        // SAFETY: it was entered.
        Guard::until_dropped(move || unsafe { leave() })
    }
}

impl<F: FnOnce()> Guard<F> {
    fn until_dropped(leave: F) -> Self {
        Self { leave: ManuallyDrop::new(leave), not_send: PhantomData }
    }
}

impl<F: FnOnce()> Drop for Guard<F> {
    fn drop(&mut self) {
        // SAFETY: it is taken once, here.
        unsafe { ManuallyDrop::take(&mut self.leave)() };
    }
}
