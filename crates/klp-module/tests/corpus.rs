// SPDX-License-Identifier: GPL-2.0-or-later
//! Corpus of the fuzz target `module`, as an ordinary test.
#![allow(missing_docs, clippy::expect_used, clippy::panic, reason = "a test")]

use std::path::Path;

#[path = "../../../fuzz/src/module.rs"]
mod fuzzed;
#[path = "../../../fuzz/src/replay.rs"]
mod replay;

#[test]
fn fuzz_corpora_do_not_panic() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    replay::replay(&fuzz, "module", fuzzed::module);
}
