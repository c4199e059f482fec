// SPDX-License-Identifier: GPL-2.0-or-later
//! Direct calls and jumps between the functions of a kernel, and words that hold a function's address, from the image's code and
//! data.
//!
//! A copy of a function that the compiler inlined into a caller is no call: the image does not show it.

use std::collections::BTreeMap;
use std::ops::Range;

use iced_x86::{Decoder, DecoderOptions, FlowControl, OpKind};

use crate::elf::{Section, Vmlinux, u64_at};
use crate::error::ImageError;
use crate::symbols::Symbols;

/// Machine of the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// x86_64.
    X86_64,
    /// arm64.
    Arm64,
}

/// Sections of a linked kernel with the places of instructions, among them starts of functions: no uses
/// (`include/asm-generic/vmlinux.lds.h`, `arch/x86/kernel/vmlinux.lds.S`).
pub(crate) const SITES: [&str; 12] = [
    ".altinstructions",
    ".call_sites",
    ".cfi_sites",
    ".ibt_endbr_seal",
    ".orc_unwind",
    ".orc_unwind_ip",
    ".parainstructions",
    ".retpoline_sites",
    ".return_sites",
    ".smp_locks",
    "__bug_table",
    "__ex_table",
];

/// A reference to the first byte of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// Address of the function.
    pub target: u64,
    /// Address of the instruction or word.
    pub place: u64,
}

/// Use of an address by an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// Call or jump.
    Call,
    /// Distance from the instruction.
    Relative,
    /// Number that may be an address.
    Absolute,
}

/// References to the functions of a kernel.
///
/// # Invariants
/// Both lists are sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    calls: Vec<Reference>,
    addresses: Vec<Reference>,
}

impl Calls {
    /// Reads the code and data of a decompressed kernel.
    ///
    /// # Errors
    /// The bytes are not an ELF file.
    pub fn parse(vmlinux: &[u8], symbols: &Symbols, code: Code) -> Result<Self, ImageError> {
        let vmlinux = Vmlinux::parse(vmlinux)?;
        let functions = functions(symbols);
        let (mut calls, mut addresses) = (Vec::new(), Vec::new());
        // A damaged file may have sections at the end of the address space.
        let fits = |section: &&Section<'_>| {
            section.address.checked_add(section.data.len().max(1) as u64 + 16).is_some()
        };
        for section in vmlinux.sections().iter().filter(fits) {
            if section.executable {
                for (start, end) in &functions {
                    if section.holds(*start) {
                        let function = *start..*end;
                        of_code(section, function, code, |reference, found, _| {
                            if functions.contains_key(&reference.target) {
                                if found == Use::Call {
                                    calls.push(reference);
                                } else {
                                    addresses.push(reference);
                                }
                            }
                        });
                    }
                }
            } else if !SITES.contains(&section.name) {
                of_data(section, |reference| {
                    if functions.contains_key(&reference.target) {
                        addresses.push(reference);
                    }
                });
            }
        }
        let relative = vmlinux.relative().map(|(place, target)| Reference { target, place });
        addresses.extend(relative.filter(|reference| functions.contains_key(&reference.target)));
        // Tables that list every function, or every site, are no uses.
        addresses.retain(|reference| !is_table(symbols, reference.place));
        for list in [&mut calls, &mut addresses] {
            list.sort_unstable();
            list.dedup();
        }
        Ok(Self { calls, addresses })
    }

    /// Direct calls of and jumps to the function at an address, from other functions and from itself.
    pub fn calls_of(&self, function: u64) -> &[Reference] {
        of(&self.calls, function)
    }

    /// Instructions and words that hold the address of the function: pointers to it.
    pub fn addresses_of(&self, function: u64) -> &[Reference] {
        of(&self.addresses, function)
    }

    /// Direct calls and jumps out of a range of code.
    pub fn calls_from(&self, code: Range<u64>) -> impl Iterator<Item = &Reference> {
        self.calls.iter().filter(move |reference| code.contains(&reference.place))
    }

    /// First direct call or jump at or behind an address.
    pub fn next_from(&self, address: u64) -> Option<&Reference> {
        self.calls
            .iter()
            .filter(|reference| reference.place >= address)
            .min_by_key(|reference| reference.place)
    }

    /// Number of direct calls.
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// True if there are no calls.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Serialised form for the cache; see [`Self::from_bytes`].
    pub fn to_bytes(&self) -> Vec<u8> {
        let numbers = [&self.calls, &self.addresses].into_iter().flat_map(|list| {
            let references = list.iter().flat_map(|reference| [reference.target, reference.place]);
            std::iter::once(list.len() as u64).chain(references)
        });
        numbers.flat_map(u64::to_le_bytes).collect()
    }

    /// Parses the output of [`Self::to_bytes`].
    ///
    /// # Errors
    /// The bytes were not written by [`Self::to_bytes`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ImageError> {
        let cut = || ImageError::Damaged("its index of calls is cut or foreign".to_owned());
        let (calls, rest) = list(bytes).ok_or_else(cut)?;
        let (addresses, rest) = list(rest).ok_or_else(cut)?;
        let whole = rest.is_empty() && calls.is_sorted() && addresses.is_sorted();
        whole.then_some(Self { calls, addresses }).ok_or_else(cut)
    }
}

