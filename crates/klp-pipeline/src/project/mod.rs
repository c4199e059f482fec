// SPDX-License-Identifier: GPL-2.0-or-later
//! The author's files: fixes, streams and kernels with their TOML files. All content is checked here, before
//! work starts.

mod cfg;
mod constants;
mod entries;
mod fix;
mod headers;
mod names;
mod params;
mod predecessor;
mod prototype;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use klp_base::files::{io_error, read};
use klp_format::{Date, KernelRelease, KlpSymbol, ModuleName, ObjectName, VMLINUX};
use klp_kernel::{KernelTree, parse_toml, pinned_ids};
use serde::Deserialize;

pub use self::cfg::Cfg;
pub use self::constants::{CType, Constant};
pub(crate) use self::fix::is_fix_name;
pub use self::fix::{
    Affected, Called, EDITOR_FILE, Fix, Replaced, Runtime, State, Variable, modules_used_by,
    objects_in_tables, objects_of, read_fix,
};
pub use self::headers::Header;
pub(crate) use self::params::c_text;
pub use self::params::{Param, ParamKind, Tripwire, module_params};
pub use self::prototype::CPrototype;
use crate::error::Error;

/// A checkout of the project.
#[derive(Clone, Debug)]
pub struct Project {
    root: PathBuf,
    /// Files of modules that are not the kernel's own.
    out_of_tree: BTreeMap<ObjectName, PathBuf>,
    /// Directory with C sources of modules of a foreign test suite.
    suite: Option<PathBuf>,
}

/// File that a module comes from, if it is not one of the kernel's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModuleSource {
    /// C file of a test module, which kbuild makes for each kernel.
    C(PathBuf),
    /// Finished module.
    File(PathBuf),
}

impl ModuleSource {
    /// Path of the file.
    pub fn path(&self) -> &Path {
        match self {
            Self::C(path) | Self::File(path) => path,
        }
    }
}

/// A module to build: a stream, or a single fix.
#[derive(Clone, Debug)]
pub struct Target {
    /// Name of the stream or fix.
    pub name: String,
    /// One line of description.
    pub description: String,
    /// Fixes to link into the module.
    pub fixes: Vec<Fix>,
    /// Version and release; only for a stream.
    pub version: Option<(u32, u32)>,
    /// Exact name of the module; `None`: see [`Target::module_name`].
    pub module: Option<ModuleName>,
    /// Version and release of the stream's predecessor.
    pub predecessor: Option<(u32, u32)>,
    /// True if the module replaces the loaded patches; false if it is stacked on them.
    pub replace: bool,
    /// Last day of support of the stream (UTC).
    pub support_end: Option<Date>,
    /// Release of the distribution's kernel that contains the same fixes.
    pub effective_release: Option<KernelRelease>,
}

impl Target {
    /// A single fix as a target.
    pub fn of_fix(fix: Fix) -> Self {
        Self {
            name: fix.name.clone(),
            description: fix.description.clone(),
            replace: !fix.stacked,
            module: fix.module.clone(),
            fixes: vec![fix],
            version: None,
            predecessor: None,
            support_end: None,
            effective_release: None,
        }
    }

    /// States that the fixes support, in the order of the fixes.
    pub fn states(&self) -> impl Iterator<Item = &State> {
        self.fixes.iter().flat_map(|fix| &fix.states)
    }

    /// All symbols that the fixes name.
    pub fn symbols(&self) -> impl Iterator<Item = &KlpSymbol> {
        self.fixes.iter().flat_map(|fix| {
            let replaced = fix.patch.iter().map(|item| &item.symbol);
            let called = fix.imports.functions.iter().map(|item| &item.symbol);
            replaced.chain(called).chain(fix.imports.variables.iter().map(|item| &item.symbol))
        })
    }

    /// All objects that the fixes patch or use.
    pub fn objects(&self) -> Vec<ObjectName> {
        objects_in_tables(&self.fixes)
    }

