// SPDX-License-Identifier: GPL-2.0-only
//! Shows the module parameters of the fix in /proc/cmdline, in one line for each, and `limit` lines after them.
#![no_std]

use core::fmt::Write;

use klp::prelude::*;
use replaced::params;

/// The replacements of this fix.
pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn cmdline_proc_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
        // SAFETY: the seq_file core passes a valid `m`.
        let mut file = unsafe { SeqFile::from_ptr(m) };
        // An overflow is not an error: seq_file calls this function again with a larger buffer.
        let _ = writeln!(
            file,
            "verbose {}\nsmall {} low {} high {}\nlevel {} offset {}\nmask {} wide {}",
            params::verbose(),
            params::small(),
            params::low(),
            params::high(),
            params::level(),
            params::offset(),
            params::mask(),
            params::wide(),
        );
        file.puts(c"type ");
        file.puts(params::r#type());
        file.puts(c"\npids");
        let pids = params::pids();
        for pid in pids.iter() {
            let _ = write!(file, " {pid}");
        }
        let last = pids.len().checked_sub(1).and_then(|last| pids.get(last)).unwrap_or_default();
        let _ = writeln!(file, " of {}, last {last}", pids.len());
        for _ in 0..params::limit() {
            file.puts(c"limit\n");
        }
        0
    }
}

klp::livepatch!(Patch);