fn list(bytes: &[u8]) -> Option<(Vec<Reference>, &[u8])> {
    let (length, rest) = bytes.split_first_chunk()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    let (entries, rest) = rest.split_at_checked(length.checked_mul(16)?)?;
    let reference =
        |entry: &[u8; 16]| Some(Reference { target: u64_at(entry, 0)?, place: u64_at(entry, 8)? });
    Some((entries.as_chunks().0.iter().map(reference).collect::<Option<_>>()?, rest))
}

fn of(list: &[Reference], function: u64) -> &[Reference] {
    let start = list.partition_point(|reference| reference.target < function);
    let length = list[start..].partition_point(|reference| reference.target == function);
    &list[start..start + length]
}

/// Start and end of the code of each symbol. Padding before functions is left out.
fn functions(symbols: &Symbols) -> BTreeMap<u64, u64> {
    let code = || symbols.iter().filter(|symbol| symbol.is_code());
    let mut starts: Vec<u64> = code().map(|symbol| symbol.address).collect();
    starts.sort_unstable();
    starts.dedup();
    let mut functions = BTreeMap::new();
    for symbol in code().filter(|symbol| !symbol.is_padding()) {
        let next = starts.partition_point(|start| *start <= symbol.address);
        // Behind the last function stands a symbol of another kind.
        let end = starts.get(next).copied().or_else(|| symbols.next(symbol.address));
        functions.insert(symbol.address, end.unwrap_or(symbol.address));
    }
    functions
}

/// Tables of places and functions that the build makes: their words are no pointers that the kernel calls.
fn is_table(symbols: &Symbols, place: u64) -> bool {
    const TABLES: [(&str, &str); 3] = [
        ("__start_mcount_loc", "__stop_mcount_loc"),
        ("__start_kprobe_blacklist", "__stop_kprobe_blacklist"),
        ("__start___ksymtab", "__stop___ksymtab_gpl"),
    ];
    TABLES.iter().any(|(start, end)| {
        let marks = symbols.mark(start).ok().zip(symbols.mark(end).ok());
        marks.is_some_and(|(start, end)| (start..end).contains(&place))
    })
}

/// Reports the calls and addresses in the code of one function, with the end of each instruction.
fn of_code(section: &Section<'_>, function: Range<u64>, code: Code, found: impl FnMut(Reference, Use, u64)) {
    let offset = |address: u64| usize::try_from(address - section.address).ok();
    let end = function.end.min(section.address + section.data.len() as u64);
    let bytes = offset(function.start).zip(offset(end)).and_then(|(from, to)| section.data.get(from..to));
    let Some(bytes) = bytes else { return };
    of_bytes(bytes, function.start, code, found);
}

/// As [`of_code`], of the code at the address `start`.
pub(crate) fn of_bytes(bytes: &[u8], start: u64, code: Code, found: impl FnMut(Reference, Use, u64)) {
    match code {
        Code::X86_64 => of_x86_64(bytes, start, found),
        Code::Arm64 => of_arm64(bytes, start, found),
    }
}

fn of_x86_64(bytes: &[u8], start: u64, mut found: impl FnMut(Reference, Use, u64)) {
    let mut decoder = Decoder::with_ip(64, bytes, start, DecoderOptions::NONE);
    let end = start + bytes.len() as u64;
    for instruction in &mut decoder {
        let (place, next) = (instruction.ip(), instruction.next_ip());
        match instruction.flow_control() {
            FlowControl::Call | FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch => {
                let target = instruction.near_branch_target();
                let inside = (start + 1..end).contains(&target);
                if target != 0 && !inside {
                    found(Reference { target, place }, Use::Call, next);
                }
            }
            _ => {
                if instruction.is_ip_rel_memory_operand() {
                    let target = instruction.ip_rel_memory_address();
                    found(Reference { target, place }, Use::Relative, next);
                }
                for operand in 0..instruction.op_count() {
                    if matches!(
                        instruction.op_kind(operand),
                        OpKind::Immediate32to64 | OpKind::Immediate64 | OpKind::Immediate32
                    ) {
                        // Addresses of the kernel are sign-extended 32-bit numbers.
                        let target = i64::from(instruction.immediate(operand) as i32).cast_unsigned();
                        found(Reference { target, place }, Use::Absolute, next);
                    }
                }
            }
        }
    }
}

