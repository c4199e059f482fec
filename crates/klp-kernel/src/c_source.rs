// SPDX-License-Identifier: GPL-2.0-or-later
//! The C source of a kernel, configured as the kernel was, and the compiler's command for each of its files. Nothing of the
//! kernel is built: `prepare0` makes the generated headers.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use klp_base::cache::{Cache, Key, walk};
use klp_base::events::{Sink, StageEnd, stage};
use klp_base::files::{io_error, make_dir, read};
use klp_base::process::{Cmd, Output};
use klp_format::{ObjectName, VMLINUX};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::package::Package;
use crate::source;
use crate::tree::{KernelTree, OwnModules};

/// Peak disk space of the preparation, in bytes.
const PEAK: u64 = 3 << 30;

/// Source tree of a kernel in the cache. Its files are shared and must not be changed.
#[derive(Clone, Debug)]
pub struct CSource<'a> {
    /// Top directory.
    pub root: PathBuf,
    /// The kernel.
    pub tree: &'a KernelTree,
    /// Hash that changes whenever the source changes, for keys of what is made of it.
    pub fingerprint: String,
}

/// The compiler's command for one file, as the kernel's own build gives it. It runs in the top directory of the source, and
/// names no path of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompileCommand {
    /// Compiler and flags, without input and output.
    pub words: Vec<String>,
    /// `vmlinux`, or the module that the file belongs to.
    pub object: String,
}

impl<'a> CSource<'a> {
    /// Finds the prepared source in the cache, or fetches and prepares it.
    ///
    /// # Errors
    /// The kernel pins no source package, the package is of another version or unavailable, or the preparation failed.
    pub fn of(tree: &'a KernelTree, cache: &Cache, sink: &dyn Sink) -> Result<Self, Error> {
        let package = tree.source.as_ref().ok_or_else(|| Error::Kernel {
            kernel: tree.id.clone(),
            message: "its kernel.toml pins no source package (`packages.source`), and a C diff needs the source of the very version"
                .to_owned(),
        })?;
        if let OwnModules::Package(image) = &tree.modules
            && image.version != package.version
        {
            return Err(Error::Kernel {
                kernel: tree.id.clone(),
                message: format!(
                    "its kernel.toml pins the source of {}, and the image of {}; pin {} of the image's version",
                    package.version, image.version, package.name
                ),
            });
        }
        let key = key(tree, package);
        let entry =
            cache.entry("c-source", &tree.id, &key, |dir| prepare(tree, package, dir, cache, sink))?;
        Ok(Self { root: entry.join("linux"), tree, fingerprint: key.hex() })
    }

    /// True if the kernel is a distribution's with a source package, and [`Self::of`] has to unpack and configure it first.
    pub fn is_missing(tree: &KernelTree, cache: &Cache) -> bool {
        let is_missing = |package: &Package| cache.find("c-source", &tree.id, &key(tree, package)).is_none();
        matches!(tree.modules, OwnModules::Package(_)) && tree.source.as_ref().is_some_and(is_missing)
    }

    /// Directory with the files of another version of the source that differ from this one's, or that this one lacks.
    ///
    /// # Errors
    /// The package is unavailable, or a file cannot be read or written.
    pub fn other(&self, package: &Package, cache: &Cache, sink: &dyn Sink) -> Result<PathBuf, Error> {
        let key = Key::new("other source 1").with(&self.tree.fingerprint).with(&package.sha256);
        cache.entry("c-other", &self.tree.id, &key, |dir| {
            source::check_space(&format!("the source {}", package.version), dir, PEAK)?;
            stage(sink, "compare", &package.version, || {
                let work = dir.join("work");
                make_dir(&work)?;
                let unpacked = source::unpack_package(package, "", &work, cache, sink)?;
                for path in walk(&unpacked)?.into_iter().filter(|path| !path.is_symlink()) {
                    let name = path.strip_prefix(&unpacked).unwrap_or(&path);
                    let own = self.root.join(name);
                    if !own.is_file() || read(&own)? != read(&path)? {
                        let to = dir.join(name);
                        make_dir(to.parent().unwrap_or(dir))?;
                        std::fs::rename(&path, &to).map_err(io_error("rename", &path))?;
                    }
                }
                std::fs::remove_dir_all(&work).map_err(io_error("remove", &work))?;
                Ok::<_, Error>((StageEnd::Done, ()))
            })
        })
    }

    /// The compiler's command for a file, named from the top directory: `kernel/ptrace.c`.
    ///
    /// # Errors
    /// The kernel's build has no such object file.
    pub fn command(&self, file: &str, cache: &Cache) -> Result<CompileCommand, Error> {
        let commands = self.commands(&[file], cache)?.into_iter().next();
        commands
            .unwrap_or_else(|| Err(format!("its build does not show how {file} is compiled")))
            .map_err(|message| Error::Kernel { kernel: self.tree.id.clone(), message })
    }

