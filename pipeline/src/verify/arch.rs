// SPDX-License-Identifier: GPL-2.0-or-later
//! What the rules must know of an architecture: one table each.

use klp_module::Machine;

use crate::kernel::Arch;

/// What the rules must know of an architecture.
pub(super) struct ArchTable {
    /// The machine of its ELF files.
    pub(super) machine: Machine,
    /// Relocation types that the kernel's module loader applies, and how many bytes each writes.
    pub(super) relocations: &'static [(u32, u64)],
    /// The byte that padding before functions is made of.
    pub(super) padding: u8,
    /// The instruction that indirect branches may lead to under branch tracking.
    pub(super) branch_target: &'static [u8],
    /// Section whose relocations lead to the branch targets that the kernel overwrites at load time.
    pub(super) sealed_targets: &'static str,
}

/// Source: `__write_relocate_add()` in `arch/x86/kernel/module.c`.
const X86_64: ArchTable = ArchTable {
    machine: Machine::X86_64,
    relocations: &[
        (0, 0),  // R_X86_64_NONE
        (1, 8),  // R_X86_64_64
        (2, 4),  // R_X86_64_PC32
        (4, 4),  // R_X86_64_PLT32
        (10, 4), // R_X86_64_32
        (11, 4), // R_X86_64_32S
        (24, 8), // R_X86_64_PC64
    ],
    padding: 0x90, // patch_dest() in arch/x86/kernel/callthunks.c knows the one-byte nop alone
    branch_target: &[0xf3, 0x0f, 0x1e, 0xfa], // endbr64
    sealed_targets: ".ibt_endbr_seal",
};

/// The table of an architecture.
pub(super) fn table(arch: Arch) -> &'static ArchTable {
    match arch {
        Arch::X86_64 => &X86_64,
    }
}
