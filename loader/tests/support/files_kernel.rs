// SPDX-License-Identifier: GPL-2.0-or-later
//! Fake kernel on files, for kpatch in a process of its own. Insertion, removal and the end of a transition are atomic, so that a
//! kill never leaves a half of them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use klp_format::ModuleName;
use kpatch::{Image, Kernel, System};
use rustix::io::Errno;

struct FilesKernel {
    root: PathBuf,
    start: Instant,
}

/// Runs kpatch below `root` with this process's arguments.
pub fn kpatch(root: &Path) -> ExitCode {
    let kernel = FilesKernel { root: root.to_owned(), start: Instant::now() };
    let system = System::new(root.to_owned(), Box::new(kernel));
    let (mut out, mut err) = (io::stdout(), io::stderr());
    ExitCode::from(kpatch::main(std::env::args_os(), &system, &mut out, &mut err))
}

/// Runs kpatch below `root` with these arguments. Returns the exit code and the output.
pub fn kpatch_with(root: &Path, arguments: impl Iterator<Item = std::ffi::OsString>) -> (u8, String) {
    let kernel = FilesKernel { root: root.to_owned(), start: Instant::now() };
    let system = System::new(root.to_owned(), Box::new(kernel));
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = kpatch::main(arguments, &system, &mut out, &mut err);
    out.extend(err);
    (code, String::from_utf8_lossy(&out).into_owned())
}

/// Makes a patch loaded and enabled.
pub fn load(root: &Path, name: &str) -> io::Result<()> {
    let aside = root.join("sys/.aside");
    let _ = fs::remove_dir_all(&aside);
    fs::create_dir_all(aside.join("module"))?;
    fs::create_dir_all(aside.join("patch"))?;
    // Reference count 0: after a kill between the two renames the module can be removed.
    fs::write(aside.join("module/refcnt"), "0\n")?;
    fs::write(aside.join("module/taint"), "OEK\n")?;
    fs::write(aside.join("patch/enabled"), "1\n")?;
    fs::write(aside.join("patch/transition"), "0\n")?;
    fs::create_dir_all(root.join("sys/module"))?;
    let module = root.join("sys/module").join(name);
    let _ = fs::remove_dir_all(&module);
    fs::rename(aside.join("module"), module)?;
    fs::rename(aside.join("patch"), root.join("sys/kernel/livepatch").join(name))
}

impl FilesKernel {
    /// Completes transitions: removes the directories of disabled patches.
    fn settle(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.root.join("sys/kernel/livepatch"))? {
            let dir = entry?.path();
            if fs::read_to_string(dir.join("enabled")).is_ok_and(|text| text.starts_with('0')) {
                let name = dir.file_name().unwrap_or_default();
                fs::write(self.root.join("sys/module").join(name).join("refcnt"), "0\n")?;
                fs::rename(&dir, self.root.join("sys/.gone"))?;
                fs::remove_dir_all(self.root.join("sys/.gone"))?;
            }
        }
        Ok(())
    }
}

fn errno(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

impl Kernel for FilesKernel {
    fn insert(&self, module: Image<'_>) -> Result<(), Errno> {
        let bytes = match module {
            Image::File(file) => {
                let mut bytes = Vec::new();
                use std::io::{Read, Seek};
                let mut file = file;
                file.rewind().and_then(|()| file.read_to_end(&mut bytes)).map_err(|error| errno(&error))?;
                bytes
            }
            Image::Bytes(bytes) => bytes.to_vec(),
        };
        let module = klp_module::Module::parse(&bytes).map_err(|_| Errno::NOEXEC)?;
        let name = module.name().map_err(|_| Errno::NOEXEC)?;
        load(&self.root, name.as_str()).map_err(|error| errno(&error))
    }

    fn remove(&self, module: &ModuleName) -> Result<(), Errno> {
        let dir = self.root.join("sys/module").join(module.as_str());
        let gone = self.root.join("sys/.removed");
        let _ = fs::remove_dir_all(&gone);
        fs::rename(dir, &gone).map_err(|error| errno(&error))
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn clock(&self) -> SystemTime {
        SystemTime::now()
    }

    fn sleep(&self, time: Duration) {
        // After an error the loader continues to wait.
        let _ = self.settle();
        std::thread::sleep(time);
    }

    fn heed_signals(&self) {}

    fn interrupted(&self) -> Option<i32> {
        None
    }

    fn enable_unit(&self, _: &str, _: &Path) -> Result<(), String> {
        Ok(())
    }

    fn shows_progress(&self) -> bool {
        false
    }
}
