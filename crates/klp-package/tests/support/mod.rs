// SPDX-License-Identifier: GPL-2.0-or-later
//! Modules, packages and roots for the tests.

pub mod root;

use std::path::{Path, PathBuf};

use klp_base::arch::Arch;
use klp_base::process::{Cmd, find_program};
use klp_format::KernelRelease;
use klp_package::{Format, Origin, Package, Patch, PatchModule};
use object::write::{Object, StandardSegment};
use object::{Architecture, BinaryFormat, Endianness, SectionKind};

/// Kernel of most tests.
pub const RELEASE: &str = "6.12.117+deb12-amd64";

pub fn release(text: &str) -> KernelRelease {
    KernelRelease::new(text).unwrap()
}

/// Module information and name of a module.
pub struct Sample {
    pub vermagic: String,
    pub manifest_release: String,
    pub name: String,
    pub version: Option<(u32, u32)>,
    pub livepatch: bool,
    pub arch: Architecture,
}

impl Sample {
    /// Module of a stream, as the pipeline makes it.
    pub fn of(release: &str, version: (u32, u32)) -> Self {
        let word: String = release.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        Self {
            vermagic: release.to_owned(),
            manifest_release: release.to_owned(),
            name: format!("kpatch_{word}_{}_{}", version.0, version.1),
            version: Some(version),
            livepatch: true,
            arch: Architecture::X86_64,
        }
    }

    /// ELF file with the sections that packages and the loader read.
    pub fn bytes(&self) -> Vec<u8> {
        let mut object = Object::new(BinaryFormat::Elf, self.arch, Endianness::Little);
        let mut section = |name: &str, bytes: &[u8]| {
            let segment = object.segment_name(StandardSegment::Data).to_vec();
            let id = object.add_section(segment, name.as_bytes().to_vec(), SectionKind::Data);
            object.append_section_data(id, bytes, 8);
        };
        let version = self.version.map_or(String::new(), |(v, r)| format!("\"version\":[{v},{r}],"));
        let manifest = format!(
            "{{\"schema\":\"ferrograft.manifest/1\",\"stream\":\"demo\",{version}\"fixes\":[{{\"name\":\"a-fix\",\
             \"description\":\"A fix of the example\",\"cves\":[\"CVE-2026-1\"]}}],\"functions\":[\"vmlinux:f\"],\
             \"source\":\"00\",\"kernel\":{{\"release\":\"{}\"}}}}",
            self.manifest_release
        );
        let mut modinfo =
            format!("license=GPL\0vermagic={} SMP preempt\0ferrograft={manifest}\0", self.vermagic);
        if self.livepatch {
            modinfo.push_str("livepatch=Y\0");
        }
        let mut this_module = vec![0; 256];
        this_module[24..24 + self.name.len()].copy_from_slice(self.name.as_bytes());
        section(".modinfo", modinfo.as_bytes());
        section(".gnu.linkonce.this_module", &this_module);
        object.write().unwrap()
    }
}

/// Live patch for a kernel; version 0-0 is the empty one.
pub fn patch(kernel: &str, version: (u32, u32)) -> Patch {
    let kernel = release(kernel);
    if version == (0, 0) {
        return Patch::empty(kernel, Arch::X86_64);
    }
    let bytes = Sample::of(kernel.as_str(), version).bytes();
    let module = PatchModule::parse(bytes, &kernel, Arch::X86_64).unwrap();
    Patch::of_module(module, Some(b"debug information".to_vec()))
}

/// Packages of a live patch.
pub fn packages(format: Format, kernel: &str, version: (u32, u32)) -> Vec<Package> {
    patch(kernel, version).packages(format, &Origin::default()).unwrap()
}

/// File of the package that machines install, in `dir`.
pub fn package_file(dir: &Path, format: Format, kernel: &str, version: (u32, u32)) -> PathBuf {
    write(dir, &packages(format, kernel, version)[0])
}

/// Writes a package.
pub fn write(dir: &Path, package: &Package) -> PathBuf {
    let file = dir.join(package.file_name());
    klp_package::write(&file, &package.encode().unwrap()).unwrap();
    file
}

/// A program that a test cannot do without. A missing one is no success.
pub fn tool(name: &str) -> Cmd {
    assert!(
        find_program(name).is_some(),
        "could not check: {name} is missing; run `cargo xtask doctor --fix`"
    );
    Cmd::new(name).env("LC_ALL", "C").env("TZ", "UTC")
}

/// A program as root, in a user namespace of its own where this process is not root.
pub fn as_root(name: &str) -> Cmd {
    let program = tool(name);
    if tool("id").arg("-u").read().unwrap() == "0" {
        return program;
    }
    tool("unshare").args(["--map-root-user", "--mount"]).arg(name)
}
