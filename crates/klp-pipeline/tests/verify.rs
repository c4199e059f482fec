// SPDX-License-Identifier: GPL-2.0-or-later
//! Modules that violate each rule of `verify`: one valid module from the pipeline, changed as listed in
//! `verify/cases.rs`, and modules that are compiled without a required flag.

mod c_modules;
mod cases;
mod module;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::OnceLock;

use klp_base::events::{Event, Recorder, Severity, Silent};
use klp_kernel::KernelTree;
use klp_pipeline::Error;
use klp_pipeline::build::Build;
use klp_pipeline::expected;
use klp_pipeline::postlink;
use klp_pipeline::stage::{Built, Range, Stage};
use klp_verify::rules::{self, GPL_COMPATIBLE, rule_ids};
use klp_verify::{Expected, Outcome, Refused, Report, refuse_errors};

use self::cases::{CASES, HARMLESS, UNCHECKED, hide_tables};
use self::module::Sample;

use crate::common;

/// Judges a module without the rule on its digest, so that each change is left to the rule on what it means.
fn verify(bytes: &[u8], expected: &Expected) -> Report {
    let mut report = klp_verify::verify(bytes, expected);
    report.findings.retain(|finding| finding.rule != rules::FILE_DIGEST.id);
    for rule in report.rules.iter_mut().filter(|rule| rule.rule == rules::FILE_DIGEST.id) {
        if rule.outcome == Outcome::Broken {
            (rule.outcome, rule.left_out) = (Outcome::Passed, None);
        }
    }
    report
}

/// Facts for a built module.
pub fn expected_of(tree: &KernelTree, built: &Built) -> Expected {
    let (project, cache, _) = common::default_kernel();
    let source = expected::Source { project: &project, fixes: &[], tree, cache: &cache, sink: &Silent };
    expected::of_build(&source, built).unwrap()
}

/// Facts for a module of which only the file is known.
pub fn expected_of_file(tree: &KernelTree, bytes: &[u8]) -> Expected {
    let (project, cache, _) = common::default_kernel();
    let source = expected::Source { project: &project, fixes: &[], tree, cache: &cache, sink: &Silent };
    expected::of_file(&source, bytes, bytes).unwrap()
}

/// Builds fix `peek` under another name for a kernel, up to stage postlink.
fn build(name: &str, tree: &KernelTree) -> Result<Built, Error> {
    build_fix("peek", name, tree)
}

fn build_fix(fix: &str, name: &str, tree: &KernelTree) -> Result<Built, Error> {
    let (project, cache, _) = common::default_kernel();
    let mut target = project.target(fix).unwrap();
    target.name = name.to_owned();
    target.module = None;
    let build = Build {
        project: &project,
        tree,
        target: &target,
        cache: &cache,
        given: None,
        signer: None,
        sink: &Silent,
    };
    build.run(Range { from: None, to: Stage::Postlink })
}

/// The valid module.
fn good() -> Sample {
    static GOOD: OnceLock<Sample> = OnceLock::new();
    GOOD.get_or_init(|| sample("peek", "verify-good")).clone()
}

/// The module of a fix, built under another name.
fn sample(fix: &str, name: &str) -> Sample {
    let (_, _, tree) = common::default_kernel();
    let built = build_fix(fix, name, &tree).unwrap();
    Sample {
        bytes: fs::read(&built.ko).unwrap(),
        unconverted: fs::read(&built.unconverted).unwrap(),
        expected: expected_of(&tree, &built),
    }
}

/// Rules and texts of the findings after a change of a module.
fn found_after(good: &Sample, change: &dyn Fn(&mut Sample)) -> Vec<String> {
    let mut sample = good.clone();
    change(&mut sample);
    let report = verify(&sample.bytes, &sample.expected);
    let text = |f: &klp_base::events::Finding| format!("{}: {}: {}", f.rule, f.subject, f.message);
    report.findings.iter().map(text).collect()
}

/// Changes a module or its expected facts.
type Change<'a> = &'a dyn Fn(&mut Sample);

/// The kernel without one option of its configuration, for the pipeline. kbuild still uses the real
/// configuration.
fn without(tree: &KernelTree, option: &str) -> KernelTree {
    assert!(tree.config.is_on(option), "the kernel is built without {option}");
    KernelTree { config: tree.config.clone().without(option), ..tree.clone() }
}

