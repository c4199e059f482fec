// SPDX-License-Identifier: GPL-2.0-or-later
//! Runner of cases in a full system with systemd, over several boots of one disk. Each script runs in its own boot. After
//! it, the machine reboots cleanly, or has crashed if the case requires that. The first boot continues from a snapshot
//! of the booted system, where there may be one; each later boot is a new QEMU on the same disk.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use klp_base::events::{CaseEnd, Check, Event, Sink, Verdict};
use klp_guest::DISK_WORD;

use crate::accel::{self, Accel};
use crate::backend::Backend;
use crate::console;
use crate::deadline::Deadlines;
use crate::disk;
use crate::error::Error;
use crate::exit::End;
use crate::guest::Guest;
use crate::initramfs::Initramfs;
use crate::link::LinkError;
use crate::machine::{Machine, Memory, SystemDisk};
use crate::options::Options;
use crate::report::{BootRun, CaseRun, Start, Summary, locked};
use crate::session;
use crate::start::{self, Origin, Template};
use crate::system_case::SystemCase;
use crate::transcript::{Phase, Transcript};
use crate::vm::{BootError, Vm};

/// Memory of a guest, in MiB.
const MEMORY: u32 = 1024;
/// Command that waits until systemd has started all services.
const UP: [&str; 3] = ["systemctl", "is-system-running", "--wait"];

/// Full system that runs the cases.
pub struct System {
    guest: Guest,
    image: PathBuf,
    root: Initramfs,
    options: Options,
    /// Origin of the first boots, once it is known.
    origin: OnceLock<Origin>,
}

/// Files of one case, given to the guest at its first boot.
#[derive(Clone, Debug, Default)]
pub struct Supplies {
    /// Files of the system: path, permission bits, content.
    pub files: Vec<(String, u32, Vec<u8>)>,
    /// Artifacts by name.
    pub artifacts: BTreeMap<String, PathBuf>,
}

/// Observations of one case.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) checks: Vec<Check>,
    phases: Vec<Phase>,
    console: String,
    reason: Option<String>,
    verdict: Option<Verdict>,
}

impl Seen {
    /// True if the case has failed. It then ends: a later boot continues from the state that the failed claim is about.
    pub(crate) fn has_failed(&self) -> bool {
        self.verdict.is_some() || self.failed() > 0
    }

    /// Adds a claim of the host.
    pub(crate) fn check(&mut self, name: impl Into<String>, ok: bool, detail: impl Into<String>) {
        self.checks.push(Check { name: name.into(), ok, detail: (!ok).then(|| detail.into()) });
    }

    pub(crate) fn end(&mut self, verdict: Verdict, reason: String) {
        self.verdict = Some(verdict);
        self.reason = Some(reason);
    }

    fn failed(&self) -> usize {
        self.checks.iter().filter(|check| !check.ok).count()
    }
}

impl System {
    /// System on `image` from [`crate::DiskImage::make`]. `modules`: uncompressed kernel modules for access to the disk, in
    /// load order.
    ///
    /// # Errors
    /// A file of the guest cannot be read.
    pub fn new(
        guest: Guest,
        image: PathBuf,
        modules: Vec<(String, Vec<u8>)>,
        options: Options,
    ) -> Result<Self, Error> {
        let mut root = Initramfs::default();
        root.add_file("/init", 0o755, &guest.files.program)?;
        root.add_file("/overlay/usr/sbin/klp-guest", 0o755, &guest.files.program)?;
        root.add_file("/overlay/usr/local/bin/busybox", 0o755, &guest.files.busybox)?;
        for (at, (name, bytes)) in modules.into_iter().enumerate() {
            root.add(&format!("/modules/{at:02}-{name}.ko"), 0o644, bytes);
        }
        Ok(Self { guest, image, root, options, origin: OnceLock::new() })
    }

    /// Runs a case, reports it to the sink, and returns its result and the cost of its machines.
    ///
    /// # Errors
    /// The host could not run the case.
    pub fn run(&self, case: &SystemCase, supplies: &Supplies, sink: &dyn Sink) -> Result<Summary, Error> {
        let run = Run::new(self, case, supplies, sink)?;
        let temp = tempfile::tempdir().map_err(Error::io("make a directory in", &std::env::temp_dir()))?;
        let disk = temp.path().join("disk.qcow2");
        let mut seen = Seen::default();
        for number in 1..=case.scripts.len() {
            run.boot(number, &disk, &mut seen)?;
            if seen.has_failed() {
                break;
            }
        }
        Ok(run.finish(seen))
    }