    /// The compiler's commands for files, in their order, with few runs of make. A file without a command has the reason.
    ///
    /// # Errors
    /// make cannot run, or the cache failed.
    pub fn commands(
        &self,
        files: &[&str],
        cache: &Cache,
    ) -> Result<Vec<Result<CompileCommand, String>>, Error> {
        const KIND: &str = "c-command";
        /// Limit of the length of make's command line.
        const AT_ONCE: usize = 1000;
        let place = |file: &str| {
            let key = Key::new("compile command 4").with(&self.fingerprint).with(file);
            (file.replace('/', "-"), key)
        };
        let stored = |file: &str| {
            let (label, key) = place(file);
            serde_json::from_slice(&cache.find_small(KIND, &label, &key)?).ok()
        };
        let mut found: Vec<Option<Result<CompileCommand, String>>> =
            files.iter().map(|file| stored(file).map(Ok)).collect();
        let unknown: Vec<usize> = (0..files.len()).filter(|number| found[*number].is_none()).collect();
        for numbers in unknown.chunks(AT_ONCE) {
            let names: Vec<&str> = numbers.iter().map(|number| files[*number]).collect();
            for (number, asked) in numbers.iter().zip(self.ask(&names)?) {
                if let Ok(command) = &asked {
                    let (label, key) = place(files[*number]);
                    let text = serde_json::to_vec(command).unwrap_or_default();
                    cache.small(KIND, &label, &key, || Ok::<_, Error>(text))?;
                }
                found[*number] = Some(asked);
            }
        }
        Ok(found.into_iter().flatten().collect())
    }

    /// Output of make for the build of a file, which is not run: the recipes of its object and of all that this needs.
    ///
    /// # Errors
    /// make cannot run.
    pub fn recipes(&self, file: &str) -> Result<String, Error> {
        Ok(self.print(&[file])?.stdout_text())
    }

    /// Runs make so that it prints its recipes.
    fn print(&self, files: &[&str]) -> Result<Output, Error> {
        // -i, because the build of objtool, which is not there, cannot be printed; -k, because a directory may lack a Makefile.
        let make = make(self.tree, &self.root).args(["-n", "-i", "-k"]);
        Ok(make.args(files.iter().map(|file| object_of(file))).output()?)
    }

    /// Asks the kernel's build, which only prints its commands.
    fn ask(&self, files: &[&str]) -> Result<Vec<Result<CompileCommand, String>>, Error> {
        let output = self.print(files)?;
        let printed = output.stdout_text();
        let mut lines: HashMap<&str, &str> = HashMap::new();
        for line in printed.lines().filter(|line| line.contains(START)) {
            // The recipe has the command, and again as a text for the next run of make.
            for (at, _) in line.match_indices(OUTPUT) {
                let object = line.get(at + OUTPUT.len()..).and_then(|rest| rest.split(' ').next());
                lines.extend(object.map(|object| (object, line)));
            }
        }
        let command = |file: &&str| {
            let object = object_of(file);
            let line = lines.get(object.as_str()).ok_or_else(|| {
                let errors = output.stderr_text();
                let said = errors.lines().rev().find(|line| lines.is_empty() && line.contains("***"));
                let said = said.map_or_else(String::new, |said| format!(": {said}"));
                format!("its build has no object {object}{said}")
            })?;
            let words = command_in(line, &format!("{OUTPUT}{object} {}.c", stem_of(file)))
                .ok_or_else(|| format!("its build does not show how {object} is compiled"))?;
            Ok(CompileCommand { object: object_with(file, &words)?, words })
        };
        Ok(files.iter().map(command).collect())
    }
}

/// Starts of the paths of files whose objects the Makefile of another directory builds, and of its names of them. A wrong entry
/// cannot do harm: the file would not compile, or its code would not be the kernel's.
///
/// Source: `drivers/gpu/drm/amd/amdgpu/Makefile`, `drivers/gpu/drm/Makefile`, `drivers/usb/core/Makefile` and
/// `virt/kvm/Makefile.kvm` of 6.1 and 6.12.
const BUILT_FROM_ELSEWHERE: [(&str, &str); 8] = [
    ("drivers/accel/drm_accel", "drivers/gpu/drm/../../accel/drm_accel"),
    ("drivers/gpu/drm/amd/acp/", "drivers/gpu/drm/amd/amdgpu/../acp/"),
    ("drivers/gpu/drm/amd/amdkfd/", "drivers/gpu/drm/amd/amdgpu/../amdkfd/"),
    ("drivers/gpu/drm/amd/display/", "drivers/gpu/drm/amd/amdgpu/../display/"),
    ("drivers/gpu/drm/amd/pm/", "drivers/gpu/drm/amd/amdgpu/../pm/"),
    ("drivers/usb/misc/onboard_usb_dev_pdevs", "drivers/usb/core/../misc/onboard_usb_dev_pdevs"),
    ("drivers/usb/misc/onboard_usb_hub_pdevs", "drivers/usb/core/../misc/onboard_usb_hub_pdevs"),
    ("virt/kvm/", "arch/x86/kvm/../../../virt/kvm/"),
];

