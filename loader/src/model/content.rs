// SPDX-License-Identifier: GPL-2.0-or-later
//! Functions and system states of a module, from its manifest or else from its livepatch tables.

use klp_format::VMLINUX;
use klp_module::{Module, PatchTable, State as SystemState, TableError};

/// Effect of a module on the kernel.
pub(crate) struct Content {
    /// Replaced functions, as `(object, function)`.
    pub(crate) functions: Vec<(String, String)>,
    /// System states that it supports.
    pub(crate) states: Vec<SystemState>,
    /// True if it replaces all loaded patches (`klp_patch.replace`).
    pub(crate) replace: bool,
}

/// Content of a module.
///
/// # Errors
/// The module has no readable manifest, and its tables cannot be read without the struct layouts of its kernel.
pub(crate) fn of(module: &Module<'_>) -> Result<Content, TableError> {
    match module.manifest() {
        Ok(Some(manifest)) => Ok(Content {
            functions: manifest.functions.iter().filter_map(|text| function(text)).collect(),
            states: manifest.states,
            replace: manifest.replace,
        }),
        _ => module.tables_by_relocation().map(from_table),
    }
}

/// Object and function from `object:function` or `object:function,position`.
fn function(text: &str) -> Option<(String, String)> {
    let (object, function) = text.split_once(':')?;
    Some((object.to_owned(), function.split(',').next().unwrap_or(function).to_owned()))
}

fn from_table(table: PatchTable) -> Content {
    let functions = table.objects.into_iter().flat_map(|object| {
        let name = object.name.unwrap_or_else(|| VMLINUX.to_owned());
        object.functions.into_iter().map(move |function| (name.clone(), function.old_name))
    });
    Content {
        functions: functions.collect(),
        states: table.states.into_iter().map(|(id, version)| SystemState { id, version }).collect(),
        replace: table.replace,
    }
}
