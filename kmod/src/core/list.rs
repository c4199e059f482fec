// SPDX-License-Identifier: GPL-2.0-only
//! The kernel's lists, and the struct around a member.
//!
//! C header: `include/linux/list.h`, `include/linux/rculist.h`

use ::core::marker::PhantomData;

use bindings::list_head;

/// The struct that holds a member, from a pointer to the member: `container_of!(entry, task_struct, tasks)`.
///
/// To be used in an unsafe block: the pointer must point to that member of such a struct.
#[macro_export]
macro_rules! container_of {
    ($member:expr, $type:ty, $($field:tt)+) => {{
        let member = $member;
        let offset = ::core::mem::offset_of!($type, $($field)+);
        let container: *mut $type = member.cast_mut().byte_sub(offset).cast();
        // The member's type is the one that the pointer points to.
        let _ = || if false { let _: *const _ = $crate::core::list::same_pointer(member, &raw const (*container).$($field)+); };
        container
    }};
}

/// Compiles where both point to the same type.
#[doc(hidden)]
pub const fn same_pointer<T>(one: *const T, _other: *const T) -> *const T {
    one
}

/// The entries of a list, in its order, without the head: what `list_for_each` and `list_for_each_entry_rcu` go through.
///
/// The next entry is read (once, as with `READ_ONCE`) before an entry is given out, so that it may be taken off the list.
///
/// # Safety
/// `head` must be the head of a list that nothing changes during `'a` but this task: its lock is held; or it is one for
/// RCU, and `'a` lies inside of one read-side section.
pub unsafe fn entries<'a>(head: *const list_head) -> Entries<'a> {
    // SAFETY: the caller's word.
    Entries { head, next: unsafe { next(head) }, lifetime: PhantomData }
}

/// See [`entries`].
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
        // SAFETY: by the word of who made it, each entry is valid.
        self.next = unsafe { next(entry) };
        Some(entry)
    }
}

/// # Safety
/// `entry` is valid.
unsafe fn next(entry: *const list_head) -> *const list_head {
    // SAFETY: the caller's word. Volatile is what READ_ONCE is.
    unsafe { (&raw const (*entry).next).read_volatile() }
}
