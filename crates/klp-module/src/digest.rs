// SPDX-License-Identifier: GPL-2.0-or-later
//! Digest of a module's file, in its module information: shows that the file is the one that was built.
//!
//! It covers all bytes of the file without an appended signature; its own digits count as zeros.

use sha2::{Digest as _, Sha256};

use crate::module::Module;
use crate::signature;

/// Key of the digest in the module information.
pub const DIGEST_KEY: &str = "klp_digest";
/// Length of the digest: SHA-256 in hexadecimal digits.
pub const DIGEST_LENGTH: usize = 64;

/// Digest that a module has, and that of its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// Digest in the module information.
    pub said: String,
    /// Digest of the bytes.
    pub found: String,
}

/// Digest of a module file; `None` if it has none. The file may be signed.
pub fn digest(module: &Module<'_>) -> Option<Digest> {
    let (bytes, place) = (module.bytes(), place(module)?);
    let said = String::from_utf8_lossy(bytes.get(place..place + DIGEST_LENGTH)?).into_owned();
    // A trailer that the kernel does not accept is a part of the file.
    let content = signature::split(bytes).ok().flatten().map_or(bytes, |signed| signed.content);
    let mut hash = Sha256::new();
    hash.update(content.get(..place)?);
    hash.update([b'0'; DIGEST_LENGTH]);
    hash.update(content.get(place + DIGEST_LENGTH..)?);
    let found = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Some(Digest { said, found })
}

/// Writes the digest of an unsigned module file into it. False if the module has no place for it.
pub fn seal(bytes: &mut [u8]) -> bool {
    let found = Module::parse(bytes).ok().and_then(|module| Some((place(&module)?, digest(&module)?)));
    let Some((place, Digest { found, .. })) = found else { return false };
    bytes[place..place + DIGEST_LENGTH].copy_from_slice(found.as_bytes());
    true
}

/// Place of the digits in the file.
fn place(module: &Module<'_>) -> Option<usize> {
    let bytes = module.bytes();
    let section = module.section(".modinfo")?.data;
    let start = section.as_ptr().addr().checked_sub(bytes.as_ptr().addr())?;
    let key = format!("{DIGEST_KEY}=");
    let mut offset = 0;
    for entry in section.split(|byte| *byte == 0) {
        if entry.starts_with(key.as_bytes()) && entry.len() == key.len() + DIGEST_LENGTH {
            return Some(start + offset + key.len());
        }
        offset += entry.len() + 1;
    }
    None
}
