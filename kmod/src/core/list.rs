// SPDX-License-Identifier: GPL-2.0-only
//! Linked lists of the kernel, and `container_of!`.
//!
//! C headers: [`include/linux/list.h`], [`include/linux/rculist.h`]
//!
//! [`include/linux/list.h`]: srctree/include/linux/list.h
//! [`include/linux/rculist.h`]: srctree/include/linux/rculist.h

use ::core::marker::PhantomData;

use bindings::list_head;

use super::access::{read_once, write_once};

/// Pointer to the struct that contains a member, from a `*const` or `*mut` pointer to the member:
/// `container_of!(entry, task_struct, tasks)`.
///
/// Requires an unsafe block: the pointer must point to that member of such a struct. See
/// [`entries`](crate::core::list::entries) for an example.
#[macro_export]
macro_rules! container_of {
    ($member:expr, $type:ty, $($field:tt)+) => {{
        let member: *const _ = $member;
        let offset = ::core::mem::offset_of!($type, $($field)+);
        let container: *mut $type = member.cast_mut().byte_sub(offset).cast();
        // Type check: the member has the type that the pointer points to.
        let _ = || if false { let _: *const _ = $crate::core::list::same_pointer(member, &raw const (*container).$($field)+); };
        container
    }};
}

/// Compile-time check that both pointers have the same type.
#[doc(hidden)]
pub const fn same_pointer<T>(one: *const T, _other: *const T) -> *const T {
    one
}

/// Entries of a list in list order, without the head: the equivalent of `list_for_each` and
/// `list_for_each_entry_rcu`.
///
/// The iterator reads the next entry (once, as `READ_ONCE` does) before it returns the current one, so the caller may
/// remove the current entry from the list.
///
/// # Safety
/// `head` is the head of a valid list, and during `'a` one of these holds:
/// - The lock of the list is held, and no other task changes the list.
/// - The list is an RCU list, and `'a` lies within one RCU read-side section.
///
/// # Examples
/// ```ignore
/// // SAFETY: `init_task.tasks` is an RCU list; the loop runs within one read-side section and does not sleep. Its
/// // entries are `tasks` members of `task_struct`.
/// unsafe {
///     let _section = Guard::section(rcu_read_lock, rcu_read_unlock);
///     for entry in list::entries(&raw const init_task.tasks) {
///         let task = container_of!(entry, task_struct, tasks);
///         pr_info!("{}", (*task).pid);
///     }
/// }
/// ```
pub unsafe fn entries<'a>(head: *const list_head) -> Entries<'a> {
    // SAFETY: `head` is the head of a valid list (contract of this function).
    // INVARIANT: the contract of this function covers all of `'a`.
    Entries { head, next: unsafe { next(head) }, lifetime: PhantomData }
}

/// Iterator of [`entries`].
///
/// # Invariants
/// `head` is a valid list head, and `next` points to it or to a valid entry of its list, during `'a`.
pub struct Entries<'a> {
    head: *const list_head,
    next: *const list_head,
    lifetime: PhantomData<&'a list_head>,
}

impl Iterator for Entries<'_> {
    type Item = *const list_head;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == self.head {
            return None;
        }
        let entry = self.next;
        // SAFETY: `entry` is a valid entry of the list (type invariant).
        // INVARIANT: the `next` pointer of a valid entry points to a valid entry or to the head.
        self.next = unsafe { next(entry) };
        Some(entry)
    }
}

/// Adds an entry behind the head: `list_add()`.
///
/// # Safety
/// `head` is the head of a valid list, or an entry of one, and its lock is held; `entry` is valid for writes and in no list.
///
/// # Examples
/// ```ignore
/// // SAFETY: the lock of the list is held, and `job` is in no list.
/// unsafe { list::add(&raw mut (*job).link, &raw mut jobs) };
/// ```
pub unsafe fn add(entry: *mut list_head, head: *mut list_head) {
    // SAFETY: neighbours of a valid entry are valid (contract of this function).
    unsafe { insert(entry, head, (*head).next) };
}

/// Adds an entry before the head, at the end of the list: `list_add_tail()`.
///
/// # Safety
/// As for [`add`].
pub unsafe fn add_tail(entry: *mut list_head, head: *mut list_head) {
    // SAFETY: neighbours of a valid entry are valid (contract of this function).
    unsafe { insert(entry, (*head).prev, head) };
}

/// Inserts an entry between two neighbours. A damaged list is left as it is, with a warning, as kernels with
/// `CONFIG_LIST_HARDENED` do.
///
/// # Safety
/// `prev` and `next` are valid entries of a list whose lock is held; `entry` is valid for writes and in no list.
unsafe fn insert(entry: *mut list_head, prev: *mut list_head, next: *mut list_head) {
    // SAFETY: all three are valid (contract of this function). Readers without the lock see the entry complete: its own
    // pointers are written first, and `next` of the previous entry last.
    unsafe {
        if (*next).prev != prev || (*prev).next != next || entry == prev || entry == next {
            crate::warn_on!(true);
            return;
        }
        (*entry).next = next;
        (*entry).prev = prev;
        (*next).prev = entry;
        write_once(&raw mut (*prev).next, entry);
    }
}

/// Takes an entry out of its list, and makes it a list of its own: `list_del_init()`. A damaged list is left as it is, with a
/// warning.
///
/// # Safety
/// `entry` is a valid entry of a list whose lock is held.
pub unsafe fn remove(entry: *mut list_head) {
    // SAFETY: an entry and its neighbours are valid (contract of this function).
    unsafe {
        let (prev, next) = ((*entry).prev, (*entry).next);
        if (*next).prev != entry || (*prev).next != entry {
            crate::warn_on!(true);
            return;
        }
        (*next).prev = prev;
        write_once(&raw mut (*prev).next, next);
        (*entry).next = entry;
        (*entry).prev = entry;
    }
}

/// True if the list has no entries: `list_empty()`.
///
/// # Safety
/// `head` is the head of a valid list.
pub unsafe fn is_empty(head: *const list_head) -> bool {
    // SAFETY: `head` is valid (contract of this function).
    unsafe { next(head) == head }
}

/// Reads the `next` pointer once.
///
/// # Safety
/// `entry` is valid.
unsafe fn next(entry: *const list_head) -> *const list_head {
    // SAFETY: `entry` is valid (contract of this function), so its member `next` is readable and aligned. A concurrent
    // writer is allowed.
    unsafe { read_once::<*mut list_head>(&raw const (*entry).next) }
}
