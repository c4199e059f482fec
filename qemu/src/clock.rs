// SPDX-License-Identifier: GPL-2.0-or-later
//! Clock of deadlines: counts the time that the host gave a guest, not the time that passed on the host.
//!
//! A guest on a busy host is slow, but not faulty. Wall time does not count while QEMU waits for a CPU, is stopped, or
//! waits for the host's disk. It counts while all threads of QEMU sleep: an idle guest that waits forever is detected
//! as fast as on a quiet host. CPU time counts too: a guest that spins is detected after as much CPU time as the
//! deadline has seconds.
//!
//! The scheduler statistics (`/proc/<pid>/task/<tid>/schedstat`, Documentation/scheduler/sched-stats.rst) separate
//! waiting from sleeping. On a kernel without them, each thread's state and CPU time (proc(5)) are sampled several
//! times a second.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use crate::link::LinkError;

/// Minimum time between two samples of the threads.
const LOOK: Duration = Duration::from_millis(100);
/// Maximum wait without a sample.
const SLICE: Duration = Duration::from_millis(250);
/// Maximum waiting time to subtract later: a few periods of waiting. The sum over threads that wait at the same time
/// must not grow without bound.
const OWED: Duration = Duration::from_secs(1);
/// Maximum ratio of wall time to the limit of a wait.
const FACTOR: u32 = 20;
/// Additional wall time, for short limits.
const ALLOWANCE: Duration = Duration::from_secs(300);

/// Scheduler statistics of one thread.
#[derive(Clone, Copy, Debug)]
struct Thread {
    /// State letter of proc(5).
    state: char,
    /// CPU time.
    ran: Duration,
    /// Time runnable without a CPU; `None` if the host's kernel does not count it.
    waited: Option<Duration>,
}

/// Threads of a process by id; empty after its end.
type Threads = BTreeMap<u32, Thread>;

/// Last sample of a thread.
#[derive(Clone, Copy)]
struct Seen {
    thread: Thread,
    /// Waiting that was subtracted before the scheduler counted it; it counts waiting when the thread runs again.
    ahead: Duration,
}

/// Time in which a process could run or had nothing to do.
pub(crate) struct Clock {
    read: Box<dyn FnMut() -> Threads + Send>,
    seen: BTreeMap<u32, Seen>,
    started: Instant,
    /// Wall time of the last sample, relative to `started`.
    looked: Duration,
    given: Duration,
    /// Waiting that the scheduler counted late, still to be subtracted.
    owed: Duration,
}

impl Clock {
    /// Clock of a process, starting now.
    pub(crate) fn of(pid: u32) -> Self {
        Self::new(Box::new(move || threads_of(pid)))
    }

    fn new(read: Box<dyn FnMut() -> Threads + Send>) -> Self {
        let mut clock = Self {
            read,
            seen: BTreeMap::new(),
            started: Instant::now(),
            looked: Duration::ZERO,
            given: Duration::ZERO,
            owed: Duration::ZERO,
        };
        clock.look(Duration::ZERO);
        clock
    }

    /// Wait that begins now and ends after `limit` by this clock.
    pub(crate) fn countdown(&mut self, limit: Duration) -> Countdown {
        let wall = self.started.elapsed();
        self.look(wall);
        Countdown { limit, wall, given: self.given }
    }

    /// Time to wait before the next call.
    ///
    /// # Errors
    /// [`LinkError::Deadline`] when the limit is reached, [`LinkError::Starved`] when the host gave so little time that
    /// the limit would be reached too late.
    pub(crate) fn left(&mut self, countdown: &Countdown) -> Result<Duration, LinkError> {
        self.left_at(countdown, self.started.elapsed())
    }

    fn left_at(&mut self, countdown: &Countdown, wall: Duration) -> Result<Duration, LinkError> {
        let Countdown { limit, .. } = *countdown;
        // Upper bound: the time since the last sample may prove to be waiting.
        let most = self.given + wall.saturating_sub(self.looked);
        if wall.saturating_sub(self.looked) >= LOOK || most.saturating_sub(countdown.given) >= limit {
            self.look(wall);
        }
        let given = self.given.saturating_sub(countdown.given);
        let passed = wall.saturating_sub(countdown.wall);
        if given >= limit {
            return Err(LinkError::Deadline(limit));
        }
        if passed > limit * FACTOR + ALLOWANCE {
            return Err(LinkError::Starved { limit, given, passed });
        }
        Ok((limit - given).clamp(Duration::from_millis(1), SLICE))
    }

