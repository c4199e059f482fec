// SPDX-License-Identifier: GPL-2.0-or-later
//! arm64 (Arm ARM, chapter C4: the groups of the encoding; AAPCS64).

use super::{Convention, Effect, Flow, Instruction, Register};

const SP: Register = 31;
/// Bytes of an instruction.
const LENGTH: u64 = 4;

pub(super) const CONVENTION: Convention = Convention {
    stack: SP,
    result: 0,
    arguments: &[0, 1, 2, 3, 4, 5, 6, 7],
    preserved: &[19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29],
    registers: 32,
    pushed_by_call: 0,
};

pub(super) fn decode(code: &[u8], at: u64) -> Option<Instruction> {
    let word = u32::from_le_bytes(*code.first_chunk::<4>()?);
    let (flow, distance) = flow(word);
    Some(Instruction {
        length: LENGTH,
        flow,
        target: distance.map(|distance| at.wrapping_add_signed(distance)),
        effects: if flow == Flow::Next { effects(word) } else { Vec::new() },
        writes: is_store(word),
        vector: uses_vector(word),
    })
}

/// True for stores of one register or of a pair. A relocation of the instruction names the place.
fn is_store(word: u32) -> bool {
    let pair = word & 0x3a00_0000 == 0x2800_0000 && field(word, 22, 1) == 0;
    let one = word & 0x3a00_0000 == 0x3800_0000 && field(word, 22, 2) == 0;
    pair || one
}

/// True for the group of scalar floating-point and SIMD instructions, and for loads and stores of their registers.
fn uses_vector(word: u32) -> bool {
    field(word, 25, 3) == 0b111 || word & 0x0e00_0000 == 0x0c00_0000
}

/// Control flow of the instruction, and the distance in bytes of the place that it names.
fn flow(word: u32) -> (Flow, Option<i64>) {
    let words = |low: u32, bits: u32| Some(signed(field(word, low, bits), bits) * LENGTH.cast_signed());
    let register = Some(register(word, 5));
    match word {
        _ if word & 0xfc00_0000 == 0x1400_0000 => (Flow::Jump, words(0, 26)), // b
        _ if word & 0xfc00_0000 == 0x9400_0000 => (Flow::Call, words(0, 26)), // bl
        _ if word & 0xff00_0000 == 0x5400_0000 => (Flow::Branch, words(5, 19)), // b.cond
        _ if word & 0x7e00_0000 == 0x3400_0000 => (Flow::Branch, words(5, 19)), // cbz, cbnz
        _ if word & 0x7e00_0000 == 0x3600_0000 => (Flow::Branch, words(5, 14)), // tbz, tbnz
        // Branches to a register, with and without pointer authentication.
        _ if word & 0xfe00_0000 == 0xd600_0000 => match field(word, 21, 4) & 7 {
            0 => (Flow::JumpIndirect(register), None),
            1 => (Flow::CallIndirect(register), None),
            _ => (Flow::Return, None),
        },
        // adr: no jump, but the place that it computes.
        _ if word & 0x9f00_0000 == 0x1000_0000 => {
            (Flow::Next, Some(signed(field(word, 5, 19) << 2 | field(word, 29, 2), 21)))
        }
        _ if word & 0xffe0_001f == 0xd420_0000 => (Flow::Stop, None), // brk
        _ if word & 0xffff_0000 == 0 => (Flow::Stop, None),           // udf
        _ => (Flow::Next, None),
    }
}

fn effects(word: u32) -> Vec<Effect> {
    let (to, base, second) = (register(word, 0), register(word, 5), register(word, 16));
    match word {
        // add, sub (immediate); 31 is the stack pointer, but for those that set flags.
        _ if word & 0x1f00_0000 == 0x1100_0000 => {
            let amount = i64::from(field(word, 10, 12)) << (12 * field(word, 22, 1));
            let by = if field(word, 30, 1) == 1 { -amount } else { amount };
            match (field(word, 29, 1), to) {
                (1, SP) => Vec::new(), // cmp, cmn
                (1, to) => vec![Effect::Unknown { to }],
                _ => vec![Effect::Offset { to, from: base, by }],
            }
        }
        _ if word & 0xffe0_ffe0 == 0xaa00_03e0 || word & 0xffe0_ffe0 == 0x2a00_03e0 => moved(to, second), // mov
        // movn
        _ if word & 0x7f80_0000 == 0x1280_0000 => {
            let value = !(u64::from(field(word, 5, 16)) << (16 * field(word, 21, 2)));
            let value = if field(word, 31, 1) == 1 { value } else { value & u64::from(u32::MAX) };
            vec![Effect::Constant { to, value: value.cast_signed() }]
        }
        // movz; the result of movk is not followed.
        _ if word & 0x7f80_0000 == 0x5280_0000 => {
            vec![Effect::Constant { to, value: i64::from(field(word, 5, 16)) << (16 * field(word, 21, 2)) }]
        }
        _ if word & 0x9f00_0000 == 0x9000_0000 => vec![Effect::Constant { to, value: 0 }], // adrp
        _ if word & 0xffe0_ffff == 0xcb20_63ff => vec![Effect::Minus { to: SP, by: second }], // sub sp, sp, x
        _ if word & 0xffe0_ffff == 0xeb20_63ff => vec![Effect::Compare { a: SP, b: second }], // cmp sp, x
        // and (immediate) into the stack pointer: the alignment is not decoded; the stack is aligned to 16 already.
        _ if word & 0xff80_001f == 0x9200_001f => vec![Effect::Offset { to: SP, from: base, by: 0 }],
        _ if word & 0x0a00_0000 == 0x0800_0000 => memory(word),
        // Everything else writes its first register at most; 31 is the zero register there.
        _ if to == SP => Vec::new(),
        _ => vec![Effect::Unknown { to }],
    }
}