    /// Disk image of the system.
    pub(crate) fn image(&self) -> &Path {
        &self.image
    }

    /// Boots a machine with this disk and these additional kernel parameters.
    pub(crate) fn boot(&self, accel: &Accel, disk: SystemDisk<'_>, more: &str) -> Result<Vm, BootError> {
        let append = append(more);
        let machine = Machine { disk: Some(disk), ..self.machine(accel, &append) };
        let deadlines = self.deadlines();
        Vm::boot(&machine, &self.root, deadlines, deadlines.boot * 2)
    }

    /// Boots one guest of a fleet, which ssh reaches at this port. The files of the case are there before the services start.
    pub(crate) fn boot_fleet_guest(
        &self,
        accel: &Accel,
        disk: &Path,
        files: &Initramfs,
        port: u16,
    ) -> Result<Vm, BootError> {
        let append = append("");
        let disk = Some(SystemDisk::Image(disk));
        let machine = Machine { disk, ssh: Some(port), ..self.machine(accel, &append) };
        let mut root = self.root.clone();
        for (path, mode, content) in files.files() {
            root.add(&format!("/overlay{path}"), mode, content.to_vec());
        }
        let deadlines = self.deadlines();
        Vm::boot(&machine, &root, deadlines, deadlines.boot * 2)
    }

    /// Options of the runs.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Kernel and guest files of the system.
    pub fn guest(&self) -> &Guest {
        &self.guest
    }

    /// Starts the system once from its snapshot, and returns the CPU time of QEMU until its first command has ended.
    ///
    /// # Errors
    /// The snapshot cannot be made or restored, or the command failed.
    pub fn first_command(&self, sink: &dyn Sink) -> Result<Duration, Error> {
        let Options { accel, deadlines, state, .. } = &self.options;
        let accel = accel::decide(*accel, &self.guest, *deadlines, state, sink)?;
        let failed = |reason: String, console: &str| Error::Guest {
            kernel: self.guest.kernel.id.clone(),
            reason,
            console: console::tail(console),
        };
        let origin = self.origin(&accel, &Mutex::default(), sink);
        let Some(snapshot) = origin.snapshot() else {
            return Err(failed("there is no snapshot".to_owned(), ""));
        };
        let temp = tempfile::tempdir().map_err(Error::io("make a directory in", &std::env::temp_dir()))?;
        let disk = temp.path().join("disk.qcow2");
        disk::overlay(&snapshot.disk(), &disk)?;
        let append = append("");
        let machine = Machine { disk: Some(SystemDisk::Image(&disk)), ..self.machine(&accel, &append) };
        let mut vm =
            start::restore(&machine, snapshot, &self.options).map_err(|reason| failed(reason, ""))?;
        let answered = run_command(&mut vm, &["true"], deadlines);
        let cpu = vm.cpu();
        match answered {
            Ok(()) => {
                vm.kill();
                Ok(cpu)
            }
            Err(error) => {
                let exit = vm.diagnose(&error);
                Err(failed(exit.reason, &exit.end.console.text))
            }
        }
    }

    /// Machine without a disk.
    fn machine<'m>(&'m self, accel: &Accel, append: &'m str) -> Machine<'m> {
        Machine {
            kernel: &self.guest.kernel,
            backend: accel.backend,
            cpus: 1,
            memory_mib: MEMORY,
            append,
            gdb: false,
            cpu_model: None,
            disk: None,
            ssh: None,
            memory: Memory::Anonymous,
        }
    }

