// SPDX-License-Identifier: GPL-2.0-or-later
//! Tests of the image library with synthetic, damaged and pinned kernels.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic")]

use std::path::{Path, PathBuf};

use klp_base::cache::Cache;
use klp_base::events::Silent;
use klp_format::SymbolPosition;
use klp_image::{
    ImageError, KernelImage, ModuleImage, NotTraceable, Parsed, Symbols, Trace, Traceability, TypeKind,
    Types, decompress, listed, read_index, write_index,
};
use klp_kernel::{KernelTree, Pin};
use object::{Object, ObjectSection};

#[path = "../../../fuzz/src/image.rs"]
mod fuzzed;
#[path = "../../../fuzz/src/replay.rs"]
mod replay;

use fuzzed::synthetic::{self, LAYOUTS, Layout, RELEASE, TEXT};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Cache of the user, and the default kernel from it.
fn default_kernel() -> (Cache, KernelTree) {
    let cache = Cache::from_env().unwrap();
    let pin = Pin::load(&root().join("kernel-configs"), "debian-6.12").unwrap();
    let tree = pin.fetch(&cache, &Silent).unwrap();
    (cache, tree)
}

/// Fuzz targets of this crate, on their corpora.
#[test]
fn fuzz_corpora_do_not_panic() {
    let fuzz = root().join("fuzz");
    for (target, run) in fuzzed::TARGETS {
        replay::replay(&fuzz, target, run);
    }
}

fn position(number: u32) -> SymbolPosition {
    SymbolPosition(number)
}

#[test]
fn symbols_come_back_from_every_layout() {
    for layout in LAYOUTS {
        let kernel = synthetic::vmlinux(layout);
        let parsed = Parsed::parse(&kernel, RELEASE).unwrap();
        let expected = synthetic::symbols();
        assert_eq!(parsed.symbols.len(), expected.len(), "{layout:?}");
        for (symbol, (address, kind, name)) in parsed.symbols.iter().zip(&expected) {
            let address = if layout == Layout::Places { TEXT.max(*address) } else { *address };
            assert_eq!(
                (symbol.address, symbol.kind, symbol.name),
                (address, *kind, name.as_str()),
                "{layout:?}"
            );
        }
        assert_eq!(parsed.facts.vermagic, synthetic::VERMAGIC);
    }
}

#[test]
fn positions_count_data_and_code_of_a_name_from_one() {
    let kernel = synthetic::vmlinux(Layout::OffsetsLast);
    let symbols = Parsed::parse(&kernel, RELEASE).unwrap().symbols;
    let twice: Vec<(char, u32)> =
        symbols.named("twice").iter().map(|symbol| (symbol.kind, symbol.position.0)).collect();
    assert_eq!(twice, [('d', 1), ('t', 2), ('t', 3)]);
    assert_eq!((symbols.count("function_0"), symbols.count("function_")), (1, 0));
    let (first, distance) = symbols.containing(TEXT + 3).unwrap();
    assert_eq!((first.name, distance), ("_stext", 3));
    assert_eq!(symbols.at(TEXT).map(|symbol| symbol.name).collect::<Vec<_>>(), ["_stext", "_text"]);
    assert!(symbols.at(TEXT + 1).next().is_none());
}

