// SPDX-License-Identifier: GPL-2.0-only
//! Allocation, printing and the panic handler, for kernels without a usable `kernel` crate.

pub mod alloc;
pub mod panic;
pub mod print;
