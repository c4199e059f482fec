// SPDX-License-Identifier: GPL-2.0-or-later
//! Crash safety of the store: the program is killed before each system call, each system call on files fails in turn, and ten
//! instances run in parallel.
//!
//! strace injects kills and failures (`--inject`). The program under test is this test program, started with
//! `FERROGRAFT_KPATCH_ROOT`: kpatch on the files below that directory, with a kernel that inserts and removes modules there
//! atomically, as the real one does.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, unreachable_pub, dead_code, reason = "a test")]

#[path = "support/files_kernel.rs"]
mod files_kernel;
#[path = "support/module.rs"]
mod module;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};

use klp_base::process::Cmd;
use libtest_mimic::{Arguments, Failed, Trial};

const ROOT: &str = "FERROGRAFT_KPATCH_ROOT";
const RELEASE: &str = "6.12.117+deb12-amd64";
const STORE: &str = "var/lib/kpatch";
const MODULE: &[u8] = include_bytes!("../../crates/klp-module/tests/data/cmdline_c.ko");

fn main() -> ExitCode {
    if let Some(root) = std::env::var_os(ROOT) {
        return files_kernel::kpatch(Path::new(&root));
    }
    let mut arguments = Arguments::from_args();
    // Each test starts threads of its own.
    arguments.test_threads = Some(1);
    let mut trials = Vec::new();
    for scene in SCENES {
        trials.push(Trial::test(format!("killed_at_every_system_call::{}", scene.name), || {
            every_kill(scene).map_err(Failed::from)
        }));
        for (errno, calls) in FAILURES {
            trials.push(Trial::test(
                format!("{}_everywhere::{}", errno.to_lowercase(), scene.name),
                move || every_failure(scene, errno, calls).map_err(Failed::from),
            ));
        }
    }
    trials.push(Trial::test("ten_at_once", || ten_at_once().map_err(Failed::from)));
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// Injected errors: system calls and error numbers of a full disk, a read-only file system, a broken disk.
const FAILURES: [(&str, &str); 4] = [
    // Errors of sysfs and procfs for objects that vanished.
    ("ENODEV", "read,open,openat,getdents64"),
    ("ENOSPC", "write,openat,mkdir,rename,fsync"),
    ("EROFS", "openat,mkdir,rename,unlink,fchmod,ftruncate"),
    ("EIO", "read,fsync,fdatasync,getdents64,statx"),
];

struct Scene {
    name: &'static str,
    before: fn(&Machine),
    arguments: &'static [&'static str],
    /// Check of the final state; exit codes of a command that finds it reached already.
    after: fn(&Machine) -> bool,
    already: &'static [u8],
}