fn broken(report: &Report) -> BTreeSet<&'static str> {
    report.findings.iter().map(|finding| finding.rule).collect()
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn a_good_module_passes_every_rule() {
    let sample = good();
    let report = verify(&sample.bytes, &sample.expected);
    assert_eq!(report.findings, []);
    // The kernel is for another architecture, and asks for no signature; the replacement is in Rust; no symbol has a namespace; no other patch is named.
    let others = [
        rules::BTI_LANDING_PAD.id,
        rules::SIGNATURE.id,
        rules::REPLACEMENT_PROTOTYPE.id,
        rules::SYMBOL_NAMESPACE.id,
        rules::PATCH_SET.id,
    ];
    for rule in report.rules.iter().filter(|rule| !others.contains(&rule.rule)) {
        assert_eq!((rule.outcome, &rule.left_out), (Outcome::Passed, &None), "{}", rule.rule);
    }
    assert!(report.rules.iter().map(|rule| rule.rule).eq(rule_ids()));
    // An edit without a change must not break the module, because the next test edits it in the same way.
    let mut edited = sample;
    edited.edit(|_| ());
    assert_eq!(verify(&edited.bytes, &edited.expected).findings, []);
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn each_broken_module_is_found_by_its_rule() {
    let good = good();
    let mut wrong = Vec::new();
    for case in CASES {
        let mut sample = good.clone();
        (case.make)(&mut sample);
        let of_digest = case.rule.id == rules::FILE_DIGEST.id;
        let judge = if of_digest { klp_verify::verify } else { verify };
        let report = judge(&sample.bytes, &sample.expected);
        let found = broken(&report);
        let expected = || case.also.iter().chain([&case.rule]).map(|rule| rule.id);
        let unasked = found.iter().any(|found| !expected().any(|rule| rule == *found));
        let gravest = report.findings.iter().filter(|f| f.rule == case.rule.id).map(|f| f.severity).max();
        let refused = refuse_errors("x.ko".as_ref(), &report, &Silent).is_err();
        if unasked || gravest != Some(case.severity) || refused != (case.severity > Severity::Warning) {
            let findings: Vec<String> = report.findings.iter().map(|f| format!("    {f:?}")).collect();
            wrong.push(format!(
                "{}, {}: refused {refused}\n{}",
                case.rule.id,
                case.what,
                findings.join("\n")
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {} modules:\n{}", wrong.len(), CASES.len(), wrong.join("\n"));
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn harmless_changes_cause_no_finding() {
    for (what, make) in HARMLESS {
        let mut sample = good();
        let before = sample.bytes.clone();
        make(&mut sample);
        assert_ne!(sample.bytes, before, "{what}");
        assert_eq!(verify(&sample.bytes, &sample.expected).findings, [], "{what}");
    }
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn a_copy_in_a_replaced_function_is_no_finding() {
    let mut sample = good();
    let replaced = sample.expected.patch.as_ref().unwrap().functions[0].symbol.clone();
    sample.copy_in(&replaced, false);
    assert_eq!(verify(&sample.bytes, &sample.expected).findings, []);
}

#[test]
fn every_rule_has_a_module_that_breaks_it() {
    let faults = crate::faults::rules();
    for rule in rules::ALL {
        let changed = CASES.iter().map(|case| (case.rule, case.severity));
        let in_c = c_modules::MODULES.iter().filter_map(|(_, breaks)| *breaks);
        let by_authors = faults.iter().filter_map(|(id, severity)| Some((rules::find(id)?, *severity)));
        let all = changed.chain(in_c).chain(by_authors).filter(|(of, _)| of.id == rule.id);
        let severity = all.map(|(_, severity)| severity).max();
        assert_eq!(
            severity,
            Some(rule.severity),
            "most severe case of rule {} in verify/cases.rs, verify/c and tests/faults",
            rule.id
        );
    }
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn rules_without_access_to_their_subject_are_unchecked() {
    let good = good();
    let mut wrong = Vec::new();
    for (rules, what, make) in UNCHECKED {
        let mut sample = good.clone();
        make(&mut sample);
        let report = verify(&sample.bytes, &sample.expected);
        for rule in *rules {
            let found = report.rules.iter().find(|found| found.rule == rule.id).unwrap();
            if found.outcome != Outcome::Unchecked || found.left_out.is_none() {
                wrong.push(format!("{what}: {found:?}"));
            }
        }
        assert!(refuse_errors("x.ko".as_ref(), &report, &Silent).is_err(), "{what}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// No kernel tool reports this fault: the build succeeds.
#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn a_module_compiled_without_call_padding_is_found() {
    let (_, _, tree) = common::default_kernel();
    let built = build("verify-unpadded", &without(&tree, "CALL_PADDING")).unwrap();
    let report = verify(&fs::read(&built.ko).unwrap(), &expected_of(&tree, &built));
    assert_eq!(broken(&report), BTreeSet::from([rules::CALL_PADDING.id]));
    let functions = report.findings.iter().map(|finding| finding.subject.as_str()).collect::<BTreeSet<_>>();
    assert!(functions.len() > 5 && functions.contains("init_module"), "{functions:?}");
}

/// Thunks of fix `around`: with another offset, to another function, to a function that is not replaced, and without known code.
#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn a_jump_into_the_wrong_place_is_found() {
    const SYMBOL: &str = ".klp.sym.vmlinux.fifo_open,0";
    let good = sample("around", "verify-around");
    let found = |change: Change<'_>| found_after(&good, change);
    assert_eq!(found(&|_| ()), [""; 0]);
    let rule = rules::ORIGINAL_SITE.id;
    for (what, change) in [
        ("whose own code begins at 9 on debian-6.12", (&|m: &mut Sample| m.shift(SYMBOL, 1)) as Change<'_>),
        ("whose own code begins at 9", &|m| m.shift(SYMBOL, -4)),
        ("which this module does not replace", &|m| {
            m.symbol(SYMBOL, |symbol| symbol.name = b".klp.sym.vmlinux.pipe_write,0"[..].into());
        }),
    ] {
        let said = found(change);
        // The new symbol is not among the facts.
        let others = said.iter().filter(|text| !text.starts_with(rules::LIVEPATCH_TARGET.id));
        assert!(
            others.clone().count() > 0 && others.clone().all(|text| text.starts_with(rule)),
            "{what}: {said:?}"
        );
        assert!(said.iter().any(|text| text.contains(what)), "{what}: {said:?}");
    }
    // The site itself: the jump leads to the replacement again.
    assert!(!found(&|m| m.shift(SYMBOL, -9)).is_empty());
    let mut unknown = good.clone();
    unknown.expected.bodies.clear();
    let report = verify(&unknown.bytes, &unknown.expected);
    let outcome = report.rules.iter().find(|outcome| outcome.rule == rule).unwrap();
    assert_eq!(outcome.outcome, Outcome::Unchecked);
}

/// Module parameters of fix `params`, each with one fault.
#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn wrong_module_parameters_are_found() {
    const TABLE: &str = ".rela__param";
    let good = sample("params", "verify-params");
    assert_eq!(found_after(&good, &|_| ()), [""; 0]);
    let params = klp_module::Module::parse(&good.bytes).unwrap().params().unwrap();
    let at = params.iter().position(|param| param.name == "limit").unwrap() * 40;
    assert_eq!((params.len(), params[at / 40].mode), (11, 0o644));
    let cases: [(&str, Change<'_>); 9] = [
        ("limit: its mode is 0666, not 0644", &|m| m.data("__param", |data| data[at + 24] = 0o266)),
        ("limit: the kernel would read and write it as ullong, and its type is uint", &|m| {
            m.redirect(TABLE, "param_ops_uint", "param_ops_ullong");
        }),
        ("pids: the kernel would read and write it as array of uint, and its type is array of int", &|m| {
            m.redirect(".rela.rodata", "param_ops_int", "param_ops_uint");
        }),
        ("limit: the value is in section .rodata, which is not writable", &|m| {
            m.redirect(TABLE, "klp_param_limit", "__param_str_limit");
        }),
        ("limit: .modinfo has no `parmtype=limit:uint`", &|m| {
            m.text(".modinfo", "parmtype=limit:uint", "parmtype=limit:Uint");
        }),
        ("level: there are two parameters of this name", &|m| m.text(".rodata", "\0limit\0", "\0level\0")),
        ("limit: the parameter is missing", &|m| m.text(".rodata", "\0limit\0", "\0Limit\0")),
        ("mask: patch.toml names no such parameter", &|m| {
            m.expected.patch.as_mut().unwrap().params.retain(|param| param.name != "mask");
        }),
        ("__param: the module parameters cannot be read: kernel_param.name at", &|m| {
            m.relocations(TABLE, |list| list.retain(|relocation| relocation.r_offset != 40));
        }),
    ];
    let rule = rules::MODULE_PARAMETER.id;
    for (expected, change) in cases {
        let found = found_after(&good, change);
        assert!(
            found.iter().any(|text| text.contains(&format!("{rule}: {expected}"))),
            "{expected}: {found:?}"
        );
        assert!(found.iter().all(|text| text.starts_with(rule)), "{expected}: {found:?}");
    }
}

/// A fix that uses an index from user input without a check, and the same fix with `get`.
#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn possible_panic_is_reported_with_its_line() {
    let (_, _, tree) = common::default_kernel();
    let told = |fix: &str| {
        let built = build_fix(fix, &format!("verify-{fix}"), &tree).unwrap();
        let report = verify(&fs::read(&built.ko).unwrap(), &expected_of(&tree, &built));
        assert_eq!(report.refusals(), 0);
        report.findings.into_iter().map(|finding| (finding.rule, finding.subject)).collect::<Vec<_>>()
    };
    let source = fs::read_to_string(common::root().join("tests/fixes/panics/src/lib.rs")).unwrap();
    let (line, text) = (1..).zip(source.lines()).find(|(_, text)| text.contains("table[")).unwrap();
    let place = format!("tests/fixes/panics/src/lib.rs:{line}:{}", text.find("table[").unwrap() + 1);
    let asserted = |fix: &str| (rules::ASSERTED.id, format!("klp_locked:klp_locked_{fix}"));
    assert_eq!(told("panics"), [asserted("show"), (rules::PANIC_REACHABLE.id, place)]);
    assert_eq!(told("locks"), [asserted("show")]);
}

/// objtool reports the fault but exits with 0: the build stops because of objtool's message, and `verify`
/// rejects the module.
#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn a_module_compiled_without_branch_targets_is_found_twice() {
    let (project, cache, tree) = common::default_kernel();
    let Err(Error::Kernel(klp_kernel::Error::UnknownOutput { text, .. })) =
        build("verify-no-endbr", &without(&tree, "X86_KERNEL_IBT"))
    else {
        panic!("the build should stop at objtool's words")
    };
    assert!(text.contains("!ENDBR"), "{text}");
    let dir = project.build_dir(&tree.id, "verify-no-endbr");
    let resolved = fs::read(dir.join(Stage::Resolve.dir_name()).join("resolved.json")).unwrap();
    let resolved: klp_pipeline::resolved::Resolved = serde_json::from_slice(&resolved).unwrap();
    let ko = dir.join(Stage::Kbuild.dir_name()).join("kpatch_verify_no_endbr.ko");
    let sites = klp_kernel::sites_of(tree.arch, &tree.config);
    let symbols = postlink::Symbols { of_parts: resolved.externs.iter().collect(), of_shims: &[] };
    let module = postlink::convert(&fs::read(ko).unwrap(), &symbols, sites).unwrap();
    let source =
        expected::Source { project: &project, fixes: &[], tree: &tree, cache: &cache, sink: &Silent };
    let report = verify(&module, &expected::of_resolved(&source, &resolved, &module, &module).unwrap());
    assert_eq!(broken(&report), BTreeSet::from([rules::IBT_ENDBR.id]));
    assert_eq!(report.findings.len(), 3, "the replacement, init and exit: {:?}", report.findings);
}

/// The kernel reads only one list, and the C objects of a module use it too.
#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn replacements_and_shims_are_in_one_list_of_traceable_functions() {
    let (_, _, tree) = common::default_kernel();
    let built = build_fix("inlines", "verify-shims", &tree).unwrap();
    let bytes = fs::read(&built.ko).unwrap();
    let report = verify(&bytes, &expected_of(&tree, &built));
    assert_eq!(report.findings, []);
    let module = klp_module::Module::parse(&bytes).unwrap();
    let lists: Vec<_> = module.sections().iter().filter(|section| section.name == "__mcount_loc").collect();
    let [list] = lists.as_slice() else { panic!("{} lists", lists.len()) };
    let listed: BTreeSet<&str> = module
        .relocations_of(list.index)
        .filter_map(|entry| {
            let symbol = &module.symbols()[entry.symbol];
            let klp_module::SymbolSection::Section(section) = symbol.section else { return None };
            module.function_at(section, symbol.value.wrapping_add_signed(entry.addend))
        })
        .map(|function| function.name)
        .collect();
    let shims = listed.iter().filter(|name| name.ends_with("__extern")).count();
    assert!(shims > 0 && listed.iter().any(|name| name.starts_with("livepatch_")), "{listed:?}");
    assert_eq!(list.size as usize, 8 * module.relocations_of(list.index).count());
}

/// Local labels would appear in /proc/kallsyms. The name of a stream or kernel may contain capitals.
#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn a_module_has_no_local_labels_and_may_have_capitals_in_its_name() {
    let (_, _, tree) = common::default_kernel();
    let built = build("verify-Capitals-RT", &tree).unwrap();
    assert_eq!(built.module, "kpatch_verify_Capitals_RT");
    let bytes = fs::read(&built.ko).unwrap();
    assert_eq!(verify(&bytes, &expected_of(&tree, &built)).findings, []);
    let labels = |bytes: &[u8]| {
        let module = klp_module::Module::parse(bytes).unwrap();
        module.symbols().iter().filter(|symbol| symbol.name.starts_with(".L")).count()
    };
    assert_eq!(labels(&bytes), 0);
    assert_ne!(labels(&fs::read(&built.unconverted).unwrap()), 0, "rustc makes none any more");
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn rules_without_facts_are_not_passed_for_a_single_file() {
    let (_, _, tree) = common::default_kernel();
    let mut sample = good();
    sample.expected = expected_of_file(&tree, &sample.bytes);
    // Somebody may have fetched it.
    sample.expected.debug_copies.clear();
    let left_out = |sample: &Sample| -> BTreeMap<&'static str, Outcome> {
        let report = verify(&sample.bytes, &sample.expected);
        assert_eq!(report.findings, []);
        let partly = report.rules.into_iter().filter(|rule| rule.left_out.is_some());
        partly.map(|rule| (rule.rule, rule.outcome)).collect()
    };
    let expected = BTreeMap::from([
        // The rule is for another architecture than this kernel's.
        (rules::BTI_LANDING_PAD.id, Outcome::NotApplied),
        (rules::SIGNATURE.id, Outcome::NotApplied),
        (rules::ASSERTED.id, Outcome::NotApplied),
        (rules::AUTHOR_SOURCE.id, Outcome::NotApplied),
        (rules::USER_POINTER.id, Outcome::NotApplied),
        (rules::INLINED_COPY.id, Outcome::NotApplied),
        (rules::TYPE_LAYOUT.id, Outcome::NotApplied),
        (rules::REPLACEMENT_PROTOTYPE.id, Outcome::NotApplied),
        (rules::PATCH_SET.id, Outcome::NotApplied),
        (rules::SYMBOL_NAMESPACE.id, Outcome::NotApplied),
        (rules::MODULE_NAME.id, Outcome::Passed),
        (rules::MODULE_PARAMETER.id, Outcome::Passed),
        (rules::PATCH_TABLE.id, Outcome::Passed),
    ]);
    assert_eq!(left_out(&sample), expected);
    // Tables with another name are found through the argument of klp_enable_patch().
    sample.symbol("__klp_patch", |symbol| symbol.name = b"patch"[..].into());
    assert_eq!(left_out(&sample), expected);
}

/// An ordinary import binds the live patch to a module that may come and go.
#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn an_import_of_a_patched_module_is_refused() {
    let mut sample = sample("binfmt", "verify-binfmt");
    let rule = rules::UNDEFINED_SYMBOL.id;
    let found = |sample: &Sample| {
        let findings = verify(&sample.bytes, &sample.expected).findings;
        findings.into_iter().filter(|found| found.rule == rule).map(|found| found.message).collect::<Vec<_>>()
    };
    sample.export("klp_enable_patch", |export| export.object = "other".to_owned());
    assert!(found(&sample).is_empty());
    sample.export("klp_enable_patch", |export| export.object = "binfmt_misc".to_owned());
    let [message] = found(&sample).try_into().unwrap();
    assert!(message.starts_with("it is of module binfmt_misc, which the live patch changes"), "{message}");
}

/// The facts about a loaded patch come from its file.
#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn a_module_is_compared_with_the_patches_that_are_loaded_before_it() {
    let said = |new: &str, old: &str| {
        let (mut new, old) = (sample(new, &format!("verify-{new}")), sample(old, &format!("verify-{old}")));
        let before = expected::loaded_patch(&old.bytes, &new.expected.layout).unwrap();
        new.expected.loaded = vec![before];
        let findings = verify(&new.bytes, &new.expected).findings.into_iter();
        let of_set = findings.filter(|found| found.rule == rules::PATCH_SET.id);
        of_set.map(|found| (found.subject, found.severity, found.message)).collect::<Vec<_>>()
    };
    let [(subject, severity, message)] = said("peek", "cmdline").try_into().unwrap();
    assert_eq!((subject.as_str(), severity), ("vmlinux:cmdline_proc_show", Severity::Warning));
    assert!(message.contains("the old code runs again"), "{message}");
    let [(_, severity, message)] = said("peek", "peek").try_into().unwrap();
    assert!(severity == Severity::Error && message.contains("no second module of a name"), "{message}");
    let [(subject, severity, message)] = said("selftest-state1", "selftest-state2").try_into().unwrap();
    assert!(subject.starts_with("state ") && severity == Severity::Error, "{subject}: {message}");
    assert!(message.contains("in version 2, and this module supports only 1"), "{message}");
    assert_eq!(said("selftest-state2", "selftest-state1"), []);
    let [(subject, severity, message)] = said("around-above", "cmdline").try_into().unwrap();
    assert_eq!((subject.as_str(), severity), ("vmlinux:cmdline_proc_show", Severity::Warning));
    assert!(message.contains("the one that was loaded last runs"), "{message}");
    let cut = &sample("peek", "verify-good").bytes[..100];
    assert!(expected::loaded_patch(cut, &sample("peek", "verify-good").expected.layout).is_err());
}

/// Without a reference to the tables, the result of rules that read the tables is not "passed".
#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn rules_that_need_the_tables_are_not_passed_without_them() {
    let mut sample = good();
    hide_tables(&mut sample);
    let report = verify(&sample.bytes, &sample.expected);
    let unchecked: Vec<&str> =
        report.rules.iter().filter(|r| r.outcome == Outcome::Unchecked).map(|r| r.rule).collect();
    let by_table = [
        rules::IBT_ENDBR.id,
        rules::PATCH_TABLE.id,
        rules::MANIFEST.id,
        rules::CALLBACK_FAILS.id,
        rules::REPLACED_FUNCTION.id,
        rules::LASTING_FUNCTION.id,
        rules::OTHER_ENTRY.id,
        rules::REPLACEMENT_SYMBOL.id,
        rules::REPLACEMENT_FRAME.id,
        rules::SELF_CALL.id,
        rules::LOCK_HELD.id,
        rules::KEPT_POINTER.id,
        rules::USER_POINTER.id,
        rules::ORIGINAL_SITE.id,
        rules::TRACEABLE_REPLACEMENT.id,
    ];
    assert_eq!(unchecked, by_table);
    assert!(refuse_errors("x.ko".as_ref(), &report, &Silent).is_err());
}

/// Numbers of a seed.
fn random(seed: u64) -> impl FnMut(usize) -> usize {
    // xorshift
    let mut state = seed.max(1);
    move |limit: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % limit.max(1) as u64).unwrap()
    }
}

/// Bytes of a module that say what it is: headers, symbols and their names, relocations, module information.
fn structure(bytes: &[u8]) -> Vec<usize> {
    let module = klp_module::Module::parse(bytes).unwrap();
    let base = bytes.as_ptr().addr();
    let says = |section: &&klp_module::Section<'_>| {
        section.is_rela()
            || section.kind == 2
            || section.name == ".modinfo"
            || section.name.ends_with("strtab")
    };
    let tables = module.sections().iter().filter(says).flat_map(|section| {
        let start = section.data.as_ptr().addr() - base;
        start..start + section.data.len()
    });
    let sections = usize::try_from(u64::from_le_bytes(*bytes[40..].first_chunk().unwrap())).unwrap();
    (0..64).chain(tables).chain(sections..sections + 64 * module.sections().len()).collect()
}

