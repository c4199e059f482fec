// SPDX-License-Identifier: GPL-2.0-or-later
//! Work on all processors.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;

/// Number of processors for this process; at least 1.
pub fn processors() -> usize {
    available_parallelism().map_or(1, usize::from)
}

/// Results of work on the numbers below `count`, in their order. `progress` gets the number of results.
///
/// # Errors
/// The error of the first piece of work that fails; it ends the work.
pub fn on_all_processors<T: Send, E: Send>(
    count: usize,
    processors: usize,
    progress: &(dyn Fn(usize) + Sync),
    one: &(dyn Fn(usize) -> Result<T, E> + Sync),
) -> Result<Vec<T>, E> {
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let results: Mutex<Vec<(usize, T)>> = Mutex::default();
    let failed: Mutex<Option<E>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..processors.min(count) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    match one(number) {
                        Ok(result) => locked(&results).push((number, result)),
                        Err(error) => {
                            next.store(count, Ordering::Relaxed);
                            locked(&failed).get_or_insert(error);
                        }
                    }
                    progress(done.fetch_add(1, Ordering::Relaxed) + 1);
                }
            });
        }
    });
    if let Some(error) = locked(&failed).take() {
        return Err(error);
    }
    let mut results = std::mem::take(&mut *locked(&results));
    results.sort_by_key(|(number, _)| *number);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

/// Content of a mutex. A thread that panicked has not changed it: the scope passes the panic on.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn results_keep_their_order_and_progress_is_shown() {
        let shown = Mutex::new(BTreeSet::new());
        let progress = |done| {
            locked(&shown).insert(done);
        };
        let results = on_all_processors(50, 4, &progress, &|number| Ok::<_, String>(number * 2)).unwrap();
        assert_eq!(results, (0..50).map(|number| number * 2).collect::<Vec<_>>());
        assert_eq!(*locked(&shown), (1..=50).collect());
    }

    #[test]
    fn the_first_error_ends_the_work() {
        let calls = AtomicUsize::new(0);
        let result = on_all_processors(1000, 2, &|_| {}, &|number| {
            calls.fetch_add(1, Ordering::Relaxed);
            match number {
                3 => Err("third".to_owned()),
                number => Ok(number),
            }
        });
        assert!(matches!(result, Err(text) if text == "third"));
        assert!(calls.load(Ordering::Relaxed) < 1000);
    }
}
