// SPDX-License-Identifier: GPL-2.0-or-later
//! Fixes with unsupported input. The message refers to the author's input and contains the remedy.

use std::fs;
use std::path::Path;

use klp_base::events::Silent;
use klp_pipeline::Error;
use klp_pipeline::build::Build;
use klp_pipeline::project::{Project, Target, read_fix};
use klp_pipeline::stage::{Built, Range};

use crate::common;

/// Writes a fix that replaces `cmdline_proc_show` to `dir`. `UNSAFE` stands for the keyword, which this file
/// must not contain.
fn write_fix(dir: &Path, keys: &str, body: &str) {
    fs::create_dir_all(dir.join("src")).unwrap();
    let toml = format!("description = 'x'\npatch = ['vmlinux:cmdline_proc_show']\n{keys}\n");
    fs::write(dir.join("patch.toml"), toml).unwrap();
    let source = format!(
        "#![no_std]\nuse klp::prelude::*;\npub struct Patch;\nimpl replaced::vmlinux for Patch {{\n    \
         unsafe extern \"C\" fn cmdline_proc_show(m: *mut seq_file, v: *mut c_void) -> c_int {{\n{body}\n    }}\n}}\n\
         klp::livepatch!(Patch);\n"
    );
    fs::write(dir.join("src/lib.rs"), source.replace("UNSAFE", "unsafe")).unwrap();
}

fn build(project: &Project, name: &str, dir: &Path) -> Result<Built, Error> {
    let (_, cache, tree) = common::default_kernel();
    let target = Target { name: name.to_owned(), ..Target::of_fix(read_fix(name, dir)?) };
    Build { project, tree: &tree, target: &target, cache: &cache, given: None, signer: None, sink: &Silent }
        .run(Range::default())
}

