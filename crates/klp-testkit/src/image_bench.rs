// SPDX-License-Identifier: GPL-2.0-or-later
//! Cost of reading an image, compared with other tools, measured in one run.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use klp_base::files::io_error;
use klp_base::process::{Cmd, find_program};

use klp_kernel::KernelTree;
use klp_pipeline::Error;

/// The function to look up: static, with parameters, in every kernel.
const FUNCTION: &str = "cmdline_proc_show";

/// Resource usage of one process.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// User and system time.
    pub cpu: Duration,
    /// Peak memory in KiB; unknown for other tools.
    pub peak_kib: Option<u64>,
}

/// Cost of a process, or the reason of the failed measurement.
pub type Measured = Result<Cost, String>;

/// Cost of reading one kernel's image: medians of several runs.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Id of the kernel.
    pub kernel: String,
    /// Generation of the complete index from the image.
    pub index: Cost,
    /// Look-up of the prototype, symbol positions and traceability of one function in the index.
    pub look_up: Cost,
    /// `pfunct` on the kernel's raw BTF: only the prototype of the same function.
    pub pfunct: Measured,
    /// `vmlinux-to-elf` on the image: only symbols. Run once.
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

/// Measures one kernel. `program` is the example `image` of this crate; `runs` is the number of runs of each
/// program.
///
/// # Errors
/// The program of this crate failed. Missing or failed other tools are reported in the figures.
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

/// Median of several runs; memory is from the last run.
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

/// Uses the installed program, or installs its package for this run only.
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
