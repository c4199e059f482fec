// SPDX-License-Identifier: GPL-2.0-or-later
//! Modules that replace functions of a kernel by extracted copies of themselves: the proof of the extractor of C diffs.

use klp_base::cache::Cache;
use klp_base::events::Sink;
use klp_base::files::{make_dir, write};
use klp_cdiff::{Draw, Report};
use klp_kernel::KernelTree;
use klp_pipeline::build::Build;
use klp_pipeline::project::{Project, Target, read_fix};
use klp_pipeline::stage::{Built, Range, Stage};
use klp_pipeline::{Error, c_diff};

/// Functions that a kernel thread never leaves, or that the livepatch core itself needs to change functions. With a copy of one of
/// them the transition would not end.
pub(crate) const NEVER_LEFT: [&str; 48] = [
    "__schedule",
    "schedule",
    "schedule_idle",
    "schedule_preempt_disabled",
    "preempt_schedule_irq",
    "schedule_timeout",
    "schedule_timeout_idle",
    "schedule_timeout_interruptible",
    "schedule_timeout_uninterruptible",
    "io_schedule",
    "io_schedule_timeout",
    "msleep",
    "usleep_range_state",
    "schedule_hrtimeout_range",
    "schedule_hrtimeout_range_clock",
    "kthread",
    "kthreadd",
    "kthread_worker_fn",
    "worker_thread",
    "rescuer_thread",
    "process_one_work",
    "process_scheduled_works",
    "do_idle",
    "cpu_startup_entry",
    "smpboot_thread_fn",
    "rcu_gp_kthread",
    "rcu_gp_fqs_loop",
    "rcu_tasks_kthread",
    "rcu_tasks_one_gp",
    "rcu_exp_gp_kthread_worker",
    "rcu_nocb_gp_kthread",
    "rcu_nocb_cb_kthread",
    "rcu_nocb_cb_wait",
    "nocb_gp_wait",
    "swake_up_one",
    "kswapd",
    "kswapd_try_to_sleep",
    "kcompactd",
    "khugepaged",
    "khugepaged_wait_work",
    "oom_reaper",
    "kauditd_thread",
    "hwrng_fillfn",
    "irq_thread",
    "irq_wait_for_interrupt",
    "devtmpfsd",
    "devtmpfs_work_loop",
    "ksm_scan_thread",
];

/// Draw of files and functions.
pub fn draw(files: usize, share: usize, seed: u64) -> Draw {
    Draw { files, share, seed, without: NEVER_LEFT.iter().map(|name| (*name).to_owned()).collect() }
}

/// Builds the module of a draw. Returns the module and what it replaces.
///
/// # Errors
/// The kernel has no source package, or a stage failed.
pub fn build(
    project: &Project,
    tree: &KernelTree,
    draw: &Draw,
    cache: &Cache,
    sink: &dyn Sink,
) -> Result<(Built, Report), Error> {
    let Draw { files, share, seed, .. } = draw;
    let given = c_diff::copies(project, tree, draw, cache, sink)?;
    let dir = project.build_dir(&tree.id, ".artifacts").join(format!("copies-{files}-{share}-{seed}"));
    make_dir(&dir)?;
    write(&dir.join("draw"), format!("{draw:?}\n"))?;
    let text = "description = \"Copies of the kernel's own functions\"\ndiff = \"draw\"\nmodule = \"kpatch_copies\"\n";
    write(&dir.join("patch.toml"), text)?;
    let target = Target::of_fix(read_fix("copies", &dir)?);
    let build = Build { project, tree, target: &target, given: Some(&given), signer: None, cache, sink };
    Ok((build.run(Range { from: None, to: Stage::Verify })?, given.1))
}
