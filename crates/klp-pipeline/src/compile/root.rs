// SPDX-License-Identifier: GPL-2.0-or-later
//! Root crate of a module for both runtimes of fixes: tables, entry functions of the tables, manifest.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt::Write;

use klp_kernel::KernelTree;

use crate::error::Error;
use crate::manifest;
use crate::part::{self, ModulePart, Replaced};
use crate::project::{Project, Target};
use crate::resolved::{Extern, Resolved};
use crate::rust_name::object_in_rust;

/// Source of the root crate of a module with these parts.
///
/// # Errors
/// The sources of a fix cannot be read.
pub(super) fn source(
    tree: &KernelTree,
    project: &Project,
    target: &Target,
    resolved: &Resolved,
    parts: &[ModulePart],
) -> Result<String, Error> {
    let mut text = tables(target, resolved, parts);
    text.push_str(&shared_shadows(target));
    text.push_str(&imports(part::symbols(parts)));
    text.extend(parts.iter().map(|part| part.items.as_str()));
    text.push_str(&manifest::source(&manifest::of(tree, project, target, resolved, parts)?));
    Ok(text)
}

/// Source of the tables: replaced functions by object.
fn tables(target: &Target, resolved: &Resolved, parts: &[ModulePart]) -> String {
    let mut text =
        format!("//! Generated: the tables of module {}.\n#![no_std]\n\nklp::patch! {{\n", resolved.module);
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "    description: {:?},\n    replace: {},\n    states: [",
        resolved.description, resolved.replace
    );
    for state in &resolved.states {
        let _ = writeln!(text, "        ({}, {}),", state.id, state.version);
    }
    text.push_str("    ],\n    exits: [");
    // Exit functions run in reverse order.
    for fix in target.fixes.iter().rev().filter(|fix| fix.exit) {
        let _ = write!(text, "fix_{}::__Patch, ", fix.crate_name());
    }
    text.push_str("],\n    objects: [\n");
    for object in part::objects(target, parts) {
        let in_rust = object_in_rust(&object);
        let name = if object.is_vmlinux() { "None".to_owned() } else { format!("Some(c\"{object}\")") };
        let callbacks = target.fixes.iter().rev().filter(|fix| fix.callbacks.contains(&object));
        let callbacks = callbacks.fold("()".to_owned(), |rest, fix| {
            let fix = fix.crate_name();
            format!(
                "klp::core::callbacks::Then<fix_{fix}::__Patch, replaced_{fix}::objects::{in_rust}, {rest}>"
            )
        });
        let _ = writeln!(
            text,
            "        {{\n            name: {name},\n            callbacks: {callbacks},\n            functions: ["
        );
        let of_object = || part::replaced(parts).filter(|item| item.symbol.object == object);
        for Replaced { symbol, entry, .. } in of_object() {
            let _ = writeln!(text, "                (c\"{}\", {}, {entry}),", symbol.symbol, symbol.position);
        }
        text.push_str("            ],\n            originals: [\n");
        for (symbol, thunk) in of_object().filter_map(|item| Some((&item.symbol, item.original.as_ref()?))) {
            let _ = writeln!(text, "                (c\"{}\", {thunk}),", symbol.symbol);
        }
        text.push_str("            ],\n        },\n");
    }
    text.push_str("    ],\n}\n");
    text
}

/// Compile-time check that fixes with the same shadow variable id use the same type.
fn shared_shadows(target: &Target) -> String {
    let mut first: BTreeMap<u64, String> = BTreeMap::new();
    let mut text = String::new();
    for fix in &target.fixes {
        for id in &fix.shadows {
            let value =
                format!("<fix_{}::__Patch as klp::core::shadow::HasShadow<{id}>>::Value", fix.crate_name());
            match first.get(id) {
                None => {
                    first.insert(*id, value);
                }
                Some(other) => {
                    let _ = writeln!(
                        text,
                        "const _: () = klp::core::shadow::same::<\n    {other},\n    {value},\n>();"
                    );
                }
            }
        }
    }
    text
}

