// SPDX-License-Identifier: GPL-2.0-or-later
//! Decision between a boot and a snapshot, per machine configuration.
//!
//! A snapshot costs a boot and a write; each guest from it costs a fraction of a boot. Therefore the default machine
//! always has a snapshot, and any other configuration if at least two cases share it.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use klp_base::cache::Cache;
use klp_base::events::{Sink, StageEnd, stage};

use crate::accel::Accel;
use crate::backend::Backend;
use crate::exit::End;
use crate::guest::Guest;
use crate::initramfs::Initramfs;
use crate::machine::{Machine, Memory};
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
    let record = |end: &End, hello| {
        locked(results).boots.push(BootRun {
            kernel: guest.kernel.id.clone(),
            cases: Vec::new(),
            accel: accel.text.to_owned(),
            start: Start::Boot,
            hello: Some(hello),
            wall: end.wall,
            cpu: end.cpu,
        });
    };
    match find_or_make(cache, options, guest, &machine, usual || cases > 1, &record, sink) {
        Ok(Some(snapshot)) => Origin::Snapshot(Arc::new(snapshot), Arc::default()),
        Ok(None) => Origin::Boot(None),
        Err(error) => {
            let reason = error.reason();
            sink.warn(format!("{}: no snapshot, the cases boot: {reason}", guest.kernel.id));
            Origin::Boot(Some(reason))
        }
    }
}

fn find_or_make(
    cache: &Cache,
    options: &Options,
    guest: &Guest,
    machine: &Machine<'_>,
    worth_making: bool,
    record: &dyn Fn(&End, Duration),
    sink: &dyn Sink,
) -> Result<Option<Snapshot>, BootError> {
    let label = &guest.kernel.id;
    let root = Initramfs::guest(&guest.files)?;
    let key = Snapshot::key(machine, &root)?;
    if let Some(found) = Snapshot::find(cache, label, &key)? {
        return Ok(Some(found));
    }
    if !worth_making {
        return Ok(None);
    }
    let subject = format!("{label} {}", machine.append);
    stage(sink, "snapshot", subject.trim_end(), || {
        let made = Snapshot::make(cache, label, &key, |snapshot| {
            let memory = snapshot.memory();
            let machine = Machine { memory: Memory::Saved(&memory), ..*machine };
            let deadlines = options.deadlines();
            let vm = Vm::boot(&machine, &root, deadlines, deadlines.boot)?;
            let hello = vm.hello.clone();
            let took = vm.boot;
            let end = vm.save(&snapshot.state())?;
            record(&end, took);
            Ok::<_, BootError>((hello, end.console.text))
        })?;
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
