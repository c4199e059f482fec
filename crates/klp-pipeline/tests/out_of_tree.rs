// SPDX-License-Identifier: GPL-2.0-or-later
//! Fixes for a module that is not the kernel's own: its file is given, and its types come from its DWARF.

use std::fs;
use std::path::Path;

use klp_base::events::Silent;
use klp_module::Module;
use klp_pipeline::project::read_fix;
use klp_pipeline::stage::Built;
use klp_pipeline::{Error, expected};

use crate::common;
use crate::right_input::build_as;

const MODULE: &str = "\
#include <linux/module.h>
struct vendor_ring { u32 length; const char *name; };
int vendor_fill(struct vendor_ring *ring, u64 more);
noinline int vendor_fill(struct vendor_ring *ring, u64 more) { ring->length += more; return ring->length > 4096; }
static struct vendor_ring the_ring = { .name = \"ring\" };
static int __init vendor_init(void) { return vendor_fill(&the_ring, 7) < 0; }
static void __exit vendor_exit(void) { }
module_init(vendor_init);
module_exit(vendor_exit);
MODULE_DESCRIPTION(\"A module of a vendor\");
MODULE_LICENSE(\"GPL\");
";

const FIX: &str = "\
#![no_std]
use klp::prelude::*;
use replaced::original;
pub struct Patch;
impl replaced::vendor_net for Patch {
    UNSAFE extern \"C\" fn vendor_fill(ring: *mut vendor_ring, more: u64) -> c_int {
        // SAFETY: the module passes its ring.
        if UNSAFE { (*ring).length } > 1024 {
            return 1;
        }
        // SAFETY: the arguments are those of the replacement.
        UNSAFE { original::vendor_net::vendor_fill(ring, more) }
    }
}
klp::livepatch!(Patch);
";

/// Writes the fix to `dir`; `file` is the module's file in patch.toml.
fn write_fix(dir: &Path, file: &str) {
    fs::create_dir_all(dir.join("src")).unwrap();
    let toml =
        format!("description = 'x'\npatch = ['vendor_net:vendor_fill']\nout_of_tree.vendor_net = '{file}'\n");
    fs::write(dir.join("patch.toml"), toml).unwrap();
    fs::write(dir.join("src/lib.rs"), FIX.replace("UNSAFE", "unsafe")).unwrap();
}

fn build(dir: &Path) -> Result<Built, Error> {
    build_as("out-of-tree", "out-of-tree", dir)
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn module_that_a_file_gives_is_typed_by_its_dwarf() {
    let (project, cache, tree) = common::default_kernel();
    let scratch = tempfile::tempdir().unwrap();
    let made = scratch.path().join("made");
    fs::create_dir(&made).unwrap();
    fs::write(made.join("vendor_net.c"), MODULE).unwrap();
    fs::write(made.join("Makefile"), "obj-m := vendor_net.o\nccflags-y := -g\n").unwrap();
    klp_kernel::kbuild::run(&tree, &made, "vendor_net", &[], &made.join("log")).unwrap();
    let ko = fs::read(made.join("vendor_net.ko")).unwrap();
    let module = Module::parse(&ko).unwrap();
    assert!(module.section(".BTF").is_none() && module.section(".debug_info").is_some());

    let fix = scratch.path().join("fix");
    let file = fix.join(format!("vendor/{}/vendor_net.ko", tree.id));
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    write_fix(&fix, "vendor/{kernel}/vendor_net.ko");

    let error = build(&fix).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains(file.to_str().unwrap()), "a missing file is named: {error}");

    fs::write(&file, &ko).unwrap();
    let built = build(&fix).unwrap_or_else(|error| panic!("{error}"));
    let patch = fs::read(&built.ko).unwrap();
    let (project, _) = project.with_module(&file).unwrap();
    let source =
        expected::Source { project: &project, fixes: &[], tree: &tree, cache: &cache, sink: &Silent };
    assert_eq!(klp_verify::verify(&patch, &expected::of_build(&source, &built).unwrap()).findings, []);
    let manifest = Module::parse(&patch).unwrap().manifest().unwrap().unwrap();
    assert_eq!(manifest.kernel.modules.get("vendor_net"), module.build_id().as_ref());

    // A wrong prototype is found, since DWARF has the right one.
    let source = fs::read_to_string(fix.join("src/lib.rs")).unwrap();
    fs::write(fix.join("src/lib.rs"), source.replace("more: u64", "more: u32")).unwrap();
    let error = build(&fix).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("int vendor_fill(struct vendor_ring *ring, u64 more)"), "{error}");
    fs::write(fix.join("src/lib.rs"), source).unwrap();

    // A module of another kernel, and another module.
    let release = tree.release.as_str();
    let mut other = ko.clone();
    let at = other.windows(release.len()).position(|window| window == release.as_bytes()).unwrap();
    other[at + release.len() - 1] ^= 1;
    fs::write(&file, other).unwrap();
    let error = build(&fix).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("vendor_net.ko") && error.contains(release), "{error}");
    let toml = fs::read_to_string(fix.join("patch.toml")).unwrap();
    fs::write(
        fix.join("patch.toml"),
        toml.replace("vendor_net:", "vendor_gfx:").replace("tree.vendor_net", "tree.vendor_gfx"),
    )
    .unwrap();
    fs::write(&file, &ko).unwrap();
    let error = build(&fix).map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("it is module vendor_net, and vendor_gfx is asked for"), "{error}");
}

#[test]
fn entry_that_is_no_module_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    write_fix(dir.path(), "vendor/driver.tar");
    let error = read_fix("test", dir.path()).unwrap_err().to_string();
    assert!(
        error.contains("`out_of_tree`: vendor_net: \"vendor/driver.tar\" is no file of a module"),
        "{error}"
    );
}
