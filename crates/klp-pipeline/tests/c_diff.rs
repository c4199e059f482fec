// SPDX-License-Identifier: GPL-2.0-or-later
//! C diffs that are refused, and those that change no code.

use std::path::{Path, PathBuf};

use klp_base::cache::Cache;
use klp_base::events::{Recorder, Silent};
use klp_base::lots::Lots;
use klp_base::process::Cmd;
use klp_cdiff::inlined::Copies;
use klp_cdiff::{Diffs, Report};
use klp_format::KlpSymbol;
use klp_kernel::c_source::CSource;
use klp_kernel::{KernelConfig, KernelTree};
use klp_pipeline::build::Build;
use klp_pipeline::objects::Objects;
use klp_pipeline::project::{Project, Target, read_fix};
use klp_pipeline::stage::{Range, Stage};
use klp_pipeline::{Error, c_diff, scaffold};

use crate::common;

fn build(
    project: &Project,
    tree: &KernelTree,
    name: &str,
    diff: &str,
    cache: &Cache,
) -> Result<(PathBuf, Report), Error> {
    let diffs = Diffs { subject: name, texts: &[diff.as_bytes()], with_rust: false };
    c_diff::build(project, tree, &diffs, cache, &Silent)
}

/// Result of a diff of one file of Debian's 6.12 source.
fn result(name: &str, file: &str, hunk: &str) -> Result<Report, Error> {
    let (project, cache, tree) = common::kernel("debian-6.12-old");
    let diff = format!("--- a/{file}\n+++ b/{file}\n{hunk}");
    let built = build(&project, &tree, name, &diff, &cache);
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

/// A cache whose source of the kernel is a copy of links, so that a test can change files of it.
fn other_source(tree: &KernelTree, cache: &Cache) -> (tempfile::TempDir, Cache, PathBuf) {
    let root = CSource::of(tree, cache, &Silent).unwrap().root;
    let entry = root.parent().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("c-source").join(entry.file_name().unwrap());
    std::fs::create_dir_all(&copy).unwrap();
    Cmd::new("cp").arg("-rs").arg(&root).arg(&copy).run().unwrap();
    std::fs::copy(entry.join(".entry.json"), copy.join(".entry.json")).unwrap();
    let other = Cache::new(dir.path());
    assert_eq!(CSource::of(tree, &other, &Silent).unwrap().root, copy.join("linux"));
    (dir, other, copy.join("linux"))
}

/// Changes a file of the source.
fn change(root: &Path, file: &str, from: &str, to: &str) {
    let text = std::fs::read_to_string(root.join(file)).unwrap();
    assert!(text.contains(from), "{file} has no {from:?}");
    std::fs::remove_file(root.join(file)).unwrap();
    std::fs::write(root.join(file), text.replacen(from, to, 1)).unwrap();
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn a_source_a_configuration_or_a_compiler_that_is_not_the_kernels_is_refused() {
    let (project, cache, mut tree) = common::kernel("debian-6.12-old");
    let (_dir, other, root) = other_source(&tree, &cache);
    let diff = |file: &str| {
        // A line more at the end changes no code, and the unchanged compile is compared all the same.
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        let (count, last) = (text.lines().count(), text.lines().last().unwrap().to_owned());
        format!("--- a/{file}\n+++ b/{file}\n@@ -{count},1 +{count},2 @@\n {last}\n+int more_of_it;\n")
    };
    let refused =
        |tree: &KernelTree, diff: &str| build(&project, tree, "other", diff, &other).unwrap_err().to_string();
    // Another version of the source.
    change(&root, "ipc/sem.c", "error = -EFBIG;", "error = -ENOMEM;");
    let error = refused(&tree, &diff("ipc/sem.c"));
    let says = "[original-differs] ipc/sem.c: the unchanged file: 1 of ";
    assert!(error.contains(says) && error.contains("do_semtimedop differs from byte"), "{error}");
    assert!(
        error.contains("check that source, configuration and compiler are those of the kernel"),
        "{error}"
    );
    assert!(!error.contains("was compiled by"), "{error}");
    // Another patch level of the compiler.
    let name = tree.config.value("CC_VERSION_TEXT").unwrap().to_owned();
    let text = std::fs::read_to_string(tree.headers.join(".config")).unwrap();
    tree.config = KernelConfig::parse(&text.replace(&name, "gcc-12 (Debian 12.2.0-99) 12.2.1"));
    let error = refused(&tree, &diff("ipc/sem.c"));
    let says = "the kernel was compiled by gcc-12 (Debian 12.2.0-99) 12.2.1, and this machine has x86_64-linux-gnu-gcc-12";
    assert!(error.contains(says), "{error}");
    let same = version("", "\t/* the same code */");
    let same = format!("--- a/fs/proc/version.c\n+++ b/fs/proc/version.c\n{same}");
    let (_, report) = build(&project, &tree, "same", &same, &other).unwrap();
    assert!(report.objects.is_empty() && report.notes.iter().any(|note| note.contains(says)), "{report:?}");
    // Another configuration.
    change(&root, "include/generated/autoconf.h", "#define CONFIG_CHECKPOINT_RESTORE 1\n", "");
    let error = refused(&tree, &diff("ipc/msg.c"));
    assert!(error.contains("[original-differs] ipc/msg.c: the unchanged file: "), "{error}");
    assert!(error.contains("newque differs from byte"), "{error}");
}

/// The kernel goes through the jump labels of a live patch before the livepatch core fills in the symbols of modules.
#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn static_keys_of_modules_are_refused_apart_from_those_of_messages() {
    let keys = "@@ -255,3 +255,3 @@\n \tconst struct nft_chain *chain = priv, *basechain = chain;\n-\tconst struct net *net = nft_net(pkt);\n\
                +\tconst struct net *net = READ_ONCE(nft_net(pkt)->ns.inum) ? nft_net(pkt) : NULL;\n \tconst struct nft_expr *expr, *last;\n";
    let error = result("module-keys", "net/netfilter/nf_tables_core.c", keys).unwrap_err().to_string();
    assert!(error.contains("[module-special-section]") && error.contains("nft_counters_enabled"), "{error}");

    let messages = "@@ -211,3 +211,3 @@\n \t/* No RST for RST. */\n-\tif (otcph->rst) {\n+\tif (otcph->rst || otcph->fin) {\n \t\tpr_debug(\"RST is set\\n\");\n";
    let (project, cache, tree) = common::kernel("debian-6.12-old");
    let file = "net/ipv6/netfilter/nf_reject_ipv6.c";
    let diff = format!("--- a/{file}\n+++ b/{file}\n{messages}");
    let (dir, report) = build(&project, &tree, "module-messages", &diff, &cache).unwrap();
    let says = "places of the changed functions do not take part in dynamic debugging or tracing";
    assert!(report.notes.iter().any(|note| note.contains(says)), "{:?}", report.notes);
    let object = std::fs::read(dir.join(&report.objects[0])).unwrap();
    let module = klp_module::Module::parse(&object).unwrap();
    let labels = module.section("__jump_table").unwrap().index;
    let keys = module.relocations_of(labels).filter(|relocation| relocation.offset % 16 == 8);
    let owners: Vec<&str> = keys
        .map(|relocation| module.symbols()[relocation.symbol].section)
        .map(|section| match section {
            klp_module::SymbolSection::Section(section) => module.sections()[section].name,
            _ => "another object",
        })
        .collect();
    assert!(!owners.is_empty() && owners.iter().all(|owner| *owner == ".data.klp_static_key"), "{owners:?}");
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn a_diff_that_does_not_apply_leaves_nothing() {
    let (project, cache, tree) = common::kernel("debian-6.12-old");
    let whole = version("", "\tm->count = 0;");
    let whole = format!("--- a/fs/proc/version.c\n+++ b/fs/proc/version.c\n{whole}");
    let root = CSource::of(&tree, &cache, &Silent).unwrap().root;
    let mut lots = Lots::new(7);
    let mut refused = 0;
    for _ in 0..2000 {
        let mut diff = whole.clone().into_bytes();
        for _ in 0..=lots.below(3) {
            let at = lots.below(diff.len());
            match lots.below(3) {
                0 => diff[at] = u8::try_from(lots.below(256)).unwrap(),
                1 => diff.truncate(at.max(1)),
                _ => {
                    diff.remove(at);
                }
            }
        }
        // A diff that applies is not compiled here.
        if let Err(error) = klp_cdiff::apply(&[&diff], &root) {
            assert!(!error.to_string().is_empty());
            refused += 1;
        }
    }
    assert!(refused > 1000, "{refused} of 2000 mutants of a diff are refused");
    let moved = whole.replace("utsname()->sysname", "utsname()->release");
    let error = build(&project, &tree, "moved", &moved, &cache).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    let says = "the C diff of `moved` on debian-6.12-old: fs/proc/version.c: hunk 1 (line 9) does not apply: its context is not in \
                the kernel's source; adapt the diff to this kernel's version";
    assert_eq!(error.to_string(), says);
    let left = cache.list().unwrap().into_iter().any(|entry| format!("{entry:?}").contains("moved-debian"));
    assert!(!left, "an entry of a diff that does not apply");
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn a_fix_in_rust_that_leaves_out_a_function_with_a_copy_is_refused() {
    let (project, cache, tree) = common::default_kernel();
    let symbol: KlpSymbol = "vmlinux:find_task_by_pid_ns".parse().unwrap();
    let Copies::Known { file, copies, .. } =
        c_diff::inlined(&project, &tree, &symbol, &cache, &Silent).unwrap()
    else {
        panic!("the copies are not known");
    };
    assert_eq!(file, "kernel/pid.c");
    let callers: Vec<&str> = copies.iter().map(|copy| copy.caller.as_str()).collect();
    assert_eq!(callers, ["find_get_task_by_vpid", "find_task_by_vpid"]);
    assert!(copies.iter().all(|copy| copy.file == "kernel/pid.c" && copy.line > 0), "{copies:?}");
    let dir = tempfile::tempdir().unwrap();
    let objects = Objects::load(&project, &tree, [&symbol], &cache, &Silent).unwrap();
    let names = scaffold::callers_with_copies(&project, &tree, &symbol, &cache, &Silent).unwrap();
    scaffold::fill_in(&project, &tree, &objects, ("copied", &symbol, &names), dir.path()).unwrap();
    let home = dir.path().join("fix");
    let build = || {
        let events = Recorder::default();
        let target = Target::of_fix(read_fix("copied", &home).unwrap());
        let sink = &events;
        let build = Build {
            project: &project,
            tree: &tree,
            target: &target,
            given: None,
            signer: None,
            cache: &cache,
            sink,
        };
        let result = build.run(Range { from: None, to: Stage::Verify });
        (result.map(|_| ()), format!("{:?}", events.events()))
    };
    let (result, _) = build();
    result.unwrap();
    // The author's word about one of the two is gone.
    let text = std::fs::read_to_string(home.join("patch.toml")).unwrap();
    std::fs::write(home.join("patch.toml"), text.replace("\"find_task_by_vpid\"", "")).unwrap();
    let (result, events) = build();
    assert!(matches!(result, Err(Error::Refused(_))), "{result:?}");
    let says = "the compiler inlined it into find_task_by_vpid (kernel/pid.c:";
    assert!(events.contains(says) && !events.contains("into find_get_task_by_vpid"), "{events}");
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn copies_are_known_where_a_file_is_a_part_of_another_and_not_without_a_source() {
    let (project, cache, tree) = common::default_kernel();
    let of =
        |symbol: &str| c_diff::inlined(&project, &tree, &symbol.parse().unwrap(), &cache, &Silent).unwrap();
    // `kernel/sched/build_utility.c` includes the file of this function.
    let Copies::Known { file, .. } = of("vmlinux:wake_up_bit") else { panic!("not known") };
    assert_eq!(file, "kernel/sched/build_utility.c");
    // The oracle agrees with the image: nothing calls this function, which is in its caller.
    let Copies::Known { copies, .. } = of("vmlinux:do_kern_addr_fault") else { panic!("not known") };
    assert_eq!(copies.iter().map(|copy| copy.caller.as_str()).collect::<Vec<_>>(), ["exc_page_fault"]);
    // A macro makes this function.
    let not_known = of("loop:loop_attr_do_show_offset");
    let says = "no C file of the source defines loop_attr_do_show_offset by this name";
    assert_eq!(not_known, Copies::NotKnown(says.to_owned()));
    let not_known = of("klp_inlined:klp_inlined_kept");
    assert_eq!(not_known, Copies::NotKnown("module klp_inlined is not the kernel's own".to_owned()));
}
