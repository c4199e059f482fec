// SPDX-License-Identifier: GPL-2.0-only
//! Opens a file that exists and one that does not, and shows the results in /proc/cmdline.
#![no_std]

use core::fmt::Write;

use klp::container_of;
use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

struct Pair {
    first: u64,
    second: u32,
}

/// # Errors
/// Error of `filp_open()`.
fn open(name: &core::ffi::CStr) -> Result<(), Errno> {
    // SAFETY: the name ends with NUL; 0 is O_RDONLY.
    let file = ptr_to_result(unsafe { filp_open(name.as_ptr().cast(), 0, 0) })?;
    // SAFETY: the file was opened above and is closed once.
    unsafe { filp_close(file, core::ptr::null_mut()) };
    Ok(())
}

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn cmdline_proc_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
        // SAFETY: the seq_file core passes a valid `m`.
        let mut file = unsafe { SeqFile::from_ptr(m) };
        let mut pair = Pair { first: 1, second: 2 };
        let second = &raw mut pair.second;
        // SAFETY: the pointer is that of a member of `pair`, which lives until the end of the function.
        let first = unsafe {
            write_once(second, 3);
            smp_wmb();
            read_once(&raw const (*container_of!(second, Pair, second)).first)
        };
        smp_rmb();
        smp_mb();
        let code = |result: Result<(), Errno>| result.map_or_else(Errno::to_ret, |()| 0);
        let (there, absent) = (code(open(c"/proc/version")), code(open(c"/no/such/file")));
        let error = err_ptr::<u8>(Errno::new(absent.wrapping_neg()));
        let same = ptr_to_result(error).is_err() && ptr_to_result(m).is_ok();
        // An overflow is not an error: seq_file calls this function again with a larger buffer.
        let _ = writeln!(file, "{there} {absent} {same} {first} {}", pair.second);
        0
    }
}

klp::livepatch!(Patch);
