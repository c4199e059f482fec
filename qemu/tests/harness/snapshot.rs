// SPDX-License-Identifier: GPL-2.0-or-later
//! Guests restored from a snapshot.

use std::os::unix::fs::FileExt;

use klp_base::cache::Cache;
use klp_vm::Start;

use super::*;

fn starts(summary: &Summary) -> Vec<Option<Start>> {
    summary.cases.iter().map(|run| run.start.clone()).collect()
}

fn warnings(events: &[Event]) -> Vec<&str> {
    fn text(event: &Event) -> Option<&str> {
        match event {
            Event::Warning { text } => Some(text),
            _ => None,
        }
    }
    events.iter().filter_map(text).collect()
}

/// Path of a file in the only snapshot of the cache.
fn file_of(cache: &Path, name: &str) -> PathBuf {
    let mut entries = fs::read_dir(cache.join("snapshot")).unwrap().map(|entry| entry.unwrap().path());
    entries.find(|path| path.join("snapshot.json").exists()).unwrap().join(name)
}

/// Runs the named cases with snapshots in `cache`.
fn run_from(cache: &Path, names: &[&str]) -> (Summary, Vec<Event>, tempfile::TempDir) {
    run(names, |options| options.snapshots = Some(Cache::new(cache)))
}

#[test]
#[ignore = "boots a kernel; run by cargo xtask test"]
fn each_case_from_a_snapshot_has_its_own_files_and_no_others() {
    let cache = tempfile::tempdir().unwrap();
    let names = ["alone", "passes", "alone", "panics", "fails"];
    let (summary, events, scratch) = run_from(cache.path(), &names);
    assert_eq!(starts(&summary), vec![Some(Start::Snapshot); 5], "{events:#?}");
    let verdicts: Vec<Verdict> = summary.cases.iter().map(|run| run.end.verdict).collect();
    use Verdict::{Failed, Panicked, Passed};
    assert_eq!(verdicts, [Passed, Passed, Passed, Panicked, Failed], "{summary:#?}");
    // One boot for the snapshot, and one machine for each case.
    assert_eq!((summary.boots.len(), summary.restored()), (6, 5));
    assert!(summary.boots[0].cases.is_empty() && warnings(&events).is_empty(), "{events:#?}");
    assert_eq!(end(&summary, "passes").accel, "tcg, from a snapshot");
    // The evidence is that of a boot, with the console from its first line on.
    let evidence = scratch.path().join("evidence/test");
    for (file, words) in [
        ("passes/console.log", "Linux version"),
        ("passes/kernel.log", "words for the log"),
        ("panics/console.log", "Linux version"),
        ("panics/console.log", "sysrq triggered crash"),
    ] {
        let text = fs::read_to_string(evidence.join(file)).unwrap();
        assert!(text.contains(words), "{file}: {text}");
    }
    // The kernel observed no jump of its clocks: it logged nothing after Hello.
    let log = fs::read_to_string(evidence.join("alone/kernel.log")).unwrap();
    assert!(log.is_empty(), "{log}");
    // The next run finds the snapshot.
    let (again, events, _) = run_from(cache.path(), &["passes"]);
    assert_eq!((again.boots.len(), again.restored()), (1, 1), "{events:#?}");
}

#[test]
#[ignore = "boots a kernel; run by cargo xtask test"]
fn a_damaged_snapshot_is_named_and_the_cases_boot() {
    let cache = tempfile::tempdir().unwrap();
    assert_eq!(run_from(cache.path(), &["passes"]).0.verdict(), Verdict::Passed);
    let memory = file_of(cache.path(), "memory");
    let file = fs::File::options().write(true).open(&memory).unwrap();
    file.write_all_at(b"damage", 64 << 20).unwrap();
    let (summary, events, scratch) = run_from(cache.path(), &["passes", "alone"]);
    assert_eq!(end(&summary, "passes").verdict, Verdict::Passed, "{summary:#?}");
    assert_eq!((summary.boots.len(), summary.restored()), (1, 0));
    let said = warnings(&events);
    let entry = memory.parent().unwrap().display().to_string();
    assert!(matches!(said[..], [text] if text.contains(&entry) && text.contains("is damaged")), "{said:?}");
    for start in starts(&summary) {
        let Some(Start::BootInstead { reason }) = start else { panic!("{start:?}") };
        assert!(reason.contains(&entry), "{reason}");
    }
    let report = scratch.path().join("junit.xml");
    klp_vm::junit::write(&report, &summary).unwrap();
    let report = fs::read_to_string(report).unwrap();
    assert!(report.contains("booted for want of a snapshot") && report.contains("is damaged"), "{report}");
}

#[test]
#[ignore = "boots a kernel; run by cargo xtask test"]
fn a_snapshot_that_qemu_cannot_restore_is_named_and_the_cases_boot() {
    let cache = tempfile::tempdir().unwrap();
    assert_eq!(run_from(cache.path(), &["passes"]).0.verdict(), Verdict::Passed);
    let state = file_of(cache.path(), "state");
    let marker = cache.path().to_string_lossy().into_owned();
    let (summary, events, _scratch) = std::thread::scope(|scope| {
        let running = scope.spawn(|| run_from(cache.path(), &["works", "passes", "alone"]));
        // After the check of the content: the first guest already runs, the next one finds a truncated state.
        let first = || emulators(&marker).iter().any(|process| greeted(process));
        assert!(comes(|| running.is_finished() || first()));
        fs::File::options().write(true).open(&state).unwrap().set_len(1000).unwrap();
        running.join().unwrap()
    });
    let boot = |reason: &Option<Start>| matches!(reason, Some(Start::BootInstead { .. }));
    let starts = starts(&summary);
    assert_eq!(starts[0], Some(Start::Snapshot), "the state was damaged too early: {summary:#?}");
    assert!(boot(&starts[1]) && boot(&starts[2]), "{starts:?}");
    assert_eq!(end(&summary, "passes").verdict, Verdict::Passed, "{summary:#?}");
    let said = warnings(&events);
    let entry = state.parent().unwrap().display().to_string();
    assert!(
        matches!(said[..], [text] if text.contains(&entry) && text.contains("could not be restored")),
        "{said:?}"
    );
}

/// True if a machine has sent Hello: the files that QEMU opened are then removed.
fn greeted(process: &Path) -> bool {
    let words = fs::read(process.join("cmdline")).unwrap_or_default();
    let words = String::from_utf8_lossy(&words).into_owned();
    let console = words.split('\0').find_map(|word| word.strip_prefix("file,id=console,append=on,path="));
    console.is_some_and(|file| !Path::new(file).exists())
}
