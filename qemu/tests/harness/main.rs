// SPDX-License-Identifier: GPL-2.0-or-later
//! Tests of the harness: real boots of cases that fail, panic, hang and so on (`tests/harness/`).
//!
//! They need a kernel image in `FERROGRAFT_TEST_KERNEL`, the guest program in `FERROGRAFT_TEST_GUEST`, QEMU and a
//! static busybox. `cargo xtask test` sets the variables and runs the tests with `--ignored`; `cargo test` alone
//! reports them as ignored.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test may panic")]

mod snapshot;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use klp_base::arch::Arch;
use klp_base::cache::Cache;
use klp_base::events::{CaseEnd, Event, Recorder, Silent, Verdict};
use klp_base::process::{Cmd, find_program};
use klp_kernel::{Toolchain, guest_program};
use klp_vm::{
    AccelChoice, ArtifactError, Error, Guest, GuestFiles, Kernel, Options, Suite, Summary, Supply, Wanted,
    case,
};

fn variable(name: &str) -> PathBuf {
    std::env::var_os(name)
        .map(PathBuf::from)
        .unwrap_or_else(|| panic!("{name} is not set; run `cargo xtask test`"))
}

fn tests_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests")
}

/// Release in the header of an x86 image (Documentation/arch/x86/boot.rst, `kernel_version`).
fn release_of(image: &Path) -> String {
    let bytes = fs::read(image).unwrap();
    let at = usize::from(u16::from_le_bytes([bytes[0x20e], bytes[0x20f]])) + 0x200;
    let text: Vec<u8> = bytes[at..].iter().copied().take_while(|&byte| byte != b' ' && byte != 0).collect();
    String::from_utf8(text).unwrap()
}

fn guest() -> Guest {
    let image = variable("FERROGRAFT_TEST_KERNEL");
    Guest {
        kernel: Kernel { id: "test".to_owned(), arch: Arch::X86_64, release: release_of(&image), image },
        files: GuestFiles {
            program: variable("FERROGRAFT_TEST_GUEST"),
            busybox: find_program("busybox").expect("busybox-static is needed"),
            lib: tests_dir().join("lib"),
            extra: BTreeMap::new(),
        },
    }
}

fn provide(kernel: &Kernel, wanted: Wanted<'_>) -> Result<Supply, ArtifactError> {
    let file = |name: &str| tests_dir().join("harness").join(name);
    match wanted {
        Wanted::Artifact("note@some.txt") => Ok(file("passes/artifact.txt").into()),
        // The case stands in for insmod: the content of these files does not matter.
        Wanted::Artifact("module:upper") => Ok(Supply {
            file: file("needs/upper.ko"),
            needs: vec![file("needs/lowest.ko"), file("needs/lower.ko")],
        }),
        Wanted::Artifact(other) => Err(ArtifactError::Failed(format!("nobody makes {other}"))),
        Wanted::Program(source) => {
            let cache = Cache::new(Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"));
            guest_program::build(source, &Toolchain::gcc("gcc"), kernel.arch, &cache, &Silent)
                .map(Supply::from)
                .map_err(|error| ArtifactError::Failed(error.to_string()))
        }
    }
}

/// Runs the named cases of `tests/harness` in a scratch directory, which is returned with the results.
fn run(names: &[&str], change: impl FnOnce(&mut Options)) -> (Summary, Vec<Event>, tempfile::TempDir) {
    let scratch = tempfile::tempdir().unwrap();
    let mut options = Options::new(scratch.path().join("evidence"), scratch.path().join("state")).unwrap();
    options.accel = AccelChoice::Tcg;
    options.repeat_command = "again {case} on {kernel}".to_owned();
    change(&mut options);
    let all = case::load_all(&tests_dir().join("harness")).unwrap();
    let cases = names.iter().flat_map(|name| case::select(&all, &[(*name).to_owned()]).unwrap()).collect();
    let recorder = Recorder::default();
    let summary = Suite { guests: vec![guest()], cases, provider: &provide, options }.run(&recorder).unwrap();
    (summary, recorder.events(), scratch)
}

fn end<'a>(summary: &'a Summary, case: &str) -> &'a CaseEnd {
    &summary.cases.iter().find(|run| run.end.case == case).unwrap().end
}