const SCENES: &[Scene] = &[
    Scene {
        name: "install",
        before: |_| {},
        arguments: &["install", "{root}/tmp/kpatch-k-1-1.ko"],
        after: |machine| machine.holds(&format!("{RELEASE}/kpatch-k-1-1.ko"), 1),
        already: &[0],
    },
    Scene {
        name: "uninstall",
        before: |machine| machine.put(&format!("{RELEASE}/kpatch-k-1-1.ko"), 1),
        arguments: &["uninstall", "kpatch_k_1_1"],
        after: |machine| !machine.exists(&format!("{RELEASE}/kpatch-k-1-1.ko")),
        already: &[0, 3],
    },
    Scene {
        name: "uninstall_of_the_older",
        before: |machine| {
            machine.put(&format!("{RELEASE}/kpatch-k-1-1.ko"), 1);
            machine.put(&format!("{RELEASE}/kpatch-k-1-2.ko"), 2);
        },
        arguments: &["uninstall", "kpatch_k_1_1"],
        after: |machine| {
            machine.holds(&format!(".previous-{RELEASE}:kpatch-k-1-1.ko"), 1)
                && machine.holds(&format!("{RELEASE}/kpatch-k-1-2.ko"), 2)
        },
        already: &[0, 3],
    },
    Scene {
        name: "rollback",
        before: |machine| {
            machine.put(&format!(".previous-{RELEASE}:kpatch-k-1-1.ko"), 1);
            machine.put(&format!("{RELEASE}/kpatch-k-1-2.ko"), 2);
        },
        arguments: &["rollback"],
        after: |machine| {
            machine.holds(&format!("{RELEASE}/kpatch-k-1-1.ko"), 1)
                && machine.holds(&format!(".previous-{RELEASE}:kpatch-k-1-2.ko"), 2)
        },
        already: &[0, 3],
    },
    // The first verb that changes something migrates the old layout.
    Scene {
        name: "migration",
        before: |machine| {
            machine.put(&format!(".previous/{RELEASE}/kpatch-k-1-1.ko"), 1);
            machine.put(&format!("{RELEASE}/kpatch-k-1-2.ko"), 2);
            machine.write(&format!("{STORE}/.trial/kpatch_k_1_2"), NOTE);
        },
        arguments: &["install", "{root}/tmp/kpatch-k-1-1.ko"],
        after: |machine| {
            let note = fs::read(machine.root.join(STORE).join(".trial-kpatch_k_1_2"));
            machine.holds(&format!(".previous-{RELEASE}:kpatch-k-1-1.ko"), 1)
                && machine.holds(&format!("{RELEASE}/kpatch-k-1-1.ko"), 1)
                && note.is_ok_and(|note| note == NOTE)
                && !machine.exists(".previous")
                && !machine.exists(".trial")
        },
        already: &[0],
    },
    Scene {
        name: "load",
        before: |machine| machine.put(&format!("{RELEASE}/kpatch-k-1-1.ko"), 1),
        arguments: &["load", "--all"],
        after: |machine| machine.root.join("sys/kernel/livepatch/kpatch_k_1_1/enabled").exists(),
        already: &[0],
    },
    // The kernel reported a bug in a patch that is on trial. Without the log the taint flags keep it from being confirmed.
    Scene {
        name: "bug",
        before: |machine| {
            machine.put(&format!("{RELEASE}/kpatch-k-1-1.ko"), 1);
            machine.load("kpatch_k_1_1");
            let note =
                std::str::from_utf8(NOTE).unwrap().replace("boot-0", "boot-1").replace("k_1_2", "k_1_1");
            let note = note.replace("\"uptime\":1", "\"uptime\":1,\"taint\":0");
            machine.write(&format!("{STORE}/.trial-kpatch_k_1_1"), note.as_bytes());
            machine.write("proc/sys/kernel/tainted", b"512\n");
            machine.write(
                "dev/kmsg",
                b"4,1,2000000,-;WARNING: CPU: 0 PID: 1 at a.c:1 livepatch_f+0x1/0x2 [kpatch_k_1_1]\n",
            );
        },
        arguments: &["confirm"],
        after: |machine| {
            let bug =
                fs::read_to_string(machine.root.join(STORE).join(".bug-kpatch_k_1_1")).unwrap_or_default();
            bug.contains("\"function\":\"livepatch_f [kpatch_k_1_1]\"")
                && bug.ends_with("}\n")
                && !machine.exists(".trial-kpatch_k_1_1")
        },
        // The undisturbed run ends with 9, a second one finds nothing to confirm.
        already: &[0, 9],
    },
    Scene {
        name: "unload",
        before: |machine| machine.load("kpatch_k_1_1"),
        arguments: &["unload", "kpatch_k_1_1"],
        after: |machine| !machine.root.join("sys/module/kpatch_k_1_1").exists(),
        already: &[0, 3],
    },
    Scene {
        name: "status",
        before: |machine| {
            machine.put(&format!("{RELEASE}/kpatch-k-1-1.ko"), 1);
            machine.load("kpatch_k_1_1");
            machine.write("sys/kernel/livepatch/kpatch_k_1_1/transition", b"1\n");
            machine.write("proc/7/task/7/patch_state", b"0\n");
            machine.write("proc/7/task/7/comm", b"x\n");
            machine.write("proc/7/task/7/stack", b"[<0>] f+0x1/0x2\n");
        },
        arguments: &["status"],
        after: |_| true,
        already: &[0],
    },
];

