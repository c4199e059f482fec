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
    /// Length of the no-operation instruction that bytes begin with, if they do.
    pub(super) nop_length: fn(&[u8]) -> Option<usize>,
    /// The instruction that indirect branches may lead to under branch tracking.
    pub(super) branch_target: &'static [u8],
    /// Section whose relocations lead to the branch targets that the kernel overwrites at load time.
    pub(super) sealed_targets: &'static str,
}

/// Source: `__write_relocate_add()` in `arch/x86/kernel/module.c`, the same cases from 5.8 (which dropped none) to 7.3.
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
    nop_length: x86_nop_length,
    branch_target: &[0xf3, 0x0f, 0x1e, 0xfa], // endbr64
    sealed_targets: ".ibt_endbr_seal",
};

/// The table of an architecture.
pub(super) fn table(arch: Arch) -> &'static ArchTable {
    match arch {
        Arch::X86_64 => &X86_64,
    }
}

/// `nop`, with any number of operand-size and segment prefixes, or `nopw`/`nopl` with any operand in memory: all forms
/// that GNU as and LLVM pad code with.
fn x86_nop_length(code: &[u8]) -> Option<usize> {
    let prefixes = code.iter().take_while(|&&byte| matches!(byte, 0x66 | 0x2e)).count();
    match code.get(prefixes..)? {
        [0x90, ..] => Some(prefixes + 1),
        [0x0f, 0x1f, operand, rest @ ..] if operand & 0x38 == 0 => {
            let (mode, register) = (operand >> 6, operand & 7);
            let with_sib = mode != 3 && register == 4;
            let no_base = if with_sib { rest.first()? & 7 == 5 } else { register == 5 };
            let displacement = match mode {
                0 if no_base => 4,
                1 => 1,
                2 => 4,
                _ => 0,
            };
            Some(prefixes + 3 + usize::from(with_sib) + displacement)
        }
        _ => None,
    }
}

/// Whether bytes are no-operation instructions and nothing else.
pub(super) fn only_nops(table: &ArchTable, mut code: &[u8]) -> bool {
    while !code.is_empty() {
        match (table.nop_length)(code).and_then(|length| code.get(length..)) {
            Some(rest) => code = rest,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_nops_of_the_assembler_are_known() {
        // What `.nops 1` to `.nops 15` of GNU as gives, as objdump reads them.
        let nops: [&[u8]; 12] = [
            &[0x90],
            &[0x66, 0x90],
            &[0x0f, 0x1f, 0x00],
            &[0x0f, 0x1f, 0x40, 0x00],
            &[0x0f, 0x1f, 0x44, 0x00, 0x00],
            &[0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00],
            &[0x0f, 0x1f, 0x80, 0, 0, 0, 0],
            &[0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0],
            &[0x66, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0],
            &[0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0],
            &[0x66, 0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0],
            &[0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0],
        ];
        for nop in nops {
            assert_eq!(x86_nop_length(nop), Some(nop.len()), "{nop:x?}");
            assert!(only_nops(&X86_64, &[nop, nop].concat()), "{nop:x?}");
        }
        // ret, int3, a call, endbr64, a nop cut off, ud1: nothing that may stand in padding.
        let others: [&[u8]; 7] = [
            &[0xc3],
            &[0xcc],
            &[0xe8, 0, 0, 0, 0],
            &[0xf3, 0x0f, 0x1e, 0xfa],
            &[0x0f, 0x1f, 0x44],
            &[0x66],
            &[0x0f, 0x1f, 0x48, 0x00],
        ];
        for other in others {
            assert!(!only_nops(&X86_64, other), "{other:x?}");
        }
    }
}