fn reason(end: &CaseEnd) -> &str {
    end.reason.as_deref().unwrap_or_default()
}

#[test]
#[ignore = "boots a kernel; run by cargo xtask test"]
fn good_cases_share_a_boot_and_leave_evidence() {
    let (summary, events, scratch) = run(&["passes", "passes"], |_| {});
    assert_eq!(summary.verdict(), Verdict::Passed, "{summary:#?}");
    assert_eq!(summary.verdict().exit_code(), 0);
    assert_eq!((summary.cases.len(), summary.boots.len()), (2, 1));
    assert!(summary.boots[0].cpu > Duration::ZERO && summary.cases[0].phases[0].name == "first");
    assert!(summary.cases[0].end.checks.len() >= 6);
    let evidence = scratch.path().join("evidence/test/passes");
    for (file, words) in [
        ("console.log", "Linux version"),
        ("output.log", "ok - the artifact is there"),
        ("kernel.log", "words for the log"),
        ("first/proc/version", "Linux version"),
    ] {
        let text = fs::read_to_string(evidence.join(file)).unwrap();
        assert!(text.contains(words), "{file}: {text}");
    }
    assert_eq!(events.iter().filter(|event| matches!(event, Event::Case(_))).count(), 2);
}

#[test]
#[ignore = "boots a kernel; run by cargo xtask test"]
fn each_way_to_fail_is_failed_with_its_reason() {
    let cases = [
        "fails",
        "no-checks",
        "exits",
        "words",
        "not-ok",
        "wrong-failure",
        "evidence-clash",
        "evidence-clash-later",
        "beside",
        "needs",
        "programs",
        "programs-broken",
    ];
    let (summary, ..) = run(&cases, |_| {});
    assert_eq!(summary.verdict().exit_code(), 1);
    assert_eq!(summary.boots.len(), 1, "all of them leave the kernel clean");
    for (case, words) in [
        ("fails", "1 of 2 checks not ok"),
        ("no-checks", "no check"),
        ("exits", "exit status 3"),
        ("words", "1 of 2 checks not ok"),
        ("not-ok", "2 of 3 checks not ok"),
        ("wrong-failure", "5 of 7 checks not ok"),
        ("evidence-clash", "1 of 2 checks not ok"),
        ("evidence-clash-later", "exit status 1; 1 of 1 checks not ok"),
        ("beside", "1 of 4 checks not ok"),
        ("needs", "1 of 7 checks not ok"),
        ("programs", "1 of 3 checks not ok"),
        ("programs-broken", "program `broken.c` of case programs-broken: "),
    ] {
        let end = end(&summary, case);
        assert_eq!(end.verdict, Verdict::Failed, "{case}");
        assert!(reason(end).contains(words), "{case}: {}", reason(end));
        assert_eq!(end.repeat, format!("again {case} on test"));
        let not_run = case == "programs-broken";
        assert!(not_run || end.console.lines().count() > 5, "{case}: the console's end is shown");
    }
    let not_ok =
        |case: &str| end(&summary, case).checks.iter().find(|check| !check.ok).unwrap().detail.clone();
    assert!(not_ok("fails").unwrap().contains("expected `left`, seen `right`"));
    assert!(not_ok("beside").unwrap().contains("other.txt: No such file"));
    assert!(not_ok("programs").unwrap().contains("`./answer` ended with 7"));
    let compiler = reason(end(&summary, "programs-broken"));
    assert!(compiler.contains("broken.c:4:16: error: 'undeclared' undeclared"), "{compiler}");
    assert!(
        not_ok("words")
            .unwrap()
            .contains("expected `words: good (*): drop_caches: 1`, the kernel said `words: bad (")
    );
}

#[test]
#[ignore = "boots a kernel; run by cargo xtask test"]
fn an_unclean_case_fails_and_the_rest_gets_a_fresh_boot() {
    let (summary, ..) = run(&["unclean", "passes"], |_| {});
    assert_eq!(end(&summary, "unclean").verdict, Verdict::Failed);
    assert!(reason(end(&summary, "unclean")).contains("left the kernel unclean: `WARNING:"));
    assert_eq!(end(&summary, "passes").verdict, Verdict::Passed);
    assert_eq!(summary.boots.len(), 2);
}

