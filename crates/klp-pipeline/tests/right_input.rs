// SPDX-License-Identifier: GPL-2.0-or-later
//! Valid fixes for which generated code once failed: each builds and passes the verifier.

use std::fs;
use std::path::Path;

use klp_base::events::Silent;
use klp_format::KlpSymbol;
use klp_module::Module;
use klp_pipeline::Error;
use klp_pipeline::build::Build;
use klp_pipeline::objects::Objects;
use klp_pipeline::project::{Target, read_fix};
use klp_pipeline::scaffold;
use klp_pipeline::stage::{Built, Range};
use klp_verify::rules;

use crate::common;

/// Builds the fix in `dir` on the default kernel. `target` is the name of its build directory.
pub(crate) fn build_as(target: &str, name: &str, dir: &Path) -> Result<Built, Error> {
    let (project, cache, tree) = common::default_kernel();
    let target = Target { name: target.to_owned(), ..Target::of_fix(read_fix(name, dir)?) };
    Build {
        project: &project,
        tree: &tree,
        target: &target,
        cache: &cache,
        given: None,
        signer: None,
        sink: &Silent,
    }
    .run(Range::default())
}

fn build(name: &str, dir: &Path) -> Result<Built, Error> {
    build_as(&format!("right-{name}"), name, dir)
}

