// SPDX-License-Identifier: GPL-2.0-or-later
//! Cases in a full system with systemd, over several boots of one disk:
//! `tests/systems/<name>/{case.toml,1.sh,2.sh,...}`. Each script runs in its own boot. After it, the machine reboots
//! cleanly, or has crashed if the case requires that.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use klp_base::events::{CaseEnd, Check, Event, Sink, Verdict};
use klp_guest::DISK_WORD;
use serde::Deserialize;

use crate::accel;
use crate::console;
use crate::disk;
use crate::error::Error;
use crate::guest::Guest;
use crate::initramfs::Initramfs;
use crate::machine::{Machine, Memory};
use crate::options::Options;
use crate::session;
use crate::transcript::Transcript;
use crate::vm::{BootError, Vm};

/// Memory of a guest, in MiB.
pub(crate) const MEMORY: u32 = 1024;

/// Case with several boots.
#[derive(Clone, Debug)]
pub struct SystemCase {
    /// Name of the directory.
    pub name: String,
    /// Directory of the case.
    pub dir: PathBuf,
    /// One line: the property that the case tests.
    pub description: String,
    /// Names of artifacts; the provider maps them to files.
    pub artifacts: Vec<String>,
    /// Format of the packages that the case installs, for the provider. Without it, the loader's files lie on the disk.
    pub packages: Option<String>,
    /// Numbers, from 1, of the boots that end in a panic.
    pub crashes: Vec<usize>,
    /// Additional kernel parameters by number of the boot.
    pub append: BTreeMap<usize, String>,
    /// Host names of the guests of a fleet, which run at the same time ([`crate::FleetGuest`]). Empty for one guest.
    pub guests: Vec<String>,
    /// Time limit of each script.
    pub timeout: Duration,
    /// Scripts in their order.
    scripts: Vec<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    description: String,
    #[serde(default)]
    artifacts: Vec<String>,
    packages: Option<String>,
    #[serde(default)]
    guests: Vec<String>,
    #[serde(default)]
    crashes: Vec<usize>,
    #[serde(default)]
    append: BTreeMap<String, String>,
    #[serde(default = "usual_timeout")]
    timeout: u64,
}

fn usual_timeout() -> u64 {
    120
}

impl SystemCase {
    /// Reads all cases below `dir`, in order.
    ///
    /// # Errors
    /// A case is not readable or has no `case.toml` or no script; or there is no case.
    pub fn load_all(dir: &Path) -> Result<Vec<Self>, Error> {
        let mut dirs = Vec::new();
        for entry in fs::read_dir(dir).map_err(Error::io("list", dir))? {
            let path = entry.map_err(Error::io("list", dir))?.path();
            if path.is_dir() {
                dirs.push(path);
            }
        }
        if dirs.is_empty() {
            let none = std::io::Error::other("it holds no case");
            return Err(Error::io("list", dir)(none));
        }
        dirs.sort();
        dirs.iter().map(|dir| Self::load(dir)).collect()
    }

    fn load(dir: &Path) -> Result<Self, Error> {
        let path = dir.join("case.toml");
        let text = fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let wrong = |message: String| Error::io("read", &path)(std::io::Error::other(message));
        let file: File = toml::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        let scripts: Vec<PathBuf> = (1..)
            .map(|number| dir.join(format!("{number}.sh")))
            .take_while(|script| script.is_file())
            .collect();
        if scripts.is_empty() {
            return Err(wrong("there is no 1.sh beside it".to_owned()));
        }
        if let Some(number) = file.crashes.iter().find(|number| !(1..=scripts.len()).contains(*number)) {
            return Err(wrong(format!("`crashes`: there is no {number}.sh")));
        }
        let mut append = BTreeMap::new();
        for (number, words) in file.append {
            let known = number.parse().ok().filter(|number| (1..=scripts.len()).contains(number));
            append.insert(known.ok_or_else(|| wrong(format!("`append`: there is no {number}.sh")))?, words);
        }
        Ok(Self {
            append,
            name: dir.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            dir: dir.to_owned(),
            description: file.description,
            artifacts: file.artifacts,
            packages: file.packages,
            guests: file.guests,
            crashes: file.crashes,
            timeout: Duration::from_secs(file.timeout),
            scripts,
        })
    }
}

