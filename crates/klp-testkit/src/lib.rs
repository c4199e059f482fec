// SPDX-License-Identifier: GPL-2.0-or-later
//! Common code of tests, benchmarks and their verbs. The product does not depend on it.

pub mod artifact;
pub mod copies;
pub mod corpus;
pub mod draw;
pub mod image_bench;
mod predictions;

pub use self::predictions::predictions;