/// Builds a fix that replaces `cmdline_proc_show`, with `keys` in its patch.toml and `body` in the
/// replacement. `UNSAFE` stands for the keyword, which this file must not contain.
fn with(name: &str, keys: &str, body: &str) -> Built {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("src")).unwrap();
    let toml = format!("description = 'x'\npatch = ['vmlinux:cmdline_proc_show']\n{keys}\n");
    fs::write(dir.path().join("patch.toml"), toml).unwrap();
    let source = format!(
        "#![no_std]\nuse klp::prelude::*;\npub struct Patch;\nimpl replaced::vmlinux for Patch {{\n    \
         unsafe extern \"C\" fn cmdline_proc_show(m: *mut seq_file, v: *mut c_void) -> c_int {{\n{body}\n    }}\n}}\n\
         klp::livepatch!(Patch);\n"
    );
    fs::write(dir.path().join("src/lib.rs"), source.replace("UNSAFE", "unsafe")).unwrap();
    build(name, dir.path()).unwrap_or_else(|error| panic!("{keys}: {error}"))
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn a_type_that_only_btf_has_is_defined_once() {
    with(
        "typedefs",
        "imports.types = ['tree_desc_s', 'deflate_state']",
        "let tree = v.cast::<tree_desc_s>();\nlet _ = m;\nUNSAFE { (*tree).max_code + (*(*tree).stat_desc.cast::<u8>()) as c_int }",
    );
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn typedefs_of_enumerations_are_there() {
    with(
        "enumerations",
        "imports.headers = ['linux/netdevice.h', 'linux/interrupt.h']\nimports.types = ['net_device']\nimports.functions = ['vmlinux:request_threaded_irq', 'vmlinux:dev_set_mtu']",
        "let _ = m;\nunsafe extern \"C\" fn handler(_irq: c_int, _data: *mut c_void) -> irqreturn_t { irqreturn_IRQ_HANDLED }\n\
         UNSAFE { request_threaded_irq(1, Some(handler), None, 0, core::ptr::null(), v) + dev_set_mtu(v.cast(), 1500) }",
    );
    // No header of the fix defines the enumeration: it comes from BTF, including its constants.
    with(
        "enumerations-of-btf",
        "imports.functions = ['vmlinux:request_threaded_irq', 'vmlinux:regsafe']",
        "let _ = m;\nunsafe extern \"C\" fn handler(_irq: c_int, _data: *mut c_void) -> irqreturn_t { irqreturn_IRQ_HANDLED }\n\
         UNSAFE { regsafe(v.cast(), v.cast(), v.cast(), v.cast(), exact_level_RANGE_WITHIN); request_threaded_irq(1, Some(handler), None, 0, core::ptr::null(), v) }",
    );
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn fixes_may_call_functions_that_klp_calls() {
    with(
        "functions-of-klp",
        "imports.functions = ['vmlinux:kfree', 'vmlinux:seq_putc', 'vmlinux:seq_write', 'vmlinux:_printk', 'vmlinux:__kmalloc_noprof', 'vmlinux:klp_shadow_get', \
         'vmlinux:klp_shadow_alloc', 'vmlinux:klp_shadow_get_or_alloc', 'vmlinux:klp_shadow_free', 'vmlinux:klp_shadow_free_all', 'vmlinux:klp_get_state', \
         'vmlinux:klp_get_prev_state', 'vmlinux:klp_enable_patch', 'vmlinux:seq_printf']",
        "UNSAFE {\n    seq_putc(m, b'x');\n    seq_write(m, v, 1);\n    _printk(c\"%d\".as_ptr().cast(), 1 as c_int);\n    seq_printf(m, c\"%d\".as_ptr().cast(), 1 as c_int);\n    \
         kfree(klp_shadow_get(v, 1));\n    kfree(__kmalloc_noprof(8, GFP_KERNEL as gfp_t));\n}\nm.is_null() as c_int",
    );
}

/// Output of `new-patch` for these functions.
#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn new_fixes_build_without_changes() {
    let (project, cache, tree) = common::default_kernel();
    for function in [
        // Parameters named `type`, `in` and `self`, or with capitals; a name with two underscores; no types.
        "common_branch_type",
        "filemap_splice_read",
        "__kthread_parkme",
        "cpuacct_all_seq_show",
        "e820__mapped_any",
        "schedule",
        "yield",
        "regsafe",
    ] {
        let symbol: KlpSymbol = format!("vmlinux:{function}").parse().unwrap();
        let objects = Objects::load(&project, &tree, [&symbol], &cache, &Silent).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let copies = scaffold::callers_with_copies(&project, &tree, &symbol, &cache, &Silent).unwrap();
        scaffold::fill_in(&project, &tree, &objects, ("made", &symbol, &copies), dir.path()).unwrap();
        build("made", &dir.path().join("fix")).unwrap_or_else(|error| panic!("{function}: {error}"));
    }
}

/// Parameters may have their C names. Other names are still checked by rustc's lint.
#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn c_parameter_names_need_no_allow_attribute() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("src")).unwrap();
    let made = |function: &str, prototype: &str| {
        fs::write(
            dir.path().join("patch.toml"),
            format!("description = 'x'\npatch = ['vmlinux:{function}']\n"),
        )
        .unwrap();
        let source = format!(
            "#![no_std]\nuse klp::prelude::*;\npub struct Patch;\nimpl replaced::vmlinux for Patch {{\n    \
             unsafe extern \"C\" fn {function}{prototype} }}\n}}\nklp::livepatch!(Patch);\n"
        );
        fs::write(dir.path().join("src/lib.rs"), source).unwrap();
        build("names", dir.path()).map_err(|error| error.to_string())
    };
    let mapped = |end: &str| format!("(start: u64, {end}: u64, _type: e820_type) -> bool {{ start < {end}");
    made("e820__mapped_any", &mapped("end")).unwrap();
    let error = made("e820__mapped_any", &mapped("anEnd")).unwrap_err();
    assert!(error.contains("variable `anEnd` should have a snake case name"), "{error}");
    let show = "(_m: *mut seq_file, V: *mut c_void) -> c_int { V.is_null() as c_int";
    made("cpuacct_all_seq_show", show).unwrap();
}

