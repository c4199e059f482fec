// SPDX-License-Identifier: GPL-2.0-or-later
//! System calls that neither std nor rustix wraps. The only unsafe code of this crate.
//!
//! bpf(2), of which only the commands that look are used. Layouts: `union bpf_attr` and `struct bpf_link_info` in
//! `include/uapi/linux/bpf.h` of Linux 5.13 and later.
#![allow(unsafe_code, reason = "the crate's one system-call module")]

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use crate::model::system::BpfLink;

const OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const LINK_GET_FD_BY_ID: libc::c_long = 30;
const LINK_GET_NEXT_ID: libc::c_long = 31;
/// `BPF_LINK_TYPE_TRACING`: what fentry, fexit, fmod_ret and LSM programs are attached by.
const LINK_TYPE_TRACING: u32 = 2;

/// `union bpf_attr` of the commands that take an id: the id, the next one, flags.
#[repr(C)]
#[derive(Default)]
struct IdAttr {
    id: u32,
    next: u32,
    flags: u32,
}

/// `union bpf_attr` of `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct InfoAttr {
    fd: u32,
    length: u32,
    info: u64,
}

/// The beginning of `struct bpf_link_info`, with the part on tracing links of its union, which is aligned to 8 bytes.
#[repr(C, align(8))]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    padding: u32,
    attach_type: u32,
    target_object: u32,
    target_type: u32,
}

/// bpf(2). The answer is a file descriptor for the commands that give one, else 0.
///
/// # Safety
/// `attr` is what the command reads and writes, and where it holds an address, that is one of memory of the length that stands
/// beside it, which may be written.
unsafe fn bpf<T>(command: libc::c_long, attr: &mut T) -> Result<i32, Errno> {
    // SAFETY: the pointer and the size are those of a live value; what it points to is the caller's promise.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    if answer < 0 {
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO));
    }
    i32::try_from(answer).map_err(|_| Errno::IO)
}

/// Every BPF link by which a program is attached to a function of the kernel.
pub(crate) fn bpf_tracing_links() -> Result<Vec<BpfLink>, Errno> {
    let mut found = Vec::new();
    let mut attr = IdAttr::default();
    loop {
        // SAFETY: the command reads the id and writes the next one, both in `attr`.
        match unsafe { bpf(LINK_GET_NEXT_ID, &mut attr) } {
            Ok(_) => {}
            Err(Errno::NOENT) => return Ok(found),
            Err(errno) => return Err(errno),
        }
        attr.id = attr.next;
        let mut wanted = IdAttr { id: attr.id, ..IdAttr::default() };
        // SAFETY: the command reads the id, in `wanted`.
        let link = match unsafe { bpf(LINK_GET_FD_BY_ID, &mut wanted) } {
            // SAFETY: the kernel has just given the descriptor to this program, and nothing else has it.
            Ok(fd) => unsafe { OwnedFd::from_raw_fd(fd) },
            // It has gone since, or is in the making.
            Err(Errno::NOENT | Errno::AGAIN) => continue,
            Err(errno) => return Err(errno),
        };
        found.extend(tracing_link(&link)?);
    }
}

fn tracing_link(link: &OwnedFd) -> Result<Option<BpfLink>, Errno> {
    let mut info = LinkInfo::default();
    let mut attr = InfoAttr {
        fd: u32::try_from(link.as_raw_fd()).map_err(|_| Errno::BADF)?,
        length: u32::try_from(size_of::<LinkInfo>()).map_err(|_| Errno::IO)?,
        info: std::ptr::from_mut(&mut info) as u64,
    };
    // SAFETY: the address and the length are those of `info`, which lives until the call has returned and is plain data.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut attr) }?;
    Ok((info.kind == LINK_TYPE_TRACING).then_some(BpfLink {
        id: info.id,
        program: info.program,
        attach_type: info.attach_type,
        target: (info.target_object, info.target_type),
    }))
}
