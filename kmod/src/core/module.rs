// SPDX-License-Identifier: GPL-2.0-only
//! The module that a fix is linked into.

use ::core::ffi::CStr;

use bindings::ffi::c_char;

// C function in `kmod/shims/module.c`. The pipeline compiles this file into a module that calls it.
unsafe extern "C" {
    safe fn klp_shim_module_name() -> *const c_char;
}

/// Name of the module, as the kernel has it. One fix may be in several modules: alone, and in versions of a stream.
///
/// # Examples
/// ```ignore
/// pr_info!("{}: started", module::name().to_str().unwrap_or_default());
/// ```
pub fn name() -> &'static CStr {
    // SAFETY: the C function returns a constant text of this module, which ends with NUL.
    unsafe { CStr::from_ptr(klp_shim_module_name().cast()) }
}
