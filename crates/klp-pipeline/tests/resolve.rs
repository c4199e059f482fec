// SPDX-License-Identifier: GPL-2.0-or-later
//! Input that stage 1 rejects on the default kernel, with the reasons.

use std::fs;

use klp_base::events::{Event, Recorder, Severity, Silent};
use klp_format::ObjectName;
use klp_image::Symbol;
use klp_pipeline::Error;
use klp_pipeline::build::Build;
use klp_pipeline::objects::Objects;
use klp_pipeline::project::{Target, read_fix};
use klp_pipeline::resolve::resolve;
use klp_pipeline::resolved::Resolved;
use klp_pipeline::stage::{Built, Range, Stage};

use crate::common;

/// First line of a fix that uses a kernel symbol.
const SHOW: &str = "patch = ['vmlinux:version_proc_show']\n";

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn invalid_symbols_are_rejected_with_the_reason() {
    let (project, cache, tree) = common::default_kernel();
    let objects = Objects::load(&project, &tree, [], &cache, &Silent).unwrap();
    let image = &objects.kernel;
    let duplicate = image
        .symbols
        .iter()
        .map(|symbol| symbol.name.to_string())
        .find(|name| name.len() > 8 && image.symbols.count(name) > 1 && image.types.function(name).is_ok())
        .expect("a name that stands twice");
    for (text, expected) in [
        ("patch = ['vmlinux:no_such_function']", "there is no such function in the kernel's BTF"),
        ("patch = [{ symbol = 'vmlinux:do_idle.cold', as = 'x' }]", "compiler's variant"),
        ("patch = ['vmlinux:klp_ftrace_handler']", "cannot be replaced: it does not begin with a call"),
        ("patch = ['vmlinux:seq_printf']", "variable number of arguments"),
        ("patch = ['vmlinux:start_kernel']", "cannot be replaced"),
        ("patch = ['no_such_module:f']", "no module of that name"),
        ("patch = ['ext4:no_such_function']", "no such function"),
        // Two modules with separate types; both are found.
        ("patch = ['ext4:ext4_fill_super', 'xfs:no_such_function']", "no such function"),
        ("patch = ['ext4:ext4_fill_super', 'xfs:ext4_fill_super']", "xfs:ext4_fill_super"),
        (
            "patch = ['vmlinux:cmdline_proc_show']\nimports.functions = [{ symbol = 'vmlinux:no_such_function', prototype = 'int no_such_function(void)' }]",
            "no such symbol in the object's symbol table",
        ),
        (&format!("patch = ['vmlinux:{duplicate}']"), "symbols of that name; say which"),
        ("patch = ['vmlinux:cmdline_proc_show,2']", "position 2 was asked for"),
        (
            "patch = ['vmlinux:cmdline_proc_show']\nimports.variables = ['vmlinux:no_such_variable']",
            "no such symbol in the object's symbol table",
        ),
        (
            "patch = ['vmlinux:cmdline_proc_show']\nimports.functions = ['vmlinux:no_such_function']",
            "no such function",
        ),
        // BTF has one prototype per name, even if several functions have the name.
        ("patch = ['vmlinux:start_show,5']", "has 5 functions of that name"),
        ("patch = [{ symbol = 'vmlinux:start_show,5', as = 'f' }]", "start_show,5 between"),
        ("patch = ['vmlinux:start_show,9']", "position 9 was asked for, there are 5"),
        (&format!("{SHOW}imports.functions = ['vmlinux:start_show,1']"), "give its prototype"),
        (
            &format!(
                "{SHOW}imports.functions = [{{ symbol = 'vmlinux:start_show', prototype = 'int start_show(void)' }}]"
            ),
            "say which",
        ),
        // An unchecked prototype is rejected if BTF has the prototype.
        (
            "patch = [{ symbol = 'vmlinux:version_proc_show', prototype = 'long version_proc_show(void)' }]",
            "contradicts BTF, which has `int version_proc_show(struct seq_file *m, void *v)`",
        ),
        (
            &format!(
                "{SHOW}imports.functions = [{{ symbol = 'vmlinux:kfree', prototype = 'void kfree(void *p)' }}]"
            ),
            "contradicts BTF",
        ),
        (
            "patch = [{ symbol = 'vmlinux:do_idle.cold', as = 'x', prototype = 'void x(void)' }]",
            "compiler's variant",
        ),
        (
            &format!(
                "{SHOW}imports.functions = [{{ symbol = 'vmlinux:key_gc_unused_keys.constprop.0', as = 'f' }}]"
            ),
            "call key_gc_unused_keys itself where the kernel has it",
        ),
        (
            &format!(
                "{SHOW}imports.functions = [{{ symbol = 'vmlinux:f.isra.0', as = 'f', prototype = 'void f(void)' }}]"
            ),
            "no such symbol",
        ),
        (
            &format!(
                "{SHOW}imports.functions = [{{ symbol = 'vmlinux:do_idle.cold', as = 'f', prototype = 'void f(void)' }}]"
            ),
            "never called",
        ),
        // Symbols that are not functions, not variables, or freed after init.
        (
            &format!(
                "{SHOW}imports.functions = [{{ symbol = 'vmlinux:saved_command_line', prototype = 'int saved_command_line(void)' }}]"
            ),
            "it is no function (kallsyms has it as",
        ),
        (
            &format!(
                "{SHOW}imports.variables = [{{ symbol = 'vmlinux:nr_processes', declaration = 'int nr_processes' }}]"
            ),
            "it is no variable but code",
        ),
        (&format!("{SHOW}imports.functions = ['vmlinux:start_kernel']"), "whose memory is freed afterwards"),
        (
            &format!(
                "{SHOW}imports.variables = [{{ symbol = 'vmlinux:boot_command_line', declaration = 'char boot_command_line[]' }}]"
            ),
            "whose memory is freed afterwards",
        ),
        // Per-CPU variables, exported and not exported.
        (
            &format!("{SHOW}imports.variables = ['vmlinux:kernel_cpustat']"),
            "macros = [\"void *this_cpu_ptr(void *p)\"]",
        ),
        (&format!("{SHOW}imports.variables = ['vmlinux:tick_cpu_device']"), "it is a per-CPU variable"),
        (
            &format!(
                "{SHOW}imports.variables = [{{ symbol = 'vmlinux:saved_command_line', per_cpu = true }}]"
            ),
            "it is no per-CPU variable",
        ),
        // A module that may be unloaded, and a module that is always loaded.
        (
            &format!("{SHOW}imports.functions = ['binfmt_misc:bm_status_read']"),
            "binfmt_misc may be away when the fix runs: the fix changes vmlinux alone",
        ),
        (
            "patch = ['jbd2:jbd2_journal_clear_err']\nimports.functions = ['ext4:ext4_fill_super']",
            "ext4 may be away when the fix runs: the fix changes jbd2 alone",
        ),
        // Advice names the object with the symbol.
        (
            "patch = ['ext4:cmdline_proc_show']",
            "the kernel itself has it: write \"vmlinux:cmdline_proc_show\"",
        ),
        ("patch = ['vmlinux:jbd2_journal_stop']", "module jbd2 exports it: write \"jbd2:jbd2_journal_stop\""),
        ("patch = ['vmlinux:__do_sys_newuname']", "{ syscall = \"newuname\" }"),
        ("patch = ['vmlinux:sys_newuname']", "{ syscall = \"newuname\" }"),
        ("patch = ['vmlinux:__x64_sys_no_such_call']", "no such function"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("patch.toml"), format!("description = 'x'\n{text}\n")).unwrap();
        let fix = read_fix("test", dir.path()).unwrap();
        let target = Target::of_fix(fix);
        let error = Objects::load(&project, &tree, target.symbols(), &cache, &Silent)
            .and_then(|objects| resolve(&tree, &objects, &target, Vec::new()))
            .map(|_| ())
            .expect_err(text)
            .to_string();
        assert!(error.contains(expected) && error.contains("debian-6.12"), "{text}: {error}");
    }
}

