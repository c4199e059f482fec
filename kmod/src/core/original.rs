// SPDX-License-Identifier: GPL-2.0-only
//! Check of the kernel's functions that a fix calls as `replaced::original`.
//!
//! A call of an original goes through a thunk: one direct branch to the code behind the function's ftrace site. The offset of
//! that code belongs to one build of the kernel. `kpatch` compares build ids, `insmod` does not; therefore the module itself
//! compares the code before its object is patched.
//!
//! Sources: `ftrace_make_call()`, `ftrace_make_nop()` in `arch/x86/kernel/ftrace.c` and `arch/arm64/kernel/ftrace.c`.

use ::core::ffi::CStr;
use ::core::hint::black_box;
use ::core::marker::PhantomData;

use super::callbacks::{All, Object};
use super::errno::Errno;

/// Stands for the original of a function that does not begin with a known ftrace site. A call of it does not compile.
pub struct UnknownSite(());

/// Thunks of one object.
#[doc(hidden)]
pub trait Thunks {
    /// Names of the functions, and addresses of their thunks.
    fn all(each: impl FnMut(&'static CStr, *const u8) -> Result<(), Errno>) -> Result<(), Errno>;
}

/// Callbacks of an object whose originals are called: the check is the first `pre_patch`.
#[doc(hidden)]
pub struct Checked<T, Rest>(PhantomData<(T, Rest)>);

impl<T: Thunks, Rest: All> All for Checked<T, Rest> {
    fn pre_patch(object: &Object<'_>) -> Result<(), Errno> {
        T::all(|name, thunk| {
            // objtool does not accept an address inside of a function, which the compiler would calculate.
            let thunk = black_box(thunk);
            // SAFETY: the address is that of a thunk of this module, and the relocations of the object are applied before its
            // callbacks run.
            if unsafe { leads_behind_site(thunk) } { Ok(()) } else { Err(refused(name)) }
        })?;
        Rest::pre_patch(object)
    }

    fn post_patch(object: &Object<'_>) {
        Rest::post_patch(object);
    }

    fn pre_unpatch(object: &Object<'_>) {
        Rest::pre_unpatch(object);
    }

    fn post_unpatch(object: &Object<'_>) {
        Rest::post_unpatch(object);
    }
}

/// Reports a function with other code, and returns the error of the load (ENOEXEC).
#[cold]
fn refused(name: &CStr) -> Errno {
    let format = c"\x013livepatch: %s does not begin as in the kernel build that this module was made for; nothing is patched\n";
    // SAFETY: `format` has one conversion, `%s`, and its argument ends with NUL; `_printk()` copies the text.
    unsafe { bindings::own::_printk(format.as_ptr().cast(), name.as_ptr()) };
    Errno::new(bindings::ENOEXEC as bindings::ffi::c_int)
}

/// True if the thunk is a direct branch to the instruction behind an ftrace site, patched by the kernel or not.
///
/// # Safety
/// `thunk` is the address of a thunk, and its relocations are applied.
#[cfg(target_arch = "x86_64")]
unsafe fn leads_behind_site(thunk: *const u8) -> bool {
    const PAD: usize = 4;
    const JUMP: u8 = 0xe9;
    const CALL: u8 = 0xe8;
    const NOP5: [u8; 5] = [0x0f, 0x1f, 0x44, 0x00, 0x00];
    // SAFETY: a thunk is a landing pad of four bytes, or its nop after the kernel sealed it, or none; then `jmp` with four bytes of
    // distance. Both forms are at least five bytes long, and the first form nine.
    let (operation, distance, behind) = unsafe {
        let jump = if thunk.read() == JUMP { thunk } else { thunk.add(PAD) };
        (jump.read(), jump.add(1).cast::<i32>().read_unaligned(), jump.wrapping_add(5))
    };
    if operation != JUMP {
        return false;
    }
    let site = behind.wrapping_offset(distance as isize).wrapping_sub(NOP5.len());
    // SAFETY: the livepatch core found the function, and the linker places no function at the start of the mapped code, so the
    // bytes before a place in it can be read.
    let (first, rest) = unsafe { (site.read(), site.add(1).cast::<[u8; 4]>().read()) };
    first == CALL || first == JUMP || first == NOP5[0] && rest == [NOP5[1], NOP5[2], NOP5[3], NOP5[4]]
}

/// True if the thunk is a direct branch to the instruction behind an ftrace site, patched by the kernel or not. A branch
/// to a procedure linkage table (PLT) is none: its last jump is indirect, and the code behind the site has no landing pad.
///
/// # Safety
/// `thunk` is the address of a thunk, and its relocations are applied.
#[cfg(target_arch = "aarch64")]
unsafe fn leads_behind_site(thunk: *const u8) -> bool {
    const BRANCH: u32 = 0x1400_0000;
    const LINK: u32 = 0x9400_0000;
    const OPERATION: u32 = 0xfc00_0000;
    const NOP: u32 = 0xd503_201f;
    let thunk = thunk.cast::<u32>();
    // SAFETY: a thunk is a landing pad and a branch.
    let branch = unsafe { thunk.add(1).read() };
    if branch & OPERATION != BRANCH {
        return false;
    }
    // Distance in instructions, with a sign in bit 25.
    let distance = ((branch << 6) as i32 >> 6) as isize;
    let behind = thunk.wrapping_add(1).wrapping_offset(distance);
    // SAFETY: the livepatch core found the function, and the linker places no function at the start of the mapped code, so the
    // instruction before a place in it can be read.
    let site = unsafe { behind.wrapping_sub(1).read() };
    site == NOP || site & OPERATION == LINK
}
