// SPDX-License-Identifier: GPL-2.0-or-later
//! The three things every host crate of Ferrograft needs, once.
//!
//! * [`process`]: the only place that starts child processes;
//! * [`cache`]: the only place that makes or finds a cache entry;
//! * [`events`]: what engines say, and the renderers of it.

pub mod cache;
pub mod events;
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
