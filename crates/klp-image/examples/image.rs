// SPDX-License-Identifier: GPL-2.0-or-later
//! Workload of `bench image`, as a separate process:
//!
//!     image index <vmlinuz> <release> <directory>     creates the index of a kernel
//!     image look-up <directory> <function>            prints prototype, positions and traceability of a function
//!
//! The last line of output is the peak memory, in KiB.

use std::error::Error;
use std::path::Path;

use klp_format::SymbolPosition;
use klp_image::{Traceability, read_index, write_index};

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["index", image, release, dir] => write_index(Path::new(image), release, Path::new(dir))?,
        ["look-up", dir, function] => look_up(Path::new(dir), function)?,
        _ => {
            return Err(
                "usage: image index <vmlinuz> <release> <directory> | look-up <directory> <function>".into(),
            );
        }
    }
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    println!("{}", peak.ok_or("/proc/self/status has no VmHWM")?.trim().trim_end_matches(" kB"));
    Ok(())
}

fn look_up(dir: &Path, function: &str) -> Result<(), Box<dyn Error>> {
    let image = read_index(dir)?;
    for symbol in image.symbols.named(function) {
        println!("{:x} {} {},{}", symbol.address, symbol.kind, symbol.name, symbol.position);
    }
    match image.traceability(function, SymbolPosition(0)) {
        Traceability::Traceable => println!("traceable"),
        Traceability::Not(reason) => println!("not traceable: {reason}"),
    }
    println!("{}", image.types.c_prototype(&image.types.function(function)?));
    Ok(())
}
