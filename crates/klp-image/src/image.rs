// SPDX-License-Identifier: GPL-2.0-or-later
//! Tables of a kernel image, and questions that need more than one of them.

use klp_format::SymbolPosition;

use crate::btf::Types;
use crate::parsed::Facts;
use crate::symbols::Symbols;
use crate::trace::{self, NotTraceable, Trace, Traceability};

/// Kind of memory of a symbol in its object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    /// Permanent code.
    Code,
    /// Permanent data.
    Data,
    /// Data that the kernel makes read-only: at once, or when its start has ended (`__ro_after_init`).
    ReadOnly,
    /// Init code or init data, whose memory is freed.
    Init,
    /// Template of per-CPU data: the address of the symbol is an offset.
    PerCpu,
}

/// Kernel image with parsed tables.
pub struct KernelImage {
    /// Types and prototypes.
    pub types: Types,
    /// Symbols.
    pub symbols: Symbols,
    /// Traceable functions.
    pub trace: Trace,
    /// Other properties.
    pub facts: Facts,
}

impl KernelImage {
    /// Kind of memory of a symbol.
    ///
    /// # Errors
    /// There is no symbol with this name and position, or the name is ambiguous.
    pub fn area(&self, name: &str, position: SymbolPosition) -> Result<Area, NotTraceable> {
        let (_, symbol) = trace::choose(&self.symbols, name, position)?;
        let between = |start: &str, end: &str| {
            let marks = self.symbols.mark(start).ok().zip(self.symbols.mark(end).ok());
            marks.is_some_and(|(start, end)| (start..end).contains(&symbol.address))
        };
        Ok(if !symbol.is_code() && between("__per_cpu_start", "__per_cpu_end") {
            Area::PerCpu
        } else if between("__init_begin", "__init_end") {
            Area::Init
        } else if symbol.is_code() {
            Area::Code
        } else if between("__start_rodata", "__end_rodata") {
            Area::ReadOnly
        } else {
            Area::Data
        })
    }

    /// Traceability of a function by ftrace, and so by a live patch. `position` is the symbol position; 0 means that the
    /// name is unique.
    pub fn traceability(&self, name: &str, position: SymbolPosition) -> Traceability {
        self.trace.of_name(&self.symbols, name, position)
    }

    /// Offset of a function's own code behind its ftrace site, in bytes; `position` as in [`Self::traceability`]. `None` if the
    /// function has no site, or starts in an unknown way.
    pub fn body(&self, name: &str, position: SymbolPosition) -> Option<u64> {
        let (_, symbol) = trace::choose(&self.symbols, name, position).ok()?;
        self.trace.body(symbol.address)
    }
}