/// Rust items for the root crate that add the namespace imports of a module to its module information
/// (`MODULE_IMPORT_NS` in `include/linux/module.h`).
pub fn imports<'a>(symbols: impl IntoIterator<Item = &'a Extern>) -> String {
    let used: BTreeSet<&str> = symbols.into_iter().filter_map(|item| item.namespace.as_deref()).collect();
    let mut text = String::new();
    for (number, namespace) in used.iter().enumerate() {
        let entry = format!("import_ns={namespace}\0");
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\n#[used(compiler)]\n#[unsafe(link_section = \".modinfo\")]\n\
             static IMPORT_NAMESPACE_{number}: [u8; {}] = *b\"{}\";\n",
            entry.len(),
            entry.escape_default().to_string().replace("\\u{0}", "\\0"),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fs;

    use klp_module::KlpLayout;

    use std::path::Path;

    use super::*;
    use crate::compile::entries;
    use crate::project::{Runtime, read_fix};
    use crate::resolved::Function;
    use klp_base::arch::Arch;
    use klp_kernel::{CToolchain, KernelConfig, OwnModules, Toolchain};

    fn tree(root: &Path) -> KernelTree {
        KernelTree {
            id: "k".to_owned(),
            arch: Arch::X86_64,
            release: "6.12.0-RT".parse().unwrap(),
            root: root.to_owned(),
            image: root.to_owned(),
            vmlinux: root.to_owned(),
            guest_modules: Vec::new(),
            modules: OwnModules::Dir(root.to_owned()),
            headers: root.to_owned(),
            config: KernelConfig::default(),
            toolchain: Toolchain { c: CToolchain::Gcc("gcc-12".to_owned()), rust: None, bindgen: None },
            make: Vec::new(),
            signing_key: None,
            source: None,
            debug: None,
            fingerprint: String::new(),
        }
    }

    /// Two fixes with one runtime, each with an exit function.
    fn composed(runtime: Runtime) -> String {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("kernel-configs")).unwrap();
        fs::create_dir_all(root.join("replaced")).unwrap();
        let form = if runtime == Runtime::Kernel { "kernel" } else { "klp" };
        let fix = |name: &str| {
            let fix = root.join("patches").join(name);
            fs::create_dir_all(&fix).unwrap();
            let text =
                format!("description = 'x'\npatch = ['vmlinux:{name}']\nexit = true\nruntime = '{form}'\n");
            fs::write(fix.join("patch.toml"), text).unwrap();
            let traits = format!("pub trait vmlinux {{ unsafe extern \"C\" fn {name}(m: *mut seq_file); }}");
            fs::write(root.join(format!("replaced/{name}.rs")), traits).unwrap();
            read_fix(name, &fix).unwrap()
        };
        let fixes = vec![fix("one"), fix("two")];
        let function = |name: &str| Function {
            fix: name.to_owned(),
            symbol: format!("vmlinux:{name}").parse().unwrap(),
            method: name.to_owned(),
            c_prototype: String::new(),
            asserted: false,
            body: None,
            unreached: false,
            copies: None,
            inlined_in: Vec::new(),
            calls_original: false,
        };
        let resolved = Resolved {
            kernel: "k".to_owned(),
            module: "kpatch_6_12_0_RT_1_1".to_owned(),
            description: "x".to_owned(),
            functions: vec![function("one"), function("two")],
            callbacks: Vec::new(),
            states: Vec::new(),
            params: Vec::new(),
            replace: true,
            needs: BTreeMap::new(),
            externs: Vec::new(),
            diffs: Vec::new(),
            cfg: Vec::new(),
            vermagic: String::new(),
            kernel_build_id: None,
            module_build_ids: BTreeMap::new(),
            layout: layout(),
        };
        let project = Project::open(root).unwrap();
        let target = Target { fixes, ..Target::of_fix(read_fix("one", &root.join("patches/one")).unwrap()) };
        let part = entries::part(&target, &resolved, root, Vec::new()).unwrap();
        source(&tree(root), &project, &target, &resolved, &[part]).unwrap()
    }

    fn layout() -> KlpLayout {
        serde_json::from_value(serde_json::json!({
            "func_size": 0, "func_old_name": 0, "func_new_func": 0, "func_old_sympos": 0, "object_size": 0,
            "object_name": 0, "object_funcs": 0, "patch_size": 0, "patch_mod": 0, "patch_objs": 0,
            "patch_replace": 0, "object_callbacks": 0, "patch_states": 0, "state_size": 0, "state_id": 0,
            "state_version": 0,
        }))
        .unwrap()
    }

    #[test]
    fn both_runtimes_have_tables_entries_and_manifest() {
        let core = composed(Runtime::Klp);
        for part in [
            "(c\"one\", 0, entries_one::livepatch_one),",
            "pub unsafe extern \"C\" fn livepatch_two(argument_0: * mut seq_file)",
            "link_section = \".modinfo\"",
            "static MANIFEST: ",
        ] {
            assert!(core.contains(part), "no `{part}` in\n{core}");
        }
        // The results are equal except for the hash of the sources.
        let kernel = composed(Runtime::Kernel);
        let tables = |text: &str| text.split("static MANIFEST").next().unwrap().to_owned();
        assert_eq!(tables(&core), tables(&kernel));
        assert!(kernel.contains("static MANIFEST: "), "{kernel}");
    }

    #[test]
    fn exit_functions_run_in_reverse_order() {
        let text = composed(Runtime::Klp);
        assert!(text.contains("exits: [fix_two::__Patch, fix_one::__Patch, ],"), "{text}");
    }
}
