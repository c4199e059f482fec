// SPDX-License-Identifier: GPL-2.0-or-later
//! Reading of a module's code: instructions, control flow, stack depth, calls, references between functions and data.

mod context;
mod graph;
mod machine;
mod places;
mod program;
mod references;
mod values;

use std::cell::OnceCell;
use std::collections::BTreeSet;

use klp_module::{Module, PatchTable, Place, TableError};

use self::context::misuses;
pub use self::context::sleeps;
pub(crate) use self::context::{Misuse, Section};
pub(crate) use self::graph::Graph;
pub(crate) use self::places::{describe_place, place_of, range, section_of};
pub(crate) use self::program::{Target, kernel_name};
pub(crate) use self::references::References;
pub(crate) use self::values::{Call, Passed};
use crate::facts::{ArchTable, Expected};

/// Input of the rules: a module with its analysis, and the facts that it is compared with.
pub(crate) struct Subject<'a> {
    pub(crate) module: &'a Module<'a>,
    pub(crate) expected: &'a Expected,
    pub(crate) arch: &'static ArchTable,
    /// The live patch's tables, or the reason why they cannot be read.
    pub(crate) table: Result<PatchTable, TableError>,
    /// Functions and calls.
    pub(crate) graph: Graph<'a, 'a>,
    misuses: OnceCell<BTreeSet<Misuse>>,
}

impl<'a> Subject<'a> {
    pub(crate) fn read(module: &'a Module<'a>, expected: &'a Expected) -> Self {
        let table = module.tables(&expected.layout);
        Self {
            module,
            expected,
            arch: ArchTable::of(expected.arch),
            table,
            graph: Graph::read(module),
            misuses: OnceCell::new(),
        }
    }

    /// Wrong uses of locks and sections.
    pub(crate) fn misuses(&self) -> &BTreeSet<Misuse> {
        self.misuses.get_or_init(|| misuses(&self.graph, self.expected.visible_unlocks))
    }

    /// A place as text for messages: section, offset and function.
    pub(crate) fn place(&self, place: Place) -> String {
        describe_place(self.module, place.section, place.offset)
    }
}
