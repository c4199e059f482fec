// SPDX-License-Identifier: GPL-2.0-or-later
//! Execution backends of QEMU.

/// The part of QEMU that executes guest instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    Kvm,
    Tcg,
    Counted,
}

impl Backend {
    /// TCG runs all CPUs in one thread: with one for each, guests of two CPUs that rewrite code which another one runs
    /// (what loading a live patch does) took an unexplained `int3` in one of four runs with QEMU 7.2.
    pub(crate) fn argument(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg | Self::Counted => "tcg,thread=single",
        }
    }

    /// Further arguments of QEMU.
    pub(crate) fn more(self) -> &'static [&'static str] {
        match self {
            Self::Counted => &["-icount", "shift=0"],
            Self::Kvm | Self::Tcg => &[],
        }
    }
}
