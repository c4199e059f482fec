// SPDX-License-Identifier: GPL-2.0-or-later
//! Facts about a kernel and the results of stage 1, with which the rules of [`klp_verify`] compare a module.

use std::collections::{BTreeMap, BTreeSet};

use klp_base::arch::Arch;
use klp_base::cache::Cache;
use klp_base::events::Sink;
use klp_base::files::read;
use klp_cdiff::inlined::{Copies, InlinedCopy};
use klp_format::{KlpSymbol, ObjectName};
use klp_image::{Area, KernelImage, Traceability};
use klp_kernel::exports::{self, Export};
use klp_kernel::{KernelConfig, KernelTree, sites_of};
use klp_module::{KlpLayout, Module};
use klp_verify::{
    Expected, ExpectedCopy, ExpectedExport, ExpectedParam, ExpectedPatch, LoadedPatch, Memory, Named,
    NamedSymbol,
};

use crate::c_diff;
use crate::error::Error;
use crate::objects::Objects;
use crate::project::{Fix, Project};
use crate::resolve::{klp_layout, module_struct};
use crate::resolved::{Function, ModuleParam, Resolved};
use crate::stage::Built;
use crate::{source_lints, type_facts};

/// Source of facts: the kernel, and the modules that the project and the kernel's packages have.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The project, with the modules of the patch ([`Project::with_modules_of`]).
    pub project: &'a Project,
    /// The fixes of the module; none for a file alone.
    pub fixes: &'a [Fix],
    /// The kernel.
    pub tree: &'a KernelTree,
    /// Cache of the images' tables.
    pub cache: &'a Cache,
    /// Receiver of progress.
    pub sink: &'a dyn Sink,
}

/// Expected facts for a module that stage 1 resolved. `bytes`: the module; `debug`: the file with its debug information.
///
/// # Errors
/// The kernel's image cannot be read.
pub fn of_resolved(
    source: &Source<'_>,
    resolved: &Resolved,
    bytes: &[u8],
    debug: &[u8],
) -> Result<Expected, Error> {
    let tree = source.tree;
    let mut expected = Expected {
        patch: Some(ExpectedPatch {
            module: resolved.module.clone(),
            functions: resolved.replaced().cloned().collect(),
            callbacks: callbacks(resolved),
            states: resolved.states.iter().map(|state| (state.id, state.version)).collect(),
            params: resolved.params.iter().map(param).collect(),
            replace: resolved.replace,
            source: lints(source.fixes)?,
            deny_panic: source.fixes.iter().any(|fix| fix.deny_panic),
            user_pointers: resolved.functions.iter().filter_map(user_pointers).collect(),
            needs: resolved.needs.clone(),
            asserted: resolved.asserted().map(|(symbol, text)| (symbol.clone(), text.to_owned())).collect(),
            copies: resolved.functions.iter().filter_map(copies).collect(),
            copies_not_known: resolved.functions.iter().filter_map(copies_not_known).collect(),
            unreached: resolved.functions.iter().filter(|f| f.unreached).map(|f| f.symbol.clone()).collect(),
        }),
        arguments: resolved
            .functions
            .iter()
            .filter_map(|f| Some((f.symbol.symbol.clone(), count_arguments(&f.c_prototype)?)))
            .collect(),
        bodies: resolved.functions.iter().filter_map(|f| Some((f.symbol.clone(), f.body?))).collect(),
        ..of_kernel(tree, &resolved.vermagic, resolved.layout)
    };
    let named = Names::of(&expected, bytes);
    let objects = named.look_up(source, &mut expected)?;
    expected.types = type_facts::of(debug, bytes, &expected.layout, &objects);
    Ok(expected)
}

/// Symbols and objects that a module names.
#[derive(Default)]
struct Names {
    symbols: BTreeSet<KlpSymbol>,
    replaced: BTreeSet<KlpSymbol>,
    objects: BTreeSet<ObjectName>,
}

impl Names {
    /// Reads the tables and the livepatch symbols. The rules report what cannot be read.
    fn of(expected: &Expected, bytes: &[u8]) -> Self {
        let mut names = Self::default();
        let Ok(module) = Module::parse(bytes) else { return names };
        names.symbols.extend(module.klp_symbols().filter_map(|(_, name)| name.ok()));
        if let Ok(table) = module.tables(&expected.layout) {
            names.replaced.extend(table.symbols().map(|(symbol, _)| symbol));
            names.symbols.extend(names.replaced.iter().cloned());
            names
                .objects
                .extend(table.objects.iter().filter_map(|object| ObjectName::new(object.name()).ok()));
        }
        names.objects.extend(names.symbols.iter().map(|symbol| symbol.object.clone()));
        names
    }

