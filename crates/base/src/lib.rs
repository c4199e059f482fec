// SPDX-License-Identifier: GPL-2.0-or-later
//! Services that every host crate of Ferrograft needs.
//!
//! * [`process`]: child processes; no other module starts one;
//! * [`cache`]: cache entries; no other module makes or finds one;
//! * [`files`]: file operations with errors that name the path;
//! * [`events`]: events of engines, and their renderers;
//! * [`arch`]: processor architectures.

pub mod arch;
pub mod cache;
pub mod events;
pub mod files;
pub mod process;
mod sys;

// Compiled anew for each checkout; the reason is in `.cargo/config.toml`.
const _: Option<&str> = option_env!("FERROGRAFT_CHECKOUT");

/// Text of an error with every cause behind it, in one line: `what: why: why`.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
