// SPDX-License-Identifier: GPL-2.0-or-later
//! What stage 1 refuses on the default kernel, and why.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::fs;

use klp_base::events::Silent;
use klp_pipeline::Error;
use klp_pipeline::build::{Build, Range, Stage};
use klp_pipeline::objects::Objects;
use klp_pipeline::project::{Target, read_fix};
use klp_pipeline::resolve::resolve;

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn what_cannot_be_replaced_or_used_is_refused_with_the_reason() {
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
        ("replace = ['vmlinux:no_such_function']", "there is no such function in the kernel's BTF"),
        ("replace = [{ symbol = 'vmlinux:do_idle.cold', as = 'x' }]", "compiler's variant"),
        ("replace = ['vmlinux:klp_ftrace_handler']", "cannot be replaced: it does not begin with a call"),
        ("replace = ['vmlinux:seq_printf']", "variable number of arguments"),
        ("replace = ['vmlinux:start_kernel']", "cannot be replaced"),
        ("replace = ['no_such_module:f']", "no module of that name"),
        ("replace = ['ext4:no_such_function']", "no such function"),
        // Two modules, both found; each has its own types.
        ("replace = ['ext4:ext4_fill_super', 'xfs:no_such_function']", "no such function"),
        ("replace = ['ext4:ext4_fill_super', 'xfs:ext4_fill_super']", "xfs:ext4_fill_super"),
        (
            "replace = ['vmlinux:cmdline_proc_show']\nfunctions = [{ symbol = 'vmlinux:no_such_function', prototype = 'int no_such_function(void)' }]",
            "no such symbol in the object's symbol table",
        ),
        (&format!("replace = ['vmlinux:{duplicate}']"), "symbols of that name; say which"),
        ("replace = ['vmlinux:cmdline_proc_show,2']", "position 2 was asked for"),
        (
            "replace = ['vmlinux:cmdline_proc_show']\nsymbols = ['vmlinux:no_such_variable']",
            "no such symbol in the object's symbol table",
        ),
        (
            "replace = ['vmlinux:cmdline_proc_show']\nfunctions = ['vmlinux:no_such_function']",
            "no such function",
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("patch.toml"), format!("description = 'x'\n{text}\n")).unwrap();
        let fix = read_fix("test", dir.path()).unwrap();
        let target = Target::of_fix(fix);
        let error = Objects::load(&project, &tree, target.symbols(), &cache, &Silent)
            .and_then(|objects| resolve(&tree, &objects, &target))
            .map(|_| ())
            .expect_err(text)
            .to_string();
        assert!(error.contains(expected) && error.contains("debian-6.12"), "{text}: {error}");
    }
}

/// Static inline functions that reach what the kernel keeps to itself: stage 4 says what it is and what to do. One whose
/// static key is exported is in tests/fixes/tracepoint.
#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn what_inline_functions_reach_and_modules_may_not_see_is_refused_with_the_reason() {
    let (project, cache, tree) = common::default_kernel();
    for (header, inline, symbol, kind) in [
        ("linux/cpuset.h", "cpusets_enabled", "cpusets_enabled_key", "is a static key"),
        ("linux/perf_event.h", "perf_guest_state", "__SCT____perf_guest_state", "is a static call"),
        ("linux/suspend.h", "idle_should_enter_s2idle", "s2idle_state", "is not exported to modules"),
    ] {
        let build = common::root().join("build");
        fs::create_dir_all(&build).unwrap();
        let dir = tempfile::tempdir_in(build).unwrap();
        let text = format!(
            "description = 'x'\nreplace = ['vmlinux:version_proc_show']\nheaders = ['{header}']\ninlines = ['{inline}']\n"
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
        let build = Build { project: &project, tree: &tree, target: &target, cache: &cache, sink: &Silent };
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