/// Boot note of an earlier boot.
const NOTE: &[u8] =
    br#"{"module":"kpatch_k_1_2","build":"b","kernel":"k","boot":"boot-0","since":1,"uptime":1}"#;

struct Machine {
    _dir: tempfile::TempDir,
    root: PathBuf,
}

/// Content of a module of this release.
fn bytes_of(release: u32) -> Vec<u8> {
    module::module_named(&format!("kpatch_k_1_{release}"), &[&module::manifest("demo", (1, release), "", "")])
}

impl Machine {
    fn new(scene: &Scene) -> Self {
        // On tmpfs if possible: kills have the same effect there, and thousands of fsync calls take no time.
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let machine = Self { root: dir.path().to_owned(), _dir: dir };
        for (path, text) in [
            ("proc/sys/kernel/osrelease", format!("{RELEASE}\n")),
            ("proc/sys/kernel/random/boot_id", "boot-1\n".to_owned()),
            ("proc/uptime", "1000.00 1\n".to_owned()),
        ] {
            machine.write(path, text.as_bytes());
        }
        fs::create_dir_all(machine.root.join("sys/kernel/livepatch")).unwrap();
        machine.write("tmp/kpatch-k-1-1.ko", &bytes_of(1));
        (scene.before)(&machine);
        machine
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn put(&self, path: &str, release: u32) {
        self.write(&format!("{STORE}/{path}"), &bytes_of(release));
    }

    fn load(&self, name: &str) {
        files_kernel::load(&self.root, name).unwrap();
    }

    fn exists(&self, path: &str) -> bool {
        self.root.join(STORE).join(path).exists()
    }

    fn holds(&self, path: &str, release: u32) -> bool {
        fs::read(self.root.join(STORE).join(path)).is_ok_and(|bytes| bytes == bytes_of(release))
    }

    /// Runs kpatch under strace with these arguments.
    fn kpatch(&self, strace: &[String], arguments: &[&str]) -> klp_base::process::Output {
        let root = self.root.to_str().unwrap();
        let program = std::env::current_exe().unwrap();
        let cmd = match strace {
            [] => Cmd::new(&program),
            words => Cmd::new("strace")
                .hint("install strace (or run `cargo xtask doctor --fix`)")
                .args(words)
                .arg(&program),
        };
        let arguments = arguments.iter().map(|word| word.replace("{root}", root));
        cmd.args(arguments).env(ROOT, root).env("RUST_BACKTRACE", "0").output().unwrap()
    }

    /// Modules of the store, installed or kept.
    ///
    /// # Errors
    /// A file has the content of no known version.
    fn modules(&self) -> Result<BTreeMap<String, u32>, String> {
        let mut found = BTreeMap::new();
        for dir in [RELEASE.to_owned(), format!(".previous/{RELEASE}"), ".".to_owned()] {
            for entry in fs::read_dir(self.root.join(STORE).join(&dir)).into_iter().flatten().flatten() {
                let name = entry.file_name().into_string().unwrap();
                let kept = name.starts_with(".previous-") && dir == ".";
                if !kept && (name.starts_with('.') || dir == ".") {
                    continue;
                }
                let bytes = fs::read(entry.path()).unwrap();
                let release = (1..=2).find(|release| bytes == bytes_of(*release));
                let release = release.ok_or_else(|| format!("{dir}/{name} is half a file"))?;
                found.insert(format!("{dir}/{name}"), release);
            }
        }
        Ok(found)
    }

    /// Runs kpatch in this process, which is faster.
    fn here(&self, arguments: &[&str]) -> (u8, String) {
        let root = self.root.to_str().unwrap();
        let words = arguments.iter().map(|word| word.replace("{root}", root).into());
        files_kernel::kpatch_with(&self.root, std::iter::once("kpatch".into()).chain(words))
    }

    /// Invariants after any interruption.
    fn judge(&self, before: &BTreeMap<String, u32>, may_remove: bool) -> Result<(), String> {
        let now = self.modules()?;
        for release in before.values() {
            if !may_remove && !now.values().any(|other| other == release) {
                return Err(format!("version {release} is lost: {now:?}"));
            }
        }
        for arguments in [&["list"][..], &["status"], &["history"]] {
            let (code, said) = self.here(arguments);
            if code != 0 {
                return Err(format!("{arguments:?} does not work: {said}"));
            }
        }
        Ok(())
    }

    /// Second run, which completes the first one and leaves no temporary file.
    fn repair(&self, scene: &Scene) -> Result<(), String> {
        let (code, said) = self.here(scene.arguments);
        if !scene.already.contains(&code) {
            return Err(format!("the second run ended with {code}: {said}"));
        }
        if !(scene.after)(self) {
            return Err(format!("the second run did not complete: {:?}", self.modules()));
        }
        if scene.name == "install" {
            let left = fs::read_dir(self.root.join(STORE).join(RELEASE)).unwrap().flatten().count();
            if left != 1 {
                return Err(format!("{left} files in the kernel's directory instead of one"));
            }
        }
        Ok(())
    }
}

/// System call of a run: its name and its number among the calls with that name, as strace counts.
type Call = (String, usize);

/// System calls (of `names`) of an undisturbed run, from the first one on the machine's files. The calls before belong to the
/// dynamic linker and the standard library.
fn calls_of(scene: &Scene, names: &str) -> Result<Vec<Call>, String> {
    let machine = Machine::new(scene);
    let log = machine.root.with_extension("strace");
    let words =
        ["-f", "-qq", "-o", log.to_str().unwrap(), "-e", &format!("trace={names}")].map(str::to_owned);
    let output = machine.kpatch(&words, scene.arguments);
    let text = fs::read_to_string(&log).map_err(|error| format!("{}: {error}", log.display()))?;
    fs::remove_file(&log).unwrap();
    let code = output.status.code().and_then(|code| u8::try_from(code).ok());
    if code.is_none_or(|code| !scene.already.contains(&code)) || !(scene.after)(&machine) {
        return Err(format!("undisturbed it ended with {:?}: {}", output.status, output.stderr_text()));
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut touched = false;
    let mut calls = Vec::new();
    for line in text.lines() {
        let call = line.split_once(' ').map_or("", |(_, rest)| rest.trim_start());
        let name = call.split('(').next().unwrap_or_default();
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            continue;
        }
        let count = counts.entry(name).or_default();
        *count += 1;
        touched |= name != "execve" && line.contains(machine.root.to_str().unwrap());
        if touched {
            calls.push((name.to_owned(), *count));
        }
    }
    Ok(calls)
}

/// Runs a scene once for each call, on two threads.
///
/// # Errors
/// Messages of all failures.
fn each(calls: &[Call], one: &(dyn Fn(&Call) -> Result<(), String> + Sync)) -> Result<(), String> {
    let next = AtomicUsize::new(0);
    let wrong = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(call) = calls.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = one(call) {
                        wrong.lock().unwrap().push(format!("{} number {}: {error}", call.0, call.1));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

/// Arguments of strace to disturb one system call.
fn disturbed(name: &str, inject: &str) -> Vec<String> {
    let (trace, inject) = (format!("trace={name}"), format!("inject={inject}"));
    ["-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject].map(str::to_owned).to_vec()
}

fn may_remove(scene: &Scene) -> bool {
    scene.name == "uninstall"
}

fn every_kill(scene: &'static Scene) -> Result<(), String> {
    let calls = calls_of(scene, "all")?;
    if calls.len() < 20 {
        return Err(format!("only {} system calls were seen: strace does not see the program", calls.len()));
    }
    let killed = AtomicUsize::new(0);
    each(&calls, &|(name, when)| {
        let machine = Machine::new(scene);
        let before = machine.modules()?;
        let inject = format!("{name}:signal=KILL:when={when}");
        let output = machine.kpatch(&disturbed(name, &inject), scene.arguments);
        killed.fetch_add(usize::from(output.status.code() != Some(0)), Ordering::Relaxed);
        machine.judge(&before, may_remove(scene))?;
        machine.repair(scene)
    })?;
    // The numbers of memory allocations and waits differ slightly between runs.
    let killed = killed.into_inner();
    let wanted = calls.len() - calls.len() / 10 - 1;
    if killed < wanted { Err(format!("of {} runs only {killed} were killed", calls.len())) } else { Ok(()) }
}

fn every_failure(scene: &'static Scene, errno: &str, names: &str) -> Result<(), String> {
    let calls = calls_of(scene, names)?;
    let failed = AtomicUsize::new(0);
    each(&calls, &|(name, when)| {
        let machine = Machine::new(scene);
        let before = machine.modules()?;
        let inject = format!("{name}:error={errno}:when={when}");
        let output = machine.kpatch(&disturbed(name, &inject), scene.arguments);
        let code = output.status.code();
        let said = output.stderr_text();
        failed.fetch_add(usize::from(code != Some(0) || !said.is_empty()), Ordering::Relaxed);
        if code.is_none() || code == Some(101) {
            return Err(format!("it died of it: {said}"));
        }
        if code != Some(0) && said.trim().is_empty() {
            return Err(format!("it ended with {code:?} and said nothing"));
        }
        // A failed migration is only a warning.
        if code == Some(0) && !(scene.after)(&machine) && !said.contains("could not all be moved") {
            return Err("it said that it was done, and it was not".to_owned());
        }
        machine.judge(&before, may_remove(scene))?;
        machine.repair(scene)
    })?;
    // A full disk must cause failures or warnings.
    if failed.into_inner() == 0 { Err("no failure was noticed".to_owned()) } else { Ok(()) }
}

/// Runs ten instances in parallel: five install, three load and two list. Each succeeds.
fn ten_at_once() -> Result<(), String> {
    let scene = SCENES.first().unwrap();
    let machine = Machine::new(scene);
    for number in 1..=5 {
        let bytes = module::module_named(&format!("m{number}"), &[]);
        machine.write(&format!("tmp/m{number}.ko"), &bytes);
    }
    let lines: Vec<Vec<String>> = (0..10)
        .map(|number| match number {
            0..=4 => vec!["install".to_owned(), format!("{{root}}/tmp/m{}.ko", number + 1)],
            5..=7 => vec!["load".to_owned(), format!("{{root}}/tmp/m{}.ko", number - 4)],
            _ => vec!["list".to_owned()],
        })
        .collect();
    std::thread::scope(|scope| {
        let running: Vec<_> = lines
            .iter()
            .map(|line| {
                let words: Vec<&str> = line.iter().map(String::as_str).collect();
                let machine = &machine;
                scope.spawn(move || machine.kpatch(&[], &words))
            })
            .collect();
        for (line, run) in lines.iter().zip(running) {
            let output = run.join().unwrap();
            if output.status.code() != Some(0) {
                return Err(format!("{line:?}: {}", output.stderr_text()));
            }
        }
        Ok(())
    })?;
    let listed = machine.kpatch(&[], &["list"]).stdout_text();
    for number in 1..=5 {
        if !listed.contains(&format!("m{number} ({RELEASE})\n")) {
            return Err(format!("m{number} is not installed: {listed}"));
        }
    }
    let history = machine.kpatch(&[], &["history"]).stdout_text();
    if history.lines().count() != 8 {
        return Err(format!("five were installed and three loaded: {history}"));
    }
    Ok(())
}