fn moved(to: Register, from: Register) -> Vec<Effect> {
    match (to, from) {
        (SP, _) => Vec::new(),
        (_, SP) => vec![Effect::Constant { to, value: 0 }],
        _ => vec![Effect::Offset { to, from, by: 0 }],
    }
}

/// Effects of loads and stores. Loaded values are not followed; write-back of the base moves the stack pointer.
fn memory(word: u32) -> Vec<Effect> {
    let base = register(word, 5);
    let pair = word & 0x3a00_0000 == 0x2800_0000;
    let single = word & 0x3b20_0000 == 0x3800_0000;
    let moves_base = match (pair, single) {
        (true, _) => field(word, 23, 1) == 1 && field(word, 23, 2) != 2,
        (_, true) => field(word, 10, 1) == 1,
        _ => false,
    };
    let by = if pair {
        // In units of the register's size: general registers by bit 31, vectors by the two upper bits.
        let scale = if field(word, 26, 1) == 1 { 2 + field(word, 30, 2) } else { 2 + field(word, 31, 1) };
        signed(field(word, 15, 7), 7) << scale
    } else {
        signed(field(word, 12, 9), 9)
    };
    let loads = field(word, 22, 1) == 1 && field(word, 26, 1) == 0;
    let loaded = [Some(register(word, 0)), pair.then(|| register(word, 10))];
    let loaded = loaded.into_iter().flatten().filter(|&to| loads && to != SP);
    let moved = moves_base.then_some(Effect::Offset { to: base, from: base, by });
    // A load from a place near the instruction has no base.
    let literal = word & 0x3b00_0000 == 0x1800_0000;
    let touched = (!literal && base != SP).then_some(Effect::Touch { base });
    touched.into_iter().chain(moved).chain(loaded.map(|to| Effect::Unknown { to })).collect()
}

fn field(word: u32, low: u32, bits: u32) -> u32 {
    word >> low & ((1 << bits) - 1)
}

fn signed(value: u32, bits: u32) -> i64 {
    let value = i64::from(value);
    if value >> (bits - 1) == 0 { value } else { value - (1 << bits) }
}

fn register(word: u32, low: u32) -> Register {
    // Five bits.
    (word >> low & 31) as Register
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(word: u32) -> Instruction {
        decode(&word.to_le_bytes(), 0x100).unwrap()
    }

    /// Words by GNU as and objdump.
    #[test]
    fn ways_on_are_told() {
        for (word, flow, target) in [
            (0x1400_0004, Flow::Jump, Some(0x110)),            // b .+16
            (0x97ff_fffc, Flow::Call, Some(0xf0)),             // bl .-16
            (0x5400_0041, Flow::Branch, Some(0x108)),          // b.ne .+8
            (0xb400_0040, Flow::Branch, Some(0x108)),          // cbz x0, .+8
            (0x3700_0040, Flow::Branch, Some(0x108)),          // tbnz w0, #0, .+8
            (0xd61f_0200, Flow::JumpIndirect(Some(16)), None), // br x16
            (0xd71f_0a11, Flow::JumpIndirect(Some(16)), None), // braa x16, x17
            (0xd63f_0020, Flow::CallIndirect(Some(1)), None),  // blr x1
            (0xd65f_03c0, Flow::Return, None),                 // ret
            (0xd65f_0bff, Flow::Return, None),                 // retaa
            (0xd421_0000, Flow::Stop, None),                   // brk #0x800
            (0x1000_0040, Flow::Next, Some(0x108)),            // adr x0, .+8
            (0xd503_245f, Flow::Next, None),                   // bti c
        ] {
            let found = one(word);
            assert_eq!((found.flow, found.target), (flow, target), "{word:#010x}");
        }
        assert_eq!(decode(&[0; 3], 0), None);
    }

    #[test]
    fn the_stack_pointer_is_followed() {
        let offset = |to, from, by| vec![Effect::Offset { to, from, by }];
        assert_eq!(one(0xd140_07ff).effects, offset(SP, SP, -4096)); // sub sp, sp, #1, lsl #12
        assert_eq!(one(0xa9be_7bfd).effects, offset(SP, SP, -32)); // stp x29, x30, [sp, #-32]!
        assert_eq!(one(0xf81f_0ffe).effects, offset(SP, SP, -16)); // str x30, [sp, #-16]!
        assert_eq!(one(0x9100_03fd).effects, offset(29, SP, 0)); // mov x29, sp
        assert_eq!(one(0xaa00_03f3).effects, offset(19, 0, 0)); // mov x19, x0
        assert_eq!(one(0xa901_53f3).effects, []); // stp x19, x20, [sp, #16]
        let pop = one(0xa8c2_7bfd).effects; // ldp x29, x30, [sp], #32
        assert_eq!(
            pop,
            [offset(SP, SP, 32), vec![Effect::Unknown { to: 29 }, Effect::Unknown { to: 30 }]].concat()
        );
        assert_eq!(one(0xcb29_63ff).effects, [Effect::Minus { to: SP, by: 9 }]); // sub sp, sp, x9
        assert_eq!(one(0xeb00_003f).effects, []); // cmp x1, x0
        assert_eq!(one(0xd503_201f).effects, []); // nop
    }
}
