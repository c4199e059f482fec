// SPDX-License-Identifier: GPL-2.0-or-later
//! The clock of deadlines: the time that the host gave a guest, not the time that passed on the host.
//!
//! A guest on a busy host is slow, and nothing is wrong with it. Wall time in which QEMU wanted a CPU and got none, was
//! stopped, or waited for the host's disk therefore does not count. Wall time in which all its threads slept does: a guest
//! that waits for something that never comes is idle, and is found as fast as on a quiet host. So does CPU time: a guest that
//! spins is found after as much CPU time as the deadline has seconds.
//!
//! The scheduler's own figures (`/proc/<pid>/task/<tid>/schedstat`, Documentation/scheduler/sched-stats.rst) tell waiting
//! from sleeping. A kernel without them leaves each thread's state and CPU time (proc(5)), looked at several times a second.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use crate::link::LinkError;

/// Shortest time between two looks at the threads.
const LOOK: Duration = Duration::from_millis(100);
/// Longest wait without a look at them.
const SLICE: Duration = Duration::from_millis(250);
/// The most that is taken off later: some turns of waiting. Threads that wait at once must not add up for ever.
const OWED: Duration = Duration::from_secs(1);
/// How much longer than its limit a wait may take by the wall clock.
const FACTOR: u32 = 20;
/// Additional allowance by the wall clock, for short limits.
const ALLOWANCE: Duration = Duration::from_secs(300);

/// Scheduler statistics of one thread.
#[derive(Clone, Copy, Debug)]
struct Thread {
    /// The letter of proc(5).
    state: char,
    /// Time on a CPU.
    ran: Duration,
    /// Time in which it could have run and had no CPU; `None` where the host's kernel does not count it.
    waited: Option<Duration>,
}

/// All threads of a process by their ids; empty when it has ended.
type Threads = BTreeMap<u32, Thread>;

/// A thread at the last look.
#[derive(Clone, Copy)]
struct Seen {
    thread: Thread,
    /// Waiting that was taken off before the scheduler counted it: it does so when the thread runs again.
    ahead: Duration,
}

/// How long a process was given to work, or had nothing to do.
pub(crate) struct Clock {
    read: Box<dyn FnMut() -> Threads + Send>,
    seen: BTreeMap<u32, Seen>,
    started: Instant,
    /// Wall time of the last look, from `started`.
    looked: Duration,
    given: Duration,
    /// Waiting that the scheduler counted later than it happened, and that is still to be taken off.
    owed: Duration,
}

impl Clock {
    /// The clock of a process, from now on.
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

    /// A wait that begins now and is over after `limit` by this clock.
    pub(crate) fn countdown(&mut self, limit: Duration) -> Countdown {
        let wall = self.started.elapsed();
        self.look(wall);
        Countdown { limit, wall, given: self.given }
    }

    /// How long to wait before asking again.
    ///
    /// # Errors
    /// [`LinkError::Deadline`] when the limit is reached, [`LinkError::Starved`] when the host gave so little time that it
    /// would take too long to find out.
    pub(crate) fn left(&mut self, countdown: &Countdown) -> Result<Duration, LinkError> {
        self.left_at(countdown, self.started.elapsed())
    }

    fn left_at(&mut self, countdown: &Countdown, wall: Duration) -> Result<Duration, LinkError> {
        let Countdown { limit, .. } = *countdown;
        // What passed since the last look may turn out to have been waiting, but cannot be more than this.
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

    /// Takes account of the time since the last look.
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
        // QEMU's threads wait for each other: while one sleeps until another has let go of a lock, that one waits for a CPU.
        // Hence the sum, of which too much is taken off where two wait at once; what one of them ran counts in any case.
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
    /// How much of the time that passed the thread could not use.
    fn waited(&mut self, now: &Thread, passed: Duration, ran: Duration) -> Duration {
        // Stopped, by a signal or a debugger, or waiting for a disk of the host.
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
    /// The two times when it began.
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
    // A thread that ends between two reads is not there.
    tasks.filter_map(thread).collect()
}

/// A thread from its `stat` (proc(5)) and its `schedstat`: `<nanoseconds on a CPU> <nanoseconds waiting> <times>`, all zero
/// where the kernel does not count.
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

    /// A clock that looks at threads which the test makes up.
    fn clock(threads: &[Thread]) -> (Clock, Arc<Mutex<Vec<Thread>>>) {
        let threads = Arc::new(Mutex::new(threads.to_vec()));
        let read = Arc::clone(&threads);
        (Clock::new(Box::new(move || (1..).zip(read.lock().unwrap().iter().copied()).collect())), threads)
    }

    fn thread(state: char, ran: u64, waited: Option<u64>) -> Thread {
        Thread { state, ran: milliseconds(ran), waited: waited.map(milliseconds) }
    }

    /// Ten seconds, of which each thread spends these hundredths on a CPU and waiting, in looks of 200 ms; what counted.
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
            // Idle; spinning; spinning on a host that gives a tenth.
            (vec![('S', 0, Some(0)), ('S', 0, Some(0))], 10),
            (vec![('S', 0, Some(0)), ('R', 100, Some(0))], 10),
            (vec![('S', 0, Some(0)), ('R', 10, Some(90))], 1),
            // Idle, but for wake-ups that wait.
            (vec![('S', 1, Some(19)), ('S', 0, Some(0))], 8),
            // The guest's CPU runs while another thread waits.
            (vec![('R', 0, Some(100)), ('R', 100, Some(0))], 10),
            // They wait in turn, each asleep while the other one does.
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
        // It runs for half a second, and the scheduler counts three seconds and a half.
        *threads.lock().unwrap() = vec![thread('R', 505, Some(3500))];
        clock.look(milliseconds(4000));
        assert_eq!(clock.given, milliseconds(500));
    }

    #[test]
    fn waiting_that_is_counted_when_the_thread_runs_again_is_taken_off_in_full() {
        // In turns of 103 ms it waits for 100 and runs for 3, and is looked at every 250 ms.
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
        // A guest that gets a hundredth of a CPU is not hung after a hundred times as long.
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
