// SPDX-License-Identifier: GPL-2.0-or-later
//! What stage 1 refuses on the default kernel, and why.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::fs;

use klp_base::events::Silent;
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
