// SPDX-License-Identifier: GPL-2.0-only
//! Shows the number of processes in /proc/version. The fix counts the entries of the kernel's list of tasks.
#![no_std]

use core::fmt::Write;

use klp::container_of;
use klp::core::list;
use klp::core::shadow::Gfp;
use klp::prelude::*;
use klp::sys::alloc::KBox;

/// The replacements of this fix.
pub struct Patch;

struct Counted {
    processes: c_int,
    first: c_int,
}

/// # Errors
/// No memory is available.
fn count() -> Result<KBox<Counted>, Errno> {
    let mut counted = KBox::new(Counted { processes: 0, first: -1 }, Gfp::KERNEL)?;
    // SAFETY: the list is an RCU list and is traversed in one read-side critical section without sleeping.
    // Its entries are members of tasks.
    unsafe {
        let _section = Guard::section(rcu_read_lock, rcu_read_unlock);
        for entry in list::entries(&raw const init_task.tasks) {
            let task = container_of!(entry, task_struct, tasks);
            if counted.processes == 0 {
                counted.first = (*task).pid;
            }
            counted.processes += 1;
        }
    }
    Ok(counted)
}

impl replaced::vmlinux for Patch {
    unsafe extern "C" fn version_proc_show(m: *mut seq_file, _v: *mut c_void) -> c_int {
        match count() {
            Ok(counted) => {
                // SAFETY: the seq_file core passes a valid `m`. The macro is arithmetic and does not divide
                // by zero.
                let (mut file, tens) = unsafe { (SeqFile::from_ptr(m), DIV_ROUND_UP(counted.processes, 10)) };
                // An overflow is not an error: seq_file calls this function again with a larger buffer.
                let _ = writeln!(
                    file,
                    "processes: {}\ntens: {tens}\nfirst: {}",
                    counted.processes, counted.first
                );
                0
            }
            Err(error) => error.to_ret(),
        }
    }
}

klp::livepatch!(Patch);
