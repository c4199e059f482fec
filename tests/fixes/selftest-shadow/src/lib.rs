// SPDX-License-Identifier: GPL-2.0-only
//! Uses every function of the shadow variable interface on objects of its own, and prints each step.
#![no_std]

use core::sync::atomic::{AtomicU32, Ordering};

use klp::core::callbacks::{Callbacks, Object};
use klp::core::shadow::{Destructor, Gfp};
use klp::prelude::*;

/// The replacements of this fix.
pub struct Patch;

klp::shadow!(FIRST: AtomicU32, id = 0x1234);
klp::shadow!(SECOND: AtomicU32, id = 0x1235);
klp::shadow!(DROPPED: Noisy, id = 0x1236);

/// Value that prints a message when it is dropped. (The type of a shadow variable must be public.)
pub struct Noisy(u32);

impl Drop for Noisy {
    fn drop(&mut self) {
        pr_info!("selftest-shadow: dropped {}", self.0);
    }
}

/// Destructor that prints each destroyed value.
struct Tell;

impl Destructor<Noisy> for Tell {
    fn destroy(_object: *mut c_void, value: &mut Noisy) {
        pr_info!("selftest-shadow: destroying {}", value.0);
    }
}

const OBJECTS: usize = 3;

/// Prints the variables of all objects, with the first and with the second id.
fn show(objects: &[u64; OBJECTS], what: &str) {
    let value = |found: Option<&AtomicU32>| found.map_or(0, |value| value.load(Ordering::Relaxed));
    for (number, object) in objects.iter().enumerate() {
        // SAFETY: only the caller of this function frees the variables, and not before this function returns.
        let (first, second) = unsafe { (FIRST.get(object), SECOND.get(object)) };
        pr_info!("selftest-shadow: {}: object {} has {} and {}", what, number, value(first), value(second));
    }
}

/// # Errors
/// Error of the first step with an unexpected result.
fn steps(objects: &[u64; OBJECTS]) -> Result<(), Errno> {
    let [one, two, three] = objects;
    show(objects, "start");
    // SAFETY: the objects outlive this function, which frees all variables before it returns. It may sleep.
    // Constructors and destructors only print.
    unsafe {
        FIRST.alloc(one, AtomicU32::new(11), Gfp::KERNEL)?;
        FIRST.alloc(two, AtomicU32::new(12), Gfp::ATOMIC)?;
        SECOND.alloc(one, AtomicU32::new(21), Gfp::KERNEL)?;
        show(objects, "allocated");

        pr_info!("selftest-shadow: twice: {:?}", FIRST.alloc(one, AtomicU32::new(99), Gfp::KERNEL).err());

        let found = FIRST.get_or_alloc(one, AtomicU32::new(99), Gfp::KERNEL)?;
        pr_info!("selftest-shadow: got {}", found.load(Ordering::Relaxed));
        let made = FIRST.get_or_alloc_with(three, Gfp::KERNEL, || Ok(AtomicU32::new(13)))?;
        made.fetch_add(100, Ordering::Relaxed);
        let failed = SECOND.get_or_alloc_with(three, Gfp::KERNEL, || Err(Errno::new(EBUSY)));
        pr_info!("selftest-shadow: the constructor's error is {:?}", failed.err());
        show(objects, "got or allocated");

        FIRST.free(one);
        FIRST.free(one);
        show(objects, "freed the first of object 0");
        FIRST.free_all();
        show(objects, "freed all of the first");
        SECOND.free_all();
        show(objects, "freed all");

        for (number, object) in objects.iter().enumerate() {
            DROPPED.alloc(object, Noisy(number as u32), Gfp::KERNEL)?;
        }
        DROPPED.free(one);
        DROPPED.free(two);
        DROPPED.free_all_with::<Tell>();
        pr_info!(
            "selftest-shadow: left: {}",
            objects.iter().filter(|at| DROPPED.get_ptr(*at).is_some()).count()
        );
    }
    Ok(())
}

impl Callbacks<replaced::objects::vmlinux> for Patch {
    fn pre_patch(_object: &Object<'_>) -> Result<(), Errno> {
        steps(&[0; OBJECTS])
    }
}

klp::livepatch!(Patch);
