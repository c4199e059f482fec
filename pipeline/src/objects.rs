// SPDX-License-Identifier: GPL-2.0-or-later
//! The objects that a module changes, read: the kernel, and the one of its modules that is among them.

use klp_base::cache::Cache;
use klp_base::events::Sink;
use klp_format::{KlpSymbol, ObjectName};

use crate::error::{Error, read};
use crate::image::{KernelImage, ModuleImage, Symbols, Traceability, Types};
use crate::kernel::KernelTree;

/// The kernel, and at most one of its modules.
pub struct Objects {
    /// The kernel.
    pub kernel: KernelImage,
    module: Option<ModuleImage>,
}

impl Objects {
    /// Reads the kernel and what `named` names beside it.
    ///
    /// # Errors
    /// A file cannot be read, or two different modules are named.
    pub fn load<'a>(
        tree: &KernelTree,
        named: impl IntoIterator<Item = &'a KlpSymbol>,
        cache: &Cache,
        sink: &dyn Sink,
    ) -> Result<Self, Error> {
        let kernel = KernelImage::load(tree, cache, sink)?;
        let mut names: Vec<&ObjectName> =
            named.into_iter().map(|symbol| &symbol.object).filter(|object| !object.is_vmlinux()).collect();
        names.sort();
        names.dedup();
        let module = match names.as_slice() {
            [] => None,
            [name] => {
                let file = tree.module(name, cache, sink)?;
                let module = ModuleImage::parse(&read(&file)?, &kernel)
                    .map_err(|error| Error::Image { path: file, message: error.to_string() })?;
                Some(module)
            }
            [one, other, ..] => {
                return Err(Error::Symbol {
                    symbol: other.to_string(),
                    kernel: tree.id.clone(),
                    message: format!(
                        "one live patch can change one module beside vmlinux so far, and {one} is changed too"
                    ),
                });
            }
        };
        Ok(Self { kernel, module })
    }

    /// The types of all objects: a module's add to the kernel's.
    pub fn types(&self) -> &Types {
        self.module.as_ref().and_then(|module| module.types.as_ref()).unwrap_or(&self.kernel.types)
    }

    /// The symbols of an object; none where it was not read.
    pub fn symbols(&self, object: &ObjectName) -> Option<&Symbols> {
        if object.is_vmlinux() {
            return Some(&self.kernel.symbols);
        }
        self.module
            .as_ref()
            .filter(|module| module.name.as_str() == object.as_str())
            .map(|module| &module.symbols)
    }

    /// Whether ftrace, and with it a live patch, can reach a function; none where its object was not read.
    pub fn traceability(&self, symbol: &KlpSymbol) -> Option<Traceability> {
        if symbol.object.is_vmlinux() {
            return Some(self.kernel.traceability(&symbol.symbol, symbol.position));
        }
        let module = self.module.as_ref().filter(|module| module.name.as_str() == symbol.object.as_str())?;
        Some(module.traceability(&symbol.symbol, symbol.position))
    }
}
