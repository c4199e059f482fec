// SPDX-License-Identifier: GPL-2.0-or-later
//! Power cuts in the midst of operations of a full system. The operations of a case follow each other on one disk; each is
//! cut at a drawn write of the disk. After it, a boot on what the disk kept runs `after.sh`, which judges the state and
//! finishes the operation, and then the next operation begins.

use std::fs::File;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use klp_base::events::Sink;
use klp_base::lots::Lots;

use crate::disk;
use crate::error::Error;
use crate::link::LinkError;
use crate::machine::SystemDisk;
use crate::nbd::{Cut, Served, Server};
use crate::report::{Start, Summary};
use crate::system::{Run, Seen, Supplies, System};
use crate::system_case::SystemCase;
use crate::vm::Vm;
use crate::volatile::Disk;

/// Number of moments of an operation to draw from. The number of its writes differs a little from run to run.
const SHARES: usize = 1000;

/// Power cuts in a full system.
pub struct PowerCuts<'a> {
    /// The system.
    pub system: &'a System,
    /// Number of cuts.
    pub count: usize,
    /// Seed of the draw: moments, and what the disk keeps.
    pub seed: u64,
}

/// Figures of all cuts.
#[derive(Default)]
struct Figures {
    /// Cuts before the end of the operation.
    within: usize,
    /// Blocks that were written, not flushed, and lost.
    lost: usize,
}

impl PowerCuts<'_> {
    /// Runs a case with operations, and reports it to the sink.
    ///
    /// # Errors
    /// The host could not run the case.
    pub fn run(&self, case: &SystemCase, supplies: &Supplies, sink: &dyn Sink) -> Result<Summary, Error> {
        let mut run = Run::new(self.system, case, supplies, sink)?;
        run.repeat.push_str(&format!(" --cuts {} --seed {}", self.count, self.seed));
        let temp = tempfile::tempdir().map_err(Error::io("make a directory in", &std::env::temp_dir()))?;
        let raw = temp.path().join("disk.raw");
        disk::raw(self.system.image(), &raw)?;
        let disk = File::open(&raw).and_then(Disk::new).map_err(Error::io("open", &raw))?;
        sink.note(format!("  power cuts   {}: {} cuts with seed {}", case.name, self.count, self.seed));
        let mut cuts = Cuts {
            run: &run,
            socket: temp.path().join("disk.socket"),
            seed: self.seed,
            disk: Some(disk),
            lengths: Vec::new(),
            figures: Figures::default(),
        };
        let mut seen = Seen::default();
        cuts.set_up(&mut seen)?;
        for number in 1..=self.count {
            if !seen.has_failed() {
                cuts.one(number, &mut seen)?;
            }
        }
        if !seen.has_failed() {
            cuts.last(self.count, &mut seen)?;
        }
        if !seen.has_failed() {
            let Figures { within, lost } = cuts.figures;
            seen.check(
                "most cuts come before the operation ends",
                within * 2 > self.count,
                format!("{within}"),
            );
            seen.check("the cuts lose writes that were not flushed", lost > 0, "no block was lost");
        }
        drop(cuts);
        Ok(run.finish(seen))
    }
}

/// Progress of a case.
struct Cuts<'a> {
    run: &'a Run<'a>,
    socket: PathBuf,
    seed: u64,
    /// The disk, between two boots.
    disk: Option<Disk>,
    /// Writes and flushes of each operation, without a cut.
    lengths: Vec<u64>,
    figures: Figures,
}

/// Machine on the served disk.
struct Booted {
    vm: Vm,
    server: Server,
}

impl<'a> Cuts<'a> {
    /// Boots on the disk; `None` if the boot failed, which ends the case.
    fn boot(&mut self, name: &str, seen: &mut Seen) -> Result<Option<Booted>, Error> {
        let Some(disk) = self.disk.take() else { return Ok(None) };
        let listener = listen(&self.socket)?;
        let server = Server::start(disk, listener);
        self.run.sink.note(format!("  boot         {name}"));
        match self.run.system.boot(&self.run.accel, SystemDisk::Served(&self.socket), "") {
            Ok(vm) => Ok(Some(Booted { vm, server })),
            Err(error) => {
                self.run.not_booted(name, error, seen)?;
                Ok(None)
            }
        }
    }

