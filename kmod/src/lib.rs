// SPDX-License-Identifier: GPL-2.0-only
//! The kernel side of a live patch in Rust.
//!
//! * [`core`]: the livepatch interface (every form of a fix);
//! * [`sys`]: printing and the panic handler, for kernels whose own `kernel` crate is not used. Where it is,
//!   the crate is compiled with `--cfg kernel_crate`, and there is no such module.
//!
//! An author writes `use klp::prelude::*;`, implements the generated traits of crate `replaced`, and ends with
//! [`livepatch!`].
//!
//! C header: `include/linux/livepatch.h`
#![no_std]

pub mod core;
#[cfg(not(kernel_crate))]
pub mod sys;

#[doc(hidden)]
pub use bindings;

/// What a fix usually needs: the kernel's types, declared symbols and C integer types, and our wrappers; where the kernel's
/// `kernel` crate is used, its own prelude, and of the C declarations those that patch.toml names (all of them are in
/// [`bindings`]).
pub mod prelude {
    pub use bindings::ffi::*;
    #[cfg(not(kernel_crate))]
    pub use bindings::*;
    #[cfg(kernel_crate)]
    pub use {bindings::named::*, kernel::prelude::*};

    pub use crate::core::errno::{Errno, to_result};
    pub use crate::core::lock::Guard;
    pub use crate::core::seq_file::SeqFile;
    #[cfg(not(kernel_crate))]
    pub use crate::{pr_err, pr_info, pr_warn};
}

/// Ends a fix: names the type that implements the traits of `replaced`, and refuses to compile where it lacks one of
/// them.
///
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

/// What the `kernel` crate's `pr_*!` put before each message: the module's name, which the build knows.
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
