// SPDX-License-Identifier: GPL-2.0-or-later
//! x86_64 (System V ABI, as the kernel uses it).

use iced_x86::{
    Decoder, DecoderOptions, FlowControl, InstructionInfoFactory, Mnemonic, OpAccess, OpKind,
    Register as Iced,
};

use super::{Convention, Effect, Flow, Instruction, Register};

const RSP: Register = 4;
const RBP: Register = 5;
/// Register with the stack pointer at the entry, plus 8, in functions whose frame gcc aligns (`tools/objtool/check.c`, "drap").
const R10: Register = 10;
const WORD: i64 = 8;

/// Names of the registers by number.
pub(super) const NAMES: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
    "r15",
];

pub(super) const CONVENTION: Convention = Convention {
    stack: RSP,
    result: 0,
    arguments: &[7, 6, 2, 1, 8, 9],
    preserved: &[3, RBP, 12, 13, 14, 15],
    registers: NAMES.len(),
    pushed_by_call: 8,
};

pub(super) fn decode(code: &[u8], at: u64) -> Option<Instruction> {
    let found = Decoder::with_ip(64, code, at, DecoderOptions::NONE).decode();
    if found.is_invalid() {
        return None;
    }
    let register = (found.op0_kind() == OpKind::Register).then(|| general(found.op0_register())).flatten();
    let flow = match found.flow_control() {
        // `syscall`, `vmcall` and the like are calls to iced.
        FlowControl::Call if found.op0_kind() == OpKind::NearBranch64 => Flow::Call,
        FlowControl::IndirectCall => Flow::CallIndirect(register),
        FlowControl::UnconditionalBranch => Flow::Jump,
        FlowControl::ConditionalBranch => Flow::Branch,
        FlowControl::IndirectBranch => Flow::JumpIndirect(register),
        FlowControl::Return => Flow::Return,
        FlowControl::Exception => Flow::Stop,
        FlowControl::Interrupt if found.mnemonic() == Mnemonic::Int3 => Flow::Stop,
        _ => Flow::Next,
    };
    let direct = matches!(flow, Flow::Call | Flow::Jump | Flow::Branch);
    Some(Instruction {
        length: found.len() as u64,
        flow,
        target: direct.then(|| found.near_branch_target()),
        effects: if flow == Flow::Next { effects(&found) } else { Vec::new() },
        writes: writes(&found),
        vector: uses_vector(&found, code),
    })
}

/// True for a write to a place that the instruction names by its address, or by the distance from itself.
fn writes(found: &iced_x86::Instruction) -> bool {
    let named = found.op0_kind() == OpKind::Memory
        && matches!(found.memory_base(), Iced::RIP | Iced::None)
        && found.segment_prefix() == Iced::None;
    let access = || InstructionInfoFactory::new().info(found).op0_access();
    named
        && matches!(
            access(),
            OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
        )
}

fn uses_vector(found: &iced_x86::Instruction, code: &[u8]) -> bool {
    let is_vector = |register: Iced| {
        register.is_vector_register()
            || register.is_mm()
            || register.is_st()
            || register.is_k()
            || register.is_tmm()
    };
    let is_prefix =
        |byte: &u8| matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x40..=0x4f | 0x64..=0x67 | 0xf2 | 0xf3);
    // The escape to the x87.
    let x87 = code.iter().find(|byte| !is_prefix(byte)).is_some_and(|byte| (0xd8..=0xdf).contains(byte));
    x87 || (0..found.op_count())
        .any(|operand| found.op_kind(operand) == OpKind::Register && is_vector(found.op_register(operand)))
}

fn effects(found: &iced_x86::Instruction) -> Vec<Effect> {
    known(found).unwrap_or_else(|| {
        let mut factory = InstructionInfoFactory::new();
        let used = factory.info(found).used_registers();
        let written =
            used.iter().filter(|used| !matches!(used.access(), OpAccess::Read | OpAccess::CondRead));
        let registers = written.filter_map(|used| general(used.register()));
        let touched = touched(found).map(|base| Effect::Touch { base });
        match found.stack_pointer_increment() {
            0 => touched.into_iter().chain(registers.map(|to| Effect::Unknown { to })).collect(),
            by => {
                let rest = registers.filter(|&to| to != RSP).map(|to| Effect::Unknown { to });
                let moved = Effect::Offset { to: RSP, from: RSP, by: by.into() };
                touched.into_iter().chain(rest).chain([moved]).collect()
            }
        }
    })
}

