// SPDX-License-Identifier: GPL-2.0-or-later
//! Functions and states of a module: from its manifest, else from the tables of the live patch.

use klp_format::VMLINUX;
use klp_module::{Module, PatchTable, State, TableError};

/// What a module does to the kernel.
pub(crate) struct Content {
    /// The functions that it replaces: object and name.
    pub(crate) functions: Vec<(String, String)>,
    /// The system states that it supports.
    pub(crate) states: Vec<State>,
    /// Whether it takes the place of the patches that are loaded.
    pub(crate) replace: bool,
}

/// What a module does.
///
/// # Errors
/// It has no manifest that can be read, and its tables cannot be read without the layouts of its kernel.
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

/// `object:function`, without the position behind a comma.
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
        states: table.states.into_iter().map(|(id, version)| State { id, version }).collect(),
        replace: table.replace,
    }
}
