// SPDX-License-Identifier: GPL-2.0-only
//! {{description}}
#![no_std]

{{import}}

/// The replacements of this fix.
pub struct Patch;

impl replaced::{{object}} for Patch {
    // {{prototype}}
    unsafe extern "C" fn {{method}}{{signature}} {
        // Change this body: it runs instead of the kernel's function.
        {{body}}
    }
}

klp::livepatch!(Patch);
