// SPDX-License-Identifier: GPL-2.0-or-later
#![no_main]

#[path = "../src/image.rs"]
mod image;

libfuzzer_sys::fuzz_target!(|data: &[u8]| image::module_image(data));
