// SPDX-License-Identifier: GPL-2.0-or-later
//! Images of the objects that a module patches: the kernel, and kernel modules if any are patched.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use klp_base::arch::Arch;
use klp_base::cache::{Cache, Key};
use klp_base::events::{Sink, StageEnd, stage};
use klp_base::files::{io_error, read, write};
use klp_base::process::Cmd;
use klp_format::{KlpSymbol, ModuleName, ObjectName};
use klp_image::{
    Area, BtfError, Calls, Code, KernelImage, ModuleImage, NotTraceable, Prototype, Reference, Symbol,
    Symbols, Traceability, Types,
};
use klp_kernel::KernelTree;
use klp_kernel::c_module;

use crate::error::Error;
use crate::project::{ModuleSource, Project};

/// Name of the file with types from DWARF.
const TYPES: &str = "btf";
/// Prefixes of the entries of a system call, and those of the same call for other programs.
const ENTRIES: [(&str, &[&str]); 2] =
    [("__x64_sys_", &["__ia32_sys_", "__ia32_compat_sys_"]), ("__arm64_sys_", &["__arm64_compat_sys_"])];
/// Parts of the names of clones.
const CLONES: [&str; 3] = ["constprop.", "part.", "isra."];
/// Functions whose first argument is the main function of a new kernel thread.
const THREAD_STARTERS: [&str; 5] = [
    "kthread_create_on_node",
    "__kthread_create_on_node",
    "kthread_create_on_cpu",
    "kernel_thread",
    "user_mode_thread",
];

/// The kernel and some of its modules.
pub struct Objects {
    /// The kernel.
    pub kernel: KernelImage,
    /// Direct calls of the kernel, and pointers to its functions.
    pub calls: Calls,
    modules: Vec<ModuleImage>,
    /// Modules with types, in the order of their numbers in [`Types`].
    typed: Vec<ObjectName>,
    /// Types of the kernel and the modules together, if any module has types.
    types: Option<Types>,
}