fn of_arm64(bytes: &[u8], start: u64, mut found: impl FnMut(Reference, Use, u64)) {
    const OPERATION: u32 = 0x7c00_0000;
    const BRANCH: u32 = 0x1400_0000;
    // Page of each register that `adrp` wrote.
    let mut pages = [None; 32];
    for (place, word) in (start..).step_by(4).zip(bytes.as_chunks::<4>().0) {
        let word = u32::from_le_bytes(*word);
        let mut found = |target, used| found(Reference { target, place }, used, place + 4);
        // `b` and `bl`: a distance in instructions, with a sign in bit 25.
        if word & OPERATION == BRANCH {
            let distance = i64::from((word << 6).cast_signed() >> 6) * 4;
            found(place.wrapping_add_signed(distance), Use::Call);
        }
        let register = |bit: u32| (word >> bit & 31) as usize;
        // `adr` and `adrp`: 21 bits with a sign, the lowest two in bits 29 and 30.
        let distance = i64::from((word << 8).cast_signed() >> 13) << 2 | i64::from(word >> 29 & 3);
        match word & 0x9f00_0000 {
            0x1000_0000 => found(place.wrapping_add_signed(distance), Use::Relative),
            0x9000_0000 => pages[register(0)] = Some((place & !0xfff).wrapping_add_signed(distance << 12)),
            _ => {}
        }
        // `add`, 64-bit, with an unshifted constant of 12 bits.
        if word & 0xffc0_0000 == 0x9100_0000
            && let Some(page) = pages[register(5)]
        {
            found(u64::wrapping_add(page, u64::from(word >> 10 & 0xfff)), Use::Relative);
        }
    }
}

/// Reports the words of a data section as possible addresses: 64-bit words, and 32-bit distances from their own place
/// (`CONFIG_HAVE_ARCH_PREL32_RELOCATIONS`: initcalls, PCI fixups).
fn of_data(section: &Section<'_>, mut found: impl FnMut(Reference)) {
    for (place, word) in (section.address..).step_by(8).zip(section.data.as_chunks::<8>().0) {
        found(Reference { target: u64::from_le_bytes(*word), place });
    }
    for (place, word) in (section.address..).step_by(4).zip(section.data.as_chunks::<4>().0) {
        let distance = i64::from(i32::from_le_bytes(*word));
        found(Reference { target: place.wrapping_add_signed(distance), place });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(code: Code, bytes: &[u8]) -> Vec<(u64, u64, bool)> {
        let section = Section {
            name: ".text",
            address: 0x1000,
            data: bytes,
            size: bytes.len() as u64,
            executable: true,
        };
        let mut all = Vec::new();
        of_code(&section, 0x1000..0x1000 + bytes.len() as u64, code, |reference, found, _| {
            all.push((reference.target, reference.place, found == Use::Call));
        });
        all
    }

    #[test]
    fn calls_jumps_and_addresses_are_found_and_jumps_inside_are_not() {
        // call +0x100; jmp back to offset 5; lea rax, [rip+0x10]; mov rdi, 0xffffffff81000000
        let code = [
            0xe8, 0xfb, 0, 0, 0, 0xeb, 0xfe, 0x48, 0x8d, 0x05, 0x10, 0, 0, 0, 0x48, 0xc7, 0xc7, 0, 0, 0, 0x81,
        ];
        let found = all(Code::X86_64, &code);
        assert_eq!(
            found,
            [(0x1100, 0x1000, true), (0x101e, 0x1007, false), (0xffff_ffff_8100_0000, 0x100e, false)]
        );
        let words: Vec<u8> =
            [0x9400_0040_u32, 0x17ff_ffff, 0xd503_201f].iter().flat_map(|w| w.to_le_bytes()).collect();
        assert_eq!(all(Code::Arm64, &words), [(0x1100, 0x1000, true), (0x1000, 0x1004, true)]);
        // adrp x1, +0x1000; add x0, x1, #0x128; adr x2, -4
        let words: Vec<u8> =
            [0xb000_0001_u32, 0x9104_a020, 0x10ff_ffe2].iter().flat_map(|w| w.to_le_bytes()).collect();
        assert_eq!(all(Code::Arm64, &words), [(0x2128, 0x1004, false), (0x1004, 0x1008, false)]);
    }

    #[test]
    fn words_and_distances_in_data_are_addresses() {
        let data = [0x1000_u64.to_le_bytes(), (-0x100_i64).to_le_bytes()].concat();
        let section = Section { name: ".data", address: 0x2000, data: &data, size: 16, executable: false };
        let mut all = Vec::new();
        of_data(&section, |reference| all.push((reference.target, reference.place)));
        assert!(all.contains(&(0x1000, 0x2000)) && all.contains(&(0x1f08, 0x2008)), "{all:x?}");
    }

    #[test]
    fn an_index_is_read_back_and_a_cut_one_is_refused() {
        let reference = |target, place| Reference { target, place };
        let calls = vec![reference(0x1000, 0x1010), reference(0x1000, 0x1020), reference(0x2000, 0x1000)];
        let index = Calls { calls, addresses: vec![reference(0x2000, 0x3000)] };
        let bytes = index.to_bytes();
        assert_eq!(Calls::from_bytes(&bytes).ok().as_ref(), Some(&index));
        assert_eq!(index.calls_of(0x1000).len(), 2);
        assert_eq!(index.calls_of(0x1800), []);
        assert_eq!(index.addresses_of(0x2000), [reference(0x2000, 0x3000)]);
        assert_eq!(index.calls_from(0x1000..0x1011).count(), 2);
        for length in 0..bytes.len() {
            assert!(Calls::from_bytes(&bytes[..length]).is_err(), "{length}");
        }
    }
}
