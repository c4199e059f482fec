// SPDX-License-Identifier: GPL-2.0-or-later
//! Stock kernels: pinned packages of a distribution, unpacked without root. The result is independent of the
//! cache's path.

use std::io::Read;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use klp_base::cache::{self, Cache, Key};
use klp_base::events::{Sink, StageEnd, stage};
use klp_base::files::{io_error, make_dir, read_text, write};
use klp_base::process::Cmd;

use crate::config::KernelConfig;
use crate::error::Error;
use crate::host::apt::Apt;
use crate::package::{Package, each_file};
use crate::pin::{DEBUG_ROLE, OTHER_SOURCE_ROLE, Pin, Repin, SOURCE_ROLE, STOCK_ROLES};
use crate::toolchain::Toolchain;
use crate::tree::{KernelTree, OwnModules};

/// Finds the kernel in the cache, or fetches it.
pub(super) fn fetch(pin: &Pin, cache: &Cache, sink: &dyn Sink) -> Result<KernelTree, Error> {
    let mut key = Key::new("stock kernel 2").with(pin.release.as_str());
    for (role, package) in of_the_tree(pin) {
        key = key.with(role).with(&package.name).with(&package.version).with(&package.sha256);
    }
    let entry = cache.entry("kernel", &pin.id, &key, |dir| {
        stage(sink, "kernel", &pin.id, || make(pin, cache, dir, sink).map(|()| (StageEnd::Done, ())))
    })?;
    open(pin, &entry)
}

/// Packages whose content is in the tree. The sources and the debug information are separate.
fn of_the_tree(pin: &Pin) -> impl Iterator<Item = (&String, &Package)> {
    let separate = [SOURCE_ROLE, OTHER_SOURCE_ROLE, DEBUG_ROLE];
    pin.packages.iter().filter(move |(role, _)| !separate.contains(&role.as_str()))
}

fn make(pin: &Pin, cache: &Cache, dir: &Path, sink: &dyn Sink) -> Result<(), Error> {
    let downloads = dir.join("downloads");
    for role in STOCK_ROLES {
        let Some(package) = pin.packages.get(role) else { continue };
        sink.note(format!("  kernel       fetching {} {}", package.name, package.version));
        let deb = Apt::that_has(package, cache, sink)?.download_checked(package, &downloads)?;
        match role {
            "image" => unpack_image(&deb, dir)?,
            _ => {
                Cmd::new("dpkg-deb").arg("-x").args([&deb, dir]).hint("install the package dpkg").run()?;
            }
        }
        std::fs::remove_file(&deb).map_err(io_error("remove", &deb))?;
    }
    std::fs::remove_dir_all(&downloads).map_err(io_error("remove", &downloads))?;
    relocate(dir)?;
    open(pin, dir).map(|_| ())
}

/// Directory of the unpacked files of the image package.
const BOOT: &str = "boot";

/// Drivers for the guest's connection to the host in load order, each with its option.
const GUEST_DRIVERS: [(&str, &str); 6] = [
    ("VIRTIO", "virtio_ring"),
    ("VIRTIO", "virtio"),
    ("VIRTIO_PCI_LIB", "virtio_pci_modern_dev"),
    ("VIRTIO_PCI_LIB_LEGACY", "virtio_pci_legacy_dev"),
    ("VIRTIO_PCI", "virtio_pci"),
    ("VIRTIO_CONSOLE", "virtio_console"),
];

/// File names of the guest drivers that this configuration builds as modules.
fn guest_modules(config: &KernelConfig) -> impl Iterator<Item = String> + '_ {
    let modules = GUEST_DRIVERS.iter().filter(|(option, _)| config.value(option) == Some("m"));
    modules.map(|(_, name)| format!("{name}.ko"))
}

/// A file of an image package.
enum Wanted {
    /// `boot/<name>-<release>`.
    Boot(&'static str),
    /// A module with this file name.
    Module(String),
}

impl Wanted {
    fn name(&self) -> &str {
        match self {
            Self::Boot(name) => name,
            Self::Module(file) => file,
        }
    }