/// Result of stage resolve for a fix with this patch.toml.
fn resolved(text: &str) -> Resolved {
    let (project, cache, tree) = common::default_kernel();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("patch.toml"), format!("description = 'x'\n{text}\n")).unwrap();
    let target = Target::of_fix(read_fix("test", dir.path()).unwrap());
    let objects = Objects::of(&project, &tree, &target.objects(), &cache, &Silent).unwrap();
    resolve(&tree, &objects, &target, Vec::new()).unwrap()
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn ambiguous_function_uses_the_unchecked_prototype() {
    let prototype = "ssize_t start_show(struct firmware_map_entry *entry, char *buf)";
    let item = format!("{{ symbol = 'vmlinux:start_show,5', as = 'map_start', prototype = '{prototype}' }}");
    let replaced = resolved(&format!("patch = [{item}]"));
    let function = &replaced.functions[0];
    assert_eq!((function.c_prototype.as_str(), function.asserted), (prototype, true));
    let called = resolved(&format!("{SHOW}imports.functions = [{item}]"));
    let function = &called.externs[0];
    assert_eq!((function.name.as_str(), function.c_declaration.as_str()), ("map_start", prototype));
    assert!(function.asserted && called.asserted().count() == 1);

    // Data with the same name requires a symbol position, but BTF's prototype stays reliable.
    let (project, cache, tree) = common::default_kernel();
    let objects = Objects::load(&project, &tree, [], &cache, &Silent).unwrap();
    let symbols = &objects.kernel.symbols;
    let mixed =
        symbols.iter().filter(|symbol| symbol.is_code() && symbols.count(symbol.name) > 1).find(|symbol| {
            let code = symbols.named(symbol.name).iter().filter(|other| other.is_code()).count();
            let known = |name: &str| objects.kernel.types.function(name).is_ok_and(|found| !found.variadic);
            code == 1
                && known(symbol.name)
                && objects.kernel.traceability(symbol.name, symbol.position).is_traceable()
        });
    let mixed = mixed.expect("a function and a variable of one name");
    let mixed = resolved(&format!("patch = ['vmlinux:{},{}']", mixed.name, mixed.position));
    assert!(!mixed.functions[0].asserted);

    // The author's prototype equals BTF's prototype.
    let same = resolved(
        "patch = [{ symbol = 'vmlinux:version_proc_show', prototype = 'int version_proc_show(struct seq_file *, void *unused)' }]\n\
         imports.functions = [{ symbol = 'vmlinux:simple_read_from_buffer', prototype = 'ssize_t simple_read_from_buffer(void __user *to, size_t count, loff_t *ppos, const void *from, unsigned long n)' }]",
    );
    assert!(!same.functions[0].asserted && !same.externs[0].asserted);
}

