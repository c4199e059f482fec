// SPDX-License-Identifier: GPL-2.0-or-later
//! Lock of the verbs that change something, by flock(2). The kernel releases it when the program ends or is killed.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::console::Console;
use crate::model::durable;
use crate::model::error::Error;
use crate::model::system::{Backoff, System};

const FILE: &str = "/run/kpatch/lock";
/// Limit on waiting for another kpatch. A load that stalls, is reversed and stalls again takes two and a half minutes.
const WAIT: Duration = Duration::from_secs(300);
/// Time until the waiting is reported.
const SILENT: Duration = Duration::from_secs(1);

/// Takes the lock and writes `verb` into the lock file.
///
/// # Errors
/// Another kpatch holds the lock for longer than the limit; a signal arrived while waiting.
pub(crate) fn take(system: &System, console: &mut Console<'_>, verb: &str) -> Result<(), Error> {
    let error = |action, source: std::io::Error| Error::file(action, FILE, source);
    durable::make_dirs(system, FILE)?;
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(system.path(FILE))
        .map_err(|source| error("open", source))?;
    let mut waiting = Backoff::new(system, WAIT);
    let mut reported = false;
    // If SIGTERM arrived before the lock was taken (shutdown), finish the remaining work anyway.
    let before = system.kernel().interrupted();
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(Errno::WOULDBLOCK | Errno::INTR) => {}
            Err(errno) => return Err(error("lock", errno.into())),
        }
        if let Some(signal) = system.kernel().interrupted().filter(|_| before.is_none()) {
            return Err(Error::Interrupted { signal, state: "nothing was changed".to_owned() });
        }
        let holder = holder(&mut file);
        if waiting.elapsed() >= SILENT && !std::mem::replace(&mut reported, true) {
            console.warn(format_args!("waiting for another kpatch ({holder}) to finish"));
        }
        if !waiting.step() {
            return Err(Error::Locked { holder });
        }
    }
    // For the messages of waiting programs only, so a write error does no harm.
    let _ = file.set_len(0).and_then(|()| {
        file.seek(SeekFrom::Start(0))?;
        file.write_all(format!("{verb}, process {}", std::process::id()).as_bytes())
    });
    system.keep_lock(Some(file));
    Ok(())
}

/// Releases the lock while this program only waits.
pub(crate) fn release(system: &System) {
    system.keep_lock(None);
}

/// Content of the lock file.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.seek(SeekFrom::Start(0)).and_then(|_| file.read_to_string(&mut text));
    if read.is_err() || text.is_empty() { "it does not say which".to_owned() } else { text }
}
