// SPDX-License-Identifier: GPL-2.0-only
//! Makes /proc/version show what the fix imports from the kernel.
#![no_std]

use core::fmt::Write;

use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn version_proc_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
        // SAFETY: the seq_file core passes a valid `m`.
        let mut file = unsafe { SeqFile::from_ptr(m) };
        // What begins like the kernel's entry of the firmware's memory map, and room for one line of it.
        let mut entry = [0x1234_u64, 0x5678, 0, 0];
        let mut line = [0_u8; 64];
        // SAFETY: a function that shows something in a file may sleep; no file has the number -1, which the function answers with an
        // error; the kernel reads one number of the entry and writes less than 64 bytes; the address is one of this CPU's.
        let (buffer, length, interrupts) = unsafe {
            give_way();
            let buffer = dma_buf_get(-1);
            let length = map_start(entry.as_mut_ptr().cast(), line.as_mut_ptr().cast());
            let stat: *const kernel_stat = this_cpu_ptr((&raw mut kstat).cast()).cast();
            (buffer, length, (&raw const (*stat).irqs_sum).read_volatile())
        };
        let shown = usize::try_from(length).ok().and_then(|length| line.get(..length)).unwrap_or_default();
        let shown = core::str::from_utf8(shown).unwrap_or("?").trim_end();
        // SAFETY: the header's function takes nothing and returns a number.
        let answer = unsafe { the_answer() };
        // A sequence file takes what fits and asks again for the rest; it does not fail.
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
