// SPDX-License-Identifier: GPL-2.0-or-later
//! `look`: facts of functions of the default kernel, and their callers compared with a disassembly.

use klp_base::events::Silent;
use klp_format::{KlpSymbol, ObjectName, VMLINUX};
use klp_pipeline::Error;
use klp_pipeline::look::{self, Function, Use};
use klp_pipeline::objects::Objects;

use crate::common;

fn look(symbol: &str) -> Result<Vec<Function>, Error> {
    let (project, cache, tree) = common::default_kernel();
    look::function(&project, &tree, &symbol.parse::<KlpSymbol>().unwrap(), &cache, &Silent)
}

fn has(uses: &Option<Vec<Use>>, name: &str) -> bool {
    uses.as_ref().unwrap().iter().any(|found| found.name == name)
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn facts_of_functions_are_those_of_the_kernel() {
    let [request] = look("vmlinux:ptrace_request").unwrap().try_into().unwrap();
    assert!(request.global && request.export.is_none() && request.not_replaceable.is_none());
    assert!(has(&request.callers, "arch_ptrace") && has(&request.callees, "ptrace_regset"), "{request:?}");
    assert_eq!(request.original, Some(9));
    // A static function that only a pointer reaches: `key_gc_work` of security/keys/gc.c.
    let [collector] = look("vmlinux:key_garbage_collector").unwrap().try_into().unwrap();
    assert!(!collector.global && has(&collector.pointers, "key_gc_work"), "{collector:?}");
    assert!(collector.callers.unwrap().is_empty());
    let [print] = look("vmlinux:_printk").unwrap().try_into().unwrap();
    assert!(print.export.is_some() && print.callers.unwrap().len() > 1000);
    assert!(look("vmlinux:show").unwrap().len() > 1);
    let [worker] = look("vmlinux:worker_thread").unwrap().try_into().unwrap();
    assert!(worker.thread_of.iter().any(|name| name == "create_worker"), "{worker:?}");
    assert!(worker.sleeps_in.unwrap().contains(&"schedule".to_owned()));
    assert!(request.thread_of.is_empty() && request.sleeps_in.unwrap().is_empty());
    let [open] = look("ext4:ext4_file_open").unwrap().try_into().unwrap();
    assert!(open.callers.is_none() && open.not_replaceable.is_none() && open.prototype.is_some());
    for (symbol, message) in [
        ("vmlinux:key_gc_unused_keys", "only the compiler's variants key_gc_unused_keys.constprop.0"),
        ("vmlinux:ptrace_reques", "similar names are ptrace_request"),
        ("vmlinux:no_function_has_this_name", "inlined everywhere"),
    ] {
        let error = look(symbol).unwrap_err().to_string();
        assert!(error.contains(message), "{symbol}: {error}");
    }
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn functions_of_a_c_file_are_shown_with_what_became_of_them() {
    let (project, cache, tree) = common::default_kernel();
    let text = "SYSCALL_DEFINE2(getpriority, int, which, int, who)\n{\n}\n\
                static noinline void key_gc_unused_keys(struct list_head *keys) { }\n\
                static inline int gone_into_its_callers(void) { return 0; }\n\
                int notrace_thing(void);\n\
                void notrace klp_ftrace_handler(unsigned long ip) { }\n";
    let object = ObjectName::new(VMLINUX).unwrap();
    let found = look::in_file(&project, &tree, &object, text, &cache, &Silent).unwrap();
    let [call, variant, gone, handler] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(call.symbols[0].symbol, "vmlinux:__x64_sys_getpriority");
    assert!(call.symbols[0].not_replaceable.is_none());
    assert_eq!(
        (variant.symbols.len(), variant.variants.as_slice()),
        (0, ["key_gc_unused_keys.constprop.0".to_owned()].as_slice())
    );
    assert!(gone.symbols.is_empty() && gone.variants.is_empty());
    assert!(handler.symbols[0].not_replaceable.is_some(), "{handler:?}");
}

/// A kernel keeps few functions that nothing reaches; more would be uses that were not found.
#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn few_functions_of_a_kernel_are_unreached() {
    let (project, cache, tree) = common::default_kernel();
    let objects = Objects::of(&project, &tree, [], &cache, &Silent).unwrap();
    let symbols = objects.kernel.symbols.iter().filter(|symbol| symbol.kind == 't' && !symbol.is_padding());
    let functions: Vec<KlpSymbol> = symbols
        .map(|symbol| KlpSymbol::new(VMLINUX.parse().unwrap(), symbol.name, symbol.position).unwrap())
        .filter(|symbol| objects.traceability(symbol).is_some_and(|answer| answer.is_traceable()))
        .collect();
    let unreached: Vec<String> = functions
        .iter()
        .filter(|symbol| objects.is_unreached(symbol) == Some(true))
        .map(ToString::to_string)
        .collect();
    println!("{} of {} are unreached: {unreached:?}", unreached.len(), functions.len());
    assert!(functions.len() > 10_000 && unreached.len() < 100, "{}", unreached.len());
    // Inlined into `exc_page_fault`.
    assert!(unreached.iter().any(|name| name.starts_with("vmlinux:do_kern_addr_fault")), "{unreached:?}");
}

/// Static functions of a module that ftrace can reach and that nothing in the module uses, and the number of all.
fn unreached_of(module: &str) -> (Vec<String>, usize) {
    let (project, cache, tree) = common::default_kernel();
    let object: ObjectName = module.parse().unwrap();
    let objects = Objects::of(&project, &tree, [&object], &cache, &Silent).unwrap();
    let symbols =
        objects.symbols(&object).unwrap().iter().filter(|symbol| symbol.kind == 't' && !symbol.is_padding());
    let functions: Vec<KlpSymbol> = symbols
        .map(|symbol| KlpSymbol::new(object.clone(), symbol.name, symbol.position).unwrap())
        .filter(|symbol| objects.traceability(symbol).is_some_and(|answer| answer.is_traceable()))
        .collect();
    let unreached = functions.iter().filter(|symbol| objects.is_unreached(symbol) == Some(true));
    (unreached.map(|symbol| symbol.symbol.clone()).collect(), functions.len())
}

/// Of one module all uses are known by its source; distributions' modules keep few functions without a use.
#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn functions_of_modules_that_nothing_reaches_are_found() {
    let (unreached, all) = unreached_of("klp_inlined");
    assert_eq!((unreached, all), (vec!["klp_inlined_kept".to_owned()], 4));
    let (mut unreached, mut all) = (Vec::new(), 0);
    for module in ["ext4", "xfs", "btrfs", "nf_tables", "loop", "nfsd"] {
        let (of_module, functions) = unreached_of(module);
        unreached.extend(of_module.into_iter().map(|name| format!("{module}:{name}")));
        all += functions;
    }
    println!("{} of {all} are unreached: {unreached:?}", unreached.len());
    assert!(all > 3000 && unreached.len() < 10, "{unreached:?}");
    // ftrace does not reach it: `jhash()` is inline, and xfs has a copy that nothing calls.
    let (project, cache, tree) = common::default_kernel();
    let symbol: KlpSymbol = "xfs:jhash".parse().unwrap();
    let objects = Objects::load(&project, &tree, [&symbol], &cache, &Silent).unwrap();
    assert_eq!(objects.is_unreached(&symbol), Some(true));
}

