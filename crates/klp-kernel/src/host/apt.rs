// SPDX-License-Identifier: GPL-2.0-or-later
//! Packages through apt as configured on the machine. This project contains no host name of a package
//! archive.

use std::path::{Path, PathBuf};

use klp_base::cache::{self, Cache, Key};
use klp_base::events::Sink;
use klp_base::files::{io_error, make_dir, write};
use klp_base::process::{Cmd, find_program};

use crate::error::Error;
use crate::package::Package;

/// Upper bound of the size of apt's lists for one suite, in bytes. On a full disk, `apt-get update` can hang
/// instead of failing.
const LISTS: u64 = 64 << 20;
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const HINT: &str =
    "pinned kernels come through apt: use a Debian machine, or one with apt set up for Debian's archive";

/// apt with the package lists of the machine, or with separate lists in the cache.
pub(crate) struct Apt {
    options: Vec<String>,
}

impl Apt {
    /// apt with lists that contain exactly this version of `package`: the machine's lists, otherwise updated
    /// lists in the cache.
    pub(crate) fn that_has(package: &Package, cache: &Cache, sink: &dyn Sink) -> Result<Self, Error> {
        if find_program("apt-get").is_none() {
            return Err(Error::NotAble { what: "apt-get is missing".to_owned(), help: HINT.to_owned() });
        }
        if let Some(suite) = &package.suite {
            let other = Self::of_suite(suite, package.architecture.as_deref(), cache, sink)?;
            return if other.has(package)? { Ok(other) } else { Err(other.vanished(package)?) };
        }
        let system = Self { options: Vec::new() };
        if system.has(package)? {
            return Ok(system);
        }
        let own = Self::updated(cache, sink)?;
        if own.has(package)? {
            return Ok(own);
        }
        Err(own.vanished(package)?)
    }

    /// apt with updated lists in the cache. Does not need root.
    pub(crate) fn updated(cache: &Cache, sink: &dyn Sink) -> Result<Self, Error> {
        Self::with_lists_in(&cache.root().join("apt"), &[], sink)
    }

