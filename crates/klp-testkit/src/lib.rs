// SPDX-License-Identifier: GPL-2.0-or-later
//! Machinery that tests, benchmarks and their verbs share. The product does not depend on it.

pub mod artifact;
pub mod draw;
pub mod image_bench;
mod predictions;

pub use self::predictions::predictions;