/// Error message of the build of a fix with these keys and this body.
fn error_of(name: &str, keys: &str, body: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    write_fix(dir.path(), keys, body);
    let project = Project::open(&common::root()).unwrap();
    match build(&project, name, dir.path()) {
        Ok(_) => panic!("{keys}: it builds"),
        Err(error) => error.to_string(),
    }
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn user_copies_through_shims_are_refused() {
    let error = error_of(
        "refused-copies",
        "imports.headers = ['linux/uaccess.h', 'linux/uio.h', 'linux/sockptr.h']\n\
         imports.inlines = ['copy_to_user', 'copy_from_user', 'copy_to_iter', 'copy_from_sockptr', 'kmalloc_noprof']",
        "UNSAFE {\n    let a = copy_to_user(v, m.cast(), 8) + copy_from_user(m.cast(), v, 8) + copy_to_iter(v, 8, v.cast());\n    \
         let p = kmalloc_noprof(a, GFP_KERNEL as gfp_t);\n    copy_from_sockptr(p, core::mem::zeroed(), 8)\n}",
    );
    for expected in [
        "copy_to_user: hardened usercopy",
        "`write` or `copy_to` of `klp::core::user`",
        "copy_from_user: hardened usercopy",
        "`read` or `copy_from` of `klp::core::user`",
        "\"vmlinux:_copy_to_iter\" into `functions` of [imports]",
        "copy_from_sockptr: hardened usercopy",
    ] {
        assert!(error.contains(expected), "{expected}: {error}");
    }
    assert!(!error.contains("kmalloc_noprof:"), "{error}");
    let error = error_of(
        "refused-copies",
        "imports.headers = ['linux/uaccess.h']\nimports.macros = ['unsigned long copy_to_user(void *to, const void *from, unsigned long n)']",
        "UNSAFE { copy_to_user(v, m.cast(), 8) as c_int }",
    );
    assert!(error.contains("`write` or `copy_to` of `klp::core::user`"), "{error}");
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn suggested_replacement_functions_build() {
    let dir = tempfile::tempdir().unwrap();
    write_fix(
        dir.path(),
        "imports.functions = ['vmlinux:_copy_to_iter']\nimports.inlines = ['kmalloc_noprof']",
        "UNSAFE {\n    let p = kmalloc_noprof(8, GFP_KERNEL as gfp_t);\n    let mut bytes = [0; 8];\n    \
         let read = klp::core::user::read::<u64>(v.cast()).is_ok() && klp::core::user::copy_from(&mut bytes, v).is_ok();\n    \
         let written = klp::core::user::write(v.cast(), &8_u64).is_ok() && klp::core::user::copy_to(v, &bytes).is_ok();\n    \
         _copy_to_iter(p, 8, m.cast()) as c_int + (read && written) as c_int\n}",
    );
    let project = Project::open(&common::root()).unwrap();
    build(&project, "right-copies", dir.path()).unwrap_or_else(|error| panic!("{error}"));
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn names_that_are_not_constants_are_reported() {
    for (header, name, expected) in [
        ("linux/kernel.h", "NULL", "core::ptr::null_mut()"),
        ("linux/minmax.h", "swap", "is a macro"),
        ("linux/list.h", "LIST_POISON1", "is a pointer"),
        ("linux/sched.h", "current", "is a pointer"),
        (
            "linux/sched.h",
            "NO_SUCH_CONSTANT",
            "no header that the fix names has a constant `NO_SUCH_CONSTANT`",
        ),
        ("linux/stat.h", "S_IRUGO_", "no header that the fix names has a constant"),
        ("linux/fs.h", "Opt_uid", "several enumerators of that name"),
    ] {
        let keys = format!("imports.headers = ['{header}']\nimports.constants = ['{name}']");
        let error = error_of("refused-constants", &keys, "m.is_null() as c_int + v.is_null() as c_int");
        assert!(error.contains(expected) && error.contains(name), "{name}: {error}");
    }
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn type_that_does_not_hold_a_constant_is_refused() {
    for (header, name, c_type, expected) in [
        ("fcntl", "O_NONBLOCK", "u8", "`u8` does not hold the value of `O_NONBLOCK`, 2048"),
        ("fcntl", "AT_FDCWD", "unsigned long", "`unsigned long` does not hold the value of `AT_FDCWD`, -100"),
        ("limits", "UINT_MAX", "int", "`int` does not hold the value of `UINT_MAX`, 4294967295"),
        ("fcntl", "O_CREAT", "no_such_type", "`no_such_type`, the type of `O_CREAT`, is no integer type"),
        ("fcntl", "O_CREAT", "double", "`double`, the type of `O_CREAT`, is no integer type"),
        ("pid", "PIDTYPE_TGID", "enum pid_type", "no constant of type `enum pid_type` (`PIDTYPE_TGID`)"),
        ("init_task", "INIT_TASK_COMM", "int", "`INIT_TASK_COMM` is no integer"),
        ("kernel", "POOL_DISASSOCIATED", "bool", "does not hold the value of `POOL_DISASSOCIATED`, 4"),
        ("limits", "NO_SUCH", "int", "no header that the fix names has a constant `NO_SUCH`"),
    ] {
        let keys = format!(
            "imports.headers = ['linux/{header}.h']\nimports.constants = [{{ name = '{name}', type = '{c_type}' }}]"
        );
        let error = error_of("refused-types", &keys, "m.is_null() as c_int + v.is_null() as c_int");
        assert!(error.contains(expected), "{name}: {error}");
    }
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn macro_in_the_list_of_inline_functions_is_called_a_macro() {
    for (header, name, expected) in [
        ("linux/bitops.h", "test_bit", "`test_bit` is a macro and no function"),
        ("linux/bitops.h", "no_such_function", "no header that the fix names has a static inline function"),
    ] {
        let keys = format!("imports.headers = ['{header}']\nimports.inlines = ['{name}']");
        let error = error_of("refused-inlines", &keys, "m.is_null() as c_int + v.is_null() as c_int");
        assert!(error.contains(expected), "{name}: {error}");
    }
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn unexported_name_of_an_inline_function_that_nothing_tells_apart_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    // `c_start` is the name of a static function in several files.
    fs::create_dir_all(dir.path().join("c")).unwrap();
    fs::write(
        dir.path().join("c/twin.h"),
        "extern int c_start(void);\nstatic inline int twin(void) { return c_start(); }\n",
    )
    .unwrap();
    write_fix(
        dir.path(),
        "imports.headers = ['c/twin.h']\nimports.inlines = ['twin']",
        "UNSAFE { twin() + m.is_null() as c_int + v.is_null() as c_int }",
    );
    let project = Project::open(&common::root()).unwrap();
    let error = build(&project, "refused-twin", dir.path()).map(|_| ()).unwrap_err().to_string();
    for part in ["vmlinux:c_start", "the kernel does not export it", "symbols of that name"] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn floating_point_and_wide_divisions_are_shown_at_the_authors_line() {
    // The body begins in line 6.
    let error = error_of(
        "refused-float",
        "",
        "let x = m.addr() as f64 * 1.5;\nlet y = m.addr() as u128 * v.addr() as u128;\n(y / (v.addr() as u128 + (1 << 70))) as c_int + (x as c_int)",
    );
    for (line, expected) in [(6, "floating point"), (8, "128-bit division"), (8, "floating point")] {
        let found = error.lines().any(|said| said.contains(&format!("src/lib.rs:{line}: {expected}")));
        assert!(found, "{line}: {expected}: {error}");
    }
    assert!(error.contains("(__muldf3)") && error.contains("(__udivti3)"), "{error}");
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn module_with_shims_contains_no_build_path() {
    let made = |depth: &str| {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().join(depth);
        fs::create_dir_all(root.join("tests")).unwrap();
        for part in ["kernel-configs", "kmod", "patches", "tests/fixes", "tests/streams"] {
            let from = common::root().join(part);
            klp_base::process::Cmd::new("cp").arg("-a").args([from, root.join(part)]).run().unwrap();
        }
        let dir = root.join("patches/warns");
        write_fix(
            &dir,
            "imports.headers = ['linux/bug.h', 'linux/sched.h']\nimports.macros = ['int WARN_ON(int c)', 'int WARN_ON_ONCE(int c)']\nimports.inlines = ['task_pid_nr']",
            "UNSAFE { WARN_ON(m.is_null() as c_int) + WARN_ON_ONCE(v.is_null() as c_int) }",
        );
        let project = Project::open(&root).unwrap();
        let built = build(&project, "warns", &dir).unwrap_or_else(|error| panic!("{error}"));
        (fs::read(built.ko).unwrap(), scratch.path().to_str().unwrap().to_owned())
    };
    let (one, place) = made("a");
    let (two, _) = made("much/deeper/b");
    assert!(one == two, "the two modules differ");
    let holds = |text: &str| one.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("_shims.c") && !holds(&place), "a path of this machine is in the module");
}
