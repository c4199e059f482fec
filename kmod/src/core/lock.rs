// SPDX-License-Identifier: GPL-2.0-only
//! Kernel locks, released on every path.
//!
//! Lock functions differ between kernels and locks, and some are static inline. The author names the pair in `functions`
//! or `inlines` of `patch.toml`; the types ensure that both functions take the same kind of lock.
//!
//! C headers: [`mutex.h`](srctree/include/linux/mutex.h), [`spinlock.h`](srctree/include/linux/spinlock.h)

use ::core::marker::PhantomData;
use ::core::mem::ManuallyDrop;

use bindings::ffi::c_ulong;

/// Held lock or entered section, until the drop. Not `Send`: the same task must release the lock.
///
/// Each function is inlined, so that the calls of the pair are direct: they pass no retpoline, and the rules on locks see them.
///
/// # Invariants
/// `leave` reverses the acquisition that created this value, and runs once, in the drop.
#[must_use = "what is held is let go when this is dropped: bind it to a name, as in `let _held = ...`"]
pub struct Guard<F: FnOnce()> {
    leave: ManuallyDrop<F>,
    not_send: PhantomData<*mut ()>,
}

impl Guard<fn()> {
    /// Takes a lock.
    ///
    /// # Safety
    /// - `lock` is initialised and remains valid until the guard is dropped.
    /// - `take` may be called here (sleeping, lock order), and this task does not hold the lock.
    /// - `leave` releases the lock that `take` acquires.
    ///
    /// # Examples
    /// ```ignore
    /// // SAFETY: `a_mutex` is static; a show function may sleep and holds no later lock.
    /// let _held = unsafe { Guard::lock(&raw mut a_mutex, mutex_lock, mutex_unlock) };
    /// ```
    #[inline(always)]
    pub unsafe fn lock<T>(
        lock: *mut T,
        take: unsafe extern "C" fn(*mut T),
        leave: unsafe extern "C" fn(*mut T),
    ) -> Guard<impl FnOnce()> {
        // SAFETY: `lock` is initialised and valid, and `take` may be called here (contract of this function).
        unsafe { take(lock) };
        // SAFETY:
        // - `lock` is held: `take` returned, and the guard calls `leave` only once (type invariant), in this task
        //   (not `Send`).
        // - `lock` is still valid, and `leave` matches `take` (contract of this function).
        Guard::until_dropped(move || unsafe { leave(lock) })
    }

    /// Takes a lock with a function that disables interrupts and returns their previous state.
    ///
    /// # Safety
    /// As for [`Guard::lock`]; in addition, guards of this kind are dropped in reverse order.
    ///
    /// # Examples
    /// ```ignore
    /// // SAFETY: `a_lock` is static, is not held by this task, and nothing sleeps before the drop.
    /// let _held = unsafe {
    ///     Guard::lock_irqsave(&raw mut a_lock, _raw_spin_lock_irqsave, _raw_spin_unlock_irqrestore)
    /// };
    /// ```
    #[inline(always)]
    pub unsafe fn lock_irqsave<T>(
        lock: *mut T,
        take: unsafe extern "C" fn(*mut T) -> c_ulong,
        leave: unsafe extern "C" fn(*mut T, c_ulong),
    ) -> Guard<impl FnOnce()> {
        // SAFETY: `lock` is initialised and valid, and `take` may be called here (contract of this function).
        let flags = unsafe { take(lock) };
        // SAFETY:
        // - `lock` is held: `take` returned, and the guard calls `leave` only once (type invariant), in this task
        //   (not `Send`).
        // - `lock` is still valid, and `leave` matches `take` (contract of this function).
        // - `flags` is the value that `take` returned for this acquisition.
        Guard::until_dropped(move || unsafe { leave(lock, flags) })
    }

    /// Enters a section without a lock object, such as an RCU read-side section
    /// ([`rcupdate.h`](srctree/include/linux/rcupdate.h)).
    ///
    /// # Safety
    /// - `enter` may be called here.
    /// - No operation that the section forbids (sleeping, for RCU) runs before the guard is dropped.
    /// - `leave` ends the section that `enter` begins.
    ///
    /// # Examples
    /// ```ignore
    /// // SAFETY: nothing sleeps before the drop.
    /// let _section = unsafe { Guard::section(rcu_read_lock, rcu_read_unlock) };
    /// ```
    #[inline(always)]
    pub unsafe fn section(
        enter: unsafe extern "C" fn(),
        leave: unsafe extern "C" fn(),
    ) -> Guard<impl FnOnce()> {
        // SAFETY: `enter` may be called here (contract of this function).
        unsafe { enter() };
        // SAFETY: `enter` returned, so the section is entered; the guard calls `leave`, which ends it (contract of
        // this function), only once (type invariant), in this task (not `Send`).
        Guard::until_dropped(move || unsafe { leave() })
    }
}

impl<F: FnOnce()> Guard<F> {
    #[inline(always)]
    fn until_dropped(leave: F) -> Self {
        // INVARIANT: each caller passes the reverse of the acquisition that it just made; only the drop runs `leave`.
        Self { leave: ManuallyDrop::new(leave), not_send: PhantomData }
    }
}

impl<F: FnOnce()> Drop for Guard<F> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: the drop runs once, and no other code takes `leave`.
        unsafe { ManuallyDrop::take(&mut self.leave)() };
    }
}
