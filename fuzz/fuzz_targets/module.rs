// SPDX-License-Identifier: GPL-2.0-or-later
#![no_main]

#[path = "../src/module.rs"]
mod module;

libfuzzer_sys::fuzz_target!(|data: &[u8]| module::module(data));
