// SPDX-License-Identifier: GPL-2.0-only
//! Prints every value twice: as an argument, which needs no `core::fmt` for these types, and by its name in the braces, which
//! `core::fmt` prints. The lines of both kinds differ in their first word alone.
#![no_std]

use klp::core::callbacks::{Callbacks, Object};
use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

macro_rules! both {
    ($($value:expr),* $(,)?) => {$(
        let value = $value;
        pr_info!("plain: {{{}}}, 100%", value);
        pr_info!("named: {{{value}}}, 100%");
    )*};
}

macro_rules! both_in_hex {
    ($($value:expr),* $(,)?) => {$(
        let value = $value;
        pr_info!("plain: {:x} {:#x}", value, value);
        pr_info!("named: {value:x} {value:#x}");
    )*};
}

fn messages() {
    both!(0, 7_u8, 10_u16, u8::MAX, u16::MAX, u32::MAX, u64::MAX, usize::MAX);
    both!(-1, 9, -10, i8::MIN, i8::MAX, i16::MIN, i32::MIN, i32::MAX, i64::MIN, i64::MAX, isize::MIN);
    both!("", "text", "%s %d %n", &"a reference", "größer", true, false, &&-5_i64);
    both_in_hex!(0, 15, 16_u8, -1_i8, -2_i16, -3, i64::MIN, u64::MAX, 0xdead_beef_usize);
    // Other types are printed by `core::fmt`, whose text is the same.
    both!('x', u128::MAX);
    let (one, two) = (1, "two");
    pr_info!("plain: {} {} {} {} {} {}", one, two, 3_u8, true, -5, "six");
    pr_info!("named: {one} {two} {} {} {} {last}", 3_u8, true, -5, last = "six");
    pr_info!("plain: {} {} {} {} {} {} {}", one, two, 3_u8, true, -5, "six", 7);
    pr_info!("named: {one} {two} {} {} {} {} {}", 3_u8, true, -5, "six", 7);
    pr_info!("plain: {} {}", two, 'c');
    pr_info!("named: {two} {c}", c = 'c');
    pr_info!("plain: no argument, 100%, {{}}");
    pr_info!("named: no argument, 100%, {{}}{none}", none = "");
    pr_warn!("plain: {:?} {:>4} {0}", one, two);
    pr_warn!("named: {one:?} {two:>4} {one}");
    pr_err!("plain: {}", one,);
    pr_err!("named: {one}",);
}

impl Callbacks<replaced::objects::vmlinux> for Patch {
    fn pre_patch(_object: &Object<'_>) -> Result<(), Errno> {
        messages();
        Ok(())
    }
}

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn cmdline_proc_show(m: *mut seq_file, v: *mut c_void) -> c_int {
        // SAFETY: the arguments are those of the replacement.
        unsafe { replaced::original::vmlinux::cmdline_proc_show(m, v) }
    }
}

klp::livepatch!(Patch);