/// Path of a C file without its extension, as the kernel's build has it.
fn stem_of(file: &str) -> String {
    let stem = file.strip_suffix(".c").unwrap_or(file);
    let elsewhere = BUILT_FROM_ELSEWHERE.iter().find_map(|(own, name)| Some((name, stem.strip_prefix(own)?)));
    elsewhere.map_or_else(|| stem.to_owned(), |(name, rest)| format!("{name}{rest}"))
}

/// Object file of a C file.
fn object_of(file: &str) -> String {
    stem_of(file) + ".o"
}

/// `vmlinux`, or the module that a file belongs to, by its compiler's command.
fn object_with(file: &str, words: &[String]) -> Result<String, String> {
    let name = words.iter().find_map(|word| word.strip_prefix("-DKBUILD_MODNAME="));
    match (words.iter().any(|word| word == "-DMODULE"), name) {
        (true, Some(name)) => {
            let name = ObjectName::new(name.trim_matches('"'));
            name.map(|name| name.to_string())
                .map_err(|error| format!("{file} is of no single module: {error}"))
        }
        (true, None) => Err(format!("{file} is of a module without a name")),
        (false, _) => Ok(VMLINUX.to_owned()),
    }
}

/// Start of a compiler's command, behind the compiler.
const START: &str = " -Wp,-MMD,";
/// Start of the end of a compiler's command.
const OUTPUT: &str = " -c -o ";

/// Words of a compiler's command in a line of make, whose end is known. The line may have a recipe of the shell before and after it.
fn command_in(line: &str, end: &str) -> Option<Vec<String>> {
    let (before, rest) = line.split_once(START)?;
    let rest = rest.split(end).next().filter(|found| found.len() < rest.len())?;
    let compiler = before.rsplit([' ', ';']).next()?;
    // The file of dependencies is the first word.
    let (_, flags) = rest.split_once(' ')?;
    let mut words = vec![compiler.to_owned()];
    words.extend(shlex::split(flags)?);
    Some(words)
}

fn key(tree: &KernelTree, package: &Package) -> Key {
    Key::new("c source 1").with(&tree.fingerprint).with(&package.sha256)
}

/// make in the source tree, with an environment independent of the user.
fn make(tree: &KernelTree, root: &Path) -> Cmd {
    Cmd::new("make")
        .arg("-s")
        .arg("-C")
        .arg(root)
        .args(tree.toolchain.make_words(tree.arch))
        .arg(format!("KERNELRELEASE={}", tree.release))
        .clean_env()
        .env("LC_ALL", "C")
        .env("KBUILD_BUILD_TIMESTAMP", "2026-01-01 00:00:00 UTC")
        .env("KBUILD_BUILD_USER", "ferrograft")
        .env("KBUILD_BUILD_HOST", "ferrograft")
        .hint("install the package make (or run `cargo xtask doctor --fix`)")
}

fn prepare(
    tree: &KernelTree,
    package: &Package,
    dir: &Path,
    cache: &Cache,
    sink: &dyn Sink,
) -> Result<(), Error> {
    source::check_space(&format!("the source of {}", tree.id), dir, PEAK)?;
    let root = dir.join("linux");
    stage(sink, "source", &tree.id, || {
        let work = dir.join("work");
        make_dir(&work)?;
        let unpacked = source::unpack_package(package, "", &work, cache, sink)?;
        std::fs::rename(&unpacked, &root).map_err(io_error("rename", &unpacked))?;
        std::fs::remove_dir_all(&work).map_err(io_error("remove", &work))?;
        Ok::<_, Error>((StageEnd::Done, ()))
    })?;
    stage(sink, "configure", &tree.id, || {
        // The configuration in the image package lacks options that are set on the build machine.
        let (from, to) = (tree.headers.join(".config"), root.join(".config"));
        std::fs::copy(&from, &to).map_err(io_error("copy", &from))?;
        let jobs = available_parallelism().map_or(1, usize::from);
        make(tree, &root).arg("olddefconfig").run()?;
        make(tree, &root).arg(format!("-j{jobs}")).arg("prepare0").run()?;
        Ok::<_, Error>((StageEnd::Done, ()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_found_in_the_recipe() {
        let line = "set -e; trap 'rm -f kernel/x.o' HUP; gcc-12 -Wp,-MMD,kernel/.x.o.d -nostdinc -I./include \
                    -DKBUILD_MODNAME='\"x\"' -DA=\"b c\"   -c -o kernel/x.o kernel/x.c  ; objtool kernel/x.o";
        let words = command_in(line, " -c -o kernel/x.o kernel/x.c").unwrap();
        assert_eq!(words, ["gcc-12", "-nostdinc", "-I./include", "-DKBUILD_MODNAME=\"x\"", "-DA=b c"]);
        assert_eq!(command_in(line, " -c -o kernel/y.o kernel/y.c"), None);
        assert_eq!(command_in("gcc -c x.c", " -c x.c"), None);
    }

    #[test]
    fn objects_that_another_directory_builds_have_its_name() {
        assert_eq!(object_of("virt/kvm/kvm_main.c"), "arch/x86/kvm/../../../virt/kvm/kvm_main.o");
        assert_eq!(object_of("virt/lib/irqbypass.c"), "virt/lib/irqbypass.o");
    }
}
