// SPDX-License-Identifier: GPL-2.0-or-later
//! Parses a real livepatch module (`data/cmdline_c.c`, built for Debian's 6.12.117 and stripped), intact and damaged. The
//! expected values come from readelf and modinfo.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use klp_format::SymbolPosition;
use klp_module::{
    Binding, Error, KlpLayout, Machine, Module, PatchTable, Place, SymbolKind, SymbolSection, TableError,
};

#[path = "../../../fuzz/src/module.rs"]
mod fuzzed;

use fuzzed::LAYOUT;

const CMDLINE: &[u8] = include_bytes!("data/cmdline_c.ko");
/// File offsets of section `.data` (21) and of its relocations.
const DATA: usize = 0x400;
const DATA_RELOCATIONS: usize = 0x1520;

fn module(bytes: &[u8]) -> Module<'_> {
    Module::parse(bytes).unwrap()
}

/// Calls every query of a module; none may panic.
fn ask_all(bytes: &[u8]) {
    let Ok(module) = Module::parse(bytes) else {
        return;
    };
    let _ = (module.name(), module.is_livepatch(), module.vermagic(), module.has_appended_signature());
    assert!(module.modinfo().count() <= bytes.len());
    let _ = module.klp_symbols().filter(|(_, symbol)| symbol.is_ok()).count();
    let _ = module.unconverted_symbols().count();
    for relocation in module.relocations() {
        assert!(relocation.symbol < module.symbols().len());
        let _ = module.function_at(relocation.target, relocation.offset);
        let _ = module.machine().relocation_name(relocation.kind);
    }
    let _ = module.patch_table(&LAYOUT, "patch");
    let _ = (module.tables(&LAYOUT), module.tables_by_relocation());
}

#[test]
fn facts_of_a_real_module() {
    let module = module(CMDLINE);
    assert_eq!(module.machine(), Machine::X86_64);
    assert_eq!(module.name().unwrap().as_str(), "cmdline_c");
    assert_eq!(module.vermagic().unwrap(), "6.12.117+deb12-amd64 SMP preempt mod_unload modversions ");
    assert!(module.is_livepatch());
    assert!(!module.has_appended_signature());
    let keys: Vec<_> = module.modinfo().map(|(key, _)| key.into_owned()).collect();
    assert_eq!(keys, ["livepatch", "description", "license", "depends", "name", "retpoline", "vermagic"]);
    assert_eq!(module.modinfo_value("license").unwrap(), "GPL");

    assert_eq!(module.symbols().len(), 37);
    let enable = module.symbol("klp_enable_patch").unwrap();
    assert_eq!((enable.section, enable.binding), (SymbolSection::Undefined, Binding::Global));
    let function = module.function_at(1, 0x60 + 34).unwrap();
    assert_eq!((function.name, function.kind), ("patched_cmdline_proc_show", SymbolKind::Function));
    assert!(module.function_at(1, 0x60 + 35).is_none());

    let text = module.section(".text").unwrap();
    assert!(text.is_alloc() && text.is_executable());
    assert_eq!(text.data.len(), 0x83);
    assert_eq!(module.relocations_of(text.index).count(), 0xf0 / 24);
    assert!(module.relocations().all(|relocation| !relocation.livepatch));
    let names: Vec<_> =
        module.relocations_of(1).map(|found| module.machine().relocation_name(found.kind)).collect();
    assert!(names.iter().all(|name| ["X86_64_PLT32", "X86_64_32S"].contains(name)));
    assert_eq!((module.klp_symbols().count(), module.unconverted_symbols().count()), (0, 0));
}

#[test]
fn tables_of_a_real_patch() {
    let table = module(CMDLINE).patch_table(&LAYOUT, "patch").unwrap();
    let PatchTable { replace, objects, states, sections } = &table;
    assert!(*replace && states.is_empty() && !objects[0].callbacks);
    let names: Vec<_> = sections.iter().map(|&at| module(CMDLINE).sections()[at].name).collect();
    assert_eq!(names, [".rodata.str1.1", ".data"]);
    assert_eq!(objects.len(), 1);
    assert_eq!(objects[0].name, None);
    let function = &objects[0].functions[0];
    assert_eq!(objects[0].functions.len(), 1);
    assert_eq!(function.old_name, "cmdline_proc_show");
    assert_eq!(function.position, SymbolPosition(0));
    assert_eq!(function.new_function, Place { section: 1, offset: 0x60 });
    assert_eq!(function.symbol.as_deref(), Some("patched_cmdline_proc_show"));
}

/// The module has no symbol `__klp_patch`; its init function passes `.data + 0`.
#[test]
fn tables_are_found_by_the_argument_of_klp_enable_patch() {
    let module = module(CMDLINE);
    let named = module.patch_table(&LAYOUT, "patch").unwrap();
    assert_eq!(module.tables(&LAYOUT).unwrap(), named);
    assert_eq!(module.tables_by_relocation().unwrap(), named);
}

#[test]
fn tables_that_cannot_be_found_or_measured_are_named() {
    // Rename klp_enable_patch, and change the pointer `mod`.
    let mut bytes = CMDLINE.to_vec();
    let at = bytes.windows(17).rposition(|window| window == b"klp_enable_patch\0").unwrap();
    bytes[at] = b'K';
    assert!(module(&bytes).tables(&LAYOUT).is_ok(), "one structure alone begins with THIS_MODULE");
    bytes[DATA_RELOCATIONS + 12] ^= 1;
    assert!(matches!(module(&bytes).tables(&LAYOUT), Err(TableError::NoArgument { .. })));
    // Symbol `funcs` (14 in the table) has no size.
    let mut bytes = CMDLINE.to_vec();
    let symbol = module(&bytes).symbols()[14];
    assert_eq!((symbol.name, symbol.size), ("funcs", 304));
    let entry = [&symbol.value.to_le_bytes()[..], &symbol.size.to_le_bytes()].concat();
    let at = bytes.windows(16).position(|window| window == entry).unwrap();
    bytes[at + 8..at + 16].fill(0);
    let error = module(&bytes).tables_by_relocation().unwrap_err();
    assert!(matches!(error, TableError::Extent { structure: "klp_func", .. }), "{error}");
    assert!(module(&bytes).tables(&LAYOUT).is_ok());
}

