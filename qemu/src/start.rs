// SPDX-License-Identifier: GPL-2.0-or-later
//! Decision between a boot and a snapshot, per machine configuration.
//!
//! A snapshot costs a boot and a write; each guest from it costs a fraction of a boot. Therefore the default machine
//! always has a snapshot, and any other configuration if at least two cases share it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use klp_base::cache::Cache;
use klp_base::events::{Sink, StageEnd, stage};
use klp_guest::Hello;

use crate::accel::Accel;
use crate::backend::Backend;
use crate::deadline::Deadlines;
use crate::disk;
use crate::exit::End;
use crate::guest::Guest;
use crate::initramfs::Initramfs;
use crate::link::LinkError;
use crate::machine::{Machine, Memory, SystemDisk};
use crate::options::Options;
use crate::plan::Group;
use crate::report::{BootRun, Start, Summary, locked};
use crate::snapshot::Snapshot;
use crate::vm::{BootError, Vm};

/// Source of a group's machines.
#[derive(Clone, Debug)]
pub(crate) enum Origin {
    /// Each machine boots. The reason is set if a snapshot was wanted.
    Boot(Option<String>),
    /// Each machine is restored from this snapshot, until a restore fails and sets the reason.
    Snapshot(Arc<Snapshot>, Arc<OnceLock<String>>),
}

impl Origin {
    /// Machines from the snapshot that [`find_or_make`] returned. `warn` gets the reason where there is none because of an error.
    pub(crate) fn of_snapshot(made: Result<Option<Snapshot>, BootError>, warn: impl FnOnce(&str)) -> Self {
        match made {
            Ok(Some(snapshot)) => Self::Snapshot(Arc::new(snapshot), Arc::default()),
            Ok(None) => Self::Boot(None),
            Err(error) => {
                let reason = error.reason();
                warn(&reason);
                Self::Boot(Some(reason))
            }
        }
    }

    /// Kind of start to report for a machine that boots.
    pub(crate) fn boot(&self) -> Start {
        let reason = match self {
            Self::Boot(reason) => reason.as_ref(),
            Self::Snapshot(_, failed) => failed.get(),
        };
        reason.map_or(Start::Boot, |reason| Start::BootInstead { reason: reason.clone() })
    }

    /// The snapshot, while it is usable.
    pub(crate) fn snapshot(&self) -> Option<&Snapshot> {
        match self {
            Self::Snapshot(snapshot, failed) if failed.get().is_none() => Some(snapshot),
            _ => None,
        }
    }

    /// Stops the use of the snapshot. Returns true on the first failure.
    pub(crate) fn give_up(&self, reason: &str) -> bool {
        match self {
            Self::Snapshot(_, failed) => failed.set(reason.to_owned()).is_ok(),
            Self::Boot(_) => false,
        }
    }
}

/// Machine for a group of cases.
pub(crate) fn machine<'a>(
    options: &Options,
    guest: &'a Guest,
    accel: &Accel,
    group: &'a Group,
    append: &'a str,
) -> Machine<'a> {
    Machine {
        kernel: &guest.kernel,
        backend: accel.backend,
        cpus: group.cpus,
        memory_mib: options.memory_mib,
        append,
        cpu_model: group.cpu_model.as_deref(),
        gdb: options.gdb,
        disk: None,
        ssh: None,
        memory: Memory::Anonymous,
    }
}

/// Finds or makes the snapshot for a configuration that `cases` cases share. An unusable snapshot is a warning, and its
/// cases boot.
pub(crate) fn origin(
    options: &Options,
    guest: &Guest,
    accel: &Accel,
    group: &Group,
    cases: usize,
    results: &Mutex<Summary>,
    sink: &dyn Sink,
) -> Origin {
    let Some(cache) = options.snapshots.as_ref().filter(|_| !options.gdb && accel.backend == Backend::Tcg)
    else {
        return Origin::Boot(None);
    };
    let machine = machine(options, guest, accel, group, &group.append);
    let usual = group.append.is_empty() && group.cpu_model.is_none() && group.cpus == 1;
    let record = |end: &End, hello| record_boot(results, &guest.kernel.id, accel, end, hello);
    let made = || {
        let root = Initramfs::guest(&guest.files)?;
        let deadlines = options.deadlines();
        let (label, boot) = (guest.kernel.id.as_str(), deadlines.boot);
        let template = Template { label, machine, root: &root, image: None, boot, settle: &|_| Ok(()) };
        find_or_make(cache, &template, deadlines, usual || cases > 1, &record, sink)
    };
    Origin::of_snapshot(made(), |reason| {
        sink.warn(format!("{}: no snapshot, the cases boot: {reason}", guest.kernel.id));
    })
}

