// SPDX-License-Identifier: GPL-2.0-or-later
//! Compiles of files of the kernel's source, with the kernel's own command.

use std::path::Path;

use klp_base::cache::{self, Cache, Key};
use klp_base::files::{io_error, read};
use klp_base::process::{Cmd, Error as ProcessError};
use klp_kernel::KernelTree;
use klp_kernel::c_source::{CSource, CompileCommand};

use crate::error::Error;
use crate::layout::{self, Layouts};

/// Flags that give each function and variable a section of its own. They change no code but the length of jumps between
/// functions.
const SECTIONS: [&str; 2] = ["-ffunction-sections", "-fdata-sections"];
/// Debug information does not change code, and is read for [`Form::Types`] only.
const NO_DEBUG: &str = "-g0";
/// Flags for debug information of all types that a file defines, used or not.
const TYPES: [&str; 4] = ["-g", "-gdwarf-5", "-gz=none", "-fno-eliminate-unused-debug-types"];
/// Flags for debug information of the code.
const LINES: [&str; 5] = [SECTIONS[0], SECTIONS[1], "-g", "-gdwarf-5", "-gz=none"];
/// Flag that makes a call of each jump out of a function.
pub(crate) const NO_SIBLING_CALLS: &str = "-fno-optimize-sibling-calls";

/// Words of messages about the changed source.
const WITH_DIFF: &str = " with the diff";

/// Form of a compile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Each function and variable in its own section.
    Sections,
    /// As the kernel's build compiles.
    Plain,
    /// As [`Self::Sections`], without jumps out of functions.
    NoSiblingCalls,
    /// With debug information of all types.
    Types,
    /// As [`Self::Sections`], with debug information.
    Lines,
}

impl Form {
    fn flags(self) -> &'static [&'static str] {
        match self {
            Self::Sections => &[SECTIONS[0], SECTIONS[1], NO_DEBUG],
            Self::Plain => &[NO_DEBUG],
            Self::NoSiblingCalls => &[SECTIONS[0], SECTIONS[1], NO_SIBLING_CALLS, NO_DEBUG],
            Self::Types => &TYPES,
            Self::Lines => &LINES,
        }
    }
}

/// Object of a file of the unchanged source. The cache keeps it.
pub(crate) fn original(
    source: &CSource<'_>,
    file: &str,
    command: &CompileCommand,
    form: Form,
    cache: &Cache,
) -> Result<Vec<u8>, Error> {
    let key = Key::new("object of the source 2")
        .with(&source.fingerprint)
        .with(file)
        .with(command.words.join("\0"))
        .with(format!("{form:?}"));
    let label = format!("{}-{}", source.tree.id, file.replace('/', "-"));
    cache.small("c-object", &label, &key, || {
        let dir =
            tempfile::tempdir_in(cache.root()).map_err(io_error("make a directory in", cache.root()))?;
        let output = dir.path().join("object.o");
        run(source, &source.root, file, command, form, &output, "")?;
        Ok(read(&output)?)
    })
}

/// Object of a file of the unchanged source with debug information of its code. The cache does not keep it.
pub(crate) fn with_lines(
    source: &CSource<'_>,
    file: &str,
    command: &CompileCommand,
    cache: &Cache,
) -> Result<Vec<u8>, Error> {
    let dir = tempfile::tempdir_in(cache.root()).map_err(io_error("make a directory in", cache.root()))?;
    let output = dir.path().join("object.o");
    run(source, &source.root, file, command, Form::Lines, &output, "")?;
    Ok(read(&output)?)
}

/// Object of a file of a changed source in `root`. `output` is a file for it.
pub(crate) fn patched(
    source: &CSource<'_>,
    root: &Path,
    file: &str,
    command: &CompileCommand,
    form: Form,
    output: &Path,
) -> Result<Vec<u8>, Error> {
    run(source, root, file, command, form, output, WITH_DIFF)?;
    Ok(read(output)?)
}