    /// Accounts for the time since the last sample.
    fn look(&mut self, wall: Duration) {
        let passed = wall.saturating_sub(self.looked);
        self.looked = wall;
        let threads = (self.read)();
        let (mut longest_run, mut waits) = (Duration::ZERO, Duration::ZERO);
        for (id, thread) in &threads {
            let Some(seen) = self.seen.get_mut(id) else { continue };
            let ran = thread.ran.saturating_sub(seen.thread.ran);
            longest_run = longest_run.max(ran);
            waits += seen.waited(thread, passed, ran);
        }
        // QEMU's threads wait for each other: one sleeps until another one releases a lock, and that one waits for a
        // CPU. The waits are therefore summed. The sum is too large when two threads wait at the same time, but the
        // longest CPU time of a thread always counts.
        let owed = self.owed + waits;
        let taken_off = owed.min(passed.saturating_sub(longest_run));
        self.owed = (owed - taken_off).min(OWED);
        self.given += passed - taken_off;
        self.seen = threads
            .into_iter()
            .map(|(id, thread)| {
                let ahead = self.seen.get(&id).map(|seen| seen.ahead).unwrap_or_default();
                (id, Seen { thread, ahead })
            })
            .collect();
    }
}

impl Seen {
    /// Part of the passed time in which the thread could not run.
    fn waited(&mut self, now: &Thread, passed: Duration, ran: Duration) -> Duration {
        // Stopped by a signal or a debugger, or waiting for a disk of the host.
        if matches!(now.state, 'T' | 't' | 'D') {
            return passed.saturating_sub(ran);
        }
        let (Some(before), Some(after)) = (self.thread.waited, now.waited) else {
            return if now.state == 'R' { passed.saturating_sub(ran) } else { Duration::ZERO };
        };
        let counted = after.saturating_sub(before);
        if counted.is_zero() && ran.is_zero() && (self.thread.state, now.state) == ('R', 'R') {
            self.ahead += passed;
            return passed;
        }
        let waited = counted.saturating_sub(self.ahead);
        self.ahead = self.ahead.saturating_sub(counted);
        waited
    }
}

/// A wait with a limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Countdown {
    limit: Duration,
    /// Wall time and given time at the start of the wait.
    wall: Duration,
    given: Duration,
}

fn threads_of(pid: u32) -> Threads {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let thread = |task: fs::DirEntry| {
        let id = task.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(task.path().join("stat")).ok()?;
        let schedstat = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        Some((id, parse(&stat, &schedstat)?))
    };
    // A thread that ends between two reads is left out.
    tasks.filter_map(thread).collect()
}

