// SPDX-License-Identifier: GPL-2.0-only
//! Opens a file that exists and one that does not, sorts a list and fills bytes, and shows the results in /proc/cmdline.
#![no_std]

use core::fmt::Write;

use klp::container_of;
use klp::core::list;
use klp::core::shadow::Gfp;
use klp::core::text::text;
use klp::prelude::*;
use klp::sys::alloc::KBytes;

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
    let file = ptr_to_result(unsafe { filp_open(name.as_char_ptr(), 0, 0) })?;
    // SAFETY: the file was opened above and is closed once.
    unsafe { filp_close(file, core::ptr::null_mut()) };
    Ok(())
}

struct Numbered {
    number: u32,
    link: list_head,
}

const fn numbered(number: u32) -> Numbered {
    Numbered { number, link: list_head { next: core::ptr::null_mut(), prev: core::ptr::null_mut() } }
}

/// Numbers of a list as digits.
///
/// # Safety
/// `head` is the head of a valid list of `Numbered`.
unsafe fn digits(head: *const list_head) -> u32 {
    // SAFETY: contract of this function.
    unsafe {
        list::entries(head)
            .fold(0, |digits, link| digits * 10 + (*container_of!(link, Numbered, link)).number)
    }
}

/// Numbers of a list to which 1 and 2 are added at the end and 3 at the start, before and after 1 is removed.
fn sorted() -> [u32; 2] {
    let (mut head, mut one, mut two, mut three) = (numbered(0), numbered(1), numbered(2), numbered(3));
    let head = &raw mut head.link;
    // SAFETY: the list and its entries are variables of this function; the head is an empty list first.
    unsafe {
        (*head).next = head;
        (*head).prev = head;
        list::add_tail(&raw mut one.link, head);
        list::add_tail(&raw mut two.link, head);
        list::add(&raw mut three.link, head);
        let before = digits(head);
        list::remove(&raw mut one.link);
        let alone = list::is_empty(&raw const one.link) && !list::is_empty(head);
        [before, if alone { digits(head) } else { 0 }]
    }
}

/// Sum of bytes that are all one. A length that no allocation has is an error.
fn summed() -> Result<usize, Errno> {
    let mut bytes = KBytes::zeroed(300, Gfp::KERNEL)?;
    let zero: usize = bytes.iter().copied().map(usize::from).sum();
    bytes.fill(1);
    Ok(zero + bytes.iter().copied().map(usize::from).sum::<usize>())
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
        let [before, after] = sorted();
        // SAFETY: the text is constant and ends with NUL.
        let named = unsafe { text(c"a name".as_char_ptr()) } == c"a name";
        let _ = writeln!(file, "{before} {after} {} {named}", summed().unwrap_or_default());
        0
    }
}

klp::livepatch!(Patch);