    /// Adds what the images say of them to the expected facts.
    fn look_up(self, source: &Source<'_>, expected: &mut Expected) -> Result<Objects, Error> {
        let &Source { project, tree, cache, sink, .. } = source;
        let (objects, missing) = Objects::at_hand(project, tree, &self.objects, cache, sink)?;
        for symbol in self.symbols {
            let named = match objects.find(&symbol) {
                None => Named::NotKnown(missing.get(symbol.object.as_str()).cloned().unwrap_or_default()),
                Some(Err(reason)) => Named::Missing(reason.to_string()),
                Some(Ok(area)) => Named::Found(NamedSymbol {
                    memory: memory(area),
                    not_replaceable: match objects.traceability(&symbol) {
                        Some(Traceability::Not(reason)) => Some(reason.to_string()),
                        Some(Traceability::Traceable) | None => None,
                    },
                    siblings: objects.siblings(&symbol),
                    thread_of: objects.starters(&symbol),
                }),
            };
            expected.named.insert(symbol, named);
        }
        expected.missing_objects = missing;
        expected.build_id = objects.kernel.facts.build_id.clone();
        expected.module_struct = module_struct(&objects.kernel.types);
        Ok(objects)
    }
}

fn memory(area: Area) -> Memory {
    match area {
        Area::Code => Memory::Code,
        Area::Data => Memory::Data,
        Area::ReadOnly => Memory::ReadOnly,
        Area::Init => Memory::Init,
        Area::PerCpu => Memory::PerCpu,
    }
}

/// Patterns in the source of the fixes.
fn lints(fixes: &[Fix]) -> Result<Vec<(String, String)>, Error> {
    let mut found = Vec::new();
    for fix in fixes {
        found.extend(source_lints::of_fix(fix)?.into_iter().map(|(place, text)| (place, text.to_owned())));
    }
    Ok(found)
}

fn copies(function: &Function) -> Option<(KlpSymbol, Vec<ExpectedCopy>)> {
    let Some(Copies::Known { copies, .. }) = &function.copies else { return None };
    let is_left = |copy: &&InlinedCopy| function.inlined_in.contains(&copy.caller);
    let expected = copies.iter().filter(|copy| !is_left(copy)).map(copy);
    Some((function.symbol.clone(), expected.collect()))
}

fn copy(copy: &InlinedCopy) -> ExpectedCopy {
    let InlinedCopy { caller, file, line, is_clone } = copy.clone();
    ExpectedCopy { caller, file, line, is_clone }
}

fn user_pointers(function: &Function) -> Option<(KlpSymbol, Vec<usize>)> {
    match &function.copies {
        Some(Copies::Known { user_pointers, .. }) if !user_pointers.is_empty() => {
            Some((function.symbol.clone(), user_pointers.clone()))
        }
        _ => None,
    }
}

fn copies_not_known(function: &Function) -> Option<(KlpSymbol, String)> {
    match &function.copies {
        Some(Copies::Known { .. }) => None,
        Some(Copies::NotKnown(reason)) => Some((function.symbol.clone(), reason.clone())),
        None => Some((function.symbol.clone(), "nobody looked for them".to_owned())),
    }
}

fn param(param: &ModuleParam) -> ExpectedParam {
    ExpectedParam { name: param.name.clone(), kind: param.kind.clone(), mode: param.mode }
}

