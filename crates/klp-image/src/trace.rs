// SPDX-License-Identifier: GPL-2.0-or-later
//! Functions that ftrace can trace, and that a live patch can replace: those that start with a call of `__fentry__`.
//!
//! The kernel's build lists these calls in a table between `__start_mcount_loc` and `__stop_mcount_loc`. Entries of
//! functions that the linker dropped are 0, or lie behind a symbol of another function; ftrace does not list them, and
//! neither does this module.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use klp_format::SymbolPosition;

use crate::body;
use crate::elf::{Vmlinux, u64_at};
use crate::error::ImageError;
use crate::symbols::{PADDING, Symbol, Symbols};

/// Traceability of a function by ftrace, and so by a live patch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Traceability {
    /// The function is traceable.
    Traceable,
    /// The function is not traceable, with the reason.
    Not(NotTraceable),
}

impl Traceability {
    /// True if the function is traceable.
    pub fn is_traceable(&self) -> bool {
        *self == Self::Traceable
    }
}

/// Reason why a function cannot be traced or replaced; the text is for authors of fixes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotTraceable {
    /// No symbol with this name.
    Unknown {
        /// Existing compiler variants of the function, such as `f.isra.0`.
        variants: Vec<String>,
    },
    /// Several symbols have this name, and no position was given.
    Ambiguous {
        /// Number of symbols with this name.
        count: usize,
    },
    /// The symbol position is too large.
    Position {
        /// Requested position, from 1.
        asked: u32,
        /// Number of symbols with this name.
        count: usize,
    },
    /// The symbol is not a function.
    Data {
        /// Kind of the symbol in kallsyms.
        kind: char,
    },
    /// Init code, whose memory is freed after boot.
    Init,
    /// Code without instrumentation: entry code or `noinstr`.
    Noinstr,
    /// Rust function: the compiler does not add calls of `__fentry__`.
    Rust,
    /// Cold part of a function; it is reached by a jump, not by a call.
    Cold {
        /// Name of the function.
        function: String,
    },
    /// Padding before a function.
    Padding {
        /// Name of the function.
        function: String,
    },
    /// No call of `__fentry__` at the start: the function is written in assembly, marked `notrace`, or in a file built
    /// without tracing.
    NoEntry,
}

impl fmt::Display for NotTraceable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { variants } if variants.is_empty() => {
                f.write_str("there is no symbol of that name: it may be inlined everywhere, be in a module, or be spelled differently")
            }
            Self::Unknown { variants } => write!(
                f,
                "there is no symbol of that name, only the compiler's variants {}, whose arguments may differ from those in the source",
                variants.join(", ")
            ),
            Self::Ambiguous { count } => write!(
                f,
                "there are {count} symbols of that name; say which with a position from 1 to {count} after a comma"
            ),
            Self::Position { asked, count } => {
                write!(f, "position {asked} was asked for, there are {count} symbols of that name")
            }
            Self::Data { kind } => write!(f, "it is no function (kallsyms has it as `{kind}`)"),
            Self::Init => f.write_str("it is code of the kernel's start (`__init`), which is freed after boot"),
            Self::Noinstr => f.write_str("it is entry code or `noinstr`, where nothing may be traced"),
            Self::Rust => f.write_str("it is written in Rust, for which the compiler makes no calls of __fentry__"),
            Self::Cold { function } => write!(f, "it is the unlikely part of {function}, jumped to and never called"),
            Self::Padding { function } => write!(f, "it is the padding before {function}"),
            Self::NoEntry => f.write_str(
                "it does not begin with a call of __fentry__: it is assembly, marked `notrace`, or in a file that is built without tracing",
            ),
        }
    }
}

/// ftrace call sites of a kernel.
///
/// # Invariants
/// `entries` is sorted and contains no zero. `bodies` is as long as `entries`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    entries: Vec<u64>,
    /// Offset of each function's own code from the function's start, in bytes; 0 if the function starts in an unknown way.
    bodies: Vec<u8>,
    /// Maximum distance of an entry behind its function symbol, in bytes: 4 if functions start with `endbr64`.
    slack: u64,
    /// Number of table entries that the build set to zero.
    dropped: u64,
    init: Range<u64>,
    noinstr: Vec<Range<u64>>,
}

/// Start and end symbols of code without instrumentation (`include/asm-generic/vmlinux.lds.h`).
const NOINSTR: [(&str, &str); 2] =
    [("__noinstr_text_start", "__noinstr_text_end"), ("__entry_text_start", "__entry_text_end")];

