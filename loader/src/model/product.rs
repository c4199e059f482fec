// SPDX-License-Identifier: GPL-2.0-or-later
//! Package URL of the running kernel, for vulnerability scanners (<https://github.com/package-url/purl-spec>). The databases
//! of the package managers are read as files; their programs are not needed.

use std::fmt::Write;

use crate::model::error::Error;
use crate::model::system::System;

const DPKG_STATUS: &str = "/var/lib/dpkg/status";
const DPKG_INFO: &str = "/var/lib/dpkg/info";

/// Identification of a distribution, from os-release(5).
struct Distribution {
    id: String,
    like: Vec<String>,
    version: Option<String>,
}

impl Distribution {
    fn read(system: &System) -> Result<Self, Error> {
        let text = match system.read("/etc/os-release")? {
            Some(text) => text,
            None => system.read("/usr/lib/os-release")?.unwrap_or_default(),
        };
        let value = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
            let value = line.trim().trim_matches(['"', '\'']);
            (!value.is_empty()).then(|| value.to_owned())
        };
        let id = value("ID").unwrap_or_else(|| "linux".to_owned());
        let like = value("ID_LIKE").unwrap_or_default();
        let like = std::iter::once(id.as_str()).chain(like.split_whitespace()).map(str::to_owned).collect();
        Ok(Self { id, like, version: value("VERSION_ID") })
    }

    fn is_like(&self, names: &[&str]) -> bool {
        self.like.iter().any(|word| names.contains(&word.as_str()))
    }

    /// Namespace of a package URL.
    fn namespace(&self) -> &str {
        // Name in Red Hat's advisories and in scanners.
        if self.id == "rhel" { "redhat" } else { &self.id }
    }

    /// Qualifier `distro` of a package URL: `debian-12`.
    fn qualifier(&self) -> Option<String> {
        self.version.as_ref().map(|version| format!("{}-{version}", self.id))
    }
}

/// Package of a distribution.
struct Package {
    name: String,
    version: Option<String>,
    architecture: Option<String>,
}

/// Package URLs of the running kernel, at least one; several if the distribution splits the kernel into packages.
pub(crate) fn of_kernel(system: &System, release: &str) -> Result<Vec<String>, Error> {
    let distribution = Distribution::read(system)?;
    let debian = distribution.is_like(&["debian", "ubuntu"]);
    if let Some(status) = system.read(DPKG_STATUS)? {
        if let Some(package) = of_dpkg(system, &status, release)? {
            return Ok(vec![url("deb", &distribution, &package)]);
        }
        if debian {
            // The kernel belongs to no package, so a package URL would be wrong.
            return Ok(vec![generic(&distribution, release)]);
        }
    }
    if debian {
        let name = format!("linux-image-{release}");
        let package = Package { name, version: None, architecture: None };
        return Ok(vec![url("deb", &distribution, &package)]);
    }
    if distribution.is_like(&[
        "rhel",
        "fedora",
        "centos",
        "suse",
        "opensuse",
        "amzn",
        "mariner",
        "azurelinux",
    ]) {
        return Ok(of_rpm(release).iter().map(|package| url("rpm", &distribution, package)).collect());
    }
    Ok(vec![generic(&distribution, release)])
}

fn generic(distribution: &Distribution, release: &str) -> String {
    let distro = distribution.qualifier().map(|distro| format!("?distro={}", encoded(&distro)));
    format!("pkg:generic/linux@{}{}", encoded(release), distro.unwrap_or_default())
}

/// Installed package that owns the running kernel's image, by its file list or else by its name.
fn of_dpkg(system: &System, status: &str, release: &str) -> Result<Option<Package>, Error> {
    let field = |paragraph: &str, key: &str| {
        let line = paragraph.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        Some(line.trim().to_owned())
    };
    let image = format!("/boot/vmlinuz-{release}");
    let mut by_name = None;
    for paragraph in status.split("\n\n") {
        // Kernel packages that can be installed in parallel have the kernel release in their name.
        let Some(name) = field(paragraph, "Package").filter(|name| name.contains(release)) else {
            continue;
        };
        if !field(paragraph, "Status").is_some_and(|status| status.ends_with(" installed")) {
            continue;
        }
        let package = Package {
            version: field(paragraph, "Version"),
            architecture: field(paragraph, "Architecture"),
            name: name.clone(),
        };
        let list = system.read(&format!("{DPKG_INFO}/{name}.list"))?;
        if list.is_some_and(|list| list.lines().any(|file| file == image)) {
            return Ok(Some(package));
        }
        if name.starts_with("linux-image-") {
            by_name = Some(package);
        }
    }
    Ok(by_name)
}