    /// Gives the guest its files, runs `1.sh`, and then each operation without a cut.
    fn set_up(&mut self, seen: &mut Seen) -> Result<(), Error> {
        let Some(Booted { mut vm, server }) = self.boot("set-up", seen)? else { return Ok(()) };
        let hello = Some(vm.boot);
        let run = self.run;
        let mut lengths = Vec::new();
        let mut scripts = || {
            run.give_files(&mut vm)?;
            run.script(&["1"], "1", "", &mut vm, seen)?;
            for operation in &run.case.operations {
                if seen.has_failed() {
                    return Ok(());
                }
                server.count_from_here(None);
                let prefix = format!("{operation} without a cut: ");
                run.script(&["cut", "", operation], &format!("{operation}.cut"), &prefix, &mut vm, seen)?;
                lengths.push(server.requests());
                run.script(&["after", "", operation], &format!("{operation}.after"), &prefix, &mut vm, seen)?;
            }
            Ok(())
        };
        let end = match scripts() {
            Ok(()) => run.power_off("set-up", vm, seen),
            Err(error) => {
                let exit = vm.diagnose(&error);
                seen.end(exit.verdict, format!("set-up: {}", exit.reason));
                exit.end
            }
        };
        run.close("set-up", Start::Boot, hello, end, seen)?;
        self.lengths = lengths;
        self.disk = Some(self.served(server)?.disk);
        Ok(())
    }

    /// Boots, judges and finishes the operation of the cut before, and cuts the power during the next operation.
    fn one(&mut self, number: usize, seen: &mut Seen) -> Result<(), Error> {
        let name = format!("cut-{number:02}");
        let Some(Booted { mut vm, server }) = self.boot(&name, seen)? else { return Ok(()) };
        let hello = Some(vm.boot);
        let (operation, length) = self.operation(number);
        // Draws of its own: those of the next cut do not depend on how many blocks are lost in this one.
        let mut lots = Lots::new(self.seed.wrapping_mul(SHARES as u64).wrapping_add(number as u64));
        let at = 1 + lots.below(SHARES) as u64 * length / SHARES as u64;
        let judged = self.after(number - 1, &mut vm, seen);
        let judged = judged.and_then(|()| {
            if seen.has_failed() {
                return Ok(false);
            }
            server.count_from_here(Some(Cut { at, pid: vm.pid() }));
            let prefix = format!("cut {number}, {operation}: ");
            self.run.script(&["cut", "", operation], &name, &prefix, &mut vm, seen).map(|()| true)
        });
        let end = match judged {
            // The operation has ended before that write, and the cut comes after it; or a claim failed.
            Ok(_) => vm.kill(),
            Err(error) => {
                let exit = vm.diagnose(&error);
                if server.was_cut() {
                    self.figures.within += 1;
                } else {
                    seen.end(exit.verdict, format!("{name}: {}", exit.reason));
                }
                exit.end
            }
        };
        self.run.close(&name, Start::Boot, hello, end, seen)?;
        let Served { mut disk } = self.served(server)?;
        let lost = disk.cut(&mut lots);
        self.figures.lost += lost;
        self.disk = Some(disk);
        self.run.sink.note(format!(
            "  cut {number:2}       {operation}, at write {at} of about {length}; {lost} blocks lost"
        ));
        Ok(())
    }

    /// Boots once more, and judges and finishes the operation of the last cut.
    fn last(&mut self, count: usize, seen: &mut Seen) -> Result<(), Error> {
        let Some(Booted { mut vm, server }) = self.boot("last", seen)? else { return Ok(()) };
        let hello = Some(vm.boot);
        let end = match self.after(count, &mut vm, seen) {
            Ok(()) => self.run.power_off("last", vm, seen),
            Err(error) => {
                let exit = vm.diagnose(&error);
                seen.end(exit.verdict, format!("last: {}", exit.reason));
                exit.end
            }
        };
        self.run.close("last", Start::Boot, hello, end, seen)?;
        self.served(server).map(drop)
    }

    /// Runs `after.sh` for the cut of this number; 0 is no cut.
    fn after(&self, number: usize, vm: &mut Vm, seen: &mut Seen) -> Result<(), LinkError> {
        if number == 0 {
            return Ok(());
        }
        let (operation, _) = self.operation(number);
        let prefix = format!("after cut {number}, {operation}: ");
        self.run.script(&["after", "", operation], &format!("after-{number:02}"), &prefix, vm, seen)
    }

    /// Operation of the cut of this number, from 1, and its length.
    fn operation(&self, number: usize) -> (&'a str, u64) {
        let operations = &self.run.case.operations;
        let at = (number - 1) % operations.len().max(1);
        let name = operations.get(at).map_or("", String::as_str);
        (name, self.lengths.get(at).copied().unwrap_or(1))
    }

    /// The disk after the end of its QEMU.
    fn served(&self, server: Server) -> Result<Served, Error> {
        server.end().map_err(Error::io("serve the disk at", &self.socket))
    }
}

/// Listens on a socket; that of the boot before is removed.
fn listen(socket: &Path) -> Result<UnixListener, Error> {
    if socket.exists() {
        std::fs::remove_file(socket).map_err(Error::io("remove", socket))?;
    }
    UnixListener::bind(socket).map_err(Error::io("listen on", socket))
}
