// SPDX-License-Identifier: GPL-2.0-only
//! Fault, on purpose: see fault.toml.
#![no_std]
use klp::core::shadow::Gfp;
use klp::prelude::*;
/// The replacements of this fix.
pub struct Patch;
klp::shadow!(DATA: core::sync::atomic::AtomicU32, id = 0x4142);
impl replaced::vmlinux for Patch {
    unsafe extern "C" fn version_proc_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
        // SAFETY: a show function may sleep.
        let data = unsafe { DATA.get_or_alloc(m, core::sync::atomic::AtomicU32::new(0), Gfp::KERNEL) };
        core::hint::black_box(&data);
        0
    }
}
klp::livepatch!(Patch);
