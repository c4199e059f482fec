// SPDX-License-Identifier: GPL-2.0-or-later
//! C diffs that are refused, and those that change no code.

use klp_base::events::Silent;
use klp_cdiff::Report;
use klp_pipeline::{Error, c_diff};

use crate::common;

/// Result of a diff of one file of Debian's 6.12 source.
fn result(name: &str, file: &str, hunk: &str) -> Result<Report, Error> {
    let (project, cache, tree) = common::kernel("debian-6.12-old");
    let diff = format!("--- a/{file}\n+++ b/{file}\n{hunk}");
    let built = c_diff::build(&project, &tree, name, &[diff.as_bytes()], &cache, &Silent);
    built.map(|(_, report)| report)
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn changed_structs_are_refused_with_their_members() {
    for (file, hunk, says) in [
        (
            "ipc/util.h",
            "@@ -105,3 +105,4 @@\n struct ipc_ops {\n+\tint extra;\n \tint (*getnew)(struct ipc_namespace *, struct ipc_params *);\n \
             \tint (*associate)(struct kern_ipc_perm *, int);\n",
            "[struct-layout] ipc/util.h: struct ipc_ops: its size is 24 bytes, 32 with the diff; member `extra` is new; \
             member `getnew` moves from byte 0 to byte 8",
        ),
        (
            "ipc/msg.c",
            "@@ -49,4 +49,5 @@\n struct msg_queue {\n \tstruct kern_ipc_perm q_perm;\n+\tlong extra;\n \ttime64_t q_stime;\t\t/* last msgsnd time */\n \
             \ttime64_t q_rtime;\t\t/* last msgrcv time */\n",
            "[struct-layout] ipc/msg.c: struct msg_queue: member `extra` is new; member `q_stime` moves from byte 128 to byte 136",
        ),
    ] {
        let error = result("struct", file, hunk).unwrap_err().to_string();
        assert!(error.contains(says) && error.contains("shadow variable"), "{error}");
    }
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn types_that_no_object_has_change_no_code() {
    let hunk = "@@ -105,8 +105,12 @@\n struct ipc_ops {\n-\tint (*getnew)(struct ipc_namespace *, struct ipc_params *);\n\
                +\tint (*getnew)(struct ipc_namespace *ns, struct ipc_params *params);\n \tint (*associate)(struct kern_ipc_perm *, int);\n \
                \tint (*more_checks)(struct kern_ipc_perm *, struct ipc_params *);\n };\n \n+struct ipc_extra {\n+\tenum { IPC_EXTRA } kind;\n+};\n+\n \
                struct seq_file;\n struct ipc_ids;\n \n";
    let report = result("types", "ipc/util.h", hunk).unwrap();
    assert_eq!((report.objects, report.changed), (Vec::new(), Vec::new()));
    assert_eq!(report.notes, ["files that include what the diff changes: 10; objects that differ: 0"]);
}

/// Start of a hunk before `version_proc_show()`, to which a test adds lines.
const VERSION: &str = "@@ -9,5 +9,@@\n \n+MORE\n static int version_proc_show(struct seq_file *m, void *v)\n {\n+BODY\n \tseq_printf(m, linux_proc_banner,\n \t\tutsname()->sysname,\n";

/// Diff of `fs/proc/version.c` that adds one line before the function and one to its start.
fn version(before: &str, body: &str) -> String {
    VERSION.replace("+9,@@", "+9,7 @@").replace("MORE", before).replace("BODY", body)
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn code_that_a_running_kernel_cannot_have_is_refused() {
    const FILE: &str = "fs/proc/version.c";
    for (file, hunk, says) in [
        (
            FILE,
            version("int proc_more(void); int proc_more(void) { return 1; } EXPORT_SYMBOL(proc_more);", "\tproc_more();"),
            "[special-section] fs/proc/version.c: section .export_symbol",
        ),
        (
            FILE,
            version("static DEFINE_PER_CPU(int, reads);", "\tthis_cpu_inc(reads);"),
            "[per-cpu-data] fs/proc/version.c: reads",
        ),
        (
            FILE,
            version("", "\tm->private = proc_entry_rundown;"),
            "[no-landing-pad] fs/proc/version.c: proc_entry_rundown: the diff takes its address, and the kernel removes its landing pad",
        ),
        (
            FILE,
            version("extern int no_such_function(void);", "\tno_such_function();"),
            "[unknown-symbol] fs/proc/version.c: no_such_function: the diff uses it, and the kernel has no symbol of this name",
        ),
        (
            "fs/pipe.c",
            "@@ -49,1 +49,1 @@\n-static unsigned int pipe_max_size = 1048576;\n+static unsigned int pipe_max_size = 2097152;\n".to_owned(),
            "[changed-data] fs/pipe.c: pipe_max_size: its initial content differs",
        ),
        (
            "lib/string.c",
            "@@ -590,1 +590,1 @@\n-void *memchr_inv(const void *start, int c, size_t bytes)\n+void *memchr_inv(const void *start, int c, size_t bytes) \
             /* changed */\n"
                .to_owned(),
            "",
        ),
    ] {
        match result("refused", file, &hunk) {
            Err(error) => assert!(!says.is_empty() && error.to_string().contains(says), "{says}\n{error}"),
            Ok(report) => assert!(says.is_empty() && report.objects.is_empty(), "{says}: {report:?}"),
        }
    }
}