#[test]
fn every_untraceable_symbol_has_a_reason() {
    let kernel = synthetic::vmlinux(Layout::OffsetsFirst);
    let Parsed { symbols, trace, .. } = Parsed::parse(&kernel, RELEASE).unwrap();
    let answer = |name: &str, asked: u32| trace.of_name(&symbols, name, position(asked));
    for traceable in
        ["function_0", "function_99", "function_100", "function_199", "alias_14", "variant.isra.0"]
    {
        assert_eq!(answer(traceable, 0), Traceability::Traceable, "{traceable}");
    }
    assert_eq!(answer("twice", 2), Traceability::Traceable);
    let because = |name: &str, asked: u32| match answer(name, asked) {
        Traceability::Not(reason) => reason,
        Traceability::Traceable => panic!("{name} is not traceable"),
    };
    assert_eq!(because("function_200", 0), NotTraceable::NoEntry);
    assert_eq!(because("function_500", 0), NotTraceable::NoEntry, "its entry lies too far behind it");
    assert_eq!(because("starter", 0), NotTraceable::Init);
    assert_eq!(because("quiet", 0), NotTraceable::Noinstr);
    assert_eq!(because("_RNvCs_4rust", 0), NotTraceable::Rust);
    assert_eq!(because("chilly.cold", 0), NotTraceable::Cold { function: "chilly".to_owned() });
    let padding = NotTraceable::Padding { function: "function_215".to_owned() };
    assert_eq!(because("__pfx_function_215", 0), padding);
    assert_eq!(because("constant", 0), NotTraceable::Data { kind: 'D' });
    assert_eq!(because("twice", 0), NotTraceable::Ambiguous { count: 3 });
    assert_eq!(because("twice", 4), NotTraceable::Position { asked: 4, count: 3 });
    assert_eq!(because("variant", 0), NotTraceable::Unknown { variants: vec!["variant.isra.0".to_owned()] });
    assert_eq!(because("nothing", 0), NotTraceable::Unknown { variants: Vec::new() });
}

#[test]
fn ftrace_list_excludes_aliases_init_code_and_dropped_functions() {
    let kernel = synthetic::vmlinux(Layout::OffsetsLast);
    let Parsed { symbols, trace, .. } = Parsed::parse(&kernel, RELEASE).unwrap();
    let listed = listed(&symbols, &trace);
    assert_eq!((trace.len(), trace.dropped()), (202, 1));
    assert_eq!(listed.values().sum::<usize>(), 200);
    assert_eq!((listed.get("twice"), listed.get("function_14")), (Some(&2), Some(&1)));
    for unlisted in ["alias_14", "starter", "function_500"] {
        assert_eq!(listed.get(unlisted), None, "{unlisted}");
    }
}

#[test]
fn an_index_is_read_back_as_it_was_made() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("vmlinuz");
    let kernel = synthetic::vmlinux(Layout::Places);
    std::fs::write(&image, synthetic::image(&synthetic::lz4(&kernel))).unwrap();
    write_index(&image, RELEASE, dir.path()).unwrap();
    let read = read_index(dir.path()).unwrap();
    let parsed = Parsed::parse(&kernel, RELEASE).unwrap();
    assert_eq!((&read.symbols, &read.trace, &read.facts), (&parsed.symbols, &parsed.trace, &parsed.facts));
    let prototype = read.types.function("function_0").unwrap();
    assert_eq!(read.types.c_prototype(&prototype), "int function_0(struct pair *p, ...)");
    for cut in ["btf", "symbols", "trace"] {
        let path = dir.path().join(cut);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        let error = read_index(dir.path()).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("cut"), "{cut}: {error}");
        std::fs::write(&path, bytes).unwrap();
    }
}

/// Parses all parts of an image, as the index does.
fn read_all(image: &[u8]) -> Result<(Symbols, Trace), String> {
    let kernel = decompress(image).map_err(|error| error.to_string())?;
    let parsed = Parsed::parse(&kernel, RELEASE).map_err(|error| error.to_string())?;
    Types::parse(parsed.btf).map_err(|error| error.to_string())?;
    Ok((parsed.symbols, parsed.trace))
}

#[test]
fn a_truncated_image_is_one_clear_error() {
    let whole = synthetic::image(&synthetic::lz4(&synthetic::vmlinux(Layout::OffsetsLast)));
    assert!(read_all(&whole).is_ok());
    for length in (0..whole.len()).step_by(97) {
        let error = read_all(&whole[..length]).map(|_| ()).unwrap_err();
        assert!(error.contains("truncated"), "cut to {length} of {}: {error}", whole.len());
    }
}

