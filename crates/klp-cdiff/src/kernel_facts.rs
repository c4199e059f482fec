// SPDX-License-Identifier: GPL-2.0-or-later
//! Facts of the running kernel that the work on each file of a diff needs.

use std::collections::BTreeSet;

use klp_image::Memory;
use klp_kernel::c_source::CSource;
use klp_kernel::exports::{self, Exports};

use crate::error::Error;
use crate::names;
use crate::report::Inputs;
use crate::shipped::sealed;

/// Facts of the running kernel for the work on each file, beside its image.
pub(crate) struct KernelFacts {
    pub(crate) memory: Memory,
    pub(crate) exports: Exports,
    /// Functions whose landing pad the kernel removes when it boots, by address.
    pub(crate) sealed: BTreeSet<u64>,
    /// Functions of which objtool knows by name that they do not return.
    pub(crate) never_returning: BTreeSet<String>,
}

impl KernelFacts {
    /// Reads the kernel's image, its list of exports, and objtool's source.
    pub(crate) fn of(inputs: &Inputs<'_>, source: &CSource<'_>) -> Result<Self, Error> {
        let memory = Memory::load(inputs.tree.image_file(), inputs.cache, inputs.sink)?;
        let sealed = sealed(inputs.image, &memory);
        let exports = exports::of(inputs.tree)?;
        Ok(Self { memory, exports, sealed, never_returning: names::never_returning(&source.root) })
    }
}