/// Functions with one name in several objects are different functions.
#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn functions_are_typed_by_the_btf_of_their_own_object() {
    let (project, cache, tree) = common::default_kernel();
    let names = ["ext4", "jbd2"].map(|name| ObjectName::new(name).unwrap());
    let objects = Objects::of(&project, &tree, &names, &cache, &Silent).unwrap();
    let kernel = Objects::load(&project, &tree, [], &cache, &Silent).unwrap();
    let vmlinux = ObjectName::new("vmlinux").unwrap();
    let text = |objects: &Objects, object: &ObjectName, name: &str| {
        objects.function(object, name).ok().map(|found| objects.types().c_prototype(&found))
    };
    let mut differ = 0;
    for object in &names {
        let alone = Objects::of(&project, &tree, [object], &cache, &Silent).unwrap();
        let shared = |symbol: &Symbol<'_>| symbol.is_code() && objects.kernel.symbols.count(symbol.name) > 0;
        for symbol in objects.symbols(object).unwrap().iter().filter(shared) {
            let own = text(&objects, object, symbol.name);
            assert_eq!(own, text(&alone, object, symbol.name), "{object}:{}", symbol.name);
            let theirs = text(&objects, &vmlinux, symbol.name);
            assert_eq!(theirs, text(&kernel, &vmlinux, symbol.name), "{}", symbol.name);
            differ += usize::from(own != theirs);
        }
    }
    assert!(differ > 0, "no name that the kernel and a module have differently");
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn exports_are_imported_with_their_namespace_or_resolved_by_the_livepatch_core() {
    let found = resolved(&format!(
        "{SHOW}imports.functions = ['vmlinux:dma_buf_get', 'vmlinux:kfree', 'vmlinux:anon_inode_make_secure_inode']"
    ));
    let seen: Vec<_> = found.externs.iter().map(|item| (item.exported, item.namespace.as_deref())).collect();
    // The last symbol is exported only to module kvm.
    assert_eq!(seen, [(true, Some("DMA_BUF")), (true, None), (false, None)]);
    let imports = klp_pipeline::compile::imports(&found.externs);
    assert!(imports.contains("[u8; 18] = *b\"import_ns=DMA_BUF\\0\""), "{imports}");
    // A dependency of a loaded module is also loaded.
    let found =
        resolved("patch = ['ext4:ext4_fill_super']\nimports.functions = ['jbd2:jbd2_journal_clear_err']");
    assert!(found.needs["ext4"].contains("jbd2") && !found.externs[0].exported);
}