    /// Origin of first boots without additional kernel parameters.
    fn origin(&self, accel: &Accel, results: &Mutex<Summary>, sink: &dyn Sink) -> &Origin {
        self.origin.get_or_init(|| {
            let Some(cache) = self.options.snapshots.as_ref().filter(|_| accel.backend == Backend::Tcg)
            else {
                return Origin::Boot(None);
            };
            let kernel = &self.guest.kernel.id;
            let append = append("");
            let deadlines = self.deadlines();
            let template = Template {
                label: &format!("{kernel}-system"),
                machine: self.machine(accel, &append),
                root: &self.root,
                image: Some(&self.image),
                boot: deadlines.boot * 2,
                settle: &|vm| run_command(vm, &UP, &deadlines),
            };
            let record = |end: &End, hello| start::record_boot(results, kernel, accel, end, hello);
            let made = start::find_or_make(cache, &template, deadlines, true, &record, sink);
            Origin::of_snapshot(made, |reason| {
                sink.warn(format!("{kernel}: no snapshot of the full system, it boots: {reason}"));
            })
        })
    }

    /// Deadlines; the shutdown includes the time that systemd needs to stop its services.
    pub(crate) fn deadlines(&self) -> Deadlines {
        let mut deadlines = self.options.deadlines();
        deadlines.shutdown = deadlines.boot;
        deadlines
    }

    /// Files to put into the guest at the first boot.
    pub(crate) fn files(&self, case: &SystemCase, supplies: &Supplies) -> Result<Initramfs, Error> {
        let mut files = Initramfs::default();
        files.add_dir("/lib", &self.guest.files.lib)?;
        files.add_dir("/case", &case.dir)?;
        for (path, mode, bytes) in &supplies.files {
            files.add(path, *mode, bytes.clone());
        }
        // Arguments: script, date of a guest from a snapshot (its clock stood still), operation.
        let mut start = format!(
            "export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LC_ALL=C\n\
             export CASE={} KERNEL={} RELEASE={} COLLECT= EVIDENCE=/evidence\n\
             ln -sf busybox /usr/local/bin/usleep\n\
             [ -z \"${{2-}}\" ] || date -s \"@$2\" >/dev/null\n\
             OPERATION=${{3-}}\n",
            case.name, self.guest.kernel.id, self.guest.kernel.release
        );
        if supplies.files.iter().any(|(path, ..)| path.starts_with("/usr/lib/systemd/")) {
            start.push_str("[ \"$1\" != 1 ] || systemctl daemon-reload\n");
        }
        for (name, file) in &supplies.artifacts {
            let path = format!("/artifacts/{}", file.file_name().unwrap_or_default().to_string_lossy());
            files.add_file(&path, 0o644, file)?;
            let variable: String =
                name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
            start.push_str(&format!("export KO_{variable}={path}\n"));
        }
        start.push_str(". \"/case/$1.sh\"\n");
        files.add("/case/start", 0o755, start.into_bytes());
        Ok(files)
    }
}

/// Kernel parameters of a full system. The console has warnings and what is graver: each line costs emulated port
/// accesses.
fn append(more: &str) -> String {
    format!("{DISK_WORD} rw mitigations=off loglevel=5 systemd.show_status=0 {more}").trim_end().to_owned()
}

/// Runs a command in the guest. An exit status other than 0 is an error.
fn run_command(vm: &mut Vm, argv: &[&str], deadlines: &Deadlines) -> Result<(), LinkError> {
    let mut transcript = Transcript::default();
    let exit = session::run_script(vm, argv, &mut transcript, deadlines.boot, deadlines.grace)?;
    if exit.code == Some(0) {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&transcript.bytes).trim().to_owned();
    Err(LinkError::Unexpected(format!("{exit:?} when asked to run {}: {said}", argv.join(" "))))
}

/// One run of a case.
pub(crate) struct Run<'a> {
    pub(crate) system: &'a System,
    pub(crate) case: &'a SystemCase,
    pub(crate) accel: Accel,
    pub(crate) sink: &'a dyn Sink,
    /// Command that repeats the case.
    pub(crate) repeat: String,
    files: Initramfs,
    evidence: PathBuf,
    results: Mutex<Summary>,
    started: Instant,
}

