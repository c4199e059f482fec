// SPDX-License-Identifier: GPL-2.0-only
//! Module parameters that are arrays. A single value is read by its function in `replaced::params`.
//!
//! C header: [`include/linux/moduleparam.h`] (`module_param_array`)
//!
//! [`include/linux/moduleparam.h`]: srctree/include/linux/moduleparam.h

use bindings::ffi::c_uint;

use super::access::read_once;

/// A module parameter with several values, at most `N`. The values may change at any time if the parameter's mode
/// allows writing.
///
/// # Invariants
/// Both pointers are valid as long as the module.
///
/// # Examples
/// ```ignore
/// // patch.toml: params = [{ name = "pids", type = "int", length = 16 }]
/// let is_named = replaced::params::pids().iter().any(|pid| pid == current);
/// ```
#[derive(Clone, Copy)]
pub struct Array<T, const N: usize> {
    values: *const [T; N],
    count: *const c_uint,
}

impl<T: Copy, const N: usize> Array<T, N> {
    /// Array of the generated crate `replaced`.
    ///
    /// # Safety
    /// Both pointers are valid as long as the module, and every value that the kernel writes is one of `T`.
    #[doc(hidden)]
    pub unsafe fn new(values: *const [T; N], count: *const c_uint) -> Self {
        Self { values, count }
    }

    /// Number of values that are set.
    pub fn len(&self) -> usize {
        // SAFETY: invariant of the type.
        let count = unsafe { read_once(self.count) } as usize;
        // The kernel never counts more.
        if count < N { count } else { N }
    }

    /// True if no value is set.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Value at `index`; `None` if it is not set.
    pub fn get(&self, index: usize) -> Option<T> {
        if index >= self.len() {
            return None;
        }
        // SAFETY: `len` is at most `N`, and the array is valid by the invariant of the type.
        Some(unsafe { read_once(self.values.cast::<T>().add(index)) })
    }

    /// The values that are set.
    pub fn iter(&self) -> impl Iterator<Item = T> + use<'_, T, N> {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}
