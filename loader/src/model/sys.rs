// SPDX-License-Identifier: GPL-2.0-or-later
//! System calls without a wrapper in std or rustix: bpf(2), read-only commands. The only unsafe code of this crate.
//!
//! Layouts: `union bpf_attr` and `struct bpf_link_info` in `include/uapi/linux/bpf.h` of Linux 5.13 and later.
#![allow(unsafe_code, reason = "the crate's one system-call module")]

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

/// BPF link: attachment of a BPF program to a kernel function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BpfLink {
    /// Id of the link.
    pub id: u32,
    /// Id of the program.
    pub program: u32,
    /// `enum bpf_attach_type`.
    pub attach_type: u32,
    /// Function, as ids of its BTF object and BTF type.
    pub target: (u32, u32),
}

const OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const LINK_GET_FD_BY_ID: libc::c_long = 30;
const LINK_GET_NEXT_ID: libc::c_long = 31;
/// `BPF_LINK_TYPE_TRACING`: type of the links of fentry, fexit, fmod_ret and LSM programs.
const LINK_TYPE_TRACING: u32 = 2;

/// Member of `union bpf_attr` for commands that take an id.
#[repr(C)]
#[derive(Default)]
struct IdAttr {
    id: u32,
    next: u32,
    flags: u32,
}

/// Member of `union bpf_attr` for `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct InfoAttr {
    fd: u32,
    length: u32,
    info: u64,
}

/// Head of `struct bpf_link_info` with the union's member for tracing links; the union is aligned to 8 bytes.
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

/// Calls bpf(2). Returns a file descriptor for commands that open one, else 0.
///
/// # Safety
/// `attr` has the layout that `command` expects. If it holds an address, that address is valid for writes of the length that
/// `attr` states.
unsafe fn bpf<T>(command: libc::c_long, attr: &mut T) -> Result<i32, Errno> {
    // SAFETY: pointer and size describe `attr`, which is borrowed mutably during the call, so the kernel may read and write it.
    // By this function's contract, its layout is the command's, and an address in it is valid for writes of the stated length.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    if answer < 0 {
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO));
    }
    i32::try_from(answer).map_err(|_| Errno::IO)
}

/// All BPF links of tracing programs.
pub(crate) fn bpf_tracing_links() -> Result<Vec<BpfLink>, Errno> {
    let mut found = Vec::new();
    let mut attr = IdAttr::default();
    loop {
        // SAFETY: `IdAttr` is the layout of this command; it reads `id`, writes `next`, and follows no address.
        match unsafe { bpf(LINK_GET_NEXT_ID, &mut attr) } {
            Ok(_) => {}
            Err(Errno::NOENT) => return Ok(found),
            Err(errno) => return Err(errno),
        }
        attr.id = attr.next;
        let mut wanted = IdAttr { id: attr.id, ..IdAttr::default() };
        // SAFETY: `IdAttr` is the layout of this command; it reads `id` and follows no address.
        let link = match unsafe { bpf(LINK_GET_FD_BY_ID, &mut wanted) } {
            // SAFETY: the command returns a new file descriptor, which is open and has no other owner.
            Ok(fd) => unsafe { OwnedFd::from_raw_fd(fd) },
            // The link vanished, or is not complete yet.
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
    // SAFETY: `InfoAttr` is the layout of this command. Its address and length are those of `info`, which is borrowed mutably
    // and outlives the call; every bit pattern is valid for its integers.
    unsafe { bpf(OBJ_GET_INFO_BY_FD, &mut attr) }?;
    Ok((info.kind == LINK_TYPE_TRACING).then_some(BpfLink {
        id: info.id,
        program: info.program,
        attach_type: info.attach_type,
        target: (info.target_object, info.target_type),
    }))
}
