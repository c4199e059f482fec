// SPDX-License-Identifier: GPL-2.0-or-later
//! Services for all host crates of Ferrograft.
//!
//! * [`process`]: child processes; no other module starts one;
//! * [`cache`]: cache entries; no other module creates or finds one;
//! * [`files`]: file operations with errors that name the path;
//! * [`events`]: events of engines, and their renderers;
//! * [`arch`]: processor architectures;
//! * [`parallel`]: work on all processors;
//! * [`lots`]: pseudo-random draws by a seed;
//! * [`sorted_lines`]: index files of sorted lines.

pub mod arch;
pub mod cache;
pub mod events;
pub mod files;
pub mod lots;
pub mod parallel;
pub mod process;
pub mod sorted_lines;
mod sys;

// Forces a separate compilation per checkout; `.cargo/config.toml` gives the reason.
const _: Option<&str> = option_env!("FERROGRAFT_CHECKOUT");

/// Text of an error and all its sources in one line: `error: source: source`.
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