#[test]
#[ignore = "boots a kernel; run by cargo xtask test"]
fn a_warning_that_was_to_come_must_come_alone() {
    let (summary, ..) = run(&["warns", "warns-not", "warns-other"], |_| {});
    let warns = end(&summary, "warns");
    assert_eq!(warns.verdict, Verdict::Passed, "{warns:#?}");
    assert_eq!(warns.checks.last().unwrap().name, "the kernel warns: WARNING: mine");
    for (case, words) in
        [("warns-not", "1 of 2 checks not ok"), ("warns-other", "left the kernel unclean: `WARNING: other (")]
    {
        let end = end(&summary, case);
        assert_eq!(end.verdict, Verdict::Failed, "{case}");
        assert!(reason(end).contains(words) && !reason(end).contains("WARNING: mine"), "{}", reason(end));
    }
}

#[test]
#[ignore = "boots a kernel; run by cargo xtask test"]
fn a_panic_is_told_with_the_kernels_words_and_the_rest_still_runs() {
    let (summary, _, scratch) = run(&["panics", "passes"], |_| {});
    let panicked = end(&summary, "panics");
    assert_eq!(panicked.verdict, Verdict::Panicked);
    assert_eq!(summary.verdict().exit_code(), 5);
    assert!(reason(panicked).contains("Kernel panic - not syncing: sysrq triggered crash"));
    assert!(panicked.console.contains("sysrq triggered crash"), "{}", panicked.console);
    assert_eq!(panicked.checks.len(), 1, "what was seen before is kept");
    assert!(scratch.path().join("evidence/test/panics/console.log").is_file());
    assert_eq!(end(&summary, "passes").verdict, Verdict::Passed);
    assert_eq!(summary.boots.len(), 2);
}

#[test]
#[ignore = "boots a kernel; run by cargo xtask test"]
fn a_script_that_never_ends_and_a_guest_that_falls_silent_are_hung() {
    let (summary, _, scratch) = run(&["hangs", "freezes", "spins", "passes"], |options| {
        options.deadlines.grace = Duration::from_secs(2);
    });
    assert_eq!(end(&summary, "spins").verdict, Verdict::Hung);
    assert!(reason(end(&summary, "spins")).contains("did not end within 2 s"));
    assert_eq!(end(&summary, "hangs").verdict, Verdict::Hung);
    assert!(reason(end(&summary, "hangs")).contains("did not end within 2 s"));
    let output = fs::read_to_string(scratch.path().join("evidence/test/hangs/output.log")).unwrap();
    assert!(output.contains("sleep 1000"), "what still ran is named: {output}");
    assert_eq!(end(&summary, "freezes").verdict, Verdict::Hung);
    assert!(reason(end(&summary, "freezes")).contains("no answer within 3 s"));
    assert_eq!(end(&summary, "passes").verdict, Verdict::Passed);
    assert_eq!((summary.verdict().exit_code(), summary.boots.len()), (6, 4));
}

#[test]
#[ignore = "boots a kernel; run by cargo xtask test"]
fn the_kernels_own_words_alone_count() {
    let (summary, ..) = run(&["user-words", "passes"], |_| {});
    assert_eq!(summary.verdict(), Verdict::Passed, "{summary:#?}");
    assert_eq!(summary.boots.len(), 1);
    let (summary, ..) = run(&["user-panic-resets", "user-panic-hangs"], |options| {
        options.deadlines.grace = Duration::from_secs(2);
    });
    assert_eq!(end(&summary, "user-panic-resets").verdict, Verdict::Failed);
    assert!(reason(end(&summary, "user-panic-resets")).contains("reset from inside"));
    assert_eq!(end(&summary, "user-panic-hangs").verdict, Verdict::Hung, "{summary:#?}");
}