/// Base register of the place in memory that an instruction reads or writes.
fn touched(found: &iced_x86::Instruction) -> Option<Register> {
    let has_place = (0..found.op_count()).any(|operand| found.op_kind(operand) == OpKind::Memory);
    // `lea` and long nops only name a place.
    let only_named = matches!(found.mnemonic(), Mnemonic::Lea | Mnemonic::Nop);
    let base = (has_place && !only_named).then(|| general(found.memory_base())).flatten();
    base.filter(|base| *base != RSP && found.segment_prefix() == Iced::None)
}

/// Effects of the instructions with which compilers move stack pointer and arguments.
fn known(found: &iced_x86::Instruction) -> Option<Vec<Effect>> {
    let register = |operand: u32| match found.op_kind(operand) {
        OpKind::Register => whole(found.op_register(operand)),
        _ => None,
    };
    let immediate = |operand: u32| found.try_immediate(operand).ok().map(u64::cast_signed);
    // Of a place `[base + offset]`; the offset is the sign-extended displacement.
    let memory = |operand: u32| {
        let plain = found.op_kind(operand) == OpKind::Memory && found.memory_index() == Iced::None;
        let base = plain.then(|| general(found.memory_base())).flatten()?;
        Some((base, found.memory_displacement64().cast_signed()))
    };
    let push = Effect::Offset { to: RSP, from: RSP, by: -WORD };
    let pop = Effect::Offset { to: RSP, from: RSP, by: WORD };
    Some(match found.mnemonic() {
        Mnemonic::Push => vec![push, Effect::Store { base: RSP, offset: 0, from: register(0) }],
        Mnemonic::Pop => vec![Effect::Load { to: register(0)?, base: RSP, offset: 0 }, pop],
        Mnemonic::Leave => vec![
            Effect::Offset { to: RSP, from: RBP, by: 0 },
            Effect::Load { to: RBP, base: RSP, offset: 0 },
            pop,
        ],
        Mnemonic::Mov | Mnemonic::Movsxd => match (register(0), register(1)) {
            (Some(to), Some(from)) => vec![Effect::Offset { to, from, by: 0 }],
            (Some(to), None) => match (immediate(1), memory(1)) {
                (Some(value), _) => vec![Effect::Constant { to, value }],
                (None, Some((base, offset))) => vec![Effect::Load { to, base, offset }],
                (None, None) => return None,
            },
            (None, from) => {
                let (base, offset) = memory(0)?;
                vec![Effect::Store { base, offset, from }]
            }
        },
        Mnemonic::Lea => {
            let to = register(0)?;
            let relative = found.memory_base() == Iced::RIP && found.memory_index() == Iced::None;
            match memory(1) {
                Some((from @ R10, by)) if to == RSP && by == -WORD => vec![Effect::Entry { to, from, by }],
                Some((from, by)) => vec![Effect::Offset { to, from, by }],
                None if relative => vec![Effect::Constant { to, value: 0 }],
                None => return None,
            }
        }
        Mnemonic::Add | Mnemonic::Sub => {
            let (to, sign) = (register(0)?, if found.mnemonic() == Mnemonic::Add { 1 } else { -1 });
            match (immediate(1), register(1)) {
                (Some(by), _) => vec![Effect::Offset { to, from: to, by: by.checked_mul(sign)? }],
                (None, Some(by)) if sign < 0 => vec![Effect::Minus { to, by }],
                _ => return None,
            }
        }
        Mnemonic::And if register(0) == Some(RSP) => {
            vec![Effect::Align { to: RSP, unit: immediate(1)?.checked_neg()?.cast_unsigned() }]
        }
        Mnemonic::Cmp => vec![Effect::Compare { a: register(0)?, b: register(1)? }],
        _ => return None,
    })
}

/// Number of a general register that an operand uses as a whole, or in its lower half, which clears the upper one.
fn whole(register: Iced) -> Option<Register> {
    (register.is_gpr64() || register.is_gpr32()).then(|| general(register)).flatten()
}