impl Trace {
    /// Reads the table of a kernel.
    pub(crate) fn read(vmlinux: &Vmlinux<'_>, symbols: &Symbols) -> Result<Self, ImageError> {
        let start = symbols.mark("__start_mcount_loc")?;
        let stop = symbols.mark("__stop_mcount_loc")?;
        let mut entries = vmlinux.addresses(start, stop).ok_or_else(|| {
            ImageError::Damaged("its table of traceable functions lies in no section".to_owned())
        })?;
        let all = entries.len() as u64;
        entries.retain(|entry| *entry != 0);
        let dropped = all - entries.len() as u64;
        let text = |entry: &u64| vmlinux.section_at(*entry).is_some_and(|section| section.executable);
        if entries.is_empty() || !entries.iter().all(text) {
            return Err(ImageError::Damaged(
                "its table of traceable functions is empty or points out of the code".to_owned(),
            ));
        }
        entries.sort_unstable();
        entries.dedup();
        if begin_before(&entries, symbols) {
            entries.iter_mut().for_each(|entry| *entry = entry.saturating_add(BEFORE));
        }
        let init = symbols.mark("__init_begin")?..symbols.mark("__init_end")?;
        let mut noinstr = Vec::new();
        for (start, end) in NOINSTR {
            if symbols.count(start) > 0 {
                noinstr.push(symbols.mark(start)?..symbols.mark(end)?);
            }
        }
        let slack = common_distance(&entries, symbols);
        let body = |entry: &u64| {
            let start = symbols.containing(*entry).filter(|(_, distance)| *distance <= slack)?.0.address;
            body::of_code(vmlinux.bytes(start, start.checked_add(body::LONGEST)?)?)
        };
        let bodies = entries.iter().map(|entry| body(entry).unwrap_or(0)).collect();
        Ok(Self { entries, bodies, slack, dropped, init, noinstr })
    }

    /// Number of traceable functions, including init functions.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True if no function is traceable.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Number of zero entries in the kernel's table: functions that the linker dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Traceability of a function by name. `position` is the symbol position; 0 means that the name is unique.
    pub fn of_name(&self, symbols: &Symbols, name: &str, position: SymbolPosition) -> Traceability {
        match choose(symbols, name, position) {
            Ok((_, symbol)) => self.of_symbol(&symbol),
            Err(reason) => Traceability::Not(reason),
        }
    }

    /// Traceability of a symbol.
    pub fn of_symbol(&self, symbol: &Symbol<'_>) -> Traceability {
        match self.reason_against(symbol) {
            None => Traceability::Traceable,
            Some(reason) => Traceability::Not(reason),
        }
    }

    /// Call sites that remain after boot, in ascending order.
    pub(crate) fn lasting(&self) -> impl Iterator<Item = u64> {
        self.entries.iter().copied().filter(|entry| !self.init.contains(entry))
    }

    /// Maximum distance of an entry behind its function symbol, in bytes.
    pub(crate) fn slack(&self) -> u64 {
        self.slack
    }

    /// Index of the entry of the function at `address`.
    fn entry_of(&self, address: u64) -> Option<usize> {
        let first = self.entries.partition_point(|entry| *entry < address);
        self.entries.get(first).filter(|entry| **entry - address <= self.slack).map(|_| first)
    }

    /// Offset of the own code of the function at `address`, behind landing pad and ftrace site, in bytes. `None` if the
    /// function has no site, or starts in an unknown way.
    pub fn body(&self, address: u64) -> Option<u64> {
        let offset = *self.bodies.get(self.entry_of(address)?)?;
        (offset != 0).then_some(u64::from(offset))
    }

    /// Reason why a symbol cannot be traced; `None` if it is traceable.
    pub fn reason_against(&self, symbol: &Symbol<'_>) -> Option<NotTraceable> {
        if !symbol.is_code() {
            return Some(NotTraceable::Data { kind: symbol.kind });
        }
        if self.init.contains(&symbol.address) {
            return Some(NotTraceable::Init);
        }
        if self.entry_of(symbol.address).is_some() {
            return None;
        }
        let noinstr = self.noinstr.iter().any(|range| range.contains(&symbol.address));
        let otherwise = if noinstr { NotTraceable::Noinstr } else { NotTraceable::NoEntry };
        Some(reason_of_name(symbol.name).unwrap_or(otherwise))
    }