    /// apt with the lists of another Debian suite or another architecture. Uses the mirror of the machine's
    /// own suite.
    pub(crate) fn of_suite(
        suite: &str,
        architecture: Option<&str>,
        cache: &Cache,
        sink: &dyn Sink,
    ) -> Result<Self, Error> {
        let mirror = debian_mirror()?;
        let name =
            architecture.map_or_else(|| suite.to_owned(), |architecture| format!("{suite}-{architecture}"));
        let dir = cache.root().join("apt").join(name);
        make_dir(&dir)?;
        let sources = dir.join("sources.list");
        write(&sources, format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n"))?;
        let mut only = vec![
            format!("-oDir::Etc::sourcelist={}", sources.display()),
            "-oDir::Etc::sourceparts=/dev/null".to_owned(),
        ];
        if let Some(architecture) = architecture {
            only.push(format!("-oAPT::Architecture={architecture}"));
            only.push(format!("-oAPT::Architectures={architecture}"));
        }
        Self::with_lists_in(&dir, &only, sink)
    }

    fn with_lists_in(dir: &Path, options: &[String], sink: &dyn Sink) -> Result<Self, Error> {
        make_dir(&dir.join("lists/partial"))?;
        make_dir(&dir.join("archives/partial"))?;
        let _lock = cache::lock(&dir.join(".lock"))?;
        let own = Self {
            options: [
                format!("-oDir::State::lists={}", dir.join("lists").display()),
                format!("-oDir::Cache={}", dir.display()),
                "-oAPT::Sandbox::User=root".to_owned(),
            ]
            .into_iter()
            .chain(options.iter().cloned())
            .collect(),
        };
        let room = cache::free_space(dir)?;
        if room < LISTS {
            return Err(Error::NotAble {
                what: format!(
                    "{} has {} MB of free space, and apt's package lists need up to {} MB there",
                    dir.display(),
                    room >> 20,
                    LISTS >> 20
                ),
                help: "free some space, or set FERROGRAFT_CACHE to a directory on another disk".to_owned(),
            });
        }
        sink.note("  apt          bringing our own package lists up to date".to_owned());
        own.cmd("apt-get").args(["-q", "update", "-oAPT::Update::Error-Mode=any"]).run().map_err(
            |error| Error::NotAble {
                what: format!("the package lists could not be brought up to date: {error}"),
                help: "check the network and apt's sources, then try again".to_owned(),
            },
        )?;
        Ok(own)
    }

    fn cmd(&self, program: &str) -> Cmd {
        Cmd::new(program).args(&self.options).env("LC_ALL", "C").hint(HINT)
    }

    fn has(&self, package: &Package) -> Result<bool, Error> {
        let listed = self.cmd("apt-cache").args(["madison", &package.name]).run()?.stdout_text();
        Ok(packages(&listed).any(|found| found.version == package.version))
    }

    fn vanished(&self, package: &Package) -> Result<Error, Error> {
        let newest = self.line_of(&package.name)?.pop().map_or_else(
            || "nothing like it".to_owned(),
            |found| format!("{} {} as the newest", found.name, found.version),
        );
        Ok(Error::NotAble {
            what: format!(
                "package {} {} is gone from the archive, which has {newest}",
                package.name, package.version
            ),
            help: "re-pin the kernel: cargo xtask kernel repin <id>".to_owned(),
        })
    }

    /// All archived versions of the packages of one line, oldest first. Their names differ from `name` only
    /// in the numbers of the kernel version, from the third number on (sublevel, ABI).
    pub(crate) fn line_of(&self, name: &str) -> Result<Vec<Package>, Error> {
        let names = self.cmd("apt-cache").args(["pkgnames", &common_prefix(name)]).run()?.stdout_text();
        let names: Vec<&str> = names.lines().filter(|other| is_like(other, name)).collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let listed = self.cmd("apt-cache").arg("madison").args(names).run()?.stdout_text();
        let mut packages: Vec<Package> = packages(&listed).collect();
        packages.sort_by_cached_key(|package| (numbers(&package.name), numbers(&package.version)));
        packages.dedup();
        Ok(packages)
    }

    /// Downloads a package into `dir` and compares its hash with the pin. Returns the path of the package
    /// file.
    pub(crate) fn download_checked(&self, package: &Package, dir: &Path) -> Result<PathBuf, Error> {
        let deb = self.download(package, dir)?;
        let found = cache::sha256_file(&deb)?;
        if found == package.sha256 {
            return Ok(deb);
        }
        Err(Error::Package {
            package: format!("{} {}", package.name, package.version),
            message: format!(
                "its file has SHA-256 {found}, pinned is {}; do not use it: the archive, the way to it or the pin is wrong",
                package.sha256
            ),
        })
    }

    /// Downloads a package, compares its hash with the pin, and unpacks its files into `dir`.
    pub(crate) fn unpack_checked(&self, package: &Package, dir: &Path) -> Result<(), Error> {
        let deb = self.download_checked(package, dir)?;
        Cmd::new("dpkg-deb").arg("-x").args([deb.as_path(), dir]).hint("install the package dpkg").run()?;
        std::fs::remove_file(&deb).map_err(io_error("remove", &deb))?;
        Ok(())
    }

    /// Downloads a package into `dir` without checking its content. Returns the path of the package file.
    pub(crate) fn download(&self, package: &Package, dir: &Path) -> Result<PathBuf, Error> {
        make_dir(dir)?;
        let wanted = format!("{}={}", package.name, package.version);
        self.cmd("apt-get")
            .args(["-q", "-oAPT::Sandbox::User=root", "download", &wanted])
            .cwd(dir)
            .run()
            .map_err(|error| Error::NotAble {
                what: format!("package {wanted} could not be downloaded: {error}"),
                help: "check the network and the free disk space, then try again; nothing half-made was kept"
                    .to_owned(),
            })?;
        let start = format!("{}_", package.name);
        let found = cache::walk(dir)?
            .into_iter()
            .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&start)));
        found.ok_or_else(|| Error::NotAble {
            what: format!("apt-get said that it downloaded {wanted}, but no such file came"),
            help: "try again".to_owned(),
        })
    }
}

