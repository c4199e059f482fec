// SPDX-License-Identifier: GPL-2.0-or-later
//! Effects of one machine instruction, as far as the rules on control flow and stack ask: for x86_64 decoded by crate
//! `iced-x86`, for arm64 from the fixed 32-bit words.

mod arm64;
mod x86;

use klp_module::Machine;

/// A general register, numbered as the processor does.
pub(super) type Register = u8;

/// Control flow of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// To the next one.
    Next,
    /// To a function, and back.
    Call,
    /// To a function whose address the register holds (memory where there is none), and back.
    CallIndirect(Option<Register>),
    /// Elsewhere.
    Jump,
    /// Elsewhere or to the next one.
    Branch,
    /// To an address that the register holds (memory where there is none).
    JumpIndirect(Option<Register>),
    /// To the caller.
    Return,
    /// Nowhere: an invalid instruction or a breakpoint.
    Stop,
}

/// Effects of an instruction on registers and stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// `to = from + by`
    Offset { to: Register, from: Register, by: i64 },
    /// `to = value`; an address where a relocation covers the value.
    Constant { to: Register, value: i64 },
    /// `to = to - by`
    Minus { to: Register, by: Register },
    /// `to` becomes a multiple of `unit` by getting smaller.
    Align { to: Register, unit: u64 },
    /// `[base + offset] = from`; a constant (by relocation an address) where there is no register.
    Store { base: Register, offset: i64, from: Option<Register> },
    /// `to = [base + offset]`
    Load { to: Register, base: Register, offset: i64 },
    /// `a` and `b` are compared.
    Compare { a: Register, b: Register },
    /// `to` gets a value that is not known.
    Unknown { to: Register },
}

/// One instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    /// Bytes.
    pub(super) length: u64,
    pub(super) flow: Flow,
    /// Target of a direct jump or call if no relocation changes it, or the place whose address it computes; in bytes from
    /// the start of the section.
    pub(super) target: Option<u64>,
    /// Effects, in this order.
    pub(super) effects: Vec<Effect>,
}

/// A processor's conventions for calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Convention {
    /// The stack pointer.
    pub(super) stack: Register,
    /// The registers that pass arguments, in order.
    pub(super) arguments: &'static [Register],
    /// The registers that a call preserves.
    pub(super) preserved: &'static [Register],
    /// Number of general registers, the stack pointer's included.
    pub(super) registers: usize,
    /// Bytes that a call pushes.
    pub(super) pushed_by_call: u64,
}

/// The instruction at `at` of a section's bytes; `None` where there is none.
pub(super) fn decode(machine: Machine, code: &[u8], at: u64) -> Option<Instruction> {
    let rest = code.get(usize::try_from(at).ok()?..)?;
    match machine {
        Machine::X86_64 => x86::decode(rest, at),
        Machine::Arm64 => arm64::decode(rest, at),
    }
}

/// The conventions of a processor.
pub(super) fn convention(machine: Machine) -> &'static Convention {
    match machine {
        Machine::X86_64 => &x86::CONVENTION,
        Machine::Arm64 => &arm64::CONVENTION,
    }
}

/// The register that a thunk for indirect branches uses, by the thunk's name: `__x86_indirect_thunk_rax`,
/// `__x86_indirect_jump_thunk_rax`, `__x86_indirect_call_thunk_rax` (`arch/x86/lib/retpoline.S`).
pub(super) fn thunk_register(name: &str) -> Option<Register> {
    let register = name.strip_prefix("__x86_indirect_")?.split_once("thunk_")?.1;
    x86::NAMES.iter().position(|known| *known == register).and_then(|at| u8::try_from(at).ok())
}
