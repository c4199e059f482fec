// SPDX-License-Identifier: GPL-2.0-or-later
//! Facts of an architecture that the rules need: one table each.

use klp_base::arch::Arch;
use klp_format::ftrace::ENDBR64;
use klp_module::Machine;

/// Facts of an architecture that the rules need.
pub(crate) struct ArchTable {
    /// ELF machine.
    pub(crate) machine: Machine,
    /// Relocation types that the kernel's module loader applies, and the number of bytes that each writes.
    pub(crate) relocations: &'static [(u32, u64)],
    /// One-byte instruction of the padding before functions.
    pub(crate) padding: u8,
    /// Landing pads: instructions that indirect branches may lead to under branch tracking.
    pub(crate) branch_targets: &'static [[u8; 4]],
    /// Section whose relocations list the landing pads that the kernel overwrites at load time.
    pub(crate) sealed_targets: Option<&'static str>,
    /// Relocation type of a 64-bit address in data.
    pub(crate) absolute: u32,
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
    branch_targets: &[ENDBR64],
    sealed_targets: Some(".ibt_endbr_seal"),
    absolute: 1, // R_X86_64_64
};

/// Source: `apply_relocate_add()` in `arch/arm64/kernel/module.c`.
const ARM64: ArchTable = ArchTable {
    machine: Machine::Arm64,
    relocations: &[
        (0, 0),   // R_ARM_NONE
        (256, 0), // R_AARCH64_NONE
        (257, 8), // R_AARCH64_ABS64
        (258, 4), // R_AARCH64_ABS32
        (259, 2), // R_AARCH64_ABS16
        (260, 8), // R_AARCH64_PREL64
        (261, 4), // R_AARCH64_PREL32
        (262, 2), // R_AARCH64_PREL16
        (263, 4), // R_AARCH64_MOVW_UABS_G0
        (264, 4), // R_AARCH64_MOVW_UABS_G0_NC
        (265, 4), // R_AARCH64_MOVW_UABS_G1
        (266, 4), // R_AARCH64_MOVW_UABS_G1_NC
        (267, 4), // R_AARCH64_MOVW_UABS_G2
        (268, 4), // R_AARCH64_MOVW_UABS_G2_NC
        (269, 4), // R_AARCH64_MOVW_UABS_G3
        (270, 4), // R_AARCH64_MOVW_SABS_G0
        (271, 4), // R_AARCH64_MOVW_SABS_G1
        (272, 4), // R_AARCH64_MOVW_SABS_G2
        (273, 4), // R_AARCH64_LD_PREL_LO19
        (274, 4), // R_AARCH64_ADR_PREL_LO21
        (275, 4), // R_AARCH64_ADR_PREL_PG_HI21
        (276, 4), // R_AARCH64_ADR_PREL_PG_HI21_NC
        (277, 4), // R_AARCH64_ADD_ABS_LO12_NC
        (278, 4), // R_AARCH64_LDST8_ABS_LO12_NC
        (279, 4), // R_AARCH64_TSTBR14
        (280, 4), // R_AARCH64_CONDBR19
        (282, 4), // R_AARCH64_JUMP26
        (283, 4), // R_AARCH64_CALL26
        (284, 4), // R_AARCH64_LDST16_ABS_LO12_NC
        (285, 4), // R_AARCH64_LDST32_ABS_LO12_NC
        (286, 4), // R_AARCH64_LDST64_ABS_LO12_NC
        (287, 4), // R_AARCH64_MOVW_PREL_G0
        (288, 4), // R_AARCH64_MOVW_PREL_G0_NC
        (289, 4), // R_AARCH64_MOVW_PREL_G1
        (290, 4), // R_AARCH64_MOVW_PREL_G1_NC
        (291, 4), // R_AARCH64_MOVW_PREL_G2
        (292, 4), // R_AARCH64_MOVW_PREL_G2_NC
        (293, 4), // R_AARCH64_MOVW_PREL_G3
        (299, 4), // R_AARCH64_LDST128_ABS_LO12_NC
    ],
    padding: 0x1f, // no kernel of ours has call padding there
    branch_targets: &[
        [0x5f, 0x24, 0x03, 0xd5], // bti c
        [0xdf, 0x24, 0x03, 0xd5], // bti jc
        [0x3f, 0x23, 0x03, 0xd5], // paciasp
        [0x7f, 0x23, 0x03, 0xd5], // pacibsp
    ],
    sealed_targets: None,
    absolute: 257, // R_AARCH64_ABS64
};

impl ArchTable {
    /// The table of an architecture.
    pub(crate) fn of(arch: Arch) -> &'static Self {
        match arch {
            Arch::X86_64 => &X86_64,
            Arch::Arm64 => &ARM64,
        }
    }
}