/// `enum worker_pool_flags` is in a C file, and `struct file` behind the returned pointer needs no key.
#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn enumerators_of_c_files_and_results_of_functions_are_known() {
    with(
        "private-names",
        "imports.constants = ['POOL_DISASSOCIATED', 'PAGE_SIZE']\nimports.functions = ['vmlinux:fget']",
        "let _ = (m, v);\nassert!(POOL_DISASSOCIATED == 4 && PAGE_SIZE == 4096);\nUNSAFE { (*fget(0)).f_flags as c_int }",
    );
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn strings_and_enumerators_are_constants() {
    with(
        "constants",
        "imports.headers = ['linux/init_task.h', 'linux/pid.h']\nimports.constants = ['INIT_TASK_COMM', 'PIDTYPE_TGID', 'PAGE_SIZE']",
        "let _ = (m, v);\nassert!(INIT_TASK_COMM.len() == 8 && PAGE_SIZE == 4096);\nPIDTYPE_TGID as c_int",
    );
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn constants_have_the_type_that_the_fix_gives() {
    with(
        "typed-constants",
        "imports.headers = ['linux/fcntl.h', 'linux/gfp.h', 'linux/pid.h']\n\
         imports.constants = [{ name = 'EIO', type = 'long' }, { name = 'O_NONBLOCK', type = 'unsigned int' }, { name = 'GFP_KERNEL', type = 'gfp_t' }, \
         { name = 'POOL_DISASSOCIATED', type = 'u8' }, { name = 'PIDTYPE_TGID', type = 'long long' }, { name = 'O_WRONLY', type = 'bool' }, \
         { name = 'AT_FDCWD', type = 'signed char' }, { name = 'EIO', as = 'IO', type = 'u8' }, 'EPERM']",
        "let _ = (m, v);\nlet error: c_long = -EIO;\nlet flags: c_uint = O_NONBLOCK;\nlet gfp: gfp_t = GFP_KERNEL;\nlet pool: u8 = POOL_DISASSOCIATED;\n\
         let kind: c_longlong = PIDTYPE_TGID;\nlet place: i8 = AT_FDCWD;\n\
         assert!(error == -5 && flags == 0o4000 && gfp != 0 && pool == 4 && kind == 1 && O_WRONLY && place == -100 && IO == 5_u8);\n-(EPERM as c_int)",
    );
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn replaced_function_of_a_module_that_nothing_calls_is_a_warning() {
    let (_, _, tree) = common::default_kernel();
    for (function, warns) in [("klp_inlined_kept", true), ("klp_inlined_limit", false)] {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("src")).unwrap();
        let toml = format!(
            "description = 'x'\npatch = [{{ symbol = 'klp_inlined:{function}', prototype = 'int {function}(int value)' }}]\n"
        );
        fs::write(dir.path().join("patch.toml"), toml).unwrap();
        let source = format!(
            "#![no_std]\nuse klp::prelude::*;\npub struct Patch;\nimpl replaced::klp_inlined for Patch {{\n    \
             unsafe extern \"C\" fn {function}(value: c_int) -> c_int {{ value + 1 }}\n}}\nklp::livepatch!(Patch);\n"
        );
        fs::write(dir.path().join("src/lib.rs"), source).unwrap();
        let built = build("kept-copy", dir.path()).unwrap_or_else(|error| panic!("{function}: {error}"));
        let report =
            klp_verify::verify(&fs::read(&built.ko).unwrap(), &crate::verify::expected_of(&tree, &built));
        let mut found: Vec<_> =
            report.findings.iter().map(|finding| (finding.rule, finding.subject.as_str())).collect();
        let expected = (rules::INLINED_COPY.id, "klp_inlined:klp_inlined_kept");
        // The module has no BTF.
        found.retain(|(rule, _)| *rule != rules::ASSERTED.id);
        assert_eq!(found, if warns { vec![expected] } else { Vec::new() });
    }
}

/// Size of a module's code, in bytes, whose replacement contains `body`.
fn code_size(name: &str, body: &str) -> u64 {
    let built = with(name, "", &format!("let n = m.addr() + v.addr();\n{body}\nn as c_int"));
    let bytes = fs::read(&built.ko).unwrap();
    Module::parse(&bytes).unwrap().section(".text").unwrap().size
}

/// The last message shows that the limits do not hold with `core::fmt`.
#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn message_of_integers_and_text_needs_no_core_fmt() {
    let without = code_size("message-none", "");
    let added = |name, message: &str| code_size(name, message) - without;
    let constant = added("message-constant", r#"pr_info!("text, 100%");"#);
    assert!(constant <= 64, "a constant message has {constant} bytes of code");
    let number = added("message-number", r#"pr_info!("text {}", n);"#);
    assert!(number <= 320, "a message of one number has {number} bytes of code");
    let several = added("message-several", r#"pr_warn!("{} of {:#x}, {}", n as i32, n, "text");"#);
    assert!(several <= 640, "a message of three arguments has {several} bytes of code");
    let named = added("message-named", r#"pr_info!("text {n}");"#);
    assert!(
        named > 2000,
        "a message of a name in braces has {named} bytes of code: change docs/author-guide.md"
    );
}
