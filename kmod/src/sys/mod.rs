// SPDX-License-Identifier: GPL-2.0-only
//! What kernels without a usable `kernel` crate lack: printing, seq_file, the panic handler.

pub mod panic;
pub mod print;
pub mod seq_file;