#[test]
fn flipped_bits_never_panic_and_never_pass_for_another_table() {
    let kernel = synthetic::vmlinux(Layout::OffsetsLast);
    let good = Parsed::parse(&kernel, RELEASE).unwrap().symbols;
    let (mut refused, mut unharmed, mut renamed) = (0, 0, 0);
    for bit in (0..kernel.len() * 8).step_by(61) {
        let mut broken = kernel.clone();
        broken[bit / 8] ^= 1 << (bit % 8);
        match Parsed::parse(&broken, RELEASE) {
            Err(error) => {
                assert!(!error.to_string().is_empty());
                refused += 1;
            }
            Ok(parsed) if parsed.symbols == good => unharmed += 1,
            // A flipped bit in a name gives another name; kallsyms has no checksum.
            Ok(parsed) => {
                assert_eq!(parsed.symbols.len(), good.len(), "bit {bit}");
                renamed += 1;
            }
        }
    }
    assert!(refused > 100 && unharmed > 100 && renamed > 100, "{refused} {unharmed} {renamed}");
}

#[test]
fn parse_rejects_bytes_that_are_not_images() {
    let no_symbols = synthetic::with_rodata(format!("\0{}\0", synthetic::VERMAGIC).as_bytes());
    let error = Parsed::parse(&no_symbols, RELEASE).map(|_| ()).unwrap_err();
    assert!(matches!(&error, ImageError::Missing(what) if what.contains("CONFIG_KALLSYMS")), "{error}");
    let kernel = synthetic::vmlinux(Layout::OffsetsLast);
    let error = Parsed::parse(&kernel, "6.0.0-other").map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("another kernel's image"), "{error}");
    assert!(Parsed::parse(b"MZ", RELEASE).is_err());
    assert!(decompress(&kernel).is_err());
}

#[test]
fn types_of_the_made_up_kernel() {
    let types = Types::parse(&synthetic::btf()).unwrap();
    let pair = types.composites("pair").unwrap();
    let TypeKind::Composite { size, members, .. } = types.kind(pair[0]).unwrap() else { panic!("no struct") };
    assert_eq!((size, members[1].bits, members[1].bit_offset), (8, Some(3), 32));
    assert!(types.function("starter").is_ok() && types.function("pair").is_err());
    assert_eq!(types.bare(10).unwrap(), pair[0]);
}

#[test]
fn decompress_supports_every_format() {
    for format in ["bz2", "gz", "lz4", "lzma", "xz", "zst"] {
        let packed = root().join("crates/klp-image/tests/data/small").with_extension(format);
        let kernel = decompress(&synthetic::image(&std::fs::read(packed).unwrap()));
        assert_eq!(kernel, Ok(synthetic::small()), "{format}: see crates/klp-image/tests/data/README.md");
    }
}

#[test]
fn module_functions_have_traceability_and_prototypes() {
    let kernel = fuzzed::kernel();
    let module = ModuleImage::parse(&synthetic::module(), &kernel).unwrap();
    assert_eq!((module.name.as_str(), module.traceable()), ("made_up", 2));
    let answer = |name: &str| module.traceability(name, position(0));
    assert_eq!((answer("function_0"), answer("inner")), (Traceability::Traceable, Traceability::Traceable));
    assert_eq!(answer("asm"), Traceability::Not(NotTraceable::NoEntry));
    assert_eq!(answer("init_module"), Traceability::Not(NotTraceable::Init));
    assert_eq!(answer("__this_module"), Traceability::Not(NotTraceable::Data { kind: 'D' }));
    assert_eq!(answer("vfs_read"), Traceability::Not(NotTraceable::Unknown { variants: Vec::new() }));
    let types = module.types.unwrap();
    let prototype = |name: &str| types.function(name).map(|found| types.c_prototype(&found));
    assert_eq!(prototype("inner").unwrap(), "void inner(struct pair *)");
    assert_eq!(prototype("function_0").unwrap(), "int function_0(struct pair *p, ...)");
    assert!(kernel.types.function("inner").is_err());
}

