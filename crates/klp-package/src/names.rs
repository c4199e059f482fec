// SPDX-License-Identifier: GPL-2.0-or-later
//! Names of live patch packages, and the versions of `kpatch-patch` that they provide.
//!
//! Source of the versions: Red Hat's spec files of kpatch-patch; Debian Policy, section 5.6.12.

use klp_format::KernelRelease;
use klp_format::package::around_arch;

pub use klp_format::package::{PATCH_PACKAGE as PATCH, deb_name, rpm_name};

/// Versions of `kpatch-patch` that the RPM package provides: the kernel release, and the same without architecture.
///
/// RPM ignores a `+` at the end of a version and would take `6.12.117+` for `6.12.117`. Such a `+` is therefore written as
/// `.plus`: a machine with that kernel finds its package by name only, and no other machine finds it by mistake.
pub fn rpm_provided(release: &KernelRelease) -> Vec<String> {
    let without_arch = around_arch(release).map(|(base, variant)| format!("{base}{variant}"));
    let all = std::iter::once(release.as_str().to_owned()).chain(without_arch);
    all.map(|version| with_visible_end(&version)).collect()
}

fn with_visible_end(version: &str) -> String {
    let text = version.trim_end_matches('+');
    format!("{text}{}", ".plus".repeat(version.len() - text.len()))
}

/// Version of `kpatch-patch` that the DEB package provides: the kernel release, if it is a legal Debian version.
pub fn deb_provided(release: &KernelRelease) -> Option<String> {
    let text = release.as_str();
    // A colon would separate an epoch. The text after the last dash is the revision, which is not empty.
    let allowed = |c: char| c.is_ascii_alphanumeric() || "+-.~".contains(c);
    (text.chars().all(allowed) && !text.ends_with('-')).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Row {
        release: &'static str,
        rpm: &'static str,
        rpm_provided: &'static [&'static str],
        deb: &'static str,
        deb_provided: Option<&'static str>,
    }

    const ROWS: [Row; 12] = [
        Row {
            release: "3.10.0-1062.el7.x86_64",
            rpm: "3_10_0-1062",
            rpm_provided: &["3.10.0-1062.el7.x86_64", "3.10.0-1062.el7"],
            deb: "3.10.0-1062.el7.x86-64",
            deb_provided: None,
        },
        Row {
            release: "5.14.0-362.8.1.el9_3.x86_64",
            rpm: "5_14_0-362_8_1",
            rpm_provided: &["5.14.0-362.8.1.el9_3.x86_64", "5.14.0-362.8.1.el9_3"],
            deb: "5.14.0-362.8.1.el9-3.x86-64",
            deb_provided: None,
        },
        Row {
            release: "5.14.0-427.13.1.el9_4.aarch64+rt-64k",
            rpm: "5_14_0-427_13_1+rt-64k",
            rpm_provided: &["5.14.0-427.13.1.el9_4.aarch64+rt-64k", "5.14.0-427.13.1.el9_4+rt-64k"],
            deb: "5.14.0-427.13.1.el9-4.aarch64+rt-64k",
            deb_provided: None,
        },
        Row {
            release: "5.15.0-200.131.27.el9uek.x86_64",
            rpm: "5_15_0-200_131_27",
            rpm_provided: &["5.15.0-200.131.27.el9uek.x86_64", "5.15.0-200.131.27.el9uek"],
            deb: "5.15.0-200.131.27.el9uek.x86-64",
            deb_provided: None,
        },
        Row {
            release: "6.11.4-301.fc41.x86_64",
            rpm: "6_11_4-301_fc41",
            rpm_provided: &["6.11.4-301.fc41.x86_64", "6.11.4-301.fc41"],
            deb: "6.11.4-301.fc41.x86-64",
            deb_provided: None,
        },
        Row {
            release: "6.12.117+deb12-amd64",
            rpm: "6_12_117+deb12-amd64",
            rpm_provided: &["6.12.117+deb12-amd64"],
            deb: "6.12.117+deb12-amd64",
            deb_provided: Some("6.12.117+deb12-amd64"),
        },
        Row {
            release: "6.1.0-49-cloud-amd64",
            rpm: "6_1_0-49-cloud-amd64",
            rpm_provided: &["6.1.0-49-cloud-amd64"],
            deb: "6.1.0-49-cloud-amd64",
            deb_provided: Some("6.1.0-49-cloud-amd64"),
        },
        Row {
            release: "6.8.0-45-generic",
            rpm: "6_8_0-45-generic",
            rpm_provided: &["6.8.0-45-generic"],
            deb: "6.8.0-45-generic",
            deb_provided: Some("6.8.0-45-generic"),
        },
        Row {
            release: "6.12.0~rc3-amd64",
            rpm: "6_12_0_rc3-amd64",
            rpm_provided: &["6.12.0~rc3-amd64"],
            deb: "6.12.0-rc3-amd64",
            deb_provided: Some("6.12.0~rc3-amd64"),
        },
        Row {
            release: "6.12.117+",
            rpm: "6_12_117+",
            rpm_provided: &["6.12.117.plus"],
            deb: "6.12.117+",
            deb_provided: Some("6.12.117+"),
        },
        Row {
            release: "6.12.117",
            rpm: "6_12_117",
            rpm_provided: &["6.12.117"],
            deb: "6.12.117",
            deb_provided: Some("6.12.117"),
        },
        Row {
            release: "7.0.0-Custom_Build-",
            rpm: "7_0_0-Custom_Build-",
            rpm_provided: &["7.0.0-Custom_Build-"],
            deb: "7.0.0-custom-build-",
            deb_provided: None,
        },
    ];

    #[test]
    fn names_and_versions_follow_the_conventions() {
        for row in &ROWS {
            let release = KernelRelease::new(row.release).unwrap();
            assert_eq!(rpm_name(&release), format!("{PATCH}-{}", row.rpm));
            assert_eq!(rpm_provided(&release), row.rpm_provided, "{release}");
            assert_eq!(deb_name(&release), format!("{PATCH}-{}", row.deb));
            assert_eq!(deb_provided(&release).as_deref(), row.deb_provided, "{release}");
        }
    }

    /// The rule of kpatch-dnf: `(.*)\.el.*` on the release of the kernel package, dots as underscores.
    #[test]
    fn rpm_names_are_those_that_the_dnf_plugin_computes() {
        for (version, release) in
            [("5.14.0", "362.8.1.el9_3"), ("4.18.0", "553.el8_10"), ("3.10.0", "1160.119.1.el7")]
        {
            let cut = &release[..release.rfind(".el").unwrap()];
            let expected = format!("{PATCH}-{}-{}", version.replace('.', "_"), cut.replace('.', "_"));
            let uname = KernelRelease::new(&format!("{version}-{release}.x86_64")).unwrap();
            assert_eq!(rpm_name(&uname), expected);
        }
    }
}
