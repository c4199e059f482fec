// SPDX-License-Identifier: GPL-2.0-or-later
//! Switch from the initramfs to a full system on a disk, as in an initrd.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::Duration;

use rustix::mount::{MountFlags, UnmountFlags, mount, mount_move, unmount};
use rustix::process::{chdir, chroot};

use crate::error::Error;
use crate::setup::load_modules;

const DISK: &str = "/dev/vda";
const ROOT: &str = "/disk";
/// Directory of the host's files to copy over those of the disk image.
const OVERLAY: &str = "/overlay";
/// Maximum number of lookups of the disk, 10 ms apart, as for the port.
const LOOKS: u32 = 2000;

/// Mounts the disk, copies the overlay over it, and executes its init.
pub(crate) fn to_disk() -> Result<Infallible, Error> {
    load_modules()?;
    let mut looks = 0;
    while !Path::new(DISK).exists() {
        looks += 1;
        if looks > LOOKS {
            return Err(Error::new(format!("find {DISK}"), io::Error::from(io::ErrorKind::NotFound)));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    fs::create_dir_all(ROOT).map_err(|error| Error::new(format!("make {ROOT}"), error))?;
    mount(DISK, ROOT, "ext4", MountFlags::NOATIME, None)
        .map_err(|error| Error::new(format!("mount {DISK}"), error))?;
    copy(Path::new(OVERLAY), Path::new(ROOT))
        .map_err(|error| Error::new(format!("copy {OVERLAY} to {ROOT}"), error))?;
    for busy in ["/proc", "/sys"] {
        unmount(busy, UnmountFlags::DETACH).map_err(|error| Error::new(format!("unmount {busy}"), error))?;
    }
    let switched = mount_move("/dev", Path::new(ROOT).join("dev"))
        .and_then(|()| chdir(ROOT))
        .and_then(|()| mount_move(".", "/"))
        .and_then(|()| chroot("."))
        .and_then(|()| chdir("/"));
    switched.map_err(|error| Error::new(format!("make {ROOT} the root"), error))?;
    #[allow(
        clippy::disallowed_methods,
        reason = "the wrapper of klp-base is for the host; this is the guest's"
    )]
    let error = std::process::Command::new("/sbin/init").env_clear().exec();
    Err(Error::new("run /sbin/init of the disk", error))
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir_all(&target)?;
            copy(&entry.path(), &target)?;
        } else {
            // The target may be a program that an earlier boot ran: it is replaced, not overwritten.
            let _ = fs::remove_file(&target);
            fs::copy(entry.path(), &target)?;
        }
    }
    Ok(())
}
