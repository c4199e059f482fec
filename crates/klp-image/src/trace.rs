// SPDX-License-Identifier: GPL-2.0-or-later
//! What ftrace can reach, and so what a live patch can replace: the functions that begin with a call of `__fentry__`.
//!
//! The kernel's build lists these calls in a table between `__start_mcount_loc` and `__stop_mcount_loc`. Entries of functions
//! that the linker dropped are 0, or lie behind a symbol that is not theirs; ftrace does not show those, and neither do we.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use klp_format::SymbolPosition;

use crate::elf::{Vmlinux, u64_at};
use crate::error::ImageError;
use crate::symbols::{PADDING, Symbol, Symbols};

/// Whether ftrace, and with it a live patch, can reach a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Traceability {
    /// It can.
    Traceable,
    /// It cannot.
    Not(NotTraceable),
}

impl Traceability {
    /// Whether it can.
    pub fn is_traceable(&self) -> bool {
        *self == Self::Traceable
    }
}

/// Why a function cannot be traced or replaced; the text is for the author of a fix.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotTraceable {
    /// There is no symbol of that name.
    Unknown {
        /// The compiler's variants of it that there are, such as `f.isra.0`.
        variants: Vec<String>,
    },
    /// There are several symbols of that name, and none was chosen.
    Ambiguous {
        /// How many.
        count: usize,
    },
    /// There are fewer symbols of that name.
    Position {
        /// Which was asked for, from 1.
        asked: u32,
        /// How many there are.
        count: usize,
    },
    /// It is no function.
    Data {
        /// Its kind in kallsyms.
        kind: char,
    },
    /// It is code of the kernel's start, whose memory is freed after boot.
    Init,
    /// It stands where instrumentation is forbidden: entry code and `noinstr`.
    Noinstr,
    /// It is written in Rust, for which no calls of `__fentry__` are made.
    Rust,
    /// It is the unlikely part of a function, which is jumped to, not called.
    Cold {
        /// The function.
        function: String,
    },
    /// It is the padding before a function.
    Padding {
        /// The function.
        function: String,
    },
    /// It does not begin with a call of `__fentry__`: written in assembly, marked `notrace`, or in a file that is built
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

/// The places that ftrace can reach.
///
/// # Invariants
/// `entries` is sorted and has no zero.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    entries: Vec<u64>,
    /// How far behind a function's symbol its entry may lie: 4 bytes where functions begin with `endbr64`.
    slack: u64,
    /// Entries of the table that the build zeroed.
    dropped: u64,
    init: Range<u64>,
    noinstr: Vec<Range<u64>>,
}

/// Marks around code that may not be instrumented (`include/asm-generic/vmlinux.lds.h`).
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
        Ok(Self { entries, slack, dropped, init, noinstr })
    }

    /// How many functions can be traced, those that are freed after boot included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing can be traced.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many entries of the kernel's table are zero: functions that the linker dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// The answer for the function of a name. `position` chooses among several of that name; 0 says that there is one.
    pub fn of_name(&self, symbols: &Symbols, name: &str, position: SymbolPosition) -> Traceability {
        match choose(symbols, name, position) {
            Ok((_, symbol)) => self.of_symbol(&symbol),
            Err(reason) => Traceability::Not(reason),
        }
    }

    /// The answer for a symbol.
    pub fn of_symbol(&self, symbol: &Symbol<'_>) -> Traceability {
        match self.reason_against(symbol) {
            None => Traceability::Traceable,
            Some(reason) => Traceability::Not(reason),
        }
    }

    /// Places that ftrace can still reach when the kernel's start is over, in their order.
    pub(crate) fn lasting(&self) -> impl Iterator<Item = u64> {
        self.entries.iter().copied().filter(|entry| !self.init.contains(entry))
    }

    /// How far behind a function's symbol its entry may lie, in bytes.
    pub(crate) fn slack(&self) -> u64 {
        self.slack
    }

    /// Whether an entry belongs to the function at `address`.
    fn has_entry(&self, address: u64) -> bool {
        let first = self.entries.partition_point(|entry| *entry < address);
        self.entries.get(first).is_some_and(|entry| *entry - address <= self.slack)
    }

    /// Why a symbol cannot be traced, if it cannot.
    pub fn reason_against(&self, symbol: &Symbol<'_>) -> Option<NotTraceable> {
        if !symbol.is_code() {
            return Some(NotTraceable::Data { kind: symbol.kind });
        }
        if self.init.contains(&symbol.address) {
            return Some(NotTraceable::Init);
        }
        if self.has_entry(symbol.address) {
            return None;
        }
        let noinstr = self.noinstr.iter().any(|range| range.contains(&symbol.address));
        let otherwise = if noinstr { NotTraceable::Noinstr } else { NotTraceable::NoEntry };
        Some(reason_of_name(symbol.name).unwrap_or(otherwise))
    }

    /// As it is kept in the cache; [`Self::from_bytes`] reads it back.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut numbers =
            vec![self.slack, self.dropped, self.init.start, self.init.end, self.noinstr.len() as u64];
        numbers.extend(self.noinstr.iter().flat_map(|range| [range.start, range.end]));
        numbers.extend(&self.entries);
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    /// Reads what [`Self::to_bytes`] wrote.
    ///
    /// # Errors
    /// It was something else that wrote it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ImageError> {
        let read = || {
            let number = |index: usize| u64_at(bytes, 8 * index);
            let ranges = usize::try_from(number(4)?).ok().filter(|ranges| *ranges <= NOINSTR.len())?;
            let range = |index: usize| Some(number(5 + 2 * index)?..number(6 + 2 * index)?);
            let (entries, cut) = bytes.get(8 * (5 + 2 * ranges)..)?.as_chunks();
            let entries: Vec<u64> = entries.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect();
            let whole = cut.is_empty() && entries.is_sorted();
            whole.then_some(Self {
                entries,
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

/// The symbol that a name and a position mean, with its place in the order of kallsyms.
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

/// The reason that a function's name alone gives.
pub(crate) fn reason_of_name(name: &str) -> Option<NotTraceable> {
    if let Some(function) = PADDING.iter().find_map(|start| name.strip_prefix(start)) {
        return Some(NotTraceable::Padding { function: function.to_owned() });
    }
    if let Some((function, _)) = name.split_once(".cold") {
        return Some(NotTraceable::Cold { function: function.to_owned() });
    }
    name.starts_with("_R").then_some(NotTraceable::Rust)
}

/// Bytes of the instructions before a function that arm64 keeps for its callback (`CONFIG_DYNAMIC_FTRACE_WITH_CALL_OPS`,
/// `ftrace_call_adjust()` in `arch/arm64/kernel/ftrace.c`): the table then has the first of them.
pub(crate) const BEFORE: u64 = 8;

/// Whether most entries stand before the functions that they are of.
fn begin_before(entries: &[u64], symbols: &Symbols) -> bool {
    let before =
        entries.iter().filter(|entry| symbols.at(entry.saturating_add(BEFORE)).next().is_some()).count();
    before * 2 > entries.len()
}

/// How far behind its symbol an entry may lie. The kernel knows from its configuration (`FTRACE_MCOUNT_MAX_OFFSET`); here
/// it is the greatest distance up to 8 bytes that a hundredth of the entries have. Entries of dropped weak functions lie
/// anywhere behind another function's symbol.
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

/// The functions that ftrace lists, and how often each name is among them. ftrace prints the first symbol at an address, so
/// an alias of a traceable function is traceable and not listed; functions that are freed after boot are not listed either.
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