/// Disassembles the whole kernel, which takes a minute.
mod full_tier {
    use std::collections::{BTreeMap, BTreeSet};
    use std::fs;

    use klp_base::events::Silent;
    use klp_base::process::Cmd;
    use object::{Object, ObjectSection};

    use klp_image::{Calls, Code, KernelImage, decompress};

    use crate::common;
    use crate::layouts::Draw;

    const COUNT: usize = 200;

    /// Range of the code that alternatives put in place, which is in no function.
    fn replacements(vmlinux: &[u8]) -> std::ops::Range<u64> {
        let file = object::File::parse(vmlinux).unwrap();
        let section = file.section_by_name(".altinstr_replacement").unwrap();
        section.address()..section.address() + section.size()
    }

    /// Places of calls and jumps by their destinations, as objdump prints them.
    fn disassembled(vmlinux: &[u8]) -> BTreeMap<u64, BTreeSet<u64>> {
        let outside = replacements(vmlinux);
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), vmlinux).unwrap();
        let mut found: BTreeMap<u64, BTreeSet<u64>> = BTreeMap::new();
        Cmd::new("objdump")
            .args(["-d", "--no-show-raw-insn"])
            .arg(file.path())
            .run_by_line(&mut |line| {
                let line = String::from_utf8_lossy(line);
                let Some((place, instruction)) = line.split_once(":\t") else { return };
                let mut words =
                    instruction.split_whitespace().filter(|word| !word.starts_with("cs") && *word != "bnd");
                let (Some(operation), Some(target)) = (words.next(), words.next()) else { return };
                let address = |text: &str| u64::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok();
                if (operation.starts_with('j') || operation.starts_with("call"))
                    && let (Some(place), Some(target)) = (address(place), address(target))
                    && !outside.contains(&place)
                {
                    found.entry(target).or_default().insert(place);
                }
            })
            .unwrap_or_else(|error| panic!("{error}"));
        found
    }

    #[test]
    #[ignore = "run by cargo xtask ci --tier full"]
    fn callers_are_those_of_a_disassembly() {
        let (_, cache, tree) = common::default_kernel();
        let image = KernelImage::load(tree.image_file(), &cache, &Silent).unwrap();
        let calls = Calls::load(tree.image_file(), &image, Code::X86_64, &cache, &Silent).unwrap();
        let disassembled = disassembled(&decompress(&fs::read(&tree.image).unwrap()).unwrap());
        let functions = image.symbols.iter().filter(|symbol| symbol.is_code() && !symbol.is_padding());
        let mut called: Vec<(String, u64)> = functions
            .filter(|symbol| disassembled.contains_key(&symbol.address))
            // A jump to it is a return.
            .filter(|symbol| symbol.name != "__x86_return_thunk")
            .map(|symbol| (symbol.name.to_owned(), symbol.address))
            .collect();
        assert!(called.len() > 20_000, "objdump's output was not understood: {} functions", called.len());
        let mut wrong = Vec::new();
        for (name, address) in Draw::seeded("callers").pick(&mut called, COUNT) {
            let ours: BTreeSet<u64> = calls.calls_of(address).iter().map(|call| call.place).collect();
            if ours != disassembled[&address] {
                let differ: Vec<_> = ours.symmetric_difference(&disassembled[&address]).collect();
                wrong.push(format!("{name}: {differ:x?}"));
            }
        }
        assert!(wrong.is_empty(), "{} of {COUNT} differ:\n{}", wrong.len(), wrong.join("\n"));
    }
}
