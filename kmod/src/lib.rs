// SPDX-License-Identifier: GPL-2.0-only
//! Kernel side of a live patch in Rust.
//!
//! * [`core`]: the livepatch interface, for every form of a fix;
//! * [`sys`]: allocation, printing and the panic handler, for kernels whose own `kernel` crate is not used. With
//!   `--cfg kernel_crate` the module is absent.
//!
//! An author writes `use klp::prelude::*;`, implements the generated traits of crate `replaced`, and ends the fix
//! with [`livepatch!`].
//!
//! C header: [`include/linux/livepatch.h`]
//!
//! Kernel document: [`Documentation/livepatch/livepatch.rst`]
//!
//! [`include/linux/livepatch.h`]: srctree/include/linux/livepatch.h
//! [`Documentation/livepatch/livepatch.rst`]: srctree/Documentation/livepatch/livepatch.rst
#![no_std]

pub mod core;
#[cfg(not(kernel_crate))]
pub mod sys;

#[doc(hidden)]
pub use bindings;

/// Common imports of a fix: kernel types, declared symbols, C integer types, and the wrappers of this crate.
///
/// With the kernel's `kernel` crate: the prelude of that crate, and only those C declarations that `patch.toml`
/// names. All C declarations are in [`bindings`].
pub mod prelude {
    pub use bindings::ffi::*;
    #[cfg(not(kernel_crate))]
    pub use bindings::*;
    #[cfg(kernel_crate)]
    pub use {bindings::named::*, kernel::prelude::*};

    pub use crate::core::access::{read_once, smp_mb, smp_rmb, smp_wmb, write_once};
    pub use crate::core::errno::{Errno, err_ptr, ptr_to_result, to_result};
    pub use crate::core::lock::Guard;
    pub use crate::core::seq_file::SeqFile;
    #[cfg(not(kernel_crate))]
    pub use crate::core::text::CText;
    #[cfg(not(kernel_crate))]
    pub use crate::{pr_err, pr_info, pr_warn};
    pub use crate::{ratelimited, warn_on, warn_on_once};
}

/// Ends a fix: registers the type that implements the traits of `replaced`. A missing trait is a compile error.
///
/// # Examples
/// ```ignore
/// pub struct Patch;
/// impl replaced::vmlinux for Patch { /* ... */ }
/// klp::livepatch!(Patch);
/// ```
#[macro_export]
macro_rules! livepatch {
    ($patch:ty) => {
        #[doc(hidden)]
        pub type __Patch = $patch;
        const _: () = ::replaced::require::<$patch>();
        $crate::__log_prefix!();
    };
}

/// Message prefix of the `kernel` crate's `pr_*!` macros: the module name, from the build.
#[cfg(kernel_crate)]
#[doc(hidden)]
#[macro_export]
macro_rules! __log_prefix {
    () => {
        const __LOG_PREFIX: &[u8] = ::core::concat!(::core::env!("KLP_MODULE"), "\0").as_bytes();
    };
}

#[cfg(not(kernel_crate))]
#[doc(hidden)]
#[macro_export]
macro_rules! __log_prefix {
    () => {};
}