/// Damaged modules, 10,000 of a seed: FERROGRAFT_SEED, else always the same. None may make the rules panic. A module with a change in what
/// says what it is, is refused; that holds by the digest for all, and by the other rules for most.
#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn damaged_modules_are_refused_and_cause_no_panic() {
    const MUTANTS: usize = 10_000;
    let (_, _, tree) = common::default_kernel();
    let built = build("verify-good", &tree).unwrap();
    let whole = fs::read(&built.ko).unwrap();
    let expected = expected_of(&tree, &built);
    assert_eq!(klp_verify::verify(&whole, &expected).refusals(), 0);
    let seed: Option<u64> = std::env::var("FERROGRAFT_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or(0x9e37_79b9_7f4a_7c15);
    let places = structure(&whole);
    let half = |from: usize| {
        let mut random = random(seed.rotate_left(u32::try_from(from).unwrap()));
        let (mut refused, mut by_others, mut passed) = (0, 0, Vec::new());
        for round in 0..MUTANTS / 4 {
            let mut bytes = whole.clone();
            let at = places[random(places.len())];
            bytes[at] ^= u8::try_from(random(255) + 1).unwrap();
            let report = klp_verify::verify(&bytes, &expected);
            let others = report.rules.iter().filter(|rule| rule.rule != rules::FILE_DIGEST.id);
            by_others += usize::from(others.map(|rule| rule.outcome).max() >= Some(Outcome::Unchecked));
            if report.refusals() > 0 {
                refused += 1;
            } else {
                passed.push((round, at));
            }
            // Anything anywhere: no panic.
            let mut bytes = whole.clone();
            for _ in 0..=random(16) {
                let at = random(bytes.len());
                bytes[at] = u8::try_from(random(256)).unwrap();
            }
            bytes.truncate(if round % 8 == 0 { random(bytes.len()) } else { bytes.len() });
            assert!(klp_verify::verify(&bytes, &expected).rules.len() > 2);
        }
        (refused, by_others, passed)
    };
    let halves = std::thread::scope(|scope| {
        let threads = [0, 1].map(|from| scope.spawn(move || half(from)));
        threads.map(|thread| thread.join().unwrap())
    });
    let refused: usize = halves.iter().map(|half| half.0).sum();
    let by_others: usize = halves.iter().map(|half| half.1).sum();
    println!(
        "seed {seed}: {refused} of {} mutants of the structure refused, {by_others} without the digest",
        MUTANTS / 2
    );
    let passed: Vec<_> = halves.iter().flat_map(|half| &half.2).collect();
    assert!(passed.is_empty(), "seed {seed}, round and place: {passed:?}");
    assert!(by_others * 100 >= refused * 50, "{by_others} of {refused} without the digest");
}

