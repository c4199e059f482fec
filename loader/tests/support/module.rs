// SPDX-License-Identifier: GPL-2.0-or-later
//! Variants of the real module.

use super::MODULE;

/// Real module with the last occurrence of `old` replaced by `new`, which has the same length.
pub fn module_with(old: &str, new: &str) -> Vec<u8> {
    assert_eq!(old.len(), new.len());
    let mut bytes = MODULE.to_vec();
    let at = bytes.windows(old.len()).rposition(|window| window == old.as_bytes()).unwrap();
    bytes[at..at + old.len()].copy_from_slice(new.as_bytes());
    bytes
}

/// Real module with another module name and additional entries in its `.modinfo`.
pub fn module_named(name: &str, entries: &[&str]) -> Vec<u8> {
    let mut bytes = MODULE.to_vec();
    let (_, this_module, _) = section(&bytes, ".gnu.linkonce.this_module");
    bytes[this_module + 24..this_module + 80].fill(0);
    bytes[this_module + 24..this_module + 24 + name.len()].copy_from_slice(name.as_bytes());
    let (header, start, size) = section(&bytes, ".modinfo");
    let mut modinfo = bytes[start..start + size].to_vec();
    for entry in entries {
        modinfo.extend(entry.as_bytes());
        modinfo.push(0);
    }
    // The new section content is at the end of the file.
    let end = bytes.len() as u64;
    bytes[header + 24..header + 32].copy_from_slice(&end.to_le_bytes());
    bytes[header + 32..header + 40].copy_from_slice(&(modinfo.len() as u64).to_le_bytes());
    bytes.extend(modinfo);
    bytes
}

/// `.modinfo` entry of a manifest; `more` is inserted before the end of the JSON object.
pub fn manifest(stream: &str, version: (u32, u32), cves: &str, more: &str) -> String {
    let (version, release) = version;
    format!(
        r#"ferrograft={{"schema":"ferrograft.manifest/1","stream":"{stream}","version":[{version},{release}],"fixes":[{{"name":"a-fix","description":"A fix","cves":[{cves}]}}],"functions":["vmlinux:cmdline_proc_show"],"source":"00","kernel":{{"release":"6.12","build_id":"ab01"}}{more}}}"#
    )
}

/// File offset of a section's header, file offset of its content, and its size.
fn section(bytes: &[u8], name: &str) -> (usize, usize, usize) {
    let word = |at: usize, size: usize| {
        bytes[at..at + size].iter().rev().fold(0_usize, |value, byte| value << 8 | usize::from(*byte))
    };
    let (table, count, names) = (word(40, 8), word(60, 2), word(62, 2));
    let header = |index: usize| table + index * 64;
    let strings = word(header(names) + 24, 8);
    (0..count)
        .map(header)
        .find(|at| bytes[strings + word(*at, 4)..].starts_with(format!("{name}\0").as_bytes()))
        .map(|at| (at, word(at + 24, 8), word(at + 32, 8)))
        .unwrap()
}