#[test]
#[ignore = "boots a kernel; run by cargo xtask test"]
fn an_oops_that_nothing_comes_after_is_told() {
    let (summary, ..) = run(&["oops-silent", "oops-hangs"], |options| {
        options.deadlines.grace = Duration::from_secs(2);
    });
    for case in ["oops-silent", "oops-hangs"] {
        let end = end(&summary, case);
        assert_eq!(end.verdict, Verdict::Failed, "{end:#?}");
        assert!(reason(end).contains("the kernel killed a task: `Oops: 2 [#1] ("), "{}", reason(end));
    }
    assert!(reason(end(&summary, "oops-silent")).contains("no answer within 3 s"));
    assert!(reason(end(&summary, "oops-hangs")).contains("did not end within 1 s"));
}

#[test]
#[ignore = "boots a kernel; run by cargo xtask test"]
fn a_kernel_that_does_not_come_up_is_told_apart() {
    let (summary, ..) = run(&["passes"], |options| options.memory_mib = 40);
    let verdict = summary.verdict();
    assert!(matches!(verdict, Verdict::Panicked | Verdict::NotAble | Verdict::Hung), "{summary:#?}");
    let (summary, ..) = run(&["passes"], |options| options.deadlines.boot = Duration::from_millis(300));
    assert_eq!(summary.verdict(), Verdict::Hung);
    assert!(reason(end(&summary, "passes")).contains("while booting"));
    let (summary, ..) = run(&["resets"], |_| {});
    assert_eq!(summary.verdict(), Verdict::Failed);
    assert!(reason(end(&summary, "resets")).contains("reset from inside"));
}

#[test]
#[ignore = "boots a kernel; run by cargo xtask test"]
fn what_qemu_says_when_it_cannot_start_is_shown() {
    let scratch = tempfile::tempdir().unwrap();
    let mut guest = guest();
    let image = scratch.path().join("vmlinuz");
    fs::write(&image, b"no kernel").unwrap();
    guest.kernel.image = image;
    let mut options = Options::new(scratch.path().join("evidence"), scratch.path()).unwrap();
    options.accel = AccelChoice::Tcg;
    let cases = vec![case::load(&tests_dir().join("harness/fails")).unwrap()];
    let suite = Suite { guests: vec![guest], cases, provider: &provide, options };
    let summary = suite.run(&Silent).unwrap();
    assert_eq!(summary.verdict().exit_code(), 69);
    assert!(reason(end(&summary, "fails")).contains("qemu"), "{summary:#?}");
}