    /// Runtime of the fixes; all fixes of a target have the same.
    pub fn runtime(&self) -> Runtime {
        self.fixes.first().map(|fix| fix.runtime).unwrap_or_default()
    }

    /// Name of the module: that of key `module`, else `kpatch_<kernel>_<version>_<release>` for a stream,
    /// `kpatch_<fix>` for a single fix.
    ///
    /// # Errors
    /// The name is longer than the kernel's limit.
    pub fn module_name(&self, release: &KernelRelease) -> Result<ModuleName, Error> {
        if let Some(name) = &self.module {
            return Ok(name.clone());
        }
        Ok(ModuleName::sanitized(&match self.version {
            Some((version, patch_release)) => format!("kpatch_{release}_{version}_{patch_release}"),
            None => format!("kpatch_{}", self.name),
        })?)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamFile {
    description: String,
    version: u32,
    release: u32,
    fixes: Vec<String>,
    /// True if the module is stacked on the loaded patches instead of replacing them.
    #[serde(default)]
    stacked: bool,
    /// Exact name of the module.
    module: Option<String>,
    /// Name of the previous version of the stream.
    predecessor: Option<String>,
    /// Fixes, functions and CVEs of the predecessor that this version leaves out on purpose.
    #[serde(default)]
    dropped: Vec<String>,
    /// Last day of support, as `2027-06-30`.
    support_end: Option<String>,
    /// Release of the distribution's kernel that contains the same fixes.
    effective_release: Option<String>,
}

impl StreamFile {
    /// Target of the stream, without what is checked separately: predecessor, end of support, effective release.
    fn target(&self, name: &str, fixes: Vec<Fix>) -> Result<Target, String> {
        Ok(Target {
            name: name.to_owned(),
            description: self.description.clone(),
            fixes,
            version: Some((self.version, self.release)),
            module: self.module.as_deref().map(module_name).transpose()?,
            predecessor: None,
            replace: !self.stacked,
            support_end: None,
            effective_release: None,
        })
    }

    /// Value of `support_end`, or the message for a text that is no date.
    fn support_end(&self) -> Result<Option<Date>, String> {
        let date = |text: &String| {
            Date::parse(text).ok_or_else(|| {
                format!("`support_end`: {text:?} is no date; it should look like \"2027-06-30\"")
            })
        };
        self.support_end.as_ref().map(date).transpose()
    }

    /// Value of `effective_release`, or the message for a text that is no kernel release.
    fn effective_release(&self) -> Result<Option<KernelRelease>, String> {
        let release =
            |text: &String| KernelRelease::new(text).map_err(|error| format!("`effective_release`: {error}"));
        self.effective_release.as_ref().map(release).transpose()
    }
}

impl Project {
    /// Opens the project with the root directory `root`.
    ///
    /// # Errors
    /// `root` contains no directory `kernel-configs`.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let root = root.canonicalize().map_err(io_error("find", root))?;
        if root.join("kernel-configs").is_dir() {
            return Ok(Self { root, out_of_tree: BTreeMap::new(), suite: None });
        }
        Err(klp_kernel::Error::Config {
            file: root,
            message: "no project: it has no kernel-configs directory".to_owned(),
        }
        .into())
    }

    /// The project with the fixes and streams for a foreign test suite (`tests/foreign`), whose modules to patch have their C
    /// sources in `modules`.
    #[must_use]
    pub fn with_suite(&self, modules: &Path) -> Self {
        Self { suite: Some(modules.to_owned()), ..self.clone() }
    }

    /// Root directory of the project.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Directory for builds of `target` for `kernel`.
    pub fn build_dir(&self, kernel: &str, target: &str) -> PathBuf {
        self.root.join("build").join(kernel).join(target)
    }

    /// Directory of the kernel-side crate `klp`.
    pub fn kmod(&self) -> PathBuf {
        self.root.join("kmod")
    }

    /// Directory of the C code of crate `klp`.
    pub fn own_shims(&self) -> PathBuf {
        self.kmod().join("shims")
    }

    /// The project with the files of modules that the fixes of a target name, for one kernel.
    ///
    /// # Errors
    /// Two fixes name different files for one module.
    pub fn with_modules_of(&self, target: &Target, tree: &KernelTree) -> Result<Self, Error> {
        let mut project = self.clone();
        for fix in &target.fixes {
            for (name, file) in &fix.out_of_tree {
                let file = file.replace("{kernel}", &tree.id).replace("{release}", tree.release.as_str());
                let file = fix.dir.join(file);
                let other = project.out_of_tree.insert(name.clone(), file.clone());
                if let Some(other) = other.filter(|other| *other != file) {
                    return Err(klp_kernel::Error::Config {
                        file: fix.dir.join("patch.toml"),
                        message: format!(
                            "`out_of_tree`: {name} is {} here and {} in another fix of the module; name one file",
                            file.display(),
                            other.display()
                        ),
                    }
                    .into());
                }
            }
        }
        Ok(project)
    }

    /// The project with the file of a module that is not the kernel's own, and the module's name.
    ///
    /// # Errors
    /// The file cannot be read, or is no module.
    pub fn with_module(&self, file: &Path) -> Result<(Self, ObjectName), Error> {
        let file = file.canonicalize().map_err(io_error("find", file))?;
        let damaged = |message: String| klp_image::Error::Image { path: file.clone(), message };
        let packed = read(&file)?;
        let bytes = klp_image::unpack_module(&packed).map_err(|error| damaged(error.to_string()))?;
        let module = klp_module::Module::parse(&bytes).map_err(|error| damaged(error.to_string()))?;
        let name = module.name().map_err(|error| damaged(error.to_string()))?;
        let name = ObjectName::new(name.as_str()).map_err(|error| damaged(error.to_string()))?;
        let mut project = self.clone();
        project.out_of_tree.insert(name.clone(), file.clone());
        Ok((project, name))
    }

    /// Path of a module's file for `out_of_tree` of a fix in `patches`: relative in the project, else absolute. `{kernel}` and
    /// `{release}` stand for the kernel's.
    pub(crate) fn out_of_tree_path(&self, file: &Path, tree: &KernelTree) -> String {
        let part = |part: std::path::Component<'_>| match part.as_os_str().to_string_lossy().into_owned() {
            part if part == tree.id => "{kernel}".to_owned(),
            part if part == tree.release.as_str() => "{release}".to_owned(),
            part => part,
        };
        match file.strip_prefix(&self.root) {
            Ok(relative) => {
                format!("../../{}", relative.components().map(part).collect::<Vec<_>>().join("/"))
            }
            Err(_) => {
                let parts = file.components().skip(1).map(part).collect::<Vec<_>>();
                format!("/{}", parts.join("/"))
            }
        }
    }