/// Parses a thread's `stat` (proc(5)) and `schedstat`: `<nanoseconds on a CPU> <nanoseconds waiting> <times>`, all zero
/// if the kernel does not count.
fn parse(stat: &str, schedstat: &str) -> Option<Thread> {
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let state = fields.first()?.chars().next()?;
    let mut figures = schedstat.split_whitespace().map(|figure| figure.parse::<u64>().ok());
    if let (Some(Some(ran)), Some(Some(waited))) = (figures.next(), figures.next())
        && (ran, waited) != (0, 0)
    {
        let (ran, waited) = (Duration::from_nanos(ran), Some(Duration::from_nanos(waited)));
        return Some(Thread { state, ran, waited });
    }
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Some(Thread {
        state,
        ran: Duration::from_millis((ticks(11)? + ticks(12)?) * 1000 / per_second),
        waited: None,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn milliseconds(time: u64) -> Duration {
        Duration::from_millis(time)
    }

    /// Clock over threads that the test supplies.
    fn clock(threads: &[Thread]) -> (Clock, Arc<Mutex<Vec<Thread>>>) {
        let threads = Arc::new(Mutex::new(threads.to_vec()));
        let read = Arc::clone(&threads);
        (Clock::new(Box::new(move || (1..).zip(read.lock().unwrap().iter().copied()).collect())), threads)
    }

    fn thread(state: char, ran: u64, waited: Option<u64>) -> Thread {
        Thread { state, ran: milliseconds(ran), waited: waited.map(milliseconds) }
    }

    /// Counted time of ten seconds, sampled every 200 ms. Each thread has the given percentages of running and waiting.
    fn ten_seconds(kinds: &[(char, u64, Option<u64>)]) -> Duration {
        let at = |time: u64| -> Vec<Thread> {
            let now = |&(state, ran, waited): &(char, u64, Option<u64>)| {
                thread(state, time * ran / 100, waited.map(|waited| time * waited / 100))
            };
            kinds.iter().map(now).collect()
        };
        let (mut clock, threads) = clock(&at(0));
        for time in (200..=10_000).step_by(200) {
            *threads.lock().unwrap() = at(time);
            clock.look(milliseconds(time));
        }
        clock.given
    }

    #[test]
    fn sleeping_and_running_count_and_waiting_does_not() {
        for (kinds, seconds) in [
            // Idle; spinning; spinning with 10 % of a CPU.
            (vec![('S', 0, Some(0)), ('S', 0, Some(0))], 10),
            (vec![('S', 0, Some(0)), ('R', 100, Some(0))], 10),
            (vec![('S', 0, Some(0)), ('R', 10, Some(90))], 1),
            // Idle except for wake-ups that wait for a CPU.
            (vec![('S', 1, Some(19)), ('S', 0, Some(0))], 8),
            // The guest's CPU runs while another thread waits.
            (vec![('R', 0, Some(100)), ('R', 100, Some(0))], 10),
            // Two threads wait in turn; one sleeps while the other waits.
            (vec![('S', 5, Some(40)), ('S', 10, Some(40))], 2),
            // Stopped; waiting for a disk.
            (vec![('T', 0, Some(0)), ('T', 0, Some(0))], 0),
            (vec![('D', 0, Some(0)), ('S', 0, Some(0))], 0),
            // A kernel that does not count waiting.
            (vec![('S', 0, None), ('S', 0, None)], 10),
            (vec![('S', 0, None), ('R', 100, None)], 10),
            (vec![('S', 0, None), ('R', 10, None)], 1),
        ] {
            assert_eq!(ten_seconds(&kinds).as_secs(), seconds, "{kinds:?}");
        }
    }

    #[test]
    fn a_wait_that_is_not_counted_yet_is_taken_off_once() {
        let (mut clock, threads) = clock(&[thread('R', 5, Some(0))]);
        for time in [1000, 2000, 3000] {
            clock.look(milliseconds(time));
        }
        assert_eq!(clock.given, Duration::ZERO, "it is runnable and does not run");
        // The thread runs for 0.5 s, and the scheduler counts 3.5 s of waiting.
        *threads.lock().unwrap() = vec![thread('R', 505, Some(3500))];
        clock.look(milliseconds(4000));
        assert_eq!(clock.given, milliseconds(500));
    }

    #[test]
    fn waiting_that_is_counted_when_the_thread_runs_again_is_taken_off_in_full() {
        // Periods of 103 ms, 100 ms of waiting and 3 ms of running, sampled every 250 ms.
        let (mut clock, threads) = clock(&[thread('R', 0, Some(0))]);
        for time in (250..=20_000).step_by(250) {
            let (turns, rest) = (time / 103, time % 103);
            let (ran, waited) = if rest >= 100 { (rest - 100, 100) } else { (0, 0) };
            *threads.lock().unwrap() = vec![thread('R', turns * 3 + ran, Some(turns * 100 + waited))];
            clock.look(milliseconds(time));
        }
        assert!(clock.given < milliseconds(700), "{:?}: it ran for 582 ms", clock.given);
    }

    #[test]
    fn a_deadline_is_reached_by_time_that_was_given() {
        let (mut clock, threads) = clock(&[thread('S', 0, Some(0))]);
        let limit = Duration::from_secs(2);
        let countdown = Countdown { limit, wall: Duration::ZERO, given: Duration::ZERO };
        assert_eq!(clock.left_at(&countdown, milliseconds(1900)).unwrap(), milliseconds(100));
        let error = clock.left_at(&countdown, milliseconds(2000)).unwrap_err();
        assert!(matches!(error, LinkError::Deadline(limit) if limit.as_secs() == 2), "{error}");
        // A guest with 1 % of a CPU is not hung after nearly a hundred times the limit.
        *threads.lock().unwrap() = vec![thread('R', 0, Some(0))];
        let countdown = Countdown { limit, wall: milliseconds(2000), given: clock.given };
        for second in 3..=190 {
            *threads.lock().unwrap() = vec![thread('R', second * 10, Some(second * 990))];
            assert!(clock.left_at(&countdown, Duration::from_secs(second)).is_ok(), "{second}");
        }
        *threads.lock().unwrap() = vec![thread('R', 1950, Some(341_050))];
        let error = clock.left_at(&countdown, Duration::from_secs(343)).unwrap_err();
        assert!(matches!(error, LinkError::Starved { .. }), "{error}");
    }

    #[test]
    fn threads_are_read_from_proc() {
        let stat = "77 (a) b) R 1 77 77 0 -1 4194304 100 0 0 0 120 30 0 0 20 0 1 0 500";
        let counted = parse(stat, "1500000000 2500000 12\n").unwrap();
        assert_eq!(
            (counted.state, counted.ran, counted.waited),
            ('R', milliseconds(1500), Some(Duration::from_micros(2500)))
        );
        for uncounted in ["0 0 0\n", ""] {
            let thread = parse(stat, uncounted).unwrap();
            assert_eq!((thread.ran, thread.waited), (milliseconds(1500), None));
        }
        assert!(parse("", "1 2 3").is_none());
        let own = threads_of(std::process::id());
        assert!(!own.is_empty() && own.values().any(|thread| thread.state == 'R'), "{own:?}");
        assert!(threads_of(u32::MAX).is_empty());
    }
}