/// Debian mirror from apt's configuration on this machine.
///
/// # Errors
/// apt is missing, or has no Debian source.
pub fn debian_mirror() -> Result<String, Error> {
    let targets = Cmd::new("apt-get")
        .args([
            "indextargets",
            "--format",
            "$(REPO_URI) $(RELEASE)",
            "Created-By: Packages",
            "Origin: Debian",
        ])
        .hint(HINT)
        .read()?;
    let own_suite = |line: &str| {
        let (uri, release) = line.split_once(' ')?;
        (!release.contains('-')).then(|| uri.to_owned())
    };
    targets.lines().find_map(own_suite).ok_or_else(|| Error::NotAble {
        what: "no mirror of Debian is set up in apt, so that its suites cannot be found".to_owned(),
        help: "add Debian's archive to apt's sources and run `apt-get update`".to_owned(),
    })
}

/// Downloads a package of another Debian suite, checks it and unpacks it in the cache. Returns its directory.
///
/// # Errors
/// The package is unavailable or does not match its pin.
pub fn unpacked_package(
    package: &Package,
    suite: &str,
    cache: &Cache,
    sink: &dyn Sink,
) -> Result<PathBuf, Error> {
    let key = Key::new("package 1").with(&package.name).with(&package.version).with(&package.sha256);
    cache.entry("package", &package.name, &key, |dir| {
        Apt::of_suite(suite, None, cache, sink)?.unpack_checked(package, dir)
    })
}

/// Parses the lines `name | version | source` of `apt-cache madison`.
fn packages(madison: &str) -> impl Iterator<Item = Package> {
    madison.lines().filter_map(|line| {
        let mut fields = line.split('|').map(str::trim);
        Some(Package::new(fields.next()?, fields.next()?, ""))
    })
}

fn numbers(text: &str) -> Vec<u64> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

/// True if two package names belong to one line: same kernel series, flavour, architecture and, after a `+`,
/// same release of the distribution.
fn is_like(one: &str, other: &str) -> bool {
    let series = |name: &str| numbers(name).into_iter().take(2).collect::<Vec<_>>();
    shape(one) == shape(other) && series(one) == series(other)
}

/// `linux-image-#.#.#+deb12-amd64` of `linux-image-6.12.117+deb12-amd64`.
fn shape(name: &str) -> String {
    let (version, rest) = name.find('+').map_or((name, ""), |plus| name.split_at(plus));
    let mut shape = String::new();
    for c in version.chars() {
        match (c.is_ascii_digit(), shape.ends_with('#')) {
            (true, true) => {}
            (true, false) => shape.push('#'),
            (false, _) => shape.push(c),
        }
    }
    shape + rest
}

/// `linux-image-6.12.` of `linux-image-6.12.117+deb12-amd64`.
fn common_prefix(name: &str) -> String {
    let mut dots = 0;
    let in_prefix = |c: &char| {
        let inside = dots < 2;
        dots += u32::from(*c == '.');
        inside
    };
    name.chars().take_while(in_prefix).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_one_line_differ_only_from_the_third_number_on() {
        assert_eq!(common_prefix("linux-image-6.12.117+deb12-amd64"), "linux-image-6.12.");
        assert_eq!(common_prefix("linux-kbuild-6.1"), "linux-kbuild-6.1");
        assert!(is_like("linux-image-6.12.99+deb12-amd64", "linux-image-6.12.117+deb12-amd64"));
        assert!(is_like("linux-headers-6.1.0-9-common", "linux-headers-6.1.0-56-common"));
        for (one, other) in [
            ("linux-image-6.12.99+deb13-amd64", "linux-image-6.12.117+deb12-amd64"),
            ("linux-image-6.1.0-56-rt-amd64", "linux-image-6.1.0-56-amd64"),
            ("linux-headers-6.1.0-56-common-rt", "linux-headers-6.1.0-56-common"),
            ("linux-kbuild-6.12.117+deb12", "linux-kbuild-6.1"),
            ("linux-kbuild-6.10", "linux-kbuild-6.1"),
        ] {
            assert!(!is_like(one, other), "{one} {other}");
        }
        assert!(numbers("linux-image-6.12.117+deb12-amd64") > numbers("linux-image-6.12.99+deb12-amd64"));
        let listed: Vec<_> = packages(" linux-x | 6.12-1 | http\n linux-y | 6.11-1 | y").collect();
        assert_eq!((listed[0].name.as_str(), listed[1].version.as_str()), ("linux-x", "6.11-1"));
    }
}