    /// File that a module comes from; `None` for the kernel's own modules. It may not exist.
    pub fn module_source(&self, name: &ObjectName) -> Option<ModuleSource> {
        if let Some(file) = self.out_of_tree.get(name) {
            return Some(ModuleSource::File(file.clone()));
        }
        let dirs = [Some(self.root.join("tests/modules")), self.suite.clone()];
        let sources = dirs.into_iter().flatten().map(|dir| dir.join(format!("{name}.c")));
        sources.into_iter().find(|source| source.is_file()).map(ModuleSource::C)
    }

    /// Names of the fixes and streams for users, sorted. Those of the tests are not included.
    pub fn target_names(&self) -> Vec<String> {
        let mut names = self.fix_names();
        names.extend(self.stream_names());
        names.sort();
        names
    }

    /// Directories of fixes: for users, for tests only, and for a foreign test suite.
    fn fix_dirs(&self) -> Vec<PathBuf> {
        self.dirs(["patches", "tests/fixes"], "tests/foreign/fixes")
    }

    fn stream_dirs(&self) -> Vec<PathBuf> {
        self.dirs(["patches/streams", "tests/streams"], "tests/foreign/streams")
    }

    fn dirs(&self, own: [&str; 2], of_suite: &str) -> Vec<PathBuf> {
        let of_suite = self.suite.as_ref().map(|_| of_suite);
        own.into_iter().chain(of_suite).map(|dir| self.root.join(dir)).collect()
    }

