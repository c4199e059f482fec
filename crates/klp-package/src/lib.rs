// SPDX-License-Identifier: GPL-2.0-or-later
//! Packages of live patches and of the program `kpatch`, as RPM and DEB, and repositories of them for dnf and apt.
//!
//! [`Patch`] and [`Loader`] say what is delivered, [`Package`] is one package in a neutral form, and
//! [`Package::encode`] makes the file. [`repo`] adds files to a repository. Names and relations follow the packages of
//! Red Hat's kernel live patches (`kpatch-patch`), so that their tools and commands work.
//!
//! # Invariants
//! A package is a function of its input: no clock, no path, no user of the build machine.

mod date;
mod deb;
mod encode;
mod error;
mod loader;
mod module;
mod names;
mod package;
mod patch;
pub mod repo;
mod rpm;

pub use encode::write;
pub use error::Error;
pub use loader::{KPATCH_EPOCH, KPATCH_VERSION, Loader, LoaderFiles};
pub use module::PatchModule;
pub use names::{PATCH, deb_name, deb_provided, rpm_name, rpm_provided};
pub use package::{
    DEFAULT_DATE, DEFAULT_MAINTAINER, Entry, FileKind, Format, Operator, Origin, Package, Phase, Relation,
    RelationKind, Version,
};
pub use patch::Patch;