impl Objects {
    /// Reads the kernel and the other objects that `named` names.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn load<'a>(
        project: &Project,
        tree: &KernelTree,
        named: impl IntoIterator<Item = &'a KlpSymbol>,
        cache: &Cache,
        sink: &dyn Sink,
    ) -> Result<Self, Error> {
        Self::of(project, tree, named.into_iter().map(|symbol| &symbol.object), cache, sink)
    }

    /// Reads the kernel and the modules with these names.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn of<'a>(
        project: &Project,
        tree: &KernelTree,
        names: impl IntoIterator<Item = &'a ObjectName>,
        cache: &Cache,
        sink: &dyn Sink,
    ) -> Result<Self, Error> {
        let (kernel, calls) = kernel(tree, cache, sink)?;
        let mut names: Vec<&ObjectName> = names.into_iter().filter(|object| !object.is_vmlinux()).collect();
        names.sort();
        names.dedup();
        let mut modules = Vec::new();
        let mut types: Option<Types> = None;
        let mut typed = Vec::new();
        for name in names {
            let (file, bytes, mut module) = module_image(project, tree, &kernel, name, cache, sink)?;
            let damaged = |message: String| klp_image::Error::Image { path: file.clone(), message };
            if module.types.is_none() && module.has_debug_info {
                let bytes = klp_image::unpack_module(&bytes).map_err(|error| damaged(error.to_string()))?;
                let own = types_from_debug(tree, &file, &bytes, cache, sink)?;
                let own =
                    Types::parse_split(&own, &kernel.types).map_err(|error| damaged(error.to_string()))?;
                module.types = Some(own);
            }
            if module.types.is_some() {
                typed.push(name.clone());
            }
            match (module.types.take(), &mut types) {
                (Some(own), None) => types = Some(own),
                (Some(own), Some(all)) => all.join(own).map_err(|error| damaged(error.to_string()))?,
                (None, _) => {}
            }
            modules.push(module);
        }
        Ok(Self { kernel, calls, modules, typed, types })
    }

    /// Reads the kernel, and those of the modules with these names that are at hand, without their types. Returns the others with the
    /// reasons.
    ///
    /// # Errors
    /// The kernel's image cannot be read.
    pub(crate) fn at_hand(
        project: &Project,
        tree: &KernelTree,
        names: &BTreeSet<ObjectName>,
        cache: &Cache,
        sink: &dyn Sink,
    ) -> Result<(Self, BTreeMap<String, String>), Error> {
        let (kernel, calls) = kernel(tree, cache, sink)?;
        let (mut modules, mut missing) = (Vec::new(), BTreeMap::new());
        for name in names.iter().filter(|name| !name.is_vmlinux()) {
            match module_image(project, tree, &kernel, name, cache, sink) {
                Ok((.., module)) => modules.push(module),
                Err(error) => {
                    missing.insert(name.to_string(), klp_base::chain(&error));
                }
            }
        }
        Ok((Self { kernel, calls, modules, typed: Vec::new(), types: None }, missing))
    }

    /// Types of all objects. The modules' types extend the kernel's.
    pub fn types(&self) -> &Types {
        self.types.as_ref().unwrap_or(&self.kernel.types)
    }

    /// Prototype of a function in the BTF of its object. A function with the same name in another object is a
    /// different function.
    ///
    /// # Errors
    /// The object has no BTF, or its BTF has no prototype or no unique prototype.
    pub fn function(&self, object: &ObjectName, name: &str) -> Result<Prototype, BtfError> {
        if object.is_vmlinux() {
            return self.types().function_of(None, name);
        }
        let number = self.typed.iter().position(|typed| typed == object);
        let number = number.and_then(|number| u32::try_from(number).ok()).ok_or(BtfError::NoFunction)?;
        self.types().function_of(Some(number), name)
    }

    /// Address range of a symbol. `None` if the object was not read, or has no such symbol at that position.
    pub fn area(&self, symbol: &KlpSymbol) -> Option<Area> {
        self.find(symbol)?.ok()
    }

    /// Address range of a symbol, or the reason why its object has none. `None` if the object was not read.
    pub(crate) fn find(&self, symbol: &KlpSymbol) -> Option<Result<Area, NotTraceable>> {
        if symbol.object.is_vmlinux() {
            return Some(self.kernel.area(&symbol.symbol, symbol.position));
        }
        Some(self.module(&symbol.object)?.area(&symbol.symbol, symbol.position))
    }

    /// Other functions of the object that are the same source function: the entry of a system call for other programs, and the
    /// compiler's clones.
    pub(crate) fn siblings(&self, symbol: &KlpSymbol) -> Vec<String> {
        let Some(symbols) = self.symbols(&symbol.object) else { return Vec::new() };
        let addresses =
            |name: &str| symbols.named(name).iter().map(|found| found.address).collect::<Vec<_>>();
        let own = addresses(&symbol.symbol);
        let entries =
            ENTRIES.iter().filter_map(|(start, others)| Some((symbol.symbol.strip_prefix(start)?, others)));
        let entries =
            entries.flat_map(|(call, others)| others.iter().map(move |other| format!("{other}{call}")));
        // One function may have both names.
        let entries = entries.filter(|name| addresses(name).iter().any(|address| !own.contains(address)));
        let dotted = format!("{}.", symbol.symbol);
        let is_clone = |name: &str| CLONES.iter().any(|part| name[dotted.len()..].starts_with(part));
        let clones = symbols.starting_with(&dotted).filter(|found| found.is_code() && is_clone(found.name));
        let clones: Vec<String> = clones.map(|found| found.name.to_owned()).collect();
        entries.chain(clones).collect()
    }

    /// Functions that start a kernel thread with this function of the kernel itself: each passes its address to one of
    /// [`THREAD_STARTERS`].
    pub(crate) fn starters(&self, symbol: &KlpSymbol) -> Vec<String> {
        if !symbol.object.is_vmlinux() {
            return Vec::new();
        }
        let addresses =
            self.of_kernel(symbol).map_or(&[][..], |found| self.calls.addresses_of(found.address));
        let containing =
            |place| self.kernel.symbols.containing(place).map(|(symbol, _)| symbol.name.to_owned());
        let starts = |place: &Reference| {
            let next = self.calls.next_from(place.place)?;
            let callee =
                self.kernel.symbols.at(next.target).any(|callee| THREAD_STARTERS.contains(&callee.name));
            let starter = containing(place.place)?;
            (callee && containing(next.place)? == starter).then_some(starter)
        };
        addresses.iter().filter_map(starts).collect()
    }

    /// Bytes between a symbol and the next one of its object, or of its section in a module. `None` if there is none.
    pub fn room(&self, symbol: &KlpSymbol) -> Option<u64> {
        if symbol.object.is_vmlinux() {
            let own = self.of_kernel(symbol)?.address;
            return Some(self.kernel.symbols.next(own)? - own);
        }
        let is_it = |found: &Symbol<'_>| {
            found.name == symbol.symbol && (symbol.position.0 == 0 || found.position == symbol.position)
        };
        let module = self.module(&symbol.object)?;
        let (own, section) = module.places().find(|(found, _)| is_it(found))?;
        let others = module.places().filter(|(other, of)| *of == section && other.address > own.address);
        Some(others.map(|(other, _)| other.address).min()? - own.address)
    }

    /// Modules that a module depends on, from its file. They are loaded whenever it is. `None` if the module
    /// was not read.
    pub fn needs(&self, object: &ObjectName) -> Option<&[ModuleName]> {
        self.module(object).map(|module| module.needs.as_slice())
    }

    /// GNU build id of a module. `None` if it was not read or has none.
    pub fn module_build_id(&self, object: &ObjectName) -> Option<&str> {
        self.module(object)?.build_id.as_deref()
    }

    /// Symbols of an object; `None` if it was not read.
    pub fn symbols(&self, object: &ObjectName) -> Option<&Symbols> {
        if object.is_vmlinux() {
            return Some(&self.kernel.symbols);
        }
        self.module(object).map(|module| &module.symbols)
    }

    /// Traceability of a function: tells if ftrace, and therefore a live patch, can reach it. `None` if its
    /// object was not read.
    pub fn traceability(&self, symbol: &KlpSymbol) -> Option<Traceability> {
        if symbol.object.is_vmlinux() {
            return Some(self.kernel.traceability(&symbol.symbol, symbol.position));
        }
        Some(self.module(&symbol.object)?.traceability(&symbol.symbol, symbol.position))
    }

    /// Offset of a function's own code behind its ftrace site, in bytes. `None` if its object was not read, or if the function
    /// starts in an unknown way.
    pub fn body(&self, symbol: &KlpSymbol) -> Option<u64> {
        if symbol.object.is_vmlinux() {
            return self.kernel.body(&symbol.symbol, symbol.position);
        }
        self.module(&symbol.object)?.body(&symbol.symbol, symbol.position)
    }

    /// True if the function is static, and nothing in its object calls it or holds its address: the compiler inlined it into all its
    /// callers. `None` if the object was not read, or has no such function.
    pub fn is_unreached(&self, symbol: &KlpSymbol) -> Option<bool> {
        if !symbol.object.is_vmlinux() {
            return self.module(&symbol.object)?.is_unreached(&symbol.symbol, symbol.position);
        }
        let found = self.of_kernel(symbol)?;
        let unused = self.calls.calls_of(found.address).is_empty()
            && self.calls.addresses_of(found.address).is_empty();
        Some(unused && found.kind == 't')
    }

    /// A symbol of the kernel itself.
    fn of_kernel(&self, symbol: &KlpSymbol) -> Option<Symbol<'_>> {
        let named = self.kernel.symbols.named(&symbol.symbol);
        named.into_iter().find(|found| symbol.position.0 == 0 || found.position == symbol.position)
    }

    fn module(&self, object: &ObjectName) -> Option<&ModuleImage> {
        self.modules.iter().find(|module| module.name.as_str() == object.as_str())
    }
}