#[test]
#[ignore = "boots a kernel; run by cargo xtask test"]
fn acceleration_is_proved_named_and_remembered() {
    let notes = |events: &[Event]| {
        let notes = events.iter().filter_map(|event| match event {
            Event::Note { text } => Some(text.clone()),
            _ => None,
        });
        notes.filter(|text| text.starts_with("KVM does not run guests here")).collect::<Vec<_>>()
    };
    let (first, events, scratch) = run(&["passes", "passes"], |options| options.accel = AccelChoice::Auto);
    assert_eq!(first.verdict(), Verdict::Passed);
    match end(&first, "passes").accel.as_str() {
        "kvm (proved), booted" => assert!(notes(&events).is_empty(), "{events:?}"),
        // The reason is reported once, not with each case.
        "tcg, booted" => assert_eq!(notes(&events).len(), 1, "{events:?}"),
        other => panic!("{other}"),
    }
    if Path::new("/dev/kvm").exists() {
        let memory = scratch.path().join("state/kvm.json");
        let text = fs::read_to_string(&memory).unwrap();
        // The stored result decides: a result that was made up is used without another trial.
        let (key, _) =
            text.split_once("failures").unwrap().1.split_once("\":").unwrap().1.split_once("\":").unwrap();
        let image = key.rsplit('"').next().unwrap();
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        let forged = format!(r#"{{"boot_id":"{}","failures":{{"{image}":"made up"}}}}"#, boot_id.trim());
        let (second, events, _) = run(&["passes"], |options| {
            fs::create_dir_all(&options.state).unwrap();
            fs::write(options.state.join("kvm.json"), forged).unwrap();
            options.accel = AccelChoice::Auto;
        });
        assert_eq!(end(&second, "passes").accel, "tcg, booted");
        assert_eq!(notes(&events), ["KVM does not run guests here (made up), using TCG"]);
    }
}

#[test]
#[ignore = "boots a kernel; run by cargo xtask test"]
fn a_bare_boot_has_its_cost() {
    let scratch = tempfile::tempdir().unwrap();
    let mut options = Options::new(scratch.path(), scratch.path()).unwrap();
    options.accel = AccelChoice::Tcg;
    let cost = klp_vm::bench::bare_boot(&guest(), &options, &Silent).unwrap();
    assert!(cost.cpu > Duration::from_millis(100) && cost.wall > Duration::ZERO, "{cost:?}");
}

/// Runs a case with `marker` in the kernel parameters, and calls `meanwhile` with QEMU's process id after the guest's
/// Hello. The value that it returns is kept until the end of the run.
fn run_and<T>(case: case::Case, marker: &str, meanwhile: impl FnOnce(u32) -> T) -> Summary {
    let scratch = tempfile::tempdir().unwrap();
    let mut options = Options::new(scratch.path(), scratch.path()).unwrap();
    options.accel = AccelChoice::Tcg;
    options.deadlines.grace = Duration::from_secs(2);
    let cases = vec![case::Case { append: marker.to_owned(), ..case }];
    let suite = Suite { guests: vec![guest()], cases, provider: &provide, options };
    std::thread::scope(|scope| {
        let running = scope.spawn(|| suite.run(&Silent).unwrap());
        let greeted = |process: &PathBuf| {
            let words = fs::read(process.join("cmdline")).unwrap_or_default();
            let words = String::from_utf8_lossy(&words).into_owned();
            let initrd = words.split('\0').skip_while(|word| *word != "-initrd").nth(1);
            initrd.is_some_and(|file| !Path::new(file).exists())
        };
        while !running.is_finished() && !emulators(marker).iter().any(greeted) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let pid = emulators(marker).first().and_then(|path| path.file_name()?.to_str()?.parse().ok());
        let kept = meanwhile(pid.expect("QEMU runs when the guest has greeted"));
        let summary = running.join().unwrap();
        drop(kept);
        summary
    })
}

fn harness_case(name: &str) -> case::Case {
    case::load(&tests_dir().join("harness").join(name)).unwrap()
}

/// Limits a process to an eleventh of one CPU while the result lives.
fn starve(pid: u32) -> Vec<klp_base::process::Running> {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap();
    let cpu: String = allowed.trim().chars().take_while(char::is_ascii_digit).collect();
    Cmd::new("taskset").args(["-a", "-p", "-c", &cpu, &pid.to_string()]).run().unwrap();
    let busy = || Cmd::new("taskset").args(["-c", &cpu, "sh", "-c", "while :; do :; done"]).spawn().unwrap();
    (0..10).map(|_| busy()).collect()
}

#[test]
#[ignore = "boots a kernel; run by cargo xtask test"]
fn a_guest_that_the_host_starves_is_slow_and_one_that_hangs_is_found() {
    // Eight times the CPU time of the same case on this host: the guest's timer ticks by the wall clock, and the ticks
    // take most of the CPU time of a guest with an eleventh of a CPU. In wall time the case takes far longer than the
    // timeout.
    let starved = (0..5).any(|attempt| {
        let (measured, ..) = run(&["works"], |_| {});
        assert_eq!(measured.verdict(), Verdict::Passed, "{measured:#?}");
        let timeout = measured.cases[0].cpu * 8;
        let works = case::Case { timeout, ..harness_case("works") };
        let works = run_and(works, &format!("works{}-{attempt}", std::process::id()), starve);
        assert_eq!(works.verdict(), Verdict::Passed, "{timeout:?}: {works:#?}");
        // On a busy host the measured time may be too long for what the load leaves of a CPU.
        works.cases[0].end.wall > timeout
    });
    assert!(starved, "no run took longer than its timeout");
    // The same load on the host, and a guest that spins.
    let spins = case::Case { timeout: Duration::from_secs(1), ..harness_case("spins") };
    let spins = run_and(spins, &format!("spins{}", std::process::id()), starve);
    assert_eq!(spins.verdict(), Verdict::Hung, "{spins:#?}");
    // The limit of one second is CPU time, not wall time; the rest is the guest program's work at the end.
    assert!(spins.cases[0].cpu < Duration::from_secs(10), "{spins:#?}");
}

#[test]
#[ignore = "boots a kernel; run by cargo xtask test"]
fn a_guest_that_the_host_stops_for_a_while_is_not_hung() {
    let signal = |name: &str, pid: u32| {
        Cmd::new("kill").args([name, &pid.to_string()]).run().unwrap();
    };
    let works = case::Case { timeout: Duration::from_secs(20), ..harness_case("works") };
    let summary = run_and(works, &format!("stopped{}", std::process::id()), |pid| {
        signal("-STOP", pid);
        std::thread::sleep(Duration::from_secs(25));
        signal("-CONT", pid);
    });
    assert_eq!(summary.verdict(), Verdict::Passed, "{summary:#?}");
    // After Hello: during the request for the guest's state, or during the case.
    let boot = &summary.boots[0];
    let behind = boot.wall.saturating_sub(boot.hello.unwrap());
    assert!(behind > Duration::from_secs(22), "it was not stopped: {summary:#?}");
}

/// Helper of `a_killed_run_leaves_no_qemu`: runs a case that hangs, until it is killed.
#[test]
#[ignore = "started by a_killed_run_leaves_no_qemu"]
fn helper_that_is_killed() {
    if let Some(marker) = std::env::var_os("FERROGRAFT_TEST_MARKER") {
        let marker = marker.to_string_lossy().into_owned();
        let (scratch, all) =
            (tempfile::tempdir().unwrap(), case::load(&tests_dir().join("harness/hangs")).unwrap());
        let mut options = Options::new(scratch.path(), scratch.path()).unwrap();
        options.accel = AccelChoice::Tcg;
        let cases = vec![case::Case { append: marker, timeout: Duration::from_secs(600), ..all }];
        let _ = Suite { guests: vec![guest()], cases, provider: &provide, options }.run(&Silent);
    }
}

/// QEMU processes with `marker` on their command line.
fn emulators(marker: &str) -> Vec<PathBuf> {
    let holds = |path: &PathBuf| {
        let words = fs::read(path.join("cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).into_owned();
        words.contains("qemu-system") && words.contains(marker)
    };
    fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path()).filter(holds).collect()
}

/// Waits for a condition; true if it holds in time. The limit only ends a failing test: a busy host may need long.
fn comes(what: impl Fn() -> bool) -> bool {
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(900) {
        if what() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    false
}

#[test]
#[ignore = "boots a kernel; run by cargo xtask test"]
fn a_killed_run_leaves_no_qemu() {
    // The helper reads it too. Without it the test fails here, not after the wait for the helper.
    variable("FERROGRAFT_TEST_KERNEL");
    let marker = format!("marker{}", std::process::id());
    let temp = tempfile::tempdir().unwrap();
    let helper = Cmd::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "helper_that_is_killed"])
        .env("FERROGRAFT_TEST_MARKER", &marker)
        .env("TMPDIR", temp.path())
        .spawn()
        .unwrap();
    let scratch = || {
        fs::read_dir(temp.path())
            .unwrap()
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().starts_with("ferrograft-vm-"))
    };
    assert!(comes(|| !emulators(&marker).is_empty() && scratch()), "QEMU starts");
    assert!(comes(|| !scratch()), "what QEMU read is removed when the guest greets");
    assert!(!emulators(&marker).is_empty(), "QEMU still runs");
    // SIGKILL prevents any cleanup: only the kernel can end QEMU now, which is in another process group.
    Cmd::new("kill").args(["-KILL", &helper.pid().to_string()]).run().unwrap();
    assert!(comes(|| emulators(&marker).is_empty()), "QEMU ends with its parent");
    drop(helper);
}

#[test]
fn filters_and_kernels_that_select_nothing_are_errors() {
    let all = case::load_all(&tests_dir().join("harness")).unwrap();
    let error = case::select(&all, &["nonesuch".to_owned()]).unwrap_err();
    assert!(
        matches!(error, case::Error::NothingSelected { .. }) && error.to_string().contains("panics"),
        "{error}"
    );
    assert_eq!(Error::from(error).exit_code(), 2);
}

#[test]
fn every_case_can_be_read() {
    for dir in ["cases", "harness"] {
        assert!(case::load_all(&tests_dir().join(dir)).unwrap().len() > 5);
    }
}
