// SPDX-License-Identifier: GPL-2.0-or-later
//! `info`: what a patch module says of itself, in modinfo's form.

use std::fs;
use std::path::Path;

use klp_module::Module;

use crate::console::Console;
use crate::{Error, Refusal, System, store};

pub(crate) fn run(system: &System, console: &mut Console<'_>, argument: &Path) -> Result<(), Error> {
    let source = store::find(system, argument)?;
    let bytes = fs::read(&source.file).map_err(|error| Error::file("read", &source.shown, error))?;
    let module = Module::parse(&bytes).map_err(|error| Error::Refused {
        path: source.shown.clone(),
        refusals: vec![Refusal::NotAModule(error)],
    })?;
    console.say(format_args!("Patch information for {}:", argument.display()));
    console.say(format_args!("{:<16}{}", "filename:", source.shown.display()));
    for (key, value) in module.modinfo() {
        console.say(format_args!("{:<16}{value}", format!("{key}:")));
    }
    Ok(())
}