    fn fix_names(&self) -> Vec<String> {
        names_in(&self.fix_dirs(), |path| path.join("patch.toml").is_file())
    }

    fn stream_names(&self) -> Vec<String> {
        names_in(&self.stream_dirs(), |path| path.extension().is_some_and(|extension| extension == "toml"))
    }

    /// Name of a fix or stream that would give the same module name.
    pub(crate) fn like(&self, name: &str) -> Option<String> {
        let plain = |name: &str| name.replace('-', "_");
        self.target_names().into_iter().find(|other| plain(other) == plain(name))
    }

    /// Directory of the pinned kernels.
    pub fn kernel_configs(&self) -> PathBuf {
        self.root.join("kernel-configs")
    }

    /// Ids of the pinned kernels, sorted.
    pub fn kernel_ids(&self) -> Vec<String> {
        pinned_ids(&self.kernel_configs())
    }

    /// The fix or stream with this name.
    ///
    /// # Errors
    /// It does not exist, or one of its files is invalid.
    pub fn target(&self, name: &str) -> Result<Target, Error> {
        let stream = self
            .stream_dirs()
            .into_iter()
            .map(|dir| dir.join(format!("{name}.toml")))
            .find(|file| file.is_file());
        match stream {
            Some(file) => self.stream(name, &file),
            None => Ok(Target::of_fix(self.fix(name)?)),
        }
    }

    fn stream(&self, name: &str, file: &Path) -> Result<Target, Error> {
        let wrong =
            |message: String| Error::from(klp_kernel::Error::Config { file: file.to_owned(), message });
        let stream: StreamFile = parse_toml(file)?;
        if stream.fixes.is_empty() {
            return Err(wrong("`fixes` is empty: a stream links at least one fix".to_owned()));
        }
        if stream.version == 0 || stream.release == 0 {
            return Err(wrong("`version` and `release` begin with 1 (0-0 is the empty package)".to_owned()));
        }
        let fixes: Vec<Fix> = stream.fixes.iter().map(|fix| self.fix(fix)).collect::<Result<_, _>>()?;
        if let Some(other) = fixes.iter().find(|fix| fix.runtime != fixes[0].runtime) {
            return Err(wrong(format!(
                "`fixes`: `{}` and `{}` differ in `runtime`, and crates of the two cannot be linked into one module",
                fixes[0].name, other.name
            )));
        }
        let mut crates: BTreeMap<String, &str> = BTreeMap::new();
        for fix in &fixes {
            match crates.insert(fix.crate_name(), &fix.name) {
                Some(other) if other == fix.name => {
                    return Err(wrong(format!("`fixes`: `{other}` stands twice")));
                }
                Some(other) => {
                    return Err(wrong(format!(
                        "`fixes`: `{other}` and `{}` both become the crate `{}`; give one of them another name",
                        fix.name,
                        fix.crate_name()
                    )));
                }
                None => {}
            }
        }
        if let Some(message) = names::clash(&fixes).or_else(|| params::clash(&fixes)) {
            return Err(wrong(format!("`fixes`: {message}")));
        }
        let mut owners: BTreeMap<&KlpSymbol, &str> = BTreeMap::new();
        for fix in &fixes {
            for replaced in &fix.patch {
                if let Some(other) = owners.insert(&replaced.symbol, &fix.name) {
                    return Err(wrong(format!(
                        "`fixes`: both `{other}` and `{}` replace {}; a module can hold only one replacement, merge the two fixes",
                        fix.name, replaced.symbol
                    )));
                }
            }
        }
        let support_end = stream.support_end().map_err(&wrong)?;
        let effective_release = stream.effective_release().map_err(&wrong)?;
        let mut target =
            Target { support_end, effective_release, ..stream.target(name, fixes).map_err(&wrong)? };
        let mut owners: BTreeMap<u64, &str> = BTreeMap::new();
        for (fix, state) in
            target.fixes.iter().flat_map(|fix| fix.states.iter().map(move |state| (fix, state)))
        {
            if let Some(other) = owners.insert(state.id, &fix.name) {
                return Err(wrong(format!(
                    "`fixes`: both `{other}` and `{}` have a state with the id {}; give one of them another id",
                    fix.name, state.id
                )));
            }
        }
        if stream.predecessor.is_none() && !stream.dropped.is_empty() {
            return Err(wrong("`dropped`: the stream names no `predecessor`".to_owned()));
        }
        if let Some(name) = &stream.predecessor {
            target.predecessor = self.check_predecessor(&target, name, &stream.dropped).map_err(wrong)?;
        }
        Ok(target)
    }

