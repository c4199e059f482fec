// SPDX-License-Identifier: GPL-2.0-or-later
//! `uname`: version that the running kernel amounts to with its patches.

use serde::Serialize;

use crate::console::Console;
use crate::judge::effective::{self, Effective, Part};
use crate::model::error::Error;
use crate::model::system::System;

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    kernel: &'a str,
    effective_release: Option<&'a str>,
    version: &'a str,
    patches: &'a [Part],
}

/// Verb `uname`.
pub(crate) fn run(system: &System, console: &mut Console<'_>, json: bool) -> Result<(), Error> {
    let Effective { kernel, effective_release, version, patches } = effective::effective(system)?;
    if json {
        console.json(&Document {
            schema: "ferrograft.kpatch.uname/1",
            kernel: &kernel,
            effective_release: effective_release.as_deref(),
            version: &version,
            patches: &patches,
        });
    } else {
        console.say(version);
    }
    Ok(())
}
