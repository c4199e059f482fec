// SPDX-License-Identifier: GPL-2.0-only
//! Shows functions and variables that the fix imports from the kernel in /proc/version.
#![no_std]

use core::fmt::Write;

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn version_proc_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
        // SAFETY: the seq_file core passes a valid `m`.
        let mut file = unsafe { SeqFile::from_ptr(m) };
        // An entry with the first members of the kernel's firmware memory map entry, and a buffer for one
        // line of output.
        let mut entry = [0x1234_u64, 0x5678, 0, 0];
        let mut line = [0_u8; 64];
        // SAFETY: a show function may sleep. -1 is not a file descriptor, so `dma_buf_get` returns an error.
        // `map_start` reads one number of the entry and writes less than 64 bytes. The address from
        // `this_cpu_ptr` belongs to a CPU and is valid.
        let (buffer, length, interrupts) = unsafe {
            give_way();
            let buffer = dma_buf_get(-1);
            let length = map_start(entry.as_mut_ptr().cast(), line.as_mut_ptr().cast());
            let stat: *const kernel_stat = this_cpu_ptr((&raw mut kstat).cast()).cast();
            (buffer, length, read_once(&raw const (*stat).irqs_sum))
        };
        let shown = usize::try_from(length).ok().and_then(|length| line.get(..length)).unwrap_or_default();
        let shown = core::str::from_utf8(shown).unwrap_or("?").trim_end();
        // SAFETY: the function from the header takes no arguments and returns a number.
        let answer = unsafe { the_answer() };
        // An overflow is not an error: seq_file calls this function again with a larger buffer.
        let _ = write!(
            file,
            "error: {}\nshown: {shown}\ninterrupts: {interrupts}\nanswer: {answer}\n\
             group1: {:016x}\ngroup2: {:016x}\ngraveyard.0: {:016x}\n",
            buffer as isize,
            (&raw const group1) as usize,
            (&raw const group2) as usize,
            (&raw const graveyard) as usize,
        );
        0
    }
}

klp::livepatch!(Patch);
