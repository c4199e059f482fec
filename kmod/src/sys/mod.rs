// SPDX-License-Identifier: GPL-2.0-only
//! What kernels without a usable `kernel` crate lack: printing, the panic handler.

pub mod alloc;
pub mod panic;
pub mod print;