    /// Checks that a stream may replace its predecessor. Returns version and release of the predecessor.
    fn check_predecessor(
        &self,
        target: &Target,
        name: &str,
        dropped: &[String],
    ) -> Result<Option<(u32, u32)>, String> {
        let before = self.predecessor(name)?;
        predecessor::compare(target, name, &before, dropped)?;
        Ok(before.version)
    }

    fn predecessor(&self, name: &str) -> Result<Target, String> {
        let file = self
            .stream_dirs()
            .into_iter()
            .map(|dir| dir.join(format!("{name}.toml")))
            .find(|file| file.is_file());
        let file = file.ok_or_else(|| format!("`predecessor`: there is no stream `{name}`"))?;
        // The predecessor of the predecessor is not read: a chain of versions may have any length.
        let stream: StreamFile = parse_toml(&file).map_err(|error| error.to_string())?;
        let fixes = stream.fixes.iter().map(|fix| self.fix(fix)).collect::<Result<_, _>>();
        stream.target(name, fixes.map_err(|error| error.to_string())?)
    }

    /// All fixes: those that are shipped, and those that only the tests use.
    ///
    /// # Errors
    /// The files of a fix are invalid.
    pub fn fixes(&self) -> Result<Vec<Fix>, Error> {
        let names = self.fix_names().into_iter().filter(|name| is_fix_name(name));
        names.map(|name| self.fix(&name)).collect()
    }

    /// The fix with this name.
    ///
    /// # Errors
    /// It does not exist, or its files are invalid.
    pub fn fix(&self, name: &str) -> Result<Fix, Error> {
        let dir = self
            .fix_dirs()
            .into_iter()
            .map(|dir| dir.join(name))
            .find(|dir| is_fix_name(name) && dir.join("patch.toml").is_file());
        let Some(dir) = dir else {
            let known = names_in(&self.fix_dirs(), |path| path.join("patch.toml").is_file())
                .into_iter()
                .chain(self.stream_names())
                .filter(|name| !name.starts_with('_'))
                .collect();
            return Err(
                klp_kernel::Error::Unknown { what: "fix or stream", name: name.to_owned(), known }.into()
            );
        };
        read_fix(name, &dir)
    }
}

/// Value of key `module`: `-` becomes `_`, as in the kernel.
fn module_name(text: &str) -> Result<ModuleName, String> {
    let name = ModuleName::new(&text.replace('-', "_")).map_err(|error| format!("`module`: {error}"))?;
    if name.as_str() == VMLINUX {
        return Err(format!("`module`: {VMLINUX} is the name of the kernel itself"));
    }
    Ok(name)
}

