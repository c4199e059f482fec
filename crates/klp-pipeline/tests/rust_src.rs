// SPDX-License-Identifier: GPL-2.0-or-later
//! Source of `core` from Debian's package, for machines without rustup's copy.

use klp_base::cache::{Cache, walk};
use klp_base::events::Silent;
use klp_kernel::host::rust_src;

#[test]
#[ignore = "needs the archive; run by cargo xtask test"]
fn debians_package_holds_the_source_of_core() {
    let dir = tempfile::tempdir().unwrap();
    rust_src::from_debian(&Cache::new(dir.path()), &Silent).unwrap();
    let files = walk(&dir.path().join("rust-src")).unwrap();
    assert!(files.iter().any(|path| path.ends_with("library/core/src/lib.rs")));
}