/// A rule does not apply to a kernel without the rule's feature, and the report says so.
#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn rules_of_features_that_the_kernel_does_not_have_are_not_applied() {
    let mut sample = good();
    sample.expected.call_padding = Ok(None);
    sample.expected.ibt = false;
    sample.expected.modversions = false;
    let report = verify(&sample.bytes, &sample.expected);
    assert_eq!(report.findings, []);
    let without: Vec<&str> =
        report.rules.iter().filter(|r| r.outcome == Outcome::NotApplied).map(|r| r.rule).collect();
    let expected = [
        rules::SIGNATURE.id,
        rules::CALL_PADDING.id,
        rules::IBT_ENDBR.id,
        rules::BTI_LANDING_PAD.id,
        rules::REPLACEMENT_PROTOTYPE.id,
        rules::SYMBOL_NAMESPACE.id,
        rules::SYMBOL_VERSION.id,
        rules::PATCH_SET.id,
    ];
    assert_eq!(without, expected);
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn findings_are_reported_and_counted_by_rule() {
    let mut sample = good();
    sample.text(".modinfo", "livepatch=Y", "livepatch=N");
    sample.text(".modinfo", "license=GPL", "license=MIT");
    let report = verify(&sample.bytes, &sample.expected);
    let recorder = Recorder::default();
    let refused = refuse_errors("x.ko".as_ref(), &report, &recorder);
    assert!(matches!(refused, Err(Refused { rules: 2, .. })), "{refused:?}");
    let told: Vec<&str> = recorder
        .events()
        .iter()
        .filter_map(|event| if let Event::Finding(finding) = event { Some(finding.rule) } else { None })
        .collect();
    assert_eq!(told, [rules::LIVEPATCH_TAG.id, rules::LICENSE_TAG.id]);
}

/// Compares the list of licences with the kernel's own list.
#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn the_licences_are_those_of_the_kernel() {
    let (_, _, tree) = common::default_kernel();
    let headers = tree.headers.canonicalize().unwrap();
    let common = headers.to_string_lossy().replace("-amd64", "-common");
    let text = fs::read_to_string(format!("{common}/include/linux/license.h")).unwrap();
    let listed: Vec<&str> =
        text.split("strcmp(license, \"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(listed, GPL_COMPATIBLE);
}
