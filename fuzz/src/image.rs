// SPDX-License-Identifier: GPL-2.0-or-later
//! Fuzz targets: input files of the pipeline. No target may panic, hang or use much memory.

#![allow(unreachable_pub, dead_code, reason = "shared by several programs, none of which uses all of it")]

use std::sync::OnceLock;

use klp_format::SymbolPosition;
use klp_image::{
    Calls, Code, Facts, KernelImage, ModuleImage, Parsed, RunningSymbols, Symbols, Trace, TypeKind, Types,
    decompress_within, listed, unpack_module,
};

#[path = "synthetic.rs"]
pub mod synthetic;

use synthetic::{Layout, RELEASE, VERMAGIC};

/// Maximum unpacked size of an image, in bytes. A small limit gives more executions per second.
const LIMIT: usize = 1 << 20;

/// Function of a fuzz target.
pub type Target = fn(&[u8]);

/// Fuzz targets: name of the corpus, and function for each file.
pub const TARGETS: [(&str, Target); 7] = [
    ("image", image),
    ("vmlinux", vmlinux),
    ("kallsyms", kallsyms),
    ("tables", tables),
    ("btf", btf),
    ("module-image", module_image),
    ("running", running),
];

/// Bootable image if the first byte is even, else the payload of one.
pub fn image(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let wrapped = synthetic::image(rest);
    let image = if first % 2 == 0 { rest } else { &wrapped };
    if let Ok(kernel) = decompress_within(image, LIMIT) {
        assert!(kernel.starts_with(b"\x7fELF") && kernel.len() <= LIMIT);
    }
}

/// Decompressed kernel.
pub fn vmlinux(data: &[u8]) {
    if let Ok(parsed) = Parsed::parse(data, RELEASE) {
        ask(&parsed.symbols, &parsed.trace);
        assert!(Symbols::from_bytes(&parsed.symbols.to_bytes()).is_ok_and(|read| read == parsed.symbols));
        assert!(Trace::from_bytes(&parsed.trace.to_bytes()).is_ok_and(|read| read == parsed.trace));
        for code in [Code::X86_64, Code::Arm64] {
            if let Ok(calls) = Calls::parse(data, &parsed.symbols, code) {
                assert!(Calls::from_bytes(&calls.to_bytes()).is_ok_and(|read| read == calls));
            }
        }
    }
}

/// `.rodata` of a kernel, which contains the table of symbols.
pub fn kallsyms(data: &[u8]) {
    vmlinux(&synthetic::with_rodata(data));
}

/// Index of symbols, or index of traceable functions, in the format of the cache.
pub fn tables(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let (cut, _) = rest.split_at(rest.len() / 256 * usize::from(*first));
    let symbols = Symbols::from_bytes(rest).or_else(|_| Symbols::from_bytes(cut)).unwrap_or_default();
    let trace =
        Trace::from_bytes(rest).or_else(|_| Trace::from_bytes(rest.get(cut.len()..).unwrap_or_default()));
    if let Ok(trace) = trace {
        ask(&symbols, &trace);
    }
    if let Ok(calls) = Calls::from_bytes(rest) {
        assert!(calls.calls_of(0).len() <= calls.len());
    }
}

/// BTF of a kernel, or of a module of the synthetic kernel.
pub fn btf(data: &[u8]) {
    static BASE: OnceLock<Types> = OnceLock::new();
    if let Ok(types) = Types::parse(data) {
        walk(&types);
    }
    let base = BASE.get_or_init(|| Types::parse(&synthetic::btf()).expect("it is BTF"));
    if let Ok(types) = Types::parse_split(data, base) {
        walk(&types);
    }
}

/// Module of the synthetic kernel.
pub fn module_image(data: &[u8]) {
    static KERNEL: OnceLock<KernelImage> = OnceLock::new();
    let kernel = KERNEL.get_or_init(kernel);
    // Compressed formats belong to the target `image`; here a small file could unpack to a large one.
    if data.starts_with(b"\x7fELF")
        && let Ok(module) = ModuleImage::parse(data, kernel)
    {
        assert_eq!(unpack_module(data).map(|bytes| bytes.len()), Ok(data.len()));
        for symbol in module.symbols.iter().take(64) {
            assert!(module.symbols.count(symbol.name) >= symbol.position.0 as usize);
            let _ = module.traceability(symbol.name, symbol.position).is_traceable();
            if let Some(types) = &module.types
                && let Ok(prototype) = types.function(symbol.name)
            {
                assert!(!types.c_prototype(&prototype).is_empty());
            }
        }
        assert!(module.traceable() <= data.len());
    }
}

