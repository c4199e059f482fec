// SPDX-License-Identifier: GPL-2.0-or-later
//! bpf(2), for which std and rustix have no wrapper. The only unsafe code of this program.
#![allow(unsafe_code, reason = "the program's one system-call module")]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

const PROG_LOAD: libc::c_long = 5;
const RAW_TRACEPOINT_OPEN: libc::c_long = 17;
const PROG_TYPE_TRACING: u32 = 26;

/// Used part of `union bpf_attr` of `BPF_PROG_LOAD`.
#[repr(C)]
#[derive(Default)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log: [u32; 4],
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
    prog_btf_fd: u32,
    func_info: [u32; 4],
    line_info: [u32; 4],
    attach_btf_id: u32,
    rest: [u32; 4],
}

/// `union bpf_attr` of `BPF_RAW_TRACEPOINT_OPEN`.
#[repr(C)]
struct Open {
    name: u64,
    prog_fd: u32,
    padding: u32,
}

/// Runs a command that returns a file descriptor.
fn bpf<T>(command: libc::c_long, attr: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: pointer and size are those of a live value with the layout of the command; the addresses in it, which the
    // callers below set, are also of live values.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    let fd = i32::try_from(answer).map_err(io::Error::other)?;
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just returned the descriptor to this program, and it has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Attaches a program that returns `answer` to the function with this BTF type in vmlinux; returns program and link. It stays
/// attached while the link is open. The program's file in `/proc/<pid>/fdinfo` counts its runs (`run_cnt`) where
/// `kernel.bpf_stats_enabled` is 1.
pub(crate) fn attach(attach_type: u32, function: u32, answer: i32) -> io::Result<[OwnedFd; 2]> {
    // r0 = answer; exit
    let code: [u64; 2] = [0xb7 | u64::from(answer.cast_unsigned()) << 32, 0x95];
    let mut load = Load {
        prog_type: PROG_TYPE_TRACING,
        insn_cnt: 2,
        insns: code.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        expected_attach_type: attach_type,
        attach_btf_id: function,
        ..Load::default()
    };
    let program = bpf(PROG_LOAD, &mut load)?;
    let prog_fd = u32::try_from(program.as_raw_fd()).map_err(io::Error::other)?;
    let link = bpf(RAW_TRACEPOINT_OPEN, &mut Open { name: 0, prog_fd, padding: 0 })?;
    Ok([program, link])
}
