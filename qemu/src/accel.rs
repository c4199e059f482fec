// SPDX-License-Identifier: GPL-2.0-or-later
//! Acceleration of guests. KVM counts as usable only after it ran a guest: on many hosts `/dev/kvm` opens and then
//! fails.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::Path;
use std::str::FromStr;
use std::sync::Mutex;

use klp_base::cache::{sha256_file, write_durable};
use klp_base::events::{Sink, Verdict};
use serde::{Deserialize, Serialize};

use crate::backend::Backend;
use crate::deadline::Deadlines;
use crate::error::Error;
use crate::exit::GuestExit;
use crate::guest::{Guest, table};
use crate::initramfs::Initramfs;
use crate::machine::{Machine, Memory};
use crate::report::locked;
use crate::vm::{BootError, Vm};

/// Requested acceleration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccelChoice {
    /// KVM after a successful trial, else TCG.
    #[default]
    Auto,
    /// KVM; an error without it.
    Kvm,
    /// TCG, the instruction translator of QEMU.
    Tcg,
    /// TCG with an instruction counter as clock: one nanosecond per instruction.
    Counted,
}

impl FromStr for AccelChoice {
    type Err = UnknownAccel;

    fn from_str(text: &str) -> Result<Self, UnknownAccel> {
        match text {
            "auto" => Ok(Self::Auto),
            "kvm" => Ok(Self::Kvm),
            "tcg" => Ok(Self::Tcg),
            "counted" => Ok(Self::Counted),
            _ => Err(UnknownAccel(text.to_owned())),
        }
    }
}

/// Unknown name of an acceleration.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no acceleration; there is: auto, kvm, tcg, counted")]
pub struct UnknownAccel(pub String);

/// Acceleration of one guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Accel {
    pub(crate) backend: Backend,
    /// Name in reports.
    pub(crate) text: &'static str,
}

impl Accel {
    const KVM: Self = Self { backend: Backend::Kvm, text: "kvm (proved)" };
    const TCG: Self = Self { backend: Backend::Tcg, text: "tcg" };
    const COUNTED: Self = Self { backend: Backend::Counted, text: "tcg, instructions counted" };
}

/// Chooses the acceleration for one kernel. The result of a KVM trial is kept in `state` until the next boot of the
/// host. The reason against KVM is reported once per process, not once per case.
pub(crate) fn decide(
    choice: AccelChoice,
    guest: &Guest,
    deadlines: Deadlines,
    state: &Path,
    sink: &dyn Sink,
) -> Result<Accel, Error> {
    match choice {
        AccelChoice::Counted => return Ok(Accel::COUNTED),
        AccelChoice::Tcg => return Ok(Accel::TCG),
        AccelChoice::Auto | AccelChoice::Kvm => {}
    }
    let why = match obstacle(guest) {
        Some(why) => Some(why),
        None => remembered(guest, deadlines, state, sink)?,
    };
    match why {
        None => Ok(Accel::KVM),
        Some(why) if choice == AccelChoice::Kvm => Err(Error::NoKvm { why }),
        Some(why) => {
            static SAID: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
            if locked(&SAID).insert(why.clone()) {
                sink.note(format!("KVM does not run guests here ({why}), using TCG"));
            }
            Ok(Accel::TCG)
        }
    }
}

/// Reason against a KVM trial.
fn obstacle(guest: &Guest) -> Option<String> {
    let arch = guest.kernel.arch;
    if table(arch).host != std::env::consts::ARCH {
        return Some(format!("{} on {}", arch.name(), std::env::consts::ARCH));
    }
    let opened = File::options().read(true).write(true).open("/dev/kvm");
    opened.err().map(|error| format!("/dev/kvm: {error}"))
}

/// Results of KVM trials since the boot of the host, by hash of the kernel image: `null` on success, else the reason.
#[derive(Default, Serialize, Deserialize)]
struct Known {
    boot_id: String,
    failures: BTreeMap<String, Option<String>>,
}

fn remembered(
    guest: &Guest,
    deadlines: Deadlines,
    state: &Path,
    sink: &dyn Sink,
) -> Result<Option<String>, Error> {
    let file = state.join("kvm.json");
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
    // A missing or damaged file only costs another trial.
    let mut memory: Known =
        fs::read(&file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
    if memory.boot_id != boot_id {
        memory = Known { boot_id, ..Known::default() };
    }
    let image = sha256_file(&guest.kernel.image)?;
    if let Some(known) = memory.failures.get(&image) {
        return Ok(known.clone());
    }
    sink.note(format!("trying whether KVM runs a guest (at most {:.0} s)", deadlines.proof.as_secs_f64()));
    let found = match prove(guest, deadlines)? {
        Proof::Works => None,
        Proof::Fails(why) => Some(why),
        // Not a result of KVM: the next run tries again.
        Proof::Unknown(why) => return Ok(Some(why)),
    };
    memory.failures.insert(image, found.clone());
    fs::create_dir_all(state).map_err(Error::io("make the directory", state))?;
    let text = serde_json::to_vec_pretty(&memory).map_err(|error| Error::io("write", &file)(error.into()))?;
    write_durable(&file, &text)?;
    Ok(found)
}

/// Result of a KVM trial.
enum Proof {
    Works,
    Fails(String),
    /// The host was too busy to boot a guest.
    Unknown(String),
}

/// Boots a guest under KVM until its Hello.
fn prove(guest: &Guest, deadlines: Deadlines) -> Result<Proof, Error> {
    let machine = Machine {
        kernel: &guest.kernel,
        backend: Backend::Kvm,
        cpus: 1,
        memory_mib: 512,
        append: "",
        cpu_model: None,
        gdb: false,
        disk: None,
        ssh: None,
        memory: Memory::Anonymous,
    };
    match Vm::boot(&machine, &Initramfs::guest(&guest.files)?, deadlines, deadlines.proof) {
        Ok(vm) => {
            vm.kill();
            Ok(Proof::Works)
        }
        Err(BootError::Host(error)) => Err(error),
        Err(BootError::Exited(exit)) if exit.starved => {
            Ok(Proof::Unknown("the host is too busy to tell".to_owned()))
        }
        Err(BootError::Exited(exit)) => Ok(Proof::Fails(in_short(&exit, deadlines))),
    }
}

fn in_short(exit: &GuestExit, deadlines: Deadlines) -> String {
    if exit.verdict == Verdict::Hung {
        return format!("no answer within {:.0} s", deadlines.proof.as_secs_f64());
    }
    let said = exit.end.stderr.lines().find(|line| !line.trim().is_empty()).unwrap_or(&exit.reason);
    said.trim_start_matches("qemu-system-x86_64: ").chars().take(100).collect()
}