/// Objects with callbacks: those of the fixes, and those whose originals are called, which a callback checks.
fn callbacks(resolved: &Resolved) -> Vec<String> {
    let of_fixes = resolved.callbacks.iter().map(|(_, object)| object.clone());
    let checked = resolved.functions.iter().filter(|function| function.original().is_some());
    let objects = of_fixes.chain(checked.map(|function| function.symbol.object.to_string()));
    objects.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Expected facts for a built module, from its build directory.
///
/// # Errors
/// Stage 1's result, the module or the kernel's image cannot be read.
pub fn of_build(source: &Source<'_>, built: &Built) -> Result<Expected, Error> {
    let resolved = Resolved::read(&built.dir)?;
    of_resolved(source, &resolved, &read(&built.ko)?, &read(&built.debug)?)
}

/// Expected facts for any live patch of a kernel, if only its file is known.
///
/// # Errors
/// The kernel's types contain no livepatch structs.
pub fn of_any(tree: &KernelTree, image: &KernelImage) -> Result<Expected, Error> {
    let layout = klp_layout(&image.types)
        .map_err(|error| klp_image::Error::Image { path: tree.image.clone(), message: error.to_string() })?;
    Ok(of_kernel(tree, &image.facts.vermagic, layout))
}

/// Expected facts for the file of a live patch: the facts of [`of_any`], and those of the symbols that it names. `debug`: the file with
/// its debug information, which may be itself.
///
/// # Errors
/// The kernel's image cannot be read, or its types contain no livepatch structs.
pub fn of_file(source: &Source<'_>, bytes: &[u8], debug: &[u8]) -> Result<Expected, Error> {
    let image = KernelImage::load(source.tree.image_file(), source.cache, source.sink)?;
    let mut expected = of_any(source.tree, &image)?;
    let names = Names::of(&expected, bytes);
    let functions = names.symbols.clone();
    if let Some(debug) = c_diff::debug_copies_at_hand(source.tree, source.cache)? {
        let copies = names.replaced.iter().filter_map(|symbol| {
            match c_diff::inlined_by_debug(&debug, &image, symbol)? {
                Copies::Known { copies, .. } => Some((symbol.clone(), copies.iter().map(copy).collect())),
                Copies::NotKnown(_) => None,
            }
        });
        expected.debug_copies = copies.collect();
    }
    let objects = names.look_up(source, &mut expected)?;
    expected.types = type_facts::of(debug, bytes, &expected.layout, &objects);
    for symbol in functions {
        expected.bodies.extend(objects.body(&symbol).map(|body| (symbol.clone(), body)));
        // Functions of modules, and functions with several prototypes, are checked by their code alone.
        if let Ok(prototype) = image.types.function(&symbol.symbol) {
            expected.arguments.insert(symbol.symbol, prototype.parameters.len());
        }
    }
    Ok(expected)
}

/// Facts about a live patch that is loaded before the module, from its file.
///
/// # Errors
/// It is no live patch that can be read; the text says why.
pub fn loaded_patch(bytes: &[u8], layout: &KlpLayout) -> Result<LoadedPatch, String> {
    let module = Module::parse(bytes).map_err(|error| error.to_string())?;
    let table = module.tables(layout).map_err(|error| error.to_string())?;
    let manifest = module.manifest().map_err(|error| error.to_string())?;
    let cves = manifest.as_ref().map(|manifest| manifest.cves().into_iter().map(str::to_owned).collect());
    Ok(LoadedPatch {
        name: module.name().map_err(|error| error.to_string())?.to_string(),
        functions: table.symbols().map(|(symbol, _)| symbol).collect(),
        states: table.states,
        cves: cves.unwrap_or_default(),
    })
}

fn of_kernel(tree: &KernelTree, vermagic: &str, layout: KlpLayout) -> Expected {
    let config = &tree.config;
    let call_padding = match (config.is_on("CALL_PADDING"), config.call_padding()) {
        (true, None) => {
            Err("CONFIG_CALL_PADDING is set without a usable CONFIG_FUNCTION_PADDING_BYTES".to_owned())
        }
        (_, bytes) => Ok(bytes.map(u64::from)),
    };
    let exports = exports::of(tree)
        .map_err(|error| error.to_string())
        .map(|exports| exports.into_iter().map(|(name, export)| (name, expected_export(export))).collect());
    Expected {
        kernel: tree.id.clone(),
        arch: tree.arch,
        vermagic: vermagic.to_owned(),
        exports,
        namespaces_enforced: !config.is_on("MODULE_ALLOW_MISSING_NAMESPACE_IMPORTS"),
        build_id: None,
        module_struct: None,
        retpolines: ["MITIGATION_RETPOLINE", "RETPOLINE"].iter().any(|option| config.is_on(option)),
        return_thunks: ["MITIGATION_RETHUNK", "RETHUNK"].iter().any(|option| config.is_on(option)),
        visible_unlocks: config.is_on("UNINLINE_SPIN_UNLOCK"),
        modversions: config.is_on("MODVERSIONS"),
        call_padding,
        prefix_symbols: config.is_on("PREFIX_SYMBOLS"),
        signed_only: config.is_on("MODULE_SIG_FORCE"),
        orc: config.is_on("UNWINDER_ORC"),
        ibt: config.is_on("X86_KERNEL_IBT"),
        bti: config.is_on("ARM64_BTI_KERNEL"),
        thread_size: thread_size(tree.arch, config),
        frame_warn: frame_warn(config),
        arguments: BTreeMap::new(),
        bodies: Vec::new(),
        sites: sites_of(tree.arch, config),
        named: BTreeMap::new(),
        missing_objects: BTreeMap::new(),
        debug_copies: BTreeMap::new(),
        loaded: Vec::new(),
        types: Ok(None),
        layout,
        patch: None,
    }
}

fn expected_export(export: Export) -> ExpectedExport {
    let object = export.object_name();
    ExpectedExport { checksum: export.checksum, object, namespace: export.namespace }
}

/// `THREAD_SIZE`: `arch/x86/include/asm/page_64_types.h`, `arch/arm64/include/asm/memory.h`.
fn thread_size(arch: Arch, config: &KernelConfig) -> u64 {
    const MIN_SHIFT: u32 = 14;
    let kasan = match arch {
        Arch::X86_64 => config.is_on("KASAN"),
        Arch::Arm64 => config.is_on("KASAN_GENERIC") || config.is_on("KASAN_SW_TAGS"),
    };
    // On arm64 a stack has at least one page, which may be larger.
    let page = match (arch, config.is_on("ARM64_64K_PAGES")) {
        (Arch::Arm64, true) => 16,
        _ => 12,
    };
    1 << (MIN_SHIFT + u32::from(kasan)).max(page)
}

/// `CONFIG_FRAME_WARN`. If it is off (0), the default for 64-bit kernels (`lib/Kconfig.debug`).
fn frame_warn(config: &KernelConfig) -> u64 {
    const DEFAULT: u64 = 2048;
    let set = config.value("FRAME_WARN").and_then(|text| text.parse().ok());
    set.filter(|&bytes| bytes > 0).unwrap_or(DEFAULT)
}

/// Number of arguments in a C prototype such as `long f(struct x *a, int (*b)(int, int))`. `None` if the text
/// is not a prototype or is variadic.
fn count_arguments(prototype: &str) -> Option<usize> {
    let list = prototype.trim_end().trim_end_matches(';').strip_suffix(')')?;
    let (mut depth, mut commas) = (0_usize, 0);
    let mut start = None;
    // Searches backwards for the parenthesis that matches the last one.
    for (at, character) in list.char_indices().rev() {
        match character {
            ')' => depth += 1,
            '(' if depth == 0 => {
                start = Some(at + 1);
                break;
            }
            '(' => depth -= 1,
            ',' if depth == 0 => commas += 1,
            _ => {}
        }
    }
    let list = list[start?..].trim();
    match list {
        "" | "void" => Some(0),
        _ if list.ends_with("...") => None,
        _ => Some(commas + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stack_sizes_follow_the_configuration() {
        let size = |arch, text| thread_size(arch, &KernelConfig::parse(text));
        assert_eq!(size(Arch::X86_64, ""), 16 << 10);
        assert_eq!(size(Arch::X86_64, "CONFIG_KASAN=y"), 32 << 10);
        assert_eq!(size(Arch::Arm64, "CONFIG_KASAN=y\nCONFIG_KASAN_HW_TAGS=y"), 16 << 10);
        assert_eq!(size(Arch::Arm64, "CONFIG_ARM64_64K_PAGES=y"), 64 << 10);
        let warn = |text| frame_warn(&KernelConfig::parse(text));
        assert_eq!(
            [warn("CONFIG_FRAME_WARN=1024"), warn("CONFIG_FRAME_WARN=0"), warn("")],
            [1024, 2048, 2048]
        );
    }

    #[test]
    fn arguments_are_counted() {
        for (prototype, count) in [
            ("int version_proc_show(struct seq_file *m, void *v)", Some(2)),
            ("void f(void)", Some(0)),
            ("long f(int (*b)(int, int), char c[2]);", Some(2)),
            ("int printk(const char *fmt, ...)", None),
            ("int x", None),
        ] {
            assert_eq!(count_arguments(prototype), count, "{prototype}");
        }
    }
}