/// Full system that runs the cases.
pub struct System<'a> {
    /// Kernel, and guest program for both the initramfs and the disk.
    pub guest: &'a Guest,
    /// Disk image from [`crate::DiskImage::make`].
    pub image: &'a Path,
    /// Uncompressed kernel modules for access to the disk, in load order.
    pub modules: Vec<(String, Vec<u8>)>,
    /// Files to lay over the disk at each boot: path, permission bits, content.
    pub files: Vec<(String, u32, Vec<u8>)>,
    /// Parameters of the run.
    pub options: Options,
}

/// Observations of one case.
#[derive(Default)]
struct Seen {
    checks: Vec<Check>,
    console: String,
    reason: Option<String>,
    verdict: Option<Verdict>,
}

impl System<'_> {
    /// Runs a case, reports it to the sink and returns its verdict.
    ///
    /// # Errors
    /// The host could not run the case.
    pub fn run(
        &self,
        case: &SystemCase,
        artifacts: &BTreeMap<String, PathBuf>,
        sink: &dyn Sink,
    ) -> Result<Verdict, Error> {
        let Options { accel, deadlines, state, .. } = &self.options;
        let accel = accel::decide(*accel, self.guest, *deadlines, state, sink)?;
        let started = Instant::now();
        let evidence = self.options.evidence.join(&self.guest.kernel.id).join(&case.name);
        if evidence.exists() {
            fs::remove_dir_all(&evidence).map_err(Error::io("empty", &evidence))?;
        }
        let temp = tempfile::tempdir().map_err(Error::io("make a directory in", &std::env::temp_dir()))?;
        let disk = temp.path().join("disk.qcow2");
        disk::overlay(self.image, &disk)?;
        let root = self.initramfs(case, artifacts)?;
        let mut seen = Seen::default();
        for number in 1..=case.scripts.len() {
            let more = case.append.get(&number).map_or("", String::as_str);
            let append = format!("{DISK_WORD} rw mitigations=off systemd.show_status=0 {more}");
            let machine = Machine {
                kernel: &self.guest.kernel,
                backend: accel.backend,
                cpus: 1,
                memory_mib: MEMORY,
                append: append.trim(),
                gdb: false,
                cpu_model: None,
                disk: Some(&disk),
                ssh: None,
                memory: Memory::Anonymous,
            };
            sink.note(format!("  boot {number}       {} on {}", case.name, self.guest.kernel.id));
            self.boot(&machine, &root, case, number, &evidence, &mut seen)?;
            if seen.verdict.is_some() {
                break;
            }
        }
        let failed = seen.checks.iter().filter(|check| !check.ok).count();
        let verdict = seen.verdict.unwrap_or(if failed > 0 || seen.checks.is_empty() {
            seen.reason.get_or_insert(format!("{failed} of {} checks failed", seen.checks.len()));
            Verdict::Failed
        } else {
            Verdict::Passed
        });
        sink.event(&Event::Case(Box::new(CaseEnd {
            case: case.name.clone(),
            kernel: self.guest.kernel.id.clone(),
            verdict,
            checks: seen.checks,
            reason: seen.reason,
            console: if verdict == Verdict::Passed { String::new() } else { console::tail(&seen.console) },
            evidence: Some(evidence),
            repeat: self.options.repeat_line(&case.name, &self.guest.kernel.id),
            accel: accel.text.to_owned(),
            wall: started.elapsed(),
        })));
        Ok(verdict)
    }

    pub(crate) fn initramfs(
        &self,
        case: &SystemCase,
        artifacts: &BTreeMap<String, PathBuf>,
    ) -> Result<Initramfs, Error> {
        let mut root = Initramfs::default();
        root.add_file("/init", 0o755, &self.guest.files.program)?;
        root.add_file("/overlay/usr/sbin/klp-guest", 0o755, &self.guest.files.program)?;
        root.add_file("/overlay/usr/local/bin/busybox", 0o755, &self.guest.files.busybox)?;
        root.add_dir("/overlay/lib", &self.guest.files.lib)?;
        for (at, (name, bytes)) in self.modules.iter().enumerate() {
            root.add(&format!("/modules/{at:02}-{name}.ko"), 0o644, bytes.clone());
        }
        for (path, mode, bytes) in &self.files {
            root.add(&format!("/overlay{path}"), *mode, bytes.clone());
        }
        root.add_dir("/overlay/case", &case.dir)?;
        let mut start = format!(
            "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LC_ALL=C\n\
             export CASE={} KERNEL={} RELEASE={} COLLECT= EVIDENCE=/evidence\n\
             ln -sf busybox /usr/local/bin/usleep\n",
            case.name, self.guest.kernel.id, self.guest.kernel.release
        );
        for (name, file) in artifacts {
            let path = format!("/artifacts/{}", file.file_name().unwrap_or_default().to_string_lossy());
            root.add_file(&format!("/overlay{path}"), 0o644, file)?;
            let variable: String =
                name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
            start.push_str(&format!("export KO_{variable}={path}\n"));
        }
        start.push_str(". \"/case/$1.sh\"\n");
        root.add("/overlay/case/start", 0o755, start.into_bytes());
        Ok(root)
    }

    /// Runs one boot and its script. A result that ends the case is written to `seen`.
    fn boot(
        &self,
        machine: &Machine<'_>,
        root: &Initramfs,
        case: &SystemCase,
        number: usize,
        evidence: &Path,
        seen: &mut Seen,
    ) -> Result<(), Error> {
        let mut deadlines = self.options.deadlines();
        // The shutdown includes the time that systemd needs to stop its services.
        deadlines.shutdown = deadlines.boot;
        let mut vm = match Vm::boot(machine, root, deadlines, deadlines.boot * 2) {
            Ok(vm) => vm,
            Err(BootError::Host(error)) => return Err(error),
            Err(BootError::Exited(exit)) => {
                seen.verdict = Some(exit.verdict);
                seen.reason = Some(format!("boot {number}: {}", exit.reason));
                session::write(evidence, &format!("{number}.console.log"), exit.end.console.text.as_bytes())?;
                seen.console = exit.end.console.text;
                return Ok(());
            }
        };
        let mut transcript = Transcript::default();
        let argv = ["/bin/sh", "/case/start", &number.to_string()];
        let within = deadlines.case(case.timeout);
        let finished = session::run_script(&mut vm, &argv, &mut transcript, within, deadlines.grace);
        session::write(evidence, &format!("{number}.output.log"), &transcript.bytes)?;
        let claimed = transcript.checks.len();
        seen.checks.extend(transcript.checks);
        let crash = case.crashes.contains(&number);
        let console = match finished {
            Ok(exit) if crash => {
                seen.verdict = Some(Verdict::Failed);
                seen.reason = Some(format!("{number}.sh ended with {:?} instead of a panic", exit.code));
                vm.kill().console.text
            }
            Ok(exit) => {
                if exit.code != Some(0) || claimed == 0 {
                    seen.verdict = Some(if exit.stopped { Verdict::Hung } else { Verdict::Failed });
                    seen.reason = Some(if exit.stopped {
                        let within = within.as_secs_f64();
                        format!("{number}.sh did not end within {within:.0} s, after {claimed} claims")
                    } else {
                        format!("{number}.sh ended with {:?} after {claimed} claims", exit.code)
                    });
                }
                match vm.power_off() {
                    Ok(end) => end.console.text,
                    Err(exit) => {
                        seen.verdict = Some(exit.verdict);
                        seen.reason = Some(format!("reboot after {number}.sh: {}", exit.reason));
                        exit.end.console.text
                    }
                }
            }
            Err(error) => {
                let exit = vm.diagnose(&error);
                if crash && exit.verdict == Verdict::Panicked {
                    let name = format!("boot {number} ends in a panic");
                    seen.checks.push(Check { name, ok: true, detail: None });
                } else {
                    seen.verdict = Some(exit.verdict);
                    seen.reason = Some(format!("{number}.sh: {}", exit.reason));
                }
                exit.end.console.text
            }
        };
        session::write(evidence, &format!("{number}.console.log"), console.as_bytes())?;
        seen.console = console;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_no_case_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let load =
            || SystemCase::load_all(dir.path()).map(|cases| cases.len()).map_err(|error| error.to_string());
        assert!(load().unwrap_err().contains("it holds no case"));
        let good = dir.path().join("good");
        fs::create_dir(&good).unwrap();
        fs::write(good.join("case.toml"), "description = 'x'").unwrap();
        assert!(load().unwrap_err().contains("1.sh"));
        fs::write(good.join("1.sh"), "").unwrap();
        assert_eq!(load(), Ok(1));
        fs::create_dir(dir.path().join("bad")).unwrap();
        assert!(load().unwrap_err().contains("bad/case.toml"));
        assert!(SystemCase::load_all(&dir.path().join("none")).is_err());
    }
}
