// SPDX-License-Identifier: GPL-2.0-or-later
//! Names of live patch packages.
//!
//! Source of the RPM names: Red Hat's spec files of kpatch-patch, and the dnf plug-in kpatch-dnf, which derives a name from
//! version and release of a kernel package. Source of the DEB names: Debian Policy, section 5.6.1.

use alloc::format;
use alloc::string::String;

use crate::KernelRelease;

/// Virtual package that every live patch package provides, with the kernel release as its version; also the start of the names.
pub const PATCH_PACKAGE: &str = "kpatch-patch";

/// Architectures at the end of kernel releases of Fedora and its derivatives.
const ARCHITECTURES: [&str; 4] = [".x86_64", ".aarch64", ".ppc64le", ".s390x"];

/// Text before the architecture in a kernel release, and the variant of the kernel (`+rt-64k`) after it, maybe empty.
/// `None`: the release does not contain the architecture.
pub fn around_arch(release: &KernelRelease) -> Option<(&str, &str)> {
    let text = release.as_str();
    ARCHITECTURES.iter().find_map(|arch| {
        let (base, variant) = text.rsplit_once(arch)?;
        (variant.is_empty() || variant.starts_with('+')).then_some((base, variant))
    })
}

/// Version and release without the distribution tag: the release up to its last `.elN`.
fn without_tag(base: &str) -> &str {
    let Some((version, release)) = base.split_once('-') else { return base };
    let is_tag = |at: &usize| release[at + 3..].starts_with(|c: char| c.is_ascii_digit());
    release.rfind(".el").filter(is_tag).map_or(base, |at| &base[..version.len() + 1 + at])
}

/// Name of the RPM package for a kernel: `kpatch-patch-5_14_0-362_8_1` for `5.14.0-362.8.1.el9_3.x86_64`.
///
/// Architecture and tag `.elN_M` are left out, dashes and plus signs stay, and every other character that is no letter or
/// digit becomes an underscore. The variant of a kernel (`+rt`) is part of the name.
pub fn rpm_name(release: &KernelRelease) -> String {
    let (base, variant) = around_arch(release).unwrap_or((release.as_str(), ""));
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '+';
    let text = without_tag(base).chars().chain(variant.chars());
    let mapped: String = text.map(|c| if allowed(c) { c } else { '_' }).collect();
    format!("{PATCH_PACKAGE}-{mapped}")
}

/// Name of the DEB package for a kernel: `kpatch-patch-6.12.117+deb12-amd64` for `6.12.117+deb12-amd64`.
///
/// Letters become lower case. A name has lower-case letters, digits, plus, minus and dots; every other character becomes a
/// minus.
pub fn deb_name(release: &KernelRelease) -> String {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c);
    let lower = release.as_str().chars().map(|c| c.to_ascii_lowercase());
    let mapped: String = lower.map(|c| if allowed(c) { c } else { '-' }).collect();
    format!("{PATCH_PACKAGE}-{mapped}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        for (release, rpm, deb) in [
            ("3.10.0-1062.el7.x86_64", "3_10_0-1062", "3.10.0-1062.el7.x86-64"),
            ("5.14.0-362.8.1.el9_3.x86_64", "5_14_0-362_8_1", "5.14.0-362.8.1.el9-3.x86-64"),
            (
                "5.14.0-427.13.1.el9_4.aarch64+rt-64k",
                "5_14_0-427_13_1+rt-64k",
                "5.14.0-427.13.1.el9-4.aarch64+rt-64k",
            ),
            ("5.15.0-200.131.27.el9uek.x86_64", "5_15_0-200_131_27", "5.15.0-200.131.27.el9uek.x86-64"),
            ("6.11.4-301.fc41.x86_64", "6_11_4-301_fc41", "6.11.4-301.fc41.x86-64"),
            ("6.1.0-1.elk.x86_64", "6_1_0-1_elk", "6.1.0-1.elk.x86-64"),
            ("6.12.117+deb12-amd64", "6_12_117+deb12-amd64", "6.12.117+deb12-amd64"),
            ("6.1.0-49-cloud-amd64", "6_1_0-49-cloud-amd64", "6.1.0-49-cloud-amd64"),
            ("6.12.0~rc3-amd64", "6_12_0_rc3-amd64", "6.12.0-rc3-amd64"),
            ("6.12.117+", "6_12_117+", "6.12.117+"),
            ("7.0.0-Custom_Build-", "7_0_0-Custom_Build-", "7.0.0-custom-build-"),
        ] {
            let release = KernelRelease::new(release).unwrap();
            assert_eq!(rpm_name(&release), format!("{PATCH_PACKAGE}-{rpm}"));
            assert_eq!(deb_name(&release), format!("{PATCH_PACKAGE}-{deb}"));
        }
    }
}
