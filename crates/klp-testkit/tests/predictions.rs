// SPDX-License-Identifier: GPL-2.0-or-later
//! Predictions for an artificial kernel.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use klp_image::{read_index, write_index};

#[path = "../../../fuzz/src/synthetic.rs"]
mod synthetic;

use synthetic::{Layout, RELEASE};

#[test]
fn predictions_contain_count_and_reason() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("vmlinuz");
    std::fs::write(&image, synthetic::image(&synthetic::lz4(&synthetic::vmlinux(Layout::Places)))).unwrap();
    write_index(&image, RELEASE, dir.path()).unwrap();
    let text = klp_testkit::predictions(&read_index(dir.path()).unwrap(), 7);
    for line in ["seed 7", "1 function_0", "0 alias_14 alias of function_14", "0 starter Init", "2 twice"] {
        assert!(text.lines().any(|other| other == line), "no line {line:?}");
    }
}