/// The synthetic kernel.
pub fn kernel() -> KernelImage {
    let vmlinux = synthetic::vmlinux(Layout::OffsetsLast);
    let parsed = Parsed::parse(&vmlinux, RELEASE).expect("it is a kernel");
    KernelImage {
        types: Types::parse(parsed.btf).expect("it is BTF"),
        symbols: parsed.symbols,
        trace: parsed.trace,
        facts: Facts { vermagic: VERMAGIC.to_owned(), build_id: None },
    }
}

/// Text of `/proc/kallsyms`.
pub fn running(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Ok(running) = RunningSymbols::parse(&text) {
        let shown = running.addresses().is_ok();
        let any = running.kernel().iter().any(|symbol| symbol.address != 0);
        assert!(shown || !any, "addresses are hidden only where all of them are zero");
        for symbol in running.kernel().iter().take(64) {
            assert!(running.kernel().named(symbol.name).contains(&symbol));
        }
    }
}

/// Calls every query of symbols and traceability.
fn ask(symbols: &Symbols, trace: &Trace) {
    assert!(listed(symbols, trace).values().sum::<usize>() <= trace.len());
    for symbol in symbols.iter().take(64) {
        let _ = symbols.named(symbol.name).len() + symbols.count(symbol.name);
        let _ = symbols.containing(symbol.address).map(|(found, distance)| (found.address, distance));
        let _ = trace.of_symbol(&symbol).is_traceable();
        let _ = trace.of_name(symbols, symbol.name, symbol.position).is_traceable();
    }
    for name in ["", "twice", "function_0"] {
        let _ = trace.of_name(symbols, name, SymbolPosition(2)).is_traceable();
    }
}

/// Calls every query of types.
fn walk(types: &Types) {
    for id in 0..64 {
        let _ = types.bare(id);
        match types.kind(id) {
            Ok(TypeKind::Function(prototype)) => assert!(!types.c_prototype(&prototype).is_empty()),
            Ok(TypeKind::Composite { name: Some(name), .. }) => {
                let found = types.composites(&name);
                assert!(found.is_ok_and(|found| found.contains(&id)));
            }
            // A typedef without a name is damaged; no caller asks for it.
            Ok(TypeKind::Typedef(name, _)) if !name.is_empty() => {
                let found = types.typedef(&name);
                assert!(found.is_ok_and(|found| found.is_some()));
            }
            _ => {}
        }
    }
    for name in ["function_0", "starter", "pair", "int", ""] {
        if let Ok(prototype) = types.function(name) {
            assert!(types.c_prototype(&prototype).contains(name));
        }
    }
}

/// Seeds: corpus, name and bytes.
pub fn seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let kernel = synthetic::vmlinux(Layout::OffsetsLast);
    let parsed = Parsed::parse(&kernel, RELEASE).expect("it is a kernel");
    let few = RunningSymbols::parse("1 t twice\n2 d twice\n4 T function_0\n").expect("they are symbols");
    let even = |bytes: &[u8]| [&[0], bytes].concat();
    let odd = |bytes: &[u8]| [&[1], bytes].concat();
    let mut seeds = vec![
        ("image", "image", even(&synthetic::image(&synthetic::lz4(&synthetic::small())))),
        ("image", "payload-lz4", odd(&synthetic::lz4(&synthetic::small()))),
        ("vmlinux", "small", synthetic::small()),
        ("tables", "trace", odd(&parsed.trace.to_bytes())),
        ("tables", "symbols", odd(&few.kernel().to_bytes())),
        ("btf", "types", synthetic::btf()),
        ("module-image", "module", synthetic::module()),
        (
            "running",
            "kallsyms",
            b"0000000000000000 A a\nffffffff81000000 T b\nffffffffc0000000 t b\t[m]\n".to_vec(),
        ),
        ("running", "hidden", b"0000000000000000 T b\n0000000000000000 t b\t[m]\n".to_vec()),
    ];
    for (layout, name) in [
        (Layout::OffsetsFirst, "offsets-first"),
        (Layout::OffsetsLast, "offsets-last"),
        (Layout::Places, "places"),
    ] {
        seeds.push(("kallsyms", name, synthetic::rodata(layout)));
    }
    seeds
}
