// SPDX-License-Identifier: GPL-2.0-or-later
//! Facts that the analysis and the rules need: of the kernel, of the planned patch, of the architecture.

mod arch;
mod expected;
mod named;

pub(crate) use self::arch::ArchTable;
pub use self::expected::{
    Expected, ExpectedCopy, ExpectedExport, ExpectedParam, ExpectedPatch, LayoutFact, LoadedPatch,
    PrototypeFact, TypeFacts, TypeLayout,
};
pub use self::named::{Memory, Named, NamedSymbol};