impl<'a> Run<'a> {
    /// Run with an empty directory of evidence.
    pub(crate) fn new(
        system: &'a System,
        case: &'a SystemCase,
        supplies: &Supplies,
        sink: &'a dyn Sink,
    ) -> Result<Self, Error> {
        let Options { accel, deadlines, state, .. } = &system.options;
        let accel = accel::decide(*accel, &system.guest, *deadlines, state, sink)?;
        let evidence = system.options.evidence.join(&system.guest.kernel.id).join(&case.name);
        if evidence.exists() {
            fs::remove_dir_all(&evidence).map_err(Error::io("empty", &evidence))?;
        }
        let files = system.files(case, supplies)?;
        let repeat = system.options.repeat_line(&case.name, &system.guest.kernel.id);
        let (results, started) = (Mutex::default(), Instant::now());
        Ok(Self { system, case, accel, sink, repeat, files, evidence, results, started })
    }

    /// Runs one boot and its script. A result that ends the case is written to `seen`.
    fn boot(&self, number: usize, disk: &Path, seen: &mut Seen) -> Result<(), Error> {
        let name = number.to_string();
        let (started, mut vm) = match self.start(number, disk) {
            Ok(started) => started,
            Err(error) => return self.not_booted(&name, error, seen),
        };
        let hello = Some(vm.boot);
        let date = if started == Start::Snapshot { seconds_of_date() } else { String::new() };
        let given = if number == 1 { self.give_files(&mut vm) } else { Ok(()) };
        let end = match given.and_then(|()| self.script(&[&name, &date], &name, "", &mut vm, seen)) {
            Ok(()) if self.case.crashes.contains(&number) => {
                seen.end(Verdict::Failed, format!("{number}.sh ended instead of a panic"));
                vm.kill()
            }
            Ok(()) => self.power_off(&name, vm, seen),
            Err(error) => {
                let exit = vm.diagnose(&error);
                if self.case.crashes.contains(&number) && exit.verdict == Verdict::Panicked {
                    seen.check(format!("boot {number} ends in a panic"), true, "");
                } else {
                    seen.end(exit.verdict, format!("{number}.sh: {}", exit.reason));
                }
                exit.end
            }
        };
        self.close(&name, started, hello, end, seen)
    }

    /// Reports a machine that did not come up.
    pub(crate) fn not_booted(&self, name: &str, error: BootError, seen: &mut Seen) -> Result<(), Error> {
        match error {
            BootError::Host(error) => Err(error),
            BootError::Exited(exit) => {
                seen.end(exit.verdict, format!("boot {name}: {}", exit.reason));
                self.close(name, Start::Boot, None, exit.end, seen)
            }
        }
    }

    /// Reboots in good order, which ends the machine.
    pub(crate) fn power_off(&self, name: &str, vm: Vm, seen: &mut Seen) -> End {
        match vm.power_off() {
            Ok(end) => end,
            Err(exit) => {
                seen.end(exit.verdict, format!("reboot after boot {name}: {}", exit.reason));
                exit.end
            }
        }
    }

    /// Machine of a boot, with its guest program's Hello.
    fn start(&self, number: usize, disk: &Path) -> Result<(Start, Vm), BootError> {
        let system = self.system;
        let more = self.case.append.get(&number).map_or("", String::as_str);
        let name = format!("{} on {}", self.case.name, system.guest.kernel.id);
        let mut started = Start::Boot;
        if number == 1 {
            let origin = more.is_empty().then(|| system.origin(&self.accel, &self.results, self.sink));
            if let Some(vm) = origin.map(|origin| self.restore(origin, disk)).transpose()?.flatten() {
                self.sink.note(format!("  boot 1       {name}, from a snapshot"));
                return Ok((Start::Snapshot, vm));
            }
            started = origin.map_or(Start::Boot, Origin::boot);
            disk::overlay(&system.image, disk)?;
        }
        self.sink.note(format!("  boot {number}       {name}"));
        Ok((started, system.boot(&self.accel, SystemDisk::Image(disk), more)?))
    }

    /// Guest from the snapshot, with a new disk; `None` if it must boot instead.
    fn restore(&self, origin: &Origin, disk: &Path) -> Result<Option<Vm>, Error> {
        let Some(snapshot) = origin.snapshot() else { return Ok(None) };
        disk::overlay(&snapshot.disk(), disk)?;
        let append = append("");
        let machine =
            Machine { disk: Some(SystemDisk::Image(disk)), ..self.system.machine(&self.accel, &append) };
        match start::restore(&machine, snapshot, &self.system.options) {
            Ok(vm) => Ok(Some(vm)),
            Err(reason) => {
                if origin.give_up(&reason) {
                    let name = &self.case.name;
                    self.sink.warn(format!("{name}, and the cases after it, boot: {reason}"));
                }
                Ok(None)
            }
        }
    }

