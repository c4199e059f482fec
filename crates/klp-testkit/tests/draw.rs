// SPDX-License-Identifier: GPL-2.0-or-later
//! A small draw on the default kernel; `cargo xtask draw` makes large ones.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic")]

#[path = "../../klp-pipeline/tests/common/mod.rs"]
mod common;

use klp_base::events::Silent;
use klp_image::KernelImage;
use klp_testkit::draw::functions::Outcome;
use klp_testkit::draw::{functions, structs};

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn functions_at_random_build_or_are_refused_for_a_confirmed_reason() {
    let (project, cache, tree) = common::default_kernel();
    let seed = std::env::var("FERROGRAFT_SEED").map_or(12, |text| text.parse().unwrap());
    println!("FERROGRAFT_SEED={seed}");
    let drawn = functions::draw(&project, &tree, &cache, &Silent, seed, 6).unwrap();
    assert_eq!(drawn.len(), 6);
    for item in &drawn {
        assert!(!matches!(item.outcome, Outcome::Failed(_)), "{item:?}");
    }
    assert!(drawn.iter().any(|item| item.outcome == Outcome::Built), "{drawn:?}");
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn all_structs_of_the_kernel_compile_with_their_layouts_asserted() {
    let (_, cache, tree) = common::default_kernel();
    let image = KernelImage::load(tree.image_file(), &cache, &Silent).unwrap();
    let seen = structs::compile("vmlinux", &image.types, &Silent).unwrap();
    assert!(seen.count > 8000, "only {} structs", seen.count);
    assert!(seen.failure.is_none(), "{}", seen.failure.unwrap_or_default());
}
