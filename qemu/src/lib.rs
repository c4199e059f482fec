// SPDX-License-Identifier: GPL-2.0-or-later
//! Boots kernels in QEMU, runs cases in them and judges the results. This crate is independent of live patching:
//! artifacts are files that a [`Provider`] resolves from names.
//!
//! ```no_run
//! # use klp_base::events::{Terminal, Verdict};
//! # use klp_vm::{Kernel, Options, Provider, Suite, Guest, case};
//! # fn run(guests: Vec<Guest>, provider: &dyn Provider) -> Result<Verdict, klp_vm::Error> {
//! let cases = case::select(&case::load_all("tests/cases".as_ref())?, &["cmdline".to_owned()])?;
//! let options = Options::new("target/evidence", "target/state")?;
//! let summary = Suite { guests, cases, provider, options }.run(&Terminal::new())?;
//! klp_vm::junit::write("junit.xml".as_ref(), &summary)?;
//! print!("{}", klp_vm::ktap::render(&summary));
//! # Ok(
//! summary.verdict()
//! # )
//! # }
//! ```
//!
//! Steps of a run: [`Suite::run`] resolves every artifact through the provider and groups the cases by kernel, number
//! of CPUs and command line. With [`Options::snapshots`], each case of the default machine gets its own guest, restored
//! from a snapshot, and receives its files over the guest program's port. Otherwise each group gets a boot: the
//! initramfs of the harness with the guest program (`klp-guest`) as PID 1, which sends Hello over a virtio-serial port
//! and then serves requests. After each case the kernel must be as clean as before. After an unclean case, a panic or a
//! hang, the remaining cases get a fresh boot.

mod accel;
mod backend;
pub mod bench;
mod boot;
pub mod case;
mod clock;
mod console;
mod deadline;
mod disk;
mod error;
mod exit;
mod fleet;
mod guest;
mod initramfs;
mod judge;
pub mod junit;
mod klog;
pub mod ktap;
mod link;
mod machine;
mod nbd;
mod options;
mod plan;
mod power;
mod qemu;
mod qmp;
mod report;
mod session;
mod snapshot;
mod start;
mod suite;
mod system;
mod system_case;
mod transcript;
mod vm;
mod volatile;

pub use accel::{AccelChoice, UnknownAccel};
pub use deadline::{Deadlines, SCALE_VARIABLE};
pub use disk::DiskImage;
pub use error::Error;
pub use fleet::FleetGuest;
pub use guest::{Guest, GuestFiles, Kernel, emulator};
pub use options::Options;
pub use plan::{ArtifactError, Provider, Supply, Wanted};
pub use power::PowerCuts;
pub use report::{BootRun, CaseRun, Start, Summary};
pub use suite::Suite;
pub use system::{Supplies, System};
pub use system_case::SystemCase;
pub use transcript::Phase;
