// SPDX-License-Identifier: GPL-2.0-only
//! Keeps the ring of module vendor_ring below its capacity.
#![no_std]

use klp::prelude::*;
use replaced::original;

/// The replacements of this fix.
pub struct Patch;

impl replaced::vendor_ring for Patch {
    unsafe extern "C" fn vendor_ring_fill(ring: *mut vendor_ring, bytes: u64) -> c_int {
        // SAFETY: the module passes its ring, of which only this function changes the length.
        let (length, capacity) = unsafe { ((*ring).length, (*ring).capacity) };
        if u64::from(length).saturating_add(bytes) > u64::from(capacity) {
            return Errno::new(ENOSPC).to_ret();
        }
        // SAFETY: the arguments are those of the replacement.
        unsafe { original::vendor_ring::vendor_ring_fill(ring, bytes) }
    }
}

klp::livepatch!(Patch);
