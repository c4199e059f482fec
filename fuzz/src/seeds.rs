// SPDX-License-Identifier: GPL-2.0-or-later
//! Writes the seeds of the corpora: `cargo run --bin seeds`.

mod guest;
mod image;

use std::fs;
use std::path::Path;

fn main() -> std::io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/klp-module/tests/data/cmdline_c.ko");
    let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/klp-image/tests/data");
    let mut seeds = image::seeds();
    seeds.extend(guest::seeds());
    seeds.push(("module", "livepatch", fs::read(module)?));
    for format in ["bz2", "gz", "lzma", "xz", "zst"] {
        let mut payload = vec![1];
        payload.extend(fs::read(packed.join("small").with_extension(format))?);
        seeds.push(("image", format, payload));
    }
    for (target, name, bytes) in seeds {
        fs::create_dir_all(corpus.join(target))?;
        fs::write(corpus.join(target).join(name), bytes)?;
    }
    Ok(())
}