#[test]
fn faults_of_a_table_are_named() {
    let table = |bytes: &[u8], name: &str| module(bytes).patch_table(&LAYOUT, name).unwrap_err();
    assert!(matches!(table(CMDLINE, "nothing"), TableError::NoSymbol { .. }));
    assert!(matches!(table(CMDLINE, "klp_enable_patch"), TableError::NotDefined { .. }));
    assert!(matches!(table(CMDLINE, "init_module"), TableError::OutOfSection { .. }));

    // Move the relocation of klp_func.new_func: the pointer becomes null.
    let mut bytes = CMDLINE.to_vec();
    let new_func = DATA_RELOCATIONS + 4 * 24;
    assert_eq!(bytes[new_func..new_func + 2], [0x48, 0x02]);
    bytes[new_func..new_func + 2].copy_from_slice(&[0x60, 0x02]);
    let error = table(&bytes, "patch");
    assert!(matches!(&error, TableError::Null { what: "klp_func.new_func", offset: 0x248, .. }), "{error}");

    // The same, with a value in the pointer.
    bytes[DATA + 0x248] = 1;
    assert!(matches!(table(&bytes, "patch"), TableError::NoRelocation { offset: 0x248, .. }));

    // Relocation that writes 32 bits.
    let mut bytes = CMDLINE.to_vec();
    bytes[new_func + 8] = 10;
    assert!(matches!(table(&bytes, "patch"), TableError::RelocationKind { kind: 10, .. }));

    let layout = KlpLayout { func_size: 8, ..LAYOUT };
    let error = module(CMDLINE).patch_table(&layout, "patch").unwrap_err();
    assert!(matches!(error, TableError::Layout { structure: "klp_func", .. }));
    // Layout with an entry size that makes entries overlap: the walk must end anyway.
    let layout = KlpLayout { object_size: 16, object_name: 8, object_funcs: 0, ..LAYOUT };
    assert!(module(CMDLINE).patch_table(&layout, "patch").is_err());
}

#[test]
fn parse_rejects_files_that_are_not_modules() {
    let error = |bytes: &[u8]| Module::parse(bytes).map(|_| ()).unwrap_err();
    assert!(matches!(error(b""), Error::NotElf { .. }));
    assert!(matches!(error(b"#!/bin/sh\n"), Error::NotElf { .. }));
    assert!(matches!(error(&CMDLINE[..40]), Error::Elf { .. }));
    assert!(matches!(error(&CMDLINE[..4000]), Error::OutOfBounds { .. }));
    let with = |at: usize, value: u8| {
        let mut bytes = CMDLINE.to_vec();
        bytes[at] = value;
        error(&bytes)
    };
    assert!(matches!(with(4, 1), Error::Unsupported { what: "class", .. }));
    assert!(matches!(with(5, 2), Error::Unsupported { what: "byte order", .. }));
    assert!(matches!(with(16, 2), Error::Unsupported { what: "type", .. }));
    assert!(matches!(with(18, 40), Error::Unsupported { what: "machine", .. }));
    let text = with(18, 40).to_string();
    assert_eq!(
        text,
        "this is no kernel module for x86_64 or arm64: its ELF machine is 40, expected 62 (x86_64) or 183 (arm64)"
    );
}

#[test]
fn appended_signature_is_detected() {
    let mut bytes = CMDLINE.to_vec();
    bytes.extend_from_slice(b"...~Module signature appended~\n");
    assert!(module(&bytes).has_appended_signature());
}

#[test]
fn renamed_symbols_are_unconverted() {
    let mut bytes = CMDLINE.to_vec();
    let name = b"klp_enable_patch\0";
    let at = bytes.windows(name.len()).rposition(|window| window == name).unwrap();
    for new in [&b"__klp_sym_0\0"[..], b".klp.sym.vml\0"] {
        bytes[at..at + new.len()].copy_from_slice(new);
        let module = module(&bytes);
        let found: Vec<_> = module.unconverted_symbols().map(|symbol| symbol.name.to_owned()).collect();
        assert_eq!(found, [String::from_utf8_lossy(&new[..new.len() - 1])]);
    }
}

#[test]
fn no_truncation_panics() {
    for length in (0..CMDLINE.len()).step_by(3) {
        ask_all(&CMDLINE[..length]);
    }
}

#[test]
fn no_bit_flip_panics() {
    let mut bytes = CMDLINE.to_vec();
    for at in 0..bytes.len() {
        // Every bit of the header; in the rest of the file the inverted byte and one bit of it.
        let flips: &[u8] = if at < 64 { &[1, 2, 4, 8, 16, 32, 64, 128] } else { &[0xff, 0x10] };
        for flip in flips {
            bytes[at] ^= flip;
            ask_all(&bytes);
            bytes[at] ^= flip;
        }
    }
}

#[test]
fn no_random_damage_panics() {
    // xorshift: the same damage in every run.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |limit: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % limit as u64).unwrap()
    };
    for _ in 0..3000 {
        let mut bytes = CMDLINE.to_vec();
        for _ in 0..=random(12) {
            let at = random(bytes.len());
            bytes[at] = u8::try_from(random(256)).unwrap();
        }
        ask_all(&bytes);
    }
}
