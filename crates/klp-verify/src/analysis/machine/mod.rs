// SPDX-License-Identifier: GPL-2.0-or-later
//! Effects of one machine instruction, as far as the rules on control flow and stack ask: for x86_64 decoded by crate
//! `iced-x86`, for arm64 from the fixed 32-bit words.

mod arm64;
mod x86;

use klp_module::Machine;

/// General register by the processor's number.
pub(super) type Register = u8;

/// Control flow of an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// Next instruction.
    Next,
    /// Direct call.
    Call,
    /// Indirect call by a register; `None` for one by memory.
    CallIndirect(Option<Register>),
    /// Direct jump.
    Jump,
    /// Conditional jump.
    Branch,
    /// Indirect jump by a register; `None` for one by memory.
    JumpIndirect(Option<Register>),
    /// Return.
    Return,
    /// Trap: an invalid instruction or a breakpoint.
    Stop,
}

/// Effects of an instruction on registers and stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// `to = from + by`
    Offset { to: Register, from: Register, by: i64 },
    /// `to = value`; an address if a relocation covers the value.
    Constant { to: Register, value: i64 },
    /// `to = to - by`
    Minus { to: Register, by: Register },
    /// `to` rounded down to a multiple of `unit`.
    Align { to: Register, unit: u64 },
    /// `[base + offset] = from`; without register a constant (an address if a relocation covers it).
    Store { base: Register, offset: i64, from: Option<Register> },
    /// `to = [base + offset]`
    Load { to: Register, base: Register, offset: i64 },
    /// Comparison of `a` and `b`.
    Compare { a: Register, b: Register },
    /// `to = from + by`, and the stack pointer of the function's entry if `from` is not known.
    Entry { to: Register, from: Register, by: i64 },
    /// `to` gets an unknown value.
    Unknown { to: Register },
    /// A place in memory near `base` is read or written, besides what the other effects say.
    Touch { base: Register },
}

/// Decoded instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    /// Length in bytes.
    pub(super) length: u64,
    pub(super) flow: Flow,
    /// Target of a direct jump or call if no relocation changes it, or the place whose address it computes; in bytes from
    /// the start of the section.
    pub(super) target: Option<u64>,
    /// Effects, in this order.
    pub(super) effects: Vec<Effect>,
    /// True if it writes to a place in memory that the instruction itself names.
    pub(super) writes: bool,
    /// True if it uses registers of floating-point numbers or vectors.
    pub(super) vector: bool,
}

/// Calling convention.
#[derive(Clone, Copy, Debug)]
pub(super) struct Convention {
    /// Stack pointer.
    pub(super) stack: Register,
    /// Register of the result.
    pub(super) result: Register,
    /// Argument registers in order.
    pub(super) arguments: &'static [Register],
    /// Registers that a call preserves.
    pub(super) preserved: &'static [Register],
    /// Number of general registers, the stack pointer's included.
    pub(super) registers: usize,
    /// Bytes that a call pushes.
    pub(super) pushed_by_call: u64,
}

/// Instruction at offset `at` of a section; `None` if the bytes are no instruction.
pub(super) fn decode(machine: Machine, code: &[u8], at: u64) -> Option<Instruction> {
    let rest = code.get(usize::try_from(at).ok()?..)?;
    match machine {
        Machine::X86_64 => x86::decode(rest, at),
        Machine::Arm64 => arm64::decode(rest, at),
    }
}

/// Calling convention of a processor.
pub(super) fn convention(machine: Machine) -> &'static Convention {
    match machine {
        Machine::X86_64 => &x86::CONVENTION,
        Machine::Arm64 => &arm64::CONVENTION,
    }
}

/// Register of a thunk for indirect branches, by the thunk's name: `__x86_indirect_thunk_rax`,
/// `__x86_indirect_jump_thunk_rax`, `__x86_indirect_call_thunk_rax` (`arch/x86/lib/retpoline.S`).
pub(super) fn thunk_register(name: &str) -> Option<Register> {
    let register = name.strip_prefix("__x86_indirect_")?.split_once("thunk_")?.1;
    x86::NAMES.iter().position(|known| *known == register).and_then(|at| u8::try_from(at).ok())
}
