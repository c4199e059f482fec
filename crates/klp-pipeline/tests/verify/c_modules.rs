// SPDX-License-Identifier: GPL-2.0-or-later
//! Live patches in C, compiled by kbuild without this pipeline.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use klp_base::events::{Severity, Silent};
use klp_base::process::Cmd;
use klp_kernel::c_source::CSource;
use klp_verify::rules::*;
use klp_verify::{Outcome, Report, verify};

use crate::common;

/// Modules of `verify/c` with the violated rule and the severity.
pub const MODULES: &[(&str, Option<(&Rule, Severity)>)] = &[
    ("right", None),
    ("right_only_bug", None),
    ("right_with_locks", None),
    ("bare_branches", Some((&BRANCH_THUNK, Severity::Error))),
    ("callback_that_refuses", Some((&CALLBACK_FAILS, Severity::Warning))),
    ("function_misspelt", Some((&REPLACED_FUNCTION, Severity::Error))),
    ("function_of_a_thread", Some((&LASTING_FUNCTION, Severity::Warning))),
    ("function_of_several", Some((&REPLACED_FUNCTION, Severity::Error))),
    ("function_of_the_core", Some((&LASTING_FUNCTION, Severity::Warning))),
    ("function_of_the_start", Some((&REPLACED_FUNCTION, Severity::Error))),
    ("function_twice", Some((&REPLACED_FUNCTION, Severity::Error))),
    ("function_without_site", Some((&REPLACED_FUNCTION, Severity::Error))),
    ("layout_of_another_kernel", Some((&TYPE_LAYOUT, Severity::Error))),
    ("lock_held_on_a_path", Some((&LOCK_HELD, Severity::Warning))),
    ("nothing_enabled", Some((&MODULE_STRUCT, Severity::Error))),
    ("object_misspelt", Some((&REPLACED_FUNCTION, Severity::Unchecked))),
    ("object_named_vmlinux", Some((&REPLACED_FUNCTION, Severity::Error))),
    ("prototype_of_another", Some((&REPLACEMENT_PROTOTYPE, Severity::Error))),
    ("sleeps_in_a_helper", Some((&ATOMIC_SLEEP, Severity::Error))),
    ("sleeps_with_a_spinlock", Some((&ATOMIC_SLEEP, Severity::Error))),
    ("system_call_of_one_kind", Some((&OTHER_ENTRY, Severity::Warning))),
    ("thread_that_stays", Some((&KEPT_POINTER, Severity::Warning))),
    ("vector_registers", Some((&VECTOR_REGISTER, Severity::Error))),
    ("write_to_a_constant", Some((&READ_ONLY_WRITE, Severity::Error))),
    ("frame_of_3000_bytes", Some((&STACK_FRAME, Severity::Warning))),
    ("frame_of_6000_bytes", Some((&STACK_FRAME, Severity::Error))),
    ("frame_of_any_size", Some((&STACK_FRAME, Severity::Unchecked))),
    ("frames_of_6000_bytes_together", Some((&STACK_FRAME, Severity::Error))),
    ("feature_of_the_processor", None),
    ("part_put_aside", None),
    ("part_put_aside_that_leaves", Some((&REPLACEMENT_FRAME, Severity::Error))),
    ("recursion_by_data", Some((&STACK_FRAME, Severity::Warning))),
    ("recursion_without_end", Some((&STACK_FRAME, Severity::Error))),
    ("self_call_always", Some((&SELF_CALL, Severity::Error))),
    ("self_call_behind_a_feature", Some((&SELF_CALL, Severity::Error))),
    ("self_call_behind_a_guard", Some((&SELF_CALL, Severity::Error))),
    ("self_call_by_pointer", Some((&SELF_CALL, Severity::Error))),
    // Two findings, one for each function.
    ("self_call_of_two", Some((&SELF_CALL, Severity::Error))),
    ("self_call_that_ends", Some((&SELF_CALL, Severity::Warning))),
    ("tables_in_init_data", Some((&PATCH_TABLE, Severity::Error))),
    ("tail_call", Some((&REPLACEMENT_FRAME, Severity::Error))),
    ("tail_call_of_a_pointer", Some((&REPLACEMENT_FRAME, Severity::Error))),
    ("tail_call_of_the_kernel", Some((&REPLACEMENT_FRAME, Severity::Warning))),
    ("tail_call_on_one_way", Some((&REPLACEMENT_FRAME, Severity::Error))),
];

/// Compiles all modules of `verify/c` in one kbuild run. Returns the directory.
fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        // gcc's warnings for these faults are off, because the rules must find them.
        let mut flags = "ccflags-y := -Wno-frame-larger-than -Wno-infinite-recursion\n\
                            CFLAGS_bare_branches.o := -mindirect-branch=keep -mfunction-return=keep\n"
            .to_owned();
        // These have debug information with the types of all headers.
        for name in [
            "right",
            "right_only_bug",
            "right_with_locks",
            "prototype_of_another",
            "layout_of_another_kernel",
        ] {
            writeln!(flags, "CFLAGS_{name}.o := -g").unwrap();
        }
        let sources = fs::read_dir(common::root().join("crates/klp-pipeline/tests/verify/c")).unwrap();
        let sources: Vec<PathBuf> = sources.map(|entry| entry.unwrap().path()).collect();
        let is_module = |path: &Path| path.extension().is_some_and(|extension| extension == "c");
        make("verify-c", &flags, &sources, &is_module)
    })
}