/// Number of a general register, for any part of it.
fn general(register: Iced) -> Option<Register> {
    let full = register.full_register();
    full.is_gpr64().then(|| u8::try_from(full.number()).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(code: &[u8]) -> Instruction {
        let found = decode(code, 0x100).unwrap();
        assert_eq!(found.length, code.len() as u64);
        found
    }

    #[test]
    fn ways_on_are_told() {
        for (code, flow, target) in [
            (&[0xe8, 0, 0, 0, 0][..], Flow::Call, Some(0x105)),
            (&[0x2e, 0xe9, 0, 0, 0, 0], Flow::Jump, Some(0x106)), // cs jmp
            (&[0xeb, 0xfe], Flow::Jump, Some(0x100)),
            (&[0x75, 0x10], Flow::Branch, Some(0x112)),
            (&[0xff, 0xd0], Flow::CallIndirect(Some(0)), None),
            (&[0x3e, 0xff, 0xe2], Flow::JumpIndirect(Some(2)), None), // notrack jmp *%rdx
            (&[0xff, 0x25, 0, 0, 0, 0], Flow::JumpIndirect(None), None),
            (&[0xc3], Flow::Return, None),
            (&[0x0f, 0x0b], Flow::Stop, None),
            (&[0xcc], Flow::Stop, None),
            (&[0x0f, 0x05], Flow::Next, None), // syscall
            (&[0xf3, 0x0f, 0x1e, 0xfa], Flow::Next, None),
        ] {
            let found = one(code);
            assert_eq!((found.flow, found.target), (flow, target), "{code:x?}");
        }
        for (code, writes, vector) in [
            (&[0xc6, 0x05, 0, 0, 0, 0, 1][..], true, false), // movb $1, (%rip)
            (&[0x80, 0x3d, 0, 0, 0, 0, 1], false, false),    // cmpb $1, (%rip)
            (&[0x65, 0xff, 0x05, 0, 0, 0, 0], false, false), // incl %gs:(%rip)
            (&[0xc6, 0x00, 1], false, false),                // movb $1, (%rax)
            (&[0x66, 0x0f, 0xef, 0xc0], false, true),        // pxor %xmm0, %xmm0
            (&[0xd9, 0xee], false, true),                    // fldz
            (&[0x0f, 0x6f, 0xc1], false, true),              // movq %mm1, %mm0
        ] {
            let found = one(code);
            assert_eq!((found.writes, found.vector), (writes, vector), "{code:x?}");
        }
        assert_eq!(decode(&[0x06], 0), None);
        assert_eq!(decode(&[0xe8, 0], 0), None);
    }

    #[test]
    fn the_stack_pointer_is_followed() {
        let offset = |to, from, by| Effect::Offset { to, from, by };
        let push = |from| vec![offset(RSP, RSP, -8), Effect::Store { base: RSP, offset: 0, from }];
        assert_eq!(one(&[0x50]).effects, push(Some(0)));
        assert_eq!(one(&[0x6a, 0x01]).effects, push(None));
        assert_eq!(one(&[0x48, 0x81, 0xec, 0, 0x10, 0, 0]).effects, [offset(RSP, RSP, -4096)]);
        assert_eq!(one(&[0x48, 0x83, 0xc4, 0x80]).effects, [offset(RSP, RSP, -128)]); // add $-128
        assert_eq!(one(&[0x4c, 0x8d, 0x9c, 0x24, 0, 0xe0, 0xff, 0xff]).effects, [offset(11, RSP, -0x2000)]);
        assert_eq!(one(&[0x4c, 0x39, 0xdc]).effects, [Effect::Compare { a: RSP, b: 11 }]);
        assert_eq!(one(&[0x48, 0x83, 0xe4, 0xc0]).effects, [Effect::Align { to: RSP, unit: 64 }]);
        assert_eq!(one(&[0x48, 0x29, 0xc4]).effects, [Effect::Minus { to: RSP, by: 0 }]);
        assert_eq!(one(&[0x89, 0xf3]).effects, [offset(3, 6, 0)]); // mov %esi, %ebx
        assert_eq!(
            one(&[0x48, 0x89, 0x3c, 0x24]).effects,
            [Effect::Store { base: RSP, offset: 0, from: Some(7) }]
        );
        let entry = Effect::Entry { to: RSP, from: R10, by: -8 };
        assert_eq!(one(&[0x49, 0x8d, 0x62, 0xf8]).effects, [entry]); // lea -8(%r10), %rsp
        assert_eq!(one(&[0x49, 0x8d, 0x62, 0xf0]).effects, [offset(RSP, R10, -16)]);
        assert_eq!(one(&[0x9c]).effects, [offset(RSP, RSP, -8)]); // pushfq
        assert_eq!(one(&[0x31, 0xc0]).effects, [Effect::Unknown { to: 0 }]); // xor %eax, %eax
    }
}