    /// Writes the files of the case into the guest.
    pub(crate) fn give_files(&self, vm: &mut Vm) -> Result<(), LinkError> {
        self.files.files().try_for_each(|(path, mode, content)| vm.put(&path, mode, content))
    }

    /// Runs `/case/start` with these arguments. Its claims, with `prefix`, and a result that ends the case are written to
    /// `seen`; the output is evidence of the name `log`.
    pub(crate) fn script(
        &self,
        words: &[&str],
        log: &str,
        prefix: &str,
        vm: &mut Vm,
        seen: &mut Seen,
    ) -> Result<(), LinkError> {
        let argv: Vec<&str> = ["/bin/sh", "/case/start"].iter().chain(words).copied().collect();
        let script = format!("{}.sh", words.first().unwrap_or(&""));
        let deadlines = self.system.deadlines();
        let within = deadlines.case(self.case.timeout);
        let mut transcript = Transcript::default();
        let exit = session::run_script(vm, &argv, &mut transcript, within, deadlines.grace);
        if let Err(error) = session::write(&self.evidence, &format!("{log}.output.log"), &transcript.bytes) {
            self.sink.warn(error.to_string());
        }
        let claimed = transcript.checks.len();
        let named = |check: Check| Check { name: format!("{prefix}{}", check.name), ..check };
        seen.checks.extend(transcript.checks.into_iter().map(named));
        seen.phases.extend(transcript.phases);
        let exit = exit?;
        if exit.stopped {
            let within = within.as_secs_f64();
            let reason = format!("{prefix}{script} did not end within {within:.0} s, after {claimed} claims");
            seen.end(Verdict::Hung, reason);
        } else if exit.code != Some(0) || claimed == 0 {
            let reason = format!("{prefix}{script} ended with {:?} after {claimed} claims", exit.code);
            seen.end(Verdict::Failed, reason);
        }
        Ok(())
    }

    /// Keeps the console and the cost of a boot that ended.
    pub(crate) fn close(
        &self,
        name: &str,
        start: Start,
        hello: Option<Duration>,
        end: End,
        seen: &mut Seen,
    ) -> Result<(), Error> {
        locked(&self.results).boots.push(BootRun {
            kernel: self.system.guest.kernel.id.clone(),
            cases: vec![self.case.name.clone()],
            accel: self.accel.text.to_owned(),
            start,
            hello,
            wall: end.wall,
            cpu: end.cpu,
        });
        seen.console = end.console.text;
        session::write(&self.evidence, &format!("{name}.console.log"), seen.console.as_bytes())?;
        Ok(())
    }

    /// Judges the case and reports it; returns its result and the cost of its machines.
    pub(crate) fn finish(self, mut seen: Seen) -> Summary {
        let failed = seen.failed();
        let verdict = seen.verdict.unwrap_or(if failed > 0 || seen.checks.is_empty() {
            seen.reason.get_or_insert(format!("{failed} of {} checks failed", seen.checks.len()));
            Verdict::Failed
        } else {
            Verdict::Passed
        });
        let mut summary = self.results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        let own = || summary.boots.iter().filter(|boot| boot.cases.contains(&self.case.name));
        let (cpu, start) = (own().map(|boot| boot.cpu).sum(), own().next().map(|boot| boot.start.clone()));
        let kernel = &self.system.guest.kernel.id;
        let end = CaseEnd {
            case: self.case.name.clone(),
            kernel: kernel.clone(),
            verdict,
            checks: seen.checks,
            reason: seen.reason,
            console: if verdict == Verdict::Passed { String::new() } else { console::tail(&seen.console) },
            evidence: Some(self.evidence),
            repeat: self.repeat,
            accel: self.accel.text.to_owned(),
            wall: self.started.elapsed(),
        };
        self.sink.event(&Event::Case(Box::new(end.clone())));
        summary.cases.push(CaseRun { end, start, iteration: 1, cpu, phases: seen.phases, taint: 0 });
        summary
    }
}

/// Date of the host, in seconds since 1970.
fn seconds_of_date() -> String {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().to_string()
}
