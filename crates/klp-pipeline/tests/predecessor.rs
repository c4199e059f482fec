// SPDX-License-Identifier: GPL-2.0-or-later
//! Streams and their predecessors: a stream that the kernel would reject with EINVAL at load time (see case
//! `selftests-state-incompatible`) is rejected with the reason when its file is read.

use std::fs;
use std::path::Path;

use klp_pipeline::project::{Project, Target};

/// A project with one fix per name; each fix declares the given states.
fn project(root: &Path, fixes: &[(&str, &str)]) -> Project {
    fs::create_dir_all(root.join("kernel-configs")).unwrap();
    fs::create_dir_all(root.join("patches/streams")).unwrap();
    for (name, states) in fixes {
        let dir = root.join("patches").join(name);
        fs::create_dir_all(dir.join("src")).unwrap();
        fs::write(dir.join("src/lib.rs"), "").unwrap();
        let text = format!("description = 'x'\npatch = ['vmlinux:show_{name}']\nstates = [{states}]\n");
        fs::write(dir.join("patch.toml"), text).unwrap();
    }
    Project::open(root).unwrap()
}

fn stream(project: &Project, name: &str, version: u32, fixes: &str, more: &str) -> Result<Target, String> {
    let text = format!("description = 'x'\nversion = {version}\nrelease = 1\nfixes = [{fixes}]\n{more}\n");
    fs::write(project.root().join(format!("patches/streams/{name}.toml")), text).unwrap();
    project.target(name).map_err(|error| error.to_string())
}

#[test]
fn a_stream_is_compared_with_the_states_of_the_version_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let state = |version: u32| format!("{{ name = 'LEVEL', id = 7, version = {version} }}");
    let (two, one, three) = (state(2), state(1), state(3));
    let others = format!("{two}, {{ name = 'OTHER', id = 8, version = 1 }}");
    let fixes = [("same", &*two), ("lower", &*one), ("higher", &*three), ("more", &*others), ("none", "")];
    let project = project(dir.path(), &fixes);
    stream(&project, "v1", 1, "'same'", "").unwrap();
    let after = |name: &str, fixes: &str, more: &str| {
        stream(&project, name, 2, fixes, &format!("predecessor = 'v1'\n{more}"))
    };

    for compatible in ["same", "higher", "more"] {
        let more = if compatible == "same" { "" } else { "dropped = ['same']" };
        let target = after("v2", &format!("'none', '{compatible}'"), more).expect(compatible);
        assert_eq!(target.predecessor, Some((1, 1)), "{compatible}");
    }
    let lower = after("v2", "'lower'", "").unwrap_err();
    for words in
        ["v2.toml", "`predecessor`: v1 has state `LEVEL` (id 7) in version 2", "only version 1", "EINVAL"]
    {
        assert!(lower.contains(words), "{words}: {lower}");
    }
    let lost = after("v2", "'none'", "").unwrap_err();
    for words in
        ["v2.toml", "`predecessor`: v1 has state `LEVEL` (id 7), which no fix", "EINVAL", "keep the state"]
    {
        assert!(lost.contains(words), "{words}: {lost}");
    }
    // A stacked module need not support the states of the patch below it, but must not have them in a lower
    // version.
    after("v2", "'none'", "stacked = true").unwrap();
    assert!(after("v2", "'lower'", "stacked = true").unwrap_err().contains("only version 1"));

    let unknown = stream(&project, "v3", 3, "'same'", "predecessor = 'v0'").unwrap_err();
    assert!(unknown.contains("there is no stream `v0`"), "{unknown}");
    let not_later = stream(&project, "v4", 1, "'same'", "predecessor = 'v1'").unwrap_err();
    assert!(not_later.contains("not lower"), "{not_later}");

    stream(&project, "n1", 1, "'same'", "module = 'a-name'").unwrap();
    let named =
        |name: &str| stream(&project, "n2", 2, "'same'", &format!("predecessor = 'n1'\nmodule = '{name}'"));
    let alike = named("a_name").unwrap_err();
    assert!(alike.contains("`module`: n1, which is loaded before, has the name a_name too"), "{alike}");
    named("a-name-2").unwrap();
}

#[test]
fn a_stream_keeps_what_the_version_before_it_repaired() {
    let dir = tempfile::tempdir().unwrap();
    let project = project(dir.path(), &[("a", ""), ("b", ""), ("c", "")]);
    let write = |fix: &str, toml: &str, rust: &str| {
        let dir = dir.path().join("patches").join(fix);
        fs::write(dir.join("patch.toml"), format!("description = 'x'\n{toml}")).unwrap();
        fs::write(dir.join("src/lib.rs"), rust).unwrap();
    };
    write(
        "a",
        "patch = ['vmlinux:f', 'vmlinux:g']\ncves = ['CVE-2026-10001']",
        "klp::shadow!(A: AtomicU32, id = 7);",
    );
    write("b", "patch = ['vmlinux:h']", "");
    let after =
        |fixes: &str, more: &str| stream(&project, "v2", 2, fixes, &format!("predecessor = 'v1'\n{more}"));
    stream(&project, "v1", 1, "'a', 'b'", "").unwrap();
    after("'a', 'b'", "").unwrap();

    let cve = after("'b'", "").unwrap_err();
    assert!(cve.contains("v1 repairs CVE-2026-10001, and no fix of this stream does"), "{cve}");
    let function = after("'b'", "dropped = ['CVE-2026-10001']").unwrap_err();
    assert!(
        function.contains("fix `a` of v1 replaces vmlinux:f, and no fix of this stream does"),
        "{function}"
    );
    assert!(function.contains("dropped = [\"vmlinux:f\"]"), "{function}");
    after("'b'", "dropped = ['a']").unwrap();
    // A stacked version leaves the one before it loaded.
    after("'b'", "stacked = true").unwrap();
    let unknown = after("'a', 'b'", "dropped = ['d']").unwrap_err();
    assert!(unknown.contains("v1 has no fix, function or CVE `d`"), "{unknown}");
    let kept = after("'a', 'b'", "dropped = ['a']").unwrap_err();
    assert!(kept.contains("`a` is one of the stream's `fixes`"), "{kept}");
    let alone = stream(&project, "v3", 2, "'a'", "dropped = ['b']").unwrap_err();
    assert!(alone.contains("names no `predecessor`"), "{alone}");

    // A shadow variable that v1 left is taken for the type of v2.
    write("c", "patch = ['vmlinux:i']", "klp::shadow!(pub A: core::sync::atomic::AtomicU32, id = 0x7);");
    after("'b', 'c'", "dropped = ['a']").unwrap();
    write("c", "patch = ['vmlinux:i']", "mod m { klp::shadow!(A: [AtomicU64; 8], id = 0x7); }");
    let retyped = after("'b', 'c'", "dropped = ['a']").unwrap_err();
    assert!(
        retyped.contains("fix `c` gives the shadow variables of id 0x7 the type `[AtomicU64 ; 8]`"),
        "{retyped}"
    );
    assert!(after("'b', 'c'", "stacked = true").unwrap_err().contains("of id 0x7"));
}
