// SPDX-License-Identifier: GPL-2.0-or-later
//! `uname`: version that the running kernel amounts to with its patches.

use serde::Serialize;

use crate::console::Console;
use crate::judge::effective::{self, Effective};
use crate::model::error::Error;
use crate::model::system::System;

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    #[serde(flatten)]
    effective: &'a Effective,
}

/// Verb `uname`.
pub(crate) fn run(system: &System, console: &mut Console<'_>, json: bool) -> Result<(), Error> {
    let effective = effective::effective(system)?;
    if json {
        console.json(&Document { schema: "ferrograft.kpatch.uname/1", effective: &effective });
    } else {
        console.say(&effective.version);
    }
    Ok(())
}