/// Layouts of the types of a file, in the unchanged and the changed source. `output` is a file for objects.
pub(crate) fn layouts(
    source: &CSource<'_>,
    root: &Path,
    file: &str,
    command: &CompileCommand,
    output: &Path,
) -> Result<(Layouts, Layouts), Error> {
    let layouts_in = |root: &Path, with: &'static str| {
        run(source, root, file, command, Form::Types, output, with)?;
        let found = layout::read(&read(output)?);
        std::fs::remove_file(output).map_err(io_error("remove", output))?;
        found.map_err(|error| Error::Object {
            file: file.to_owned(),
            kernel: source.tree.id.clone(),
            message: error.to_string(),
        })
    };
    Ok((layouts_in(&source.root, "")?, layouts_in(root, WITH_DIFF)?))
}

/// Difference between the kernel's compiler and this machine's, in words. `None` if they are of one version and patch level.
pub(crate) fn other_compiler(tree: &KernelTree, command: &CompileCommand) -> Result<Option<String>, Error> {
    let (Some(of_kernel), Some(compiler)) = (tree.config.value("CC_VERSION_TEXT"), command.words.first())
    else {
        return Ok(None);
    };
    let text = Cmd::new(compiler).arg("--version").read()?;
    let own = text.lines().next().unwrap_or_default();
    // The name in front may have a prefix of the architecture.
    let version = |text: &str| text.split_once(' ').map(|(_, version)| version.to_owned());
    let differs = version(of_kernel) != version(own);
    Ok(differs.then(|| format!("the kernel was compiled by {of_kernel}, and this machine has {own}")))
}

fn run(
    source: &CSource<'_>,
    root: &Path,
    file: &str,
    command: &CompileCommand,
    form: Form,
    output: &Path,
    with: &'static str,
) -> Result<(), Error> {
    let Some((compiler, flags)) = command.words.split_first() else {
        return Err(Error::Kernel {
            kernel: source.tree.id.clone(),
            message: format!("its build has no command for {file}"),
        });
    };
    let cmd = Cmd::new(compiler)
        .args(flags)
        .args(form.flags())
        .args(["-c", "-o"])
        .arg(output)
        .arg(file)
        .cwd(root)
        .clean_env()
        .env("LC_ALL", "C")
        .hint(format!("install {compiler}, the compiler of the kernel"));
    let result = cmd.output()?;
    if result.status.success() {
        return Ok(());
    }
    if let Some(path) = place_without_space(&result.stderr_text()) {
        let source = std::io::ErrorKind::StorageFull.into();
        return Err(cache::Error::Io { action: "write", path: path.into(), source }.into());
    }
    if result.stderr_text().contains(file) || result.stderr_text().contains("error:") {
        return Err(Error::Compile {
            file: file.to_owned(),
            kernel: source.tree.id.clone(),
            with,
            text: result.stderr_text().trim_end().to_owned(),
        });
    }
    let error: ProcessError = cmd.failed(&result);
    Err(error.into())
}

/// First error in messages of the compiler; their first line if none is marked as one.
pub fn first_error(messages: &str) -> &str {
    let line = messages.lines().find(|line| line.contains("error:")).or(messages.lines().next());
    line.unwrap_or_default()
}

/// File that could not be written because the disk is full, by messages of the compiler or the assembler.
fn place_without_space(messages: &str) -> Option<&str> {
    let (before, _) = messages.split_once(": No space left on device")?;
    before.split_whitespace().next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_disk_is_told_from_a_faulty_file() {
        let assembler =
            "/tmp/a.s: Assembler messages:\n/tmp/a.s: Fatal error: /cache/0.o: No space left on device\n";
        assert_eq!(place_without_space(assembler), Some("/cache/0.o"));
        let compiler = "kernel/x.c:9: fatal error: error writing to /tmp/a.s: No space left on device\n";
        assert_eq!(place_without_space(compiler), Some("/tmp/a.s"));
        assert_eq!(place_without_space("kernel/x.c:9: error: expected ;"), None);
    }
}