/// Records the boot of a machine whose state is kept as a snapshot.
pub(crate) fn record_boot(results: &Mutex<Summary>, kernel: &str, accel: &Accel, end: &End, hello: Duration) {
    locked(results).boots.push(BootRun {
        kernel: kernel.to_owned(),
        cases: Vec::new(),
        accel: accel.text.to_owned(),
        start: Start::Boot,
        hello: Some(hello),
        wall: end.wall,
        cpu: end.cpu,
    });
}

/// Machine whose booted state is kept as a snapshot.
pub(crate) struct Template<'a> {
    /// Label of the cache entries.
    pub(crate) label: &'a str,
    /// The machine, without a disk.
    pub(crate) machine: Machine<'a>,
    /// Its initramfs.
    pub(crate) root: &'a Initramfs,
    /// Disk image, in the cache, under the disk of the machine; `None` for a machine without a disk.
    pub(crate) image: Option<&'a Path>,
    /// Time limit of the boot.
    pub(crate) boot: Duration,
    /// Work in the guest between Hello and the save.
    pub(crate) settle: &'a dyn Fn(&mut Vm) -> Result<(), LinkError>,
}

impl Template<'_> {
    /// Boots the machine and saves it; returns Hello and the console text.
    fn save(
        &self,
        cache: &Cache,
        snapshot: &Snapshot,
        deadlines: Deadlines,
        record: &dyn Fn(&End, Duration),
    ) -> Result<(Hello, String), BootError> {
        let (memory, disk) = (snapshot.memory(), snapshot.disk());
        if let Some(image) = self.image {
            disk::overlay(&from_entry(cache, image), &disk)?;
        }
        let machine = Machine {
            memory: Memory::Saved(&memory),
            disk: self.image.is_some().then_some(SystemDisk::Image(&disk)),
            ..self.machine
        };
        let mut vm = Vm::boot(&machine, self.root, deadlines, self.boot)?;
        if let Err(error) = (self.settle)(&mut vm) {
            return Err(BootError::Exited(Box::new(vm.diagnose(&error))));
        }
        let (hello, took) = (vm.hello.clone(), vm.boot);
        let end = vm.save(&snapshot.state())?;
        record(&end, took);
        Ok((hello, end.console.text))
    }
}

/// Path of a file of the cache as seen from an entry, so that the cache can be moved.
fn from_entry(cache: &Cache, file: &Path) -> PathBuf {
    match file.strip_prefix(cache.root()) {
        Ok(inside) => Path::new("../..").join(inside),
        Err(_) => file.to_owned(),
    }
}

/// Finds the snapshot of a machine. If it is missing and `worth_making`, boots the machine and saves it.
pub(crate) fn find_or_make(
    cache: &Cache,
    template: &Template<'_>,
    deadlines: Deadlines,
    worth_making: bool,
    record: &dyn Fn(&End, Duration),
    sink: &dyn Sink,
) -> Result<Option<Snapshot>, BootError> {
    let Template { label, machine, root, image, .. } = template;
    let key = Snapshot::key(machine, root, *image)?;
    if let Some(found) = Snapshot::find(cache, label, &key)? {
        return Ok(Some(found));
    }
    if !worth_making {
        return Ok(None);
    }
    let subject = format!("{label} {}", machine.append);
    stage(sink, "snapshot", subject.trim_end(), || {
        let made =
            Snapshot::make(cache, label, &key, |snapshot| template.save(cache, snapshot, deadlines, record))?;
        Ok((StageEnd::Done, Some(made)))
    })
}

/// Restores a guest and checks that it is the saved one.
///
/// # Errors
/// The reason, with the name of the cache entry.
pub(crate) fn restore(machine: &Machine<'_>, snapshot: &Snapshot, options: &Options) -> Result<Vm, String> {
    Vm::restore(machine, snapshot, options.deadlines()).map_err(|error| {
        let said = match &error {
            BootError::Exited(exit) => exit.end.stderr.lines().next().unwrap_or_default(),
            BootError::Host(_) => "",
        };
        let name = snapshot.dir().file_name().unwrap_or_default().to_string_lossy();
        format!(
            "snapshot {} could not be restored: {} {said}; `cargo xtask cache prune {name}` removes it",
            snapshot.dir().display(),
            error.reason(),
        )
    })
}
