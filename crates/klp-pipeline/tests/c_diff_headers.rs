// SPDX-License-Identifier: GPL-2.0-or-later
//! C diffs that change headers and types.

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