/// Builds fixes, given as name, patch.toml and source, as one module.
fn build(name: &str, fixes: &[(&str, &str, &str)], to: Stage) -> (Result<Built, Error>, Vec<Event>) {
    let (project, cache, tree) = common::default_kernel();
    let parent = common::root().join("build");
    fs::create_dir_all(&parent).unwrap();
    let dir = tempfile::tempdir_in(parent).unwrap();
    let fixes = fixes.iter().map(|(fix, text, source)| {
        let dir = dir.path().join(fix);
        fs::create_dir_all(dir.join("src")).unwrap();
        fs::write(dir.join("patch.toml"), format!("description = 'x'\n{text}\n")).unwrap();
        fs::write(dir.join("src/lib.rs"), source).unwrap();
        read_fix(fix, &dir).unwrap()
    });
    let fixes: Vec<_> = fixes.collect();
    let target = Target { name: name.to_owned(), fixes: fixes.clone(), ..Target::of_fix(fixes[0].clone()) };
    let recorder = Recorder::default();
    let build = Build {
        project: &project,
        tree: &tree,
        target: &target,
        cache: &cache,
        given: None,
        signer: None,
        sink: &recorder,
    };
    let built = build.run(Range { from: None, to });
    (built, recorder.events())
}

/// Private structs of the kernel may have the same name. In one module each name stands for one struct.
#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn two_types_with_one_name_are_rejected_with_both_users() {
    let apart = [
        ("hotplug", "patch = ['vmlinux:pciehp_check_presence']", ""),
        ("power", "patch = ['vmlinux:shpchp_handle_power_fault']", ""),
    ];
    for one in &apart {
        build(&format!("one-type-{}", one.0), std::slice::from_ref(one), Stage::Bindings).0.expect(one.1);
    }
    let message = build("two-types", &apart, Stage::Bindings).0.unwrap_err().to_string();
    for part in [
        "two C types are called `controller`",
        "376 bytes",
        "200 bytes",
        "pciehp_check_presence of `hotplug`",
        "shpchp_handle_power_fault of `power`",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let one_fix = [("one", "patch = ['btrfs:walk_up_tree', 'btrfs:walk_log_tree']", "")];
    let message = build("two-types-of-one", &one_fix, Stage::Bindings).0.unwrap_err().to_string();
    assert!(message.contains("two C types are called `walk_control`"), "{message}");
}