/// Compiles modules in a directory of this name. Returns the directory.
fn make(name: &str, flags: &str, sources: &[PathBuf], is_module: &dyn Fn(&Path) -> bool) -> PathBuf {
    let (_, _, tree) = common::default_kernel();
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&dir).unwrap();
    let mut makefile = flags.to_owned();
    for path in sources {
        let to = dir.join(path.file_name().unwrap());
        let text = fs::read(path).unwrap();
        if fs::read(&to).ok().as_ref() != Some(&text) {
            fs::write(&to, text).unwrap();
        }
        if is_module(path) {
            writeln!(makefile, "obj-m += {}.o", path.file_stem().unwrap().display()).unwrap();
        }
    }
    fs::write(dir.join("Makefile"), makefile).unwrap();
    let make = Cmd::new("make").arg("-C").arg(&tree.headers).args(&tree.make);
    let make = make.arg(format!("M={}", dir.display())).arg("CONFIG_DEBUG_INFO_BTF_MODULES=");
    make.arg("CONFIG_DEBUG_INFO=").arg("modules").clean_env().run().unwrap();
    dir
}

fn judged(name: &str) -> Report {
    judged_file(&built().join(format!("{name}.ko")))
}

fn judged_file(file: &Path) -> Report {
    let (_, _, tree) = common::default_kernel();
    let bytes = fs::read(file).unwrap();
    verify(&bytes, &super::expected_of_file(&tree, &bytes))
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn modules_in_c_are_verified_by_their_code() {
    let mut wrong = Vec::new();
    for (name, breaks) in MODULES {
        let report = judged(name);
        // Replacements in assembly have no ftrace site, and nobody has stripped the modules, which are separate warnings.
        let separate = [TRACEABLE_REPLACEMENT.id, DEBUG_LEFT.id];
        let others = report.findings.iter().filter(|found| !separate.contains(&found.rule));
        let found: BTreeSet<_> = others.map(|found| (found.rule, found.severity)).collect();
        if found != breaks.iter().map(|(rule, severity)| (rule.id, *severity)).collect() {
            wrong.push(format!("{name}: {:#?}", report.findings));
        }
        // A rule can also refuse a module by its outcome alone.
        let refusing = report.rules.iter().filter(|rule| rule.outcome >= Outcome::Unchecked);
        let unexpected: Vec<_> =
            refusing.filter(|found| !breaks.is_some_and(|(rule, _)| rule.id == found.rule)).collect();
        if !unexpected.is_empty() {
            wrong.push(format!("{name}: {unexpected:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let sources = fs::read_dir(common::root().join("crates/klp-pipeline/tests/verify/c")).unwrap();
    assert_eq!(sources.count(), MODULES.len() + 1, "each source and live_patch.h");
}

/// A finding names the places in the source, for a human reader.
#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn findings_on_code_name_function_and_target() {
    let message = |name: &str| {
        let findings = judged(name).findings;
        let found = findings.into_iter().find(|found| found.rule != DEBUG_LEFT.id);
        found.unwrap().message
    };
    assert!(message("tail_call").contains("its replacement show ends in a jump to helper (at .text+"));
    assert!(message("frames_of_6000_bytes_together").contains("show -> first -> second -> third"));
    assert!(message("self_call_behind_a_guard").contains("(the_original)"));
    let says = "parameter 1 is *struct file instead of *struct seq_file in its replacement show; the kernel has `int version_proc_show(";
    assert!(message("prototype_of_another").contains(says));
    assert!(
        message("layout_of_another_kernel").contains("it has 16 bytes in the module, and 40 in the kernel")
    );
    assert!(message("tail_call_of_a_pointer").contains("an address that is computed"));
}

/// The kernel's own samples and the modules of its selftests, in C and with debug information.
#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn modules_of_the_kernel_have_no_error() {
    let (_, cache, tree) = common::default_kernel();
    let source = CSource::of(&tree, &cache, &Silent).unwrap().root;
    let in_dir = |dir: &str| {
        let entries = fs::read_dir(source.join(dir)).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.extension().is_some_and(|extension| extension == "c")).collect::<Vec<_>>()
    };
    let sources =
        [in_dir("samples/livepatch"), in_dir("tools/testing/selftests/livepatch/test_modules")].concat();
    // One of them includes another.
    let is_live_patch = |path: &Path| {
        let text = fs::read_to_string(path).unwrap();
        text.contains("klp_enable_patch(") || text.contains("#include \"test_klp")
    };
    let dir = make("verify-kernel-modules", "ccflags-y := -g\n", &sources, &is_live_patch);
    let mut judged = 0;
    for path in sources.iter().filter(|path| is_live_patch(path)) {
        let report = judged_file(&dir.join(path.file_stem().unwrap()).with_extension("ko"));
        let errors: Vec<_> =
            report.findings.iter().filter(|found| found.severity == Severity::Error).collect();
        assert!(errors.is_empty(), "{}: {errors:#?}", path.display());
        let layouts = report.rules.iter().find(|rule| rule.rule == TYPE_LAYOUT.id).unwrap();
        assert_eq!(layouts.outcome, Outcome::Passed, "{}", path.display());
        judged += 1;
    }
    assert!(judged >= 12, "{judged}");
}
