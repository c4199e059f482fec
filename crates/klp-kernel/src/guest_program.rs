// SPDX-License-Identifier: GPL-2.0-or-later
//! Static programs in C for guests, compiled by the compiler of their kernel.

use std::path::{Path, PathBuf};

use klp_base::arch::Arch;
use klp_base::cache::{self, Cache, Key};
use klp_base::events::{Sink, StageEnd, stage};
use klp_base::process::{self, Cmd};

use crate::error::Error;
use crate::toolchain::{CToolchain, Toolchain};

/// C library of a foreign architecture: a file whose presence is checked, and its Debian package.
const ARM64_LIBRARIES: [(&str, &str); 2] = [
    ("/usr/aarch64-linux-gnu/lib/libc.a", "libc6-dev-arm64-cross"),
    ("/usr/lib/gcc-cross/aarch64-linux-gnu/12/libgcc.a", "libgcc-12-dev-arm64-cross"),
];

/// Missing files for static programs of an architecture, each with its Debian package. The compiler is among the tools of the
/// kernel itself.
pub fn missing_libraries(arch: Arch) -> Vec<(String, String)> {
    let libraries: &[(&str, &str)] = match arch {
        Arch::X86_64 => &[("/usr/lib/x86_64-linux-gnu/libc.a", "libc6-dev")],
        Arch::Arm64 => &ARM64_LIBRARIES,
    };
    let missing = libraries.iter().filter(|(file, _)| !Path::new(file).is_file());
    missing.map(|(file, package)| ((*file).to_owned(), (*package).to_owned())).collect()
}

/// Compiles the program of the C file `source`, or finds it in the cache. Headers may stand beside the file.
///
/// # Errors
/// The compiler is missing, or refused the file. Its message names the file.
pub fn build(
    source: &Path,
    toolchain: &Toolchain,
    arch: Arch,
    cache: &Cache,
    sink: &dyn Sink,
) -> Result<PathBuf, Error> {
    const NAME: &str = "program";
    let dir = source.parent().unwrap_or(Path::new("."));
    let file = source.file_name().unwrap_or_default();
    // The file's name without its directory: the compiler may put the path into the program.
    let command = |out: &Path| compiler(toolchain, arch).cwd(dir).arg(file).arg("-o").arg(out);
    let key = Key::new("guest program 1").with(command(Path::new(NAME)).typed()).with_file(source)?;
    let mut headers: Vec<PathBuf> = cache::walk(dir)?;
    headers.retain(|path| path.extension().is_some_and(|extension| extension == "h"));
    headers.sort();
    let key = headers.iter().try_fold(key, |key, header| {
        key.with(header.strip_prefix(dir).unwrap_or(header).as_os_str().as_encoded_bytes()).with_file(header)
    })?;
    let entry = cache.entry("programs", &file.to_string_lossy(), &key, |dir| {
        stage(sink, "program", &file.to_string_lossy(), || {
            command(&dir.join(NAME)).run().map_err(not_able)?;
            Ok::<_, Error>((StageEnd::Done, ()))
        })
    })?;
    Ok(entry.join(NAME))
}

fn compiler(toolchain: &Toolchain, arch: Arch) -> Cmd {
    let flags = ["-static", "-pthread", "-O2", "-Wall", "-Werror"];
    match &toolchain.c {
        // kernel.toml names the compiler without a triple, a stock kernel with the triple.
        CToolchain::Gcc(command) if arch == Arch::Arm64 && !command.starts_with(arch.triple()) => {
            Cmd::new(format!("{}-{command}", arch.triple()))
        }
        CToolchain::Gcc(command) => Cmd::new(command),
        CToolchain::Llvm(version) => Cmd::new(format!("clang-{version}"))
            .args([format!("--target={}", arch.triple()), format!("-fuse-ld=/usr/bin/ld.lld-{version}")]),
    }
    .args(flags)
    .env("LC_ALL", "C")
}

/// A compiler that is missing leaves the result unknown.
fn not_able(error: process::Error) -> Error {
    match error {
        process::Error::Start { command, source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            Error::NotAble {
                what: format!("the compiler of guest programs is missing: could not start `{command}`"),
                help: "`cargo xtask doctor` names the package".to_owned(),
            }
        }
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use klp_base::events::Silent;

    use super::*;

    #[test]
    fn a_program_is_compiled_once_per_content() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(dir.path().join("cache"));
        let case = dir.path().join("case");
        std::fs::create_dir(&case).unwrap();
        let source = case.join("fault.c");
        let build = || build(&source, &Toolchain::gcc("gcc"), Arch::X86_64, &cache, &Silent);
        std::fs::write(&source, "#include \"answer.h\"\nint main(void) { return ANSWER; }\n").unwrap();
        let error = build().unwrap_err().to_string();
        assert!(error.contains("fault.c:1:10: fatal error: answer.h"), "{error}");
        std::fs::write(case.join("answer.h"), "#define ANSWER 7\n").unwrap();
        let first = build().unwrap();
        assert_eq!(Cmd::new(&first).output().unwrap().status.code(), Some(7));
        assert_eq!(build().unwrap(), first);
        std::fs::write(case.join("answer.h"), "#define ANSWER 8\n").unwrap();
        let second = build().unwrap();
        assert_ne!(second, first);
        assert_eq!(Cmd::new(&second).output().unwrap().status.code(), Some(8));
        let missing = super::build(&source, &Toolchain::gcc("gcc-0"), Arch::X86_64, &cache, &Silent);
        let error = missing.unwrap_err();
        assert!(error.exit_code() == 69 && error.to_string().contains("gcc-0"), "{error}");
    }

    #[test]
    fn compilers_of_the_architectures() {
        let typed = |toolchain: &Toolchain, arch| compiler(toolchain, arch).typed();
        let gcc = Toolchain::gcc("gcc-12");
        let llvm = Toolchain { c: CToolchain::Llvm(19), ..gcc.clone() };
        for (toolchain, arch, start) in [
            (&gcc, Arch::X86_64, "gcc-12 -static"),
            (&gcc, Arch::Arm64, "aarch64-linux-gnu-gcc-12 -static"),
            (&llvm, Arch::Arm64, "clang-19 --target=aarch64-linux-gnu "),
        ] {
            let typed = typed(toolchain, arch);
            assert!(typed.contains(&format!(" {start}")), "{typed}");
        }
    }
}