    fn is(&self, path: &Path) -> bool {
        let file = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        match self {
            Self::Boot(name) => {
                path.parent().is_some_and(|parent| parent.ends_with("boot"))
                    && file.strip_prefix(name).is_some_and(|rest| rest.starts_with('-'))
            }
            Self::Module(name) => {
                file == *name && path.components().any(|part| part.as_os_str() == "modules")
            }
        }
    }
}

/// Extracts the image, its configuration and the guest's modules from an image package. Stops after the last
/// of these files, because 100 MB of modules follow.
fn unpack_image(deb: &Path, dir: &Path) -> Result<(), Error> {
    let boot = dir.join(BOOT);
    make_dir(&boot)?;
    let mut missing = vec![Wanted::Boot("vmlinuz"), Wanted::Boot("config")];
    each_file(deb, |path, entry| {
        let found = missing.iter().position(|wanted| wanted.is(path));
        let Some(found) = found else { return Ok(ControlFlow::Continue(())) };
        let wanted = missing.remove(found);
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(io_error("read", deb))?;
        if let Wanted::Boot("config") = wanted {
            let config = KernelConfig::parse(&String::from_utf8_lossy(&bytes));
            missing.extend(guest_modules(&config).map(Wanted::Module));
        }
        write(&boot.join(wanted.name()), bytes)?;
        Ok(if missing.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    })?;
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = missing.iter().map(Wanted::name).collect();
    Err(Error::Package {
        package: deb.display().to_string(),
        message: format!("holds no {} (modules that are compressed cannot be used here)", names.join(", ")),
    })
}

/// Makes every path between the unpacked packages relative.
fn relocate(dir: &Path) -> Result<(), Error> {
    let sources = dir.join("usr/src");
    for item in std::fs::read_dir(&sources).map_err(io_error("read", &sources))?.filter_map(Result::ok) {
        let makefile = item.path().join("Makefile");
        if !makefile.is_file() || makefile.is_symlink() {
            continue;
        }
        let text = read_text(&makefile)?;
        if let Some(rest) = text.strip_prefix("include /usr/src/") {
            write(&makefile, format!("include $(dir $(lastword $(MAKEFILE_LIST)))../{rest}"))?;
        }
    }
    for path in cache::walk(dir)? {
        if !path.is_symlink() {
            continue;
        }
        let target = std::fs::read_link(&path).map_err(io_error("read", &path))?;
        if let Ok(inner) = target.strip_prefix("/") {
            let up: PathBuf =
                path.strip_prefix(dir).unwrap_or(&path).components().skip(1).map(|_| "..").collect();
            std::fs::remove_file(&path).map_err(io_error("remove", &path))?;
            std::os::unix::fs::symlink(up.join(inner), &path).map_err(io_error("link", &path))?;
        }
    }
    Ok(())
}

/// Opens the tree in a cache entry that is complete or under construction.
fn open(pin: &Pin, dir: &Path) -> Result<KernelTree, Error> {
    let refused = |message: String| Error::Kernel { kernel: pin.id.clone(), message };
    let headers = dir.join("usr/src").join(format!("linux-headers-{}", pin.release));
    let config_text = read_text(&headers.join(".config"))?;
    let config = KernelConfig::parse(&config_text);
    if let Some(why) = config.refusal() {
        return Err(refused(why));
    }
    let header = headers.join("include/generated/utsrelease.h");
    let text = read_text(&header)?;
    let release = uts_release(&text)
        .ok_or_else(|| refused(format!("{} does not define UTS_RELEASE", header.display())))?;
    if release != pin.release.as_str() {
        return Err(refused(format!("its headers are of {release}, pinned is {}", pin.release)));
    }
    let compiler = config.value("CC_VERSION_TEXT").and_then(|text| text.split_whitespace().next());
    let c_compiler =
        compiler.ok_or_else(|| refused("its configuration does not name its C compiler".to_owned()))?;
    let image_package =
        pin.packages.get("image").ok_or_else(|| refused("its pin names no image package".to_owned()))?;
    Ok(KernelTree {
        id: pin.id.clone(),
        arch: pin.arch,
        release: pin.release.clone(),
        root: dir.to_owned(),
        image: dir.join(BOOT).join("vmlinuz"),
        vmlinux: dir.join(BOOT).join("vmlinuz"),
        guest_modules: guest_modules(&config).map(|file| dir.join(BOOT).join(file)).collect(),
        modules: OwnModules::Package(image_package.clone()),
        toolchain: Toolchain::gcc(c_compiler),
        // Debian's headers already set the compiler and the architecture.
        make: Vec::new(),
        signing_key: None,
        source: pin.packages.get(SOURCE_ROLE).cloned(),
        debug: pin.packages.get(DEBUG_ROLE).cloned(),
        config,
        fingerprint: Key::new("tree")
            .with(of_the_tree(pin).map(|(_, package)| package.sha256.as_str()).collect::<String>())
            .hex(),
        headers,
    })
}

/// Output of `uname -r`, from the generated header. (On Debian's 6.1 `include/config/kernel.release` contains
/// the upstream version instead.)
fn uts_release(header: &str) -> Option<&str> {
    let value = header.lines().find_map(|line| line.strip_prefix("#define UTS_RELEASE "))?;
    value.trim().strip_prefix('"')?.strip_suffix('"')
}

/// Updates the pin of a kernel to packages of its line, selected by its `repin` setting: rewrites its file.
/// Returns a summary of the changes.
///
/// # Errors
/// apt fails, the archive has no complete set of packages, or the file cannot be written.
pub fn repin(pin: &Pin, cache: &Cache, sink: &dyn Sink) -> Result<String, Error> {
    let apt = Apt::updated(cache, sink)?;
    let of_kernel =
        |is: bool| pin.packages.iter().filter(move |(role, _)| (*role != OTHER_SOURCE_ROLE) == is);
    let line = |old: &Package| apt.line_of(&old.name);
    let roles: Vec<(&Package, Vec<Package>)> =
        of_kernel(true).map(|(_, old)| Ok((old, line(old)?))).collect::<Result<_, Error>>()?;
    let others: Vec<Vec<Package>> =
        of_kernel(false).map(|(_, old)| line(old)).collect::<Result<_, Error>>()?;
    let mut chosen = complete_set(&roles, pin.repin).ok_or_else(|| Error::NotAble {
        what: format!(
            "the archive has no version of all packages like {}",
            roles.iter().map(|(old, _)| old.name.as_str()).collect::<Vec<_>>().join(", ")
        ),
        help: format!("check apt's sources, or edit {}", pin.file.display()),
    })?;
    // The other source has the greatest distance from the kernel.
    chosen.extend(others.iter().filter_map(|line| match pin.repin {
        Repin::Newest => line.first(),
        Repin::Oldest => line.last(),
    }));
    let downloads =
        tempfile::tempdir_in(cache.root()).map_err(io_error("make a directory in", cache.root()))?;
    let mut text = read_text(&pin.file)?;
    let mut changes = Vec::new();
    for ((role, old), new) in of_kernel(true).chain(of_kernel(false)).zip(chosen) {
        if (&new.name, &new.version) == (&old.name, &old.version) {
            continue;
        }
        sink.note(format!("  kernel       fetching {} {}", new.name, new.version));
        let deb = apt.download(new, downloads.path())?;
        let sha256 = cache::sha256_file(&deb)?;
        text = text
            .replace(&format!("\"{}\"", old.name), &format!("\"{}\"", new.name))
            .replace(&format!("\"{}\"", old.version), &format!("\"{}\"", new.version))
            .replace(&old.sha256, &sha256);
        if role == "image" {
            let release = new.name.trim_start_matches("linux-image-");
            text = text.replace(&format!("\"{}\"", pin.release), &format!("\"{release}\""));
        }
        changes.push(format!("{role}: {} {} -> {} {}", old.name, old.version, new.name, new.version));
    }
    if changes.is_empty() {
        let which = match pin.repin {
            Repin::Newest => "newest",
            Repin::Oldest => "oldest",
        };
        return Ok(format!("{} is pinned to the {which} packages of its line", pin.id));
    }
    cache::write_durable(&pin.file, text.as_bytes())?;
    Ok(changes.join("\n"))
}

/// One package for each role, all with the same version, from lists of packages (oldest first).
fn complete_set<'a>(roles: &'a [(&Package, Vec<Package>)], which: Repin) -> Option<Vec<&'a Package>> {
    let (_, first) = roles.first()?;
    let set_of = |version: &str| {
        roles
            .iter()
            .map(|(_, line)| line.iter().find(|package| package.version == version))
            .collect::<Option<Vec<_>>>()
    };
    let mut sets = first.iter().filter_map(|package| set_of(&package.version));
    match which {
        Repin::Newest => sets.next_back(),
        Repin::Oldest => sets.next(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guest_drivers_built_as_modules_are_selected() {
        let config = KernelConfig::parse("CONFIG_VIRTIO=m\nCONFIG_VIRTIO_PCI=y\nCONFIG_VIRTIO_CONSOLE=m\n");
        let files: Vec<String> = guest_modules(&config).collect();
        assert_eq!(files, ["virtio_ring.ko", "virtio.ko", "virtio_console.ko"]);
        let module = Wanted::Module("virtio.ko".to_owned());
        assert!(module.is(Path::new("./lib/modules/6.1.0-56-amd64/kernel/drivers/virtio/virtio.ko")));
        assert!(!module.is(Path::new("./lib/modules/6.12/kernel/drivers/virtio/virtio.ko.xz")));
        assert!(Wanted::Boot("config").is(Path::new("./boot/config-6.1.0-56-amd64")));
        assert!(!Wanted::Boot("vmlinuz").is(Path::new("./boot/System.map-6.1.0-56-amd64")));
    }

    #[test]
    fn a_new_pin_takes_packages_of_one_version() {
        let line = |versions: &[&str]| -> Vec<Package> {
            let package = |version: &&str| Package::new(&format!("x-{version}"), version, "");
            versions.iter().map(package).collect()
        };
        let old = line(&["1"]).remove(0);
        // Headers of version 4 are not in the archive yet; headers of version 1 are already deleted.
        let roles = [(&old, line(&["2", "3"])), (&old, line(&["1", "2", "3", "4"]))];
        let names = |which| -> Option<Vec<String>> {
            Some(complete_set(&roles, which)?.iter().map(|package| package.name.clone()).collect())
        };
        assert_eq!(names(Repin::Newest).unwrap(), ["x-3", "x-3"]);
        assert_eq!(names(Repin::Oldest).unwrap(), ["x-2", "x-2"]);
        assert_eq!(complete_set(&[(&old, line(&["1"])), (&old, line(&["2"]))], Repin::Newest), None);
    }

    #[test]
    fn the_release_comes_from_the_generated_header() {
        assert_eq!(uts_release("#define UTS_RELEASE \"6.1.0-56-amd64\"\n"), Some("6.1.0-56-amd64"));
        assert_eq!(uts_release("#define UTS_RELEASE 6.1\n"), None);
    }

    #[test]
    fn absolute_paths_between_packages_become_relative() {
        let dir = tempfile::tempdir().unwrap();
        let headers = dir.path().join("usr/src/linux-headers-1");
        make_dir(&headers).unwrap();
        write(&headers.join("Makefile"), "include /usr/src/linux-headers-1-common/Makefile\n").unwrap();
        std::os::unix::fs::symlink("/usr/lib/linux-kbuild-1", dir.path().join("usr/src/linux-kbuild-1"))
            .unwrap();
        relocate(dir.path()).unwrap();
        let makefile = read_text(&headers.join("Makefile")).unwrap();
        assert_eq!(
            makefile,
            "include $(dir $(lastword $(MAKEFILE_LIST)))../linux-headers-1-common/Makefile\n"
        );
        let link = std::fs::read_link(dir.path().join("usr/src/linux-kbuild-1")).unwrap();
        assert_eq!(link, Path::new("../../usr/lib/linux-kbuild-1"));
    }
}
