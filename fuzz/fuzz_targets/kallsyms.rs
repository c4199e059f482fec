// SPDX-License-Identifier: GPL-2.0-or-later
#![no_main]

#[path = "../src/pipeline.rs"]
mod pipeline;

libfuzzer_sys::fuzz_target!(|data: &[u8]| pipeline::kallsyms(data));
