// SPDX-License-Identifier: GPL-2.0-or-later
//! Parts of a module. A front end turns an author's input into a part; the fixes in Rust are one part. The composer
//! (`compile::root`), stage kbuild and stage postlink process the parts of a module without knowledge of the front
//! end.

use std::path::PathBuf;

use klp_format::{KlpSymbol, ObjectName};

use crate::project::{Target, objects_in_tables};
use crate::resolved::Extern;

/// Contribution of one front end to a module.
pub struct ModulePart {
    /// Relocatable objects with the code and data of the part.
    pub objects: Vec<PathBuf>,
    /// File with C text that kbuild compiles into the module.
    pub shims: Option<PathBuf>,
    /// Symbols of the kernel that the objects use.
    pub symbols: Vec<Extern>,
    /// Functions that the part replaces.
    pub replaced: Vec<Replaced>,
    /// Rust items for the root crate: definitions or declarations of the entry functions.
    pub items: String,
}

/// A replaced function.
pub struct Replaced {
    /// The function.
    pub symbol: KlpSymbol,
    /// Path of its entry function in the root crate. The livepatch tables contain this function.
    pub entry: String,
    /// Path of the thunk of its original in the root crate, if the part calls the original.
    pub original: Option<String>,
}

/// Objects in the tables of a module, in their order: those of the fixes, then those that only the parts know.
pub fn objects(target: &Target, parts: &[ModulePart]) -> Vec<ObjectName> {
    let mut objects = objects_in_tables(&target.fixes);
    let changed = replaced(parts).map(|item| &item.symbol.object);
    let used = symbols(parts).filter(|item| !item.exported).map(|item| &item.symbol.object);
    let changed: Vec<&ObjectName> = changed.chain(used.filter(|object| !object.is_vmlinux())).collect();
    for object in changed {
        if !objects.contains(object) {
            objects.push(object.clone());
        }
    }
    objects.sort_by_key(|object| !object.is_vmlinux());
    objects
}

/// Symbols that the parts use.
pub fn symbols(parts: &[ModulePart]) -> impl Iterator<Item = &Extern> {
    parts.iter().flat_map(|part| &part.symbols)
}

/// Functions that the parts replace.
pub fn replaced(parts: &[ModulePart]) -> impl Iterator<Item = &Replaced> {
    parts.iter().flat_map(|part| &part.replaced)
}
