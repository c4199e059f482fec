// SPDX-License-Identifier: GPL-2.0-or-later
//! Corpus of the fuzz target `wire`, as an ordinary test.
#![allow(missing_docs, clippy::expect_used, clippy::panic, reason = "a test")]

use std::path::Path;

#[path = "../../../fuzz/src/guest.rs"]
mod fuzzed;
#[path = "../../../fuzz/src/replay.rs"]
mod replay;

#[test]
fn what_was_fuzzed_stays_harmless() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    replay::replay(&fuzz, "wire", fuzzed::wire);
}