/// File, content and parsed tables of a module.
///
/// # Errors
/// As [`module_file`], or the file is damaged or of another module.
pub(crate) fn module_image(
    project: &Project,
    tree: &KernelTree,
    kernel: &KernelImage,
    name: &ObjectName,
    cache: &Cache,
    sink: &dyn Sink,
) -> Result<(PathBuf, Vec<u8>, ModuleImage), Error> {
    let file = module_file(project, tree, name, cache, sink)?;
    let damaged = |message: String| klp_image::Error::Image { path: file.clone(), message };
    let bytes = read(&file)?;
    let module = ModuleImage::parse(&bytes, kernel).map_err(|error| damaged(error.to_string()))?;
    if module.name.as_str() != name.as_str() {
        return Err(damaged(format!("it is module {}, and {name} is asked for", module.name)).into());
    }
    Ok((file, bytes, module))
}

fn kernel(tree: &KernelTree, cache: &Cache, sink: &dyn Sink) -> Result<(KernelImage, Calls), Error> {
    let kernel = KernelImage::load(tree.image_file(), cache, sink)?;
    let code = match tree.arch {
        Arch::X86_64 => Code::X86_64,
        Arch::Arm64 => Code::Arm64,
    };
    let calls = Calls::load(tree.image_file(), &kernel, code, cache, sink)?;
    Ok((kernel, calls))
}

/// BTF of a module from its DWARF, which out-of-tree modules often have alone: pahole writes it on the kernel's BTF.
fn types_from_debug(
    tree: &KernelTree,
    file: &Path,
    module: &[u8],
    cache: &Cache,
    sink: &dyn Sink,
) -> Result<Vec<u8>, Error> {
    let btf = KernelImage::btf_file(tree.image_file(), cache, sink)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let key = Key::new("types of a module 1").with(&tree.fingerprint).with(module);
    let entry = cache.entry("types", &name, &key, |dir| {
        stage(sink, "pahole", &name, || {
            // pahole reads files only, and these bytes are decompressed.
            let copy = dir.join("module.ko");
            write(&copy, module)?;
            Cmd::new("pahole")
                .args(["-J", "--btf_base"])
                .arg(&btf)
                .arg(format!("--btf_encode_detached={}", dir.join(TYPES).display()))
                .arg(&copy)
                .hint("install the package pahole: the module has DWARF and no BTF")
                .run()?;
            std::fs::remove_file(&copy).map_err(io_error("remove", &copy))?;
            Ok::<_, Error>((StageEnd::Done, ()))
        })
    })?;
    Ok(read(&entry.join(TYPES))?)
}

/// File of a module: one that a fix names, one of the project's test modules, otherwise one of the kernel's modules.
///
/// # Errors
/// There is no such module, or it is unavailable.
pub fn module_file(
    project: &Project,
    tree: &KernelTree,
    name: &ObjectName,
    cache: &Cache,
    sink: &dyn Sink,
) -> Result<PathBuf, Error> {
    match project.module_source(name) {
        Some(ModuleSource::C(source)) => Ok(c_module::build(tree, name, &source, cache, sink)?),
        Some(ModuleSource::File(file)) => Ok(file),
        None => Ok(tree.module(name, cache, sink)?),
    }
}
