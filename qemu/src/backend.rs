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
    /// TCG runs all CPUs in one thread. With one thread per CPU, QEMU 7.2 raised an unexplained `int3` in one of four
    /// runs of guests with two CPUs, where one CPU rewrites code that the other one executes (as loading a live patch
    /// does).
    pub(crate) fn argument(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg | Self::Counted => "tcg,thread=single",
        }
    }

    /// Additional arguments of QEMU.
    pub(crate) fn more(self) -> &'static [&'static str] {
        match self {
            Self::Counted => &["-icount", "shift=0"],
            Self::Kvm | Self::Tcg => &[],
        }
    }
}