/// A replacement in one object may use symbols of another object only if that object is always loaded with
/// the first.
#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn symbols_of_a_module_are_used_only_while_it_is_loaded() {
    let source = |object: &str, function: &str, call: &str| {
        format!(
            "#![no_std]\nuse klp::prelude::*;\nuse klp::core::callbacks::{{Callbacks, Object}};\npub struct Patch;\n\
             impl replaced::{object} for Patch {{\n    unsafe extern \"C\" fn {function} {{\n        /* a call */ {call}\n    }}\n}}\n"
        )
    };
    let callbacks = "impl Callbacks<replaced::objects::binfmt_misc> for Patch {\n    fn pre_patch(_: &Object<'_>) -> Result<(), Errno> {\n        CALL\n        Ok(())\n    }\n}\n";
    let call =
        "unsafe { bm_status_read(core::ptr::null_mut(), core::ptr::null_mut(), 0, core::ptr::null_mut()) }";
    let end = "klp::livepatch!(Patch);\n";
    let show = "version_proc_show(_m: *mut seq_file, _v: *mut c_void) -> c_int";
    let toml = "patch = ['vmlinux:version_proc_show']\ncallbacks = ['binfmt_misc']\nimports.functions = ['binfmt_misc:bm_status_read']";

    let wrong = source("vmlinux", show, &format!("({call}) as c_int")) + &callbacks.replace("CALL", "") + end;
    let (built, events) = build("module-away", &[("away", toml, &wrong)], Stage::Verify);
    assert!(matches!(built, Err(Error::Refused { .. })), "{built:?}");
    let findings: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Finding(finding) if finding.severity == Severity::Error => Some(finding),
            _ => None,
        })
        .collect();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(
        (findings[0].rule, findings[0].subject.as_str()),
        ("klp-relocation", "binfmt_misc:bm_status_read")
    );
    assert!(
        findings[0].message.starts_with("the replacement of vmlinux:version_proc_show comes to"),
        "{findings:?}"
    );

    let right = source("vmlinux", show, "0") + &callbacks.replace("CALL", &format!("let _ = {call};")) + end;
    build("module-there", &[("there", toml, &right)], Stage::Verify).0.unwrap();

    let needed = source(
        "ext4",
        "ext4_fill_super(_sb: *mut super_block, _fc: *mut fs_context) -> c_int",
        "unsafe { mb_cache_destroy(core::ptr::null_mut()) };\n        0",
    );
    let needed = needed.replace("use klp::core::callbacks::{Callbacks, Object};\n", "") + end;
    let toml = "patch = ['ext4:ext4_fill_super']\nimports.functions = ['mbcache:mb_cache_destroy']";
    build("module-needed", &[("needed", toml, &needed)], Stage::Verify).0.unwrap();

    // Dependencies of modules are unknown for a single file: the rule is not checked, and the module is refused.
    let static_function = needed.replace(
        "mb_cache_destroy(core::ptr::null_mut())",
        "mb_cache_count(core::ptr::null_mut(), core::ptr::null_mut())",
    );
    let static_function = static_function
        .replace("pub struct Patch;\n", "use klp::core::callbacks::{Callbacks, Object};\npub struct Patch;\n")
        .replace(end, &(callbacks.replace("CALL", "").replace("binfmt_misc", "mbcache") + end));
    let toml = "patch = ['ext4:ext4_fill_super']\ncallbacks = ['mbcache']\nimports.functions = ['mbcache:mb_cache_count']";
    let fixes = [("unknown", toml, static_function.as_str())];
    let built = build("module-unknown", &fixes, Stage::Verify).0.unwrap();
    let (_, _, tree) = common::default_kernel();
    let bytes = fs::read(&built.ko).unwrap();
    let report = klp_verify::verify(&bytes, &crate::verify::expected_of_file(&tree, &bytes));
    assert_eq!(report.findings, []);
    let refusing: Vec<_> =
        report.rules.iter().filter(|rule| rule.outcome >= klp_verify::Outcome::Unchecked).collect();
    let [rule] = refusing.as_slice() else { panic!("{refusing:?}") };
    assert_eq!(rule.rule, "klp-relocation");
    assert!(rule.left_out.as_ref().unwrap().contains("ext4 without mbcache"), "{rule:?}");
}

/// Static inline functions with an unexported static key or static call: stage 4 describes the symbol and the remedy.
/// tests/fixes/tracepoint contains an inline function with an exported static key, tests/fixes/unexported one that calls an
/// unexported function.
#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn inline_functions_with_unexported_keys_are_rejected_with_the_reason() {
    let (project, cache, tree) = common::default_kernel();
    for (header, inline, symbol, kind) in [
        ("linux/cpuset.h", "cpusets_enabled", "cpusets_enabled_key", "is a static key"),
        ("linux/perf_event.h", "perf_guest_state", "__SCT____perf_guest_state", "is a static call"),
    ] {
        let build = common::root().join("build");
        fs::create_dir_all(&build).unwrap();
        let dir = tempfile::tempdir_in(build).unwrap();
        let text = format!(
            "description = 'x'\npatch = ['vmlinux:version_proc_show']\nimports.headers = ['{header}']\nimports.inlines = ['{inline}']\n"
        );
        fs::write(dir.path().join("patch.toml"), text).unwrap();
        fs::create_dir(dir.path().join("src")).unwrap();
        let source = format!(
            "#![no_std]\nuse klp::prelude::*;\npub struct Patch;\nimpl replaced::vmlinux for Patch {{\n    \
             unsafe extern \"C\" fn version_proc_show(_m: *mut seq_file, _v: *mut c_void) -> c_int {{\n        \
             /* a call */ unsafe {{ {inline}() as c_int }}\n    }}\n}}\nklp::livepatch!(Patch);\n"
        );
        fs::write(dir.path().join("src/lib.rs"), source).unwrap();
        let name = format!("not-exported-{}", inline.replace('_', "-"));
        let target = Target { name, ..Target::of_fix(read_fix("test", dir.path()).unwrap()) };
        let build = Build {
            project: &project,
            tree: &tree,
            target: &target,
            cache: &cache,
            given: None,
            signer: None,
            sink: &Silent,
        };
        match build.run(Range { from: None, to: Stage::Kbuild }).map(|_| ()) {
            Err(Error::NotExported { reasons, .. }) => {
                assert!(
                    reasons.iter().any(|text| text.contains(symbol) && text.contains(kind)),
                    "{reasons:?}"
                );
            }
            other => panic!("{inline}: {other:?}"),
        }
    }
}