fn names_in(dirs: &[PathBuf], is_one: impl Fn(&Path) -> bool) -> Vec<String> {
    let mut names: Vec<String> = dirs
        .iter()
        .filter_map(|dir| std::fs::read_dir(dir).ok())
        .flatten()
        .filter_map(Result::ok)
        .map(|item| item.path())
        .filter(|path| is_one(path))
        .filter_map(|path| {
            path.file_name().map(|name| name.to_string_lossy().trim_end_matches(".toml").to_owned())
        })
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a stream with these fixes, given as name and patch.toml without its description.
    fn stream(fixes: &[(&str, &str)]) -> Result<Target, String> {
        stream_with(fixes, "")
    }

    /// Same as [`stream`], with more lines in the stream's file.
    fn stream_with(fixes: &[(&str, &str)], more: &str) -> Result<Target, String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("kernel-configs")).unwrap();
        std::fs::create_dir_all(dir.path().join("patches/streams")).unwrap();
        for (name, text) in fixes {
            let fix = dir.path().join("patches").join(name);
            std::fs::create_dir_all(&fix).unwrap();
            std::fs::write(fix.join("patch.toml"), format!("description = 'x'\n{text}\n")).unwrap();
        }
        let names: Vec<&str> = fixes.iter().map(|(name, _)| *name).collect();
        let text = format!("description = 'x'\nversion = 1\nrelease = 1\nfixes = {names:?}\n{more}\n");
        std::fs::write(dir.path().join("patches/streams/s.toml"), text).unwrap();
        let project = Project::open(dir.path()).unwrap();
        project.target("s").map_err(|error| error.to_string())
    }

    #[test]
    fn fixes_of_a_stream_have_different_crate_names() {
        let [first, second] = ["patch = ['vmlinux:a']", "patch = ['vmlinux:b']"];
        assert!(stream(&[("x-y", first), ("x-z", second)]).is_ok());
        let error = stream(&[("x-y", first), ("x_y", second)]).unwrap_err();
        assert!(error.contains("s.toml: `fixes`: `x-y` and `x_y` both become the crate `x_y`"), "{error}");
        let error = stream(&[("x-y", first), ("x-y", first)]).unwrap_err();
        assert!(error.contains("`x-y` stands twice"), "{error}");
    }

    #[test]
    fn a_parameter_has_one_owner_in_a_stream() {
        let fix = |function: &str, key: &str| format!("patch = ['vmlinux:{function}']\n{key}");
        let param = |name: &str| format!("params = [{{ name = '{name}', type = 'int' }}]");
        let wire = |name: &str| format!("tripwires = [{{ name = '{name}', description = 'x' }}]");
        let both =
            |first: &str, second: &str| stream(&[("one", &fix("a", first)), ("two", &fix("b", second))]);
        assert!(both(&param("x"), &param("y")).is_ok());
        for second in [param("x"), wire("x")] {
            let error = both(&param("x"), &second).unwrap_err();
            let expected = "s.toml: `fixes`: both `one` and `two` have a parameter or tripwire `x`";
            assert!(error.contains(expected), "{error}");
        }
        let error = both(&format!("{}\n{}", param("x"), wire("x")), &param("y")).unwrap_err();
        assert!(error.contains("`params`: `one` has two parameters or tripwires `x`"), "{error}");
        let error = both(&param("x"), "tripwires = [{ name = 'y', description = ' ' }]").unwrap_err();
        assert!(error.contains("patch.toml: `tripwires`: `y`: description is empty"), "{error}");
        let error = both(&param("x"), "params = [{ name = 'y', type = 'u8' }]").unwrap_err();
        assert!(error.contains("patch.toml: `params`: `y`: type \"u8\" is none of"), "{error}");
    }

    #[test]
    fn a_module_may_have_an_exact_name() {
        let fixes = [("x", "patch = ['vmlinux:a']\nmodule = 'of-the-fix'")];
        let release = KernelRelease::new("6.12.1").unwrap();
        let name = |target: Target| target.module_name(&release).unwrap().to_string();
        let longest = "a".repeat(55);
        assert_eq!(name(stream(&fixes).unwrap()), "kpatch_6_12_1_1_1");
        assert_eq!(name(Target::of_fix(stream(&fixes).unwrap().fixes.remove(0))), "of_the_fix");
        assert_eq!(name(stream_with(&fixes, "module = 'livepatch-Foo_2'").unwrap()), "livepatch_Foo_2");
        assert_eq!(name(stream_with(&fixes, &format!("module = '{longest}'")).unwrap()), longest);
        for (module, expected) in [
            (format!("{longest}a"), "`module`: "),
            ("a.b".to_owned(), "has the character '.'"),
            (String::new(), "`module`: "),
            ("vmlinux".to_owned(), "`module`: vmlinux is the name of the kernel itself"),
        ] {
            let error = stream_with(&fixes, &format!("module = '{module}'")).unwrap_err();
            assert!(error.contains(expected) && error.contains("s.toml"), "{module}: {error}");
            let fix = format!("patch = ['vmlinux:a']\nmodule = '{module}'");
            let error = stream(&[("x", &fix)]).unwrap_err();
            assert!(error.contains(expected) && error.contains("patch.toml"), "{module}: {error}");
        }
    }

    #[test]
    fn support_end_and_effective_release_are_checked() {
        let fixes = [("x", "patch = ['vmlinux:a']")];
        let target =
            stream_with(&fixes, "support_end = '2028-02-29'\neffective_release = '6.12.120+deb12-amd64'")
                .unwrap();
        assert_eq!(target.support_end.unwrap().to_string(), "2028-02-29");
        assert_eq!(target.effective_release.unwrap().as_str(), "6.12.120+deb12-amd64");
        for (line, expected) in [
            (
                "support_end = '2027-02-29'",
                "`support_end`: \"2027-02-29\" is no date; it should look like \"2027-06-30\"",
            ),
            ("support_end = '30.6.2027'", "`support_end`: \"30.6.2027\" is no date"),
            ("support_end = 2027-06-30", "support_end"),
            ("effective_release = 'a b'", "`effective_release`: "),
            ("support_ends = '2027-06-30'", "unknown field `support_ends`"),
        ] {
            let error = stream_with(&fixes, line).unwrap_err();
            assert!(error.contains(expected) && error.contains("s.toml"), "{line}: {error}");
        }
    }

    #[test]
    fn each_import_name_is_unique_in_a_stream() {
        let text = |object: &str, entry: &str| format!("patch = ['{object}:a']\n{entry}");
        let first = text("m1", "imports.variables = [{ symbol = 'm1:debug', declaration = 'int debug' }]");
        let second = text("m2", "imports.variables = [{ symbol = 'm2:debug', declaration = 'bool debug' }]");
        let error = stream(&[("x", &first), ("y", &second)]).unwrap_err();
        assert!(
            error.contains("the name `debug` stands for m1:debug as `int debug` (`variables` of `x`) and for m2:debug as `bool debug` (`variables` of `y`)"),
            "{error}"
        );
        let other = text(
            "m2",
            "imports.variables = [{ symbol = 'm2:debug', as = 'debug2', declaration = 'bool debug' }]",
        );
        assert!(stream(&[("x", &first), ("y", &other)]).is_ok());
        let same = text("m3", "imports.variables = [{ symbol = 'm1:debug', declaration = 'int  debug' }]");
        assert!(stream(&[("x", &first), ("y", &same)]).is_ok());
        let [one, other] = ["int f(void)", "long f(void)"].map(|text| {
            format!(
                "patch = ['vmlinux:{}']\nimports.functions = [{{ symbol = 'vmlinux:f', prototype = '{text}' }}]",
                &text[..1]
            )
        });
        assert!(stream(&[("x", &one), ("y", &other)]).unwrap_err().contains("as `long f(void)`"));
        let constant = |object: &str, entry: &str| text(object, &format!("imports.constants = [{entry}]"));
        let (plain, long) = (constant("m1", "'A'"), constant("m2", "{ name = 'A', type = 'long' }"));
        let error = stream(&[("x", &plain), ("y", &long)]).unwrap_err();
        assert!(
            error.contains("and for the constant A of type long (`constants` of `y`); write both alike"),
            "{error}"
        );
        let named = constant("m2", "{ name = 'A', as = 'B', type = 'long' }");
        assert!(stream(&[("x", &plain), ("y", &named)]).is_ok());
    }
}
