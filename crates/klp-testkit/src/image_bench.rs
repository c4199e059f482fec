// SPDX-License-Identifier: GPL-2.0-or-later
//! What reading an image costs, and what it costs others, measured in one run.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use klp_base::files::io_error;
use klp_base::process::{Cmd, find_program};

use klp_kernel::KernelTree;
use klp_pipeline::Error;

/// The function that is looked up: static, with parameters, in every kernel.
const FUNCTION: &str = "cmdline_proc_show";

/// What one process took.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// User and system time.
    pub cpu: Duration,
    /// The most memory, in KiB; not known of processes that are not ours.
    pub peak_kib: Option<u64>,
}

/// A process that was measured, or why it was not.
pub type Measured = Result<Cost, String>;

/// What reading one kernel's image costs: medians of several runs.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Id of the kernel.
    pub kernel: String,
    /// The whole index from the image.
    pub index: Cost,
    /// Prototype, positions and traceability of one function from the index.
    pub look_up: Cost,
    /// `pfunct` on the kernel's raw BTF: the prototype of the same function, nothing else.
    pub pfunct: Measured,
    /// `vmlinux-to-elf` on the image: symbols alone. Run once.
    pub vmlinux_to_elf: Measured,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let memory =
            |cost: &Cost| cost.peak_kib.map_or_else(String::new, |kib| format!(", {} MB", kib / 1024));
        let other = |measured: &Measured| match measured {
            Ok(cost) => format!("{:.2}", cost.cpu.as_secs_f64()),
            Err(why) => format!("not measured: {why}"),
        };
        writeln!(f, "image ({}, CPU seconds, medians):", self.kernel)?;
        let own = [
            ("index from the image", &self.index, "under 2.5, 300 MB"),
            ("look-up of one function", &self.look_up, "under 0.05"),
        ];
        for (what, cost, target) in own {
            writeln!(f, "  {what:<28} {:.2}{} (target: {target})", cost.cpu.as_secs_f64(), memory(cost))?;
        }
        writeln!(f, "  pfunct on raw BTF            {}", other(&self.pfunct))?;
        write!(f, "  vmlinux-to-elf               {}", other(&self.vmlinux_to_elf))
    }
}

/// Measures one kernel. `program` is the example `image` of this crate; `runs` says how often each is run.
///
/// # Errors
/// Our own processes failed. Others that are missing or fail are told in the figures.
pub fn measure(tree: &KernelTree, program: &Path, runs: usize) -> Result<Figures, Error> {
    let dir = tempfile::tempdir().map_err(io_error("make a directory in", std::env::temp_dir()))?;
    let index = Cmd::new(program).arg("index").arg(&tree.image).arg(tree.release.as_str()).arg(dir.path());
    let look_up = Cmd::new(program).arg("look-up").arg(dir.path()).arg(FUNCTION);
    let pfunct =
        Cmd::new("pfunct").args(["--prototypes", "--function", FUNCTION]).arg(dir.path().join("btf"));
    Ok(Figures {
        kernel: tree.id.clone(),
        index: median(&index, runs)?,
        look_up: median(&look_up, runs)?,
        pfunct: median(&pfunct, runs).map_err(|error| first_line(&error)),
        vmlinux_to_elf: vmlinux_to_elf(&tree.image, dir.path()),
    })
}

/// The median of several runs; memory is the last one's.
fn median(cmd: &Cmd, runs: usize) -> Result<Cost, Error> {
    let mut times = Vec::new();
    let mut peak_kib = None;
    for _ in 0..runs.max(1) {
        let output = cmd.run()?;
        times.push(output.cpu);
        peak_kib = output.stdout_text().lines().last().and_then(|line| line.parse().ok());
    }
    times.sort();
    Ok(Cost { cpu: times.get(times.len() / 2).copied().unwrap_or_default(), peak_kib })
}

/// The program of that name, or else its package for this run alone.
fn vmlinux_to_elf(image: &Path, dir: &Path) -> Measured {
    const NAME: &str = "vmlinux-to-elf";
    let output = dir.join("vmlinux.elf");
    if let Some(program) = find_program(NAME) {
        return median(&Cmd::new(program).arg(image).arg(&output), 1).map_err(|error| first_line(&error));
    }
    let packages = dir.join("python");
    let install =
        Cmd::new("python3").args(["-m", "pip", "install", "--quiet", "--target"]).arg(&packages).arg(NAME);
    install.run().map_err(|error| format!("it is not installed, and {}", first_line(&error)))?;
    let run = Cmd::new("python3").arg(packages.join("bin").join(NAME)).env("PYTHONPATH", &packages);
    median(&run.arg(image).arg(&output), 1).map_err(|error| first_line(&error))
}

fn first_line(error: &dyn fmt::Display) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