/// RPM packages of a kernel. On Fedora and its derivatives the kernel release consists of RPM version, release and
/// architecture, `5.14.0-362.8.1.el9_3.x86_64`, with `+rt`, `+debug` or `+64k` for variants. On SUSE it ends with the flavour.
fn of_rpm(release: &str) -> Vec<Package> {
    const ARCHITECTURES: [&str; 4] = ["x86_64", "aarch64", "ppc64le", "s390x"];
    let (base, variant) = match release.rsplit_once('+') {
        Some((base, variant)) if !variant.contains(['.', '-']) => (base, Some(variant)),
        _ => (release, None),
    };
    let split = base.rsplit_once('.').filter(|(_, last)| ARCHITECTURES.contains(last));
    let packages = |names: &[String], version: &str, architecture: Option<&str>| {
        let package = |name: &String| Package {
            name: name.clone(),
            version: Some(version.to_owned()),
            architecture: architecture.map(str::to_owned),
        };
        names.iter().map(package).collect()
    };
    if let Some((version, architecture)) = split {
        let stem = if version.contains("uek") { "kernel-uek" } else { "kernel" };
        let stem = variant.map_or_else(|| stem.to_owned(), |variant| format!("{stem}-{variant}"));
        let names =
            [stem.clone(), format!("{stem}-core"), format!("{stem}-modules"), format!("{stem}-modules-core")];
        return packages(&names, version, Some(architecture));
    }
    let flavour = release.rsplit_once('-').filter(|(version, flavour)| {
        version.contains('-')
            && flavour.chars().all(|c| c.is_ascii_alphanumeric())
            && !flavour.starts_with(|c: char| c.is_ascii_digit())
    });
    match flavour {
        Some((version, flavour)) => packages(&[format!("kernel-{flavour}")], version, None),
        None => packages(&["kernel".to_owned()], release, None),
    }
}

fn url(kind: &str, distribution: &Distribution, package: &Package) -> String {
    let mut text = format!("pkg:{kind}/{}/{}", encoded(distribution.namespace()), encoded(&package.name));
    if let Some(version) = &package.version {
        text.push('@');
        // The epoch is part of the version for Debian, and a qualifier for RPM.
        text.push_str(&encoded(version));
    }
    let architecture = package.architecture.as_ref().map(|text| ("arch", text.clone()));
    let distro = distribution.qualifier().map(|text| ("distro", text));
    for (separator, (key, value)) in ["?", "&"].into_iter().zip(architecture.into_iter().chain(distro)) {
        // Writing to a String cannot fail.
        let _ = write!(text, "{separator}{key}={}", encoded(&value));
    }
    text
}

/// Percent-encoding: all but letters, digits, `.`, `-`, `_`, `~` and `:`.
pub(crate) fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut all, byte| {
        if byte.is_ascii_alphanumeric() || b".-_~:".contains(&byte) {
            all.push(char::from(byte));
        } else {
            let _ = write!(all, "%{byte:02X}");
        }
        all
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_of_a_kernel_names_its_rpms() {
        let first = |release: &str| {
            let package = of_rpm(release).swap_remove(0);
            (package.name, package.version.unwrap_or_default(), package.architecture.unwrap_or_default())
        };
        for (release, name, version, architecture) in [
            ("5.14.0-362.8.1.el9_3.x86_64", "kernel", "5.14.0-362.8.1.el9_3", "x86_64"),
            ("5.14.0-362.8.1.el9_3.x86_64+rt", "kernel-rt", "5.14.0-362.8.1.el9_3", "x86_64"),
            ("5.14.0-427.el9.aarch64+64k", "kernel-64k", "5.14.0-427.el9", "aarch64"),
            ("5.15.0-200.131.27.el9uek.x86_64", "kernel-uek", "5.15.0-200.131.27.el9uek", "x86_64"),
            ("6.11.4-301.fc41.x86_64", "kernel", "6.11.4-301.fc41", "x86_64"),
            ("6.4.0-150600.23.25-default", "kernel-default", "6.4.0-150600.23.25", ""),
            ("6.4.0", "kernel", "6.4.0", ""),
        ] {
            let expected = (name.to_owned(), version.to_owned(), architecture.to_owned());
            assert_eq!(first(release), expected, "{release}");
        }
    }

    #[test]
    fn encoded_escapes_reserved_characters() {
        assert_eq!(encoded("6.12.117+deb12-amd64"), "6.12.117%2Bdeb12-amd64");
        assert_eq!(encoded("1:6.1~rc1-1 ü"), "1:6.1~rc1-1%20%C3%BC");
    }
}