    /// Serialised form for the cache; see [`Self::from_bytes`].
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut numbers =
            vec![self.slack, self.dropped, self.init.start, self.init.end, self.noinstr.len() as u64];
        numbers.extend(self.noinstr.iter().flat_map(|range| [range.start, range.end]));
        numbers.extend(&self.entries);
        let mut bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        bytes.extend(&self.bodies);
        bytes
    }

    /// Parses the output of [`Self::to_bytes`].
    ///
    /// # Errors
    /// The bytes were not written by [`Self::to_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ImageError> {
        let read = || {
            let number = |index: usize| u64_at(bytes, 8 * index);
            let ranges = usize::try_from(number(4)?).ok().filter(|ranges| *ranges <= NOINSTR.len())?;
            let range = |index: usize| Some(number(5 + 2 * index)?..number(6 + 2 * index)?);
            // Each entry has an address and one byte of its function.
            let rest = bytes.get(8 * (5 + 2 * ranges)..)?;
            let (entries, bodies) = rest.split_at(rest.len() / 9 * 8);
            let entries: Vec<u64> =
                entries.as_chunks().0.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
            let whole = entries.len() == bodies.len() && entries.is_sorted();
            whole.then_some(Self {
                entries,
                bodies: bodies.to_vec(),
                slack: number(0)?,
                dropped: number(1)?,
                init: number(2)?..number(3)?,
                noinstr: (0..ranges).map(range).collect::<Option<_>>()?,
            })
        };
        read().ok_or_else(|| {
            ImageError::Damaged("its index of traceable functions is cut or foreign".to_owned())
        })
    }
}

/// Symbol of a name and a position, with its index in the order of kallsyms.
pub(crate) fn choose<'a>(
    symbols: &'a Symbols,
    name: &str,
    position: SymbolPosition,
) -> Result<(usize, Symbol<'a>), NotTraceable> {
    let numbers = symbols.numbers_of(name);
    let number = match (numbers, position.0) {
        ([], _) => {
            let start = format!("{name}.");
            let variants = symbols.starting_with(&start).map(|symbol| symbol.name.to_owned());
            return Err(NotTraceable::Unknown { variants: variants.collect() });
        }
        ([only], 0) => Some(only),
        (several, 0) => return Err(NotTraceable::Ambiguous { count: several.len() }),
        (several, asked) => several.get(asked as usize - 1),
    };
    let found = number.and_then(|number| Some((*number as usize, symbols.get(*number as usize)?)));
    found.ok_or(NotTraceable::Position { asked: position.0, count: numbers.len() })
}

/// Reason that follows from the name of the function.
pub(crate) fn reason_of_name(name: &str) -> Option<NotTraceable> {
    if let Some(function) = PADDING.iter().find_map(|start| name.strip_prefix(start)) {
        return Some(NotTraceable::Padding { function: function.to_owned() });
    }
    if let Some((function, _)) = name.split_once(".cold") {
        return Some(NotTraceable::Cold { function: function.to_owned() });
    }
    name.starts_with("_R").then_some(NotTraceable::Rust)
}

/// Size of the instructions before a function that arm64 reserves for its callback, in bytes
/// (`CONFIG_DYNAMIC_FTRACE_WITH_CALL_OPS`, `ftrace_call_adjust()` in `arch/arm64/kernel/ftrace.c`). With them, a table
/// entry is the address of the first one.
pub(crate) const BEFORE: u64 = 8;

/// True if most entries lie before their functions.
fn begin_before(entries: &[u64], symbols: &Symbols) -> bool {
    let before =
        entries.iter().filter(|entry| symbols.at(entry.saturating_add(BEFORE)).next().is_some()).count();
    before * 2 > entries.len()
}

/// Maximum distance of an entry behind its symbol, in bytes. The kernel has it from its configuration
/// (`FTRACE_MCOUNT_MAX_OFFSET`); here it is the greatest distance up to 8 bytes that at least one percent of the entries
/// have. Entries of dropped weak functions lie at any distance behind a symbol of another function.
fn common_distance(entries: &[u64], symbols: &Symbols) -> u64 {
    let distances =
        entries.iter().filter_map(|entry| symbols.containing(*entry)).map(|(_, distance)| distance);
    let mut counts = [0_usize; 9];
    for distance in distances {
        if let Some(count) = usize::try_from(distance).ok().and_then(|distance| counts.get_mut(distance)) {
            *count += 1;
        }
    }
    let common = counts.iter().rposition(|count| *count * 100 >= entries.len());
    common.unwrap_or(0) as u64
}

/// Functions that ftrace lists, with the number of occurrences of each name. ftrace prints the first symbol at an
/// address, so an alias of a traceable function is traceable but not listed; init functions are not listed either.
pub fn listed<'a>(symbols: &'a Symbols, trace: &Trace) -> BTreeMap<&'a str, usize> {
    let mut listed = BTreeMap::new();
    for entry in trace.lasting() {
        if let Some((symbol, distance)) = symbols.containing(entry)
            && distance <= trace.slack()
        {
            *listed.entry(symbol.name).or_insert(0) += 1;
        }
    }
    listed
}