#[test]
fn a_module_of_another_kernel_is_refused() {
    let mut kernel = fuzzed::kernel();
    kernel.facts.vermagic = "6.0.0-other SMP ".to_owned();
    let refused = ModuleImage::parse(&synthetic::module(), &kernel).map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("built for another kernel"), "{refused}");
}

/// Comparison with numbers of 6.12.117 from other tools, with a tolerance for security updates.
fn near(what: &str, number: usize, counted: usize) {
    assert!(number.abs_diff(counted) * 20 < counted, "{number} {what}, {counted} were counted once");
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn the_default_kernel_answers() {
    let (cache, tree) = default_kernel();
    let image = KernelImage::load(tree.image_file(), &cache, &Silent).unwrap();
    near("symbols", image.symbols.len(), 163_205);
    near("traceable functions", image.trace.len(), 45_261);
    near("dropped functions", image.trace.dropped() as usize, 664);
    let code = || image.symbols.iter().filter(|symbol| symbol.is_code() && !symbol.is_padding());
    near("symbols of code", code().count(), 55_686);

    let answer = |name: &str| image.traceability(name, position(0));
    for name in ["cmdline_proc_show", "vfs_read", "schedule"] {
        assert_eq!((answer(name), image.symbols.count(name)), (Traceability::Traceable, 1), "{name}");
    }
    assert_eq!(answer("do_syscall_64"), Traceability::Not(NotTraceable::Noinstr));
    assert_eq!(answer("start_kernel"), Traceability::Not(NotTraceable::Init));
    assert!(matches!(answer("saved_command_line"), Traceability::Not(NotTraceable::Data { .. })));
    let prototype = image.types.function("cmdline_proc_show").unwrap();
    assert_eq!(image.types.c_prototype(&prototype), "int cmdline_proc_show(struct seq_file *m, void *v)");

    let several = code().filter(|symbol| symbol.position.0 == 5).map(|symbol| symbol.name).next().unwrap();
    let named = image.symbols.named(several);
    assert!(
        matches!(answer(several), Traceability::Not(NotTraceable::Ambiguous { count }) if count == named.len())
    );
    assert!(named.iter().map(|symbol| symbol.position.0).eq(1..=named.len() as u32), "{several}");
    assert!(named.is_sorted_by_key(|symbol| symbol.address), "{several}");
}

/// Second table of addresses in the kernel: exported symbols (`struct kernel_symbol`: offsets of the symbol, its name and
/// its namespace, each relative to its own address).
#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn exported_symbols_have_the_same_addresses() {
    let (cache, tree) = default_kernel();
    let image = KernelImage::load(tree.image_file(), &cache, &Silent).unwrap();
    let vmlinux = decompress(&std::fs::read(&tree.image).unwrap()).unwrap();
    let file = object::File::parse(&*vmlinux).unwrap();
    let strings = file.section_by_name("__ksymtab_strings").unwrap();
    let mut compared = 0;
    for section in ["__ksymtab", "__ksymtab_gpl"] {
        let section = file.section_by_name(section).unwrap();
        for (index, entry) in section.data().unwrap().as_chunks::<12>().0.iter().enumerate() {
            let place = section.address() + 12 * index as u64;
            let field = |at: usize| {
                let offset = i32::from_le_bytes(entry[at..at + 4].try_into().unwrap());
                (place + at as u64).wrapping_add_signed(i64::from(offset))
            };
            let name = &strings.data().unwrap()[(field(4) - strings.address()) as usize..];
            let name = std::str::from_utf8(name.split(|byte| *byte == 0).next().unwrap()).unwrap();
            let known = image.symbols.named(name);
            assert!(known.iter().any(|symbol| symbol.address == field(0)), "{name}: {known:x?}");
            compared += 1;
        }
    }
    assert!(compared > 10_000, "only {compared} exported symbols");
}
