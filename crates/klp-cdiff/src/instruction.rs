// SPDX-License-Identifier: GPL-2.0-or-later
//! The first instruction in which two compiles of a function differ, as text.

use iced_x86::{Decoder, DecoderOptions, Formatter, GasFormatter, Instruction, OpKind};

use crate::object::{Item, ItemId, Object, Relocation, Section, Target};
use crate::pairs::Comparison;
use crate::special::without_fields;

/// Instructions of a function, with what they refer to.
struct Code<'o> {
    object: &'o Object,
    item: &'o Item,
    section: &'o Section,
    instructions: Vec<Instruction>,
    /// Bytes without relocated fields.
    bytes: Vec<u8>,
}

impl<'o> Code<'o> {
    fn of(object: &'o Object, id: ItemId) -> Self {
        let item = &object.items[id];
        let section = &object.sections[item.section];
        let bytes = without_fields(section, item.range());
        let instructions = Decoder::with_ip(64, &bytes, 0, DecoderOptions::NONE).into_iter().collect();
        Self { object, item, section, instructions, bytes }
    }

    fn relocations(&self, instruction: &Instruction) -> &[Relocation] {
        let start = self.item.start;
        self.section.relocations_in(start + instruction.ip()..start + instruction.next_ip())
    }

    fn targets(&self, instruction: &Instruction) -> impl Iterator<Item = Target<'o>> {
        let (object, item) = (self.object, self.item);
        self.relocations(instruction)
            .iter()
            .map(|found| object.target(found, item.instructions.get(&found.offset)))
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// True for a branch inside of the function: its distance changes with any code between.
    fn is_branch_inside(&self, instruction: &Instruction) -> bool {
        instruction.op0_kind() == OpKind::NearBranch64 && self.relocations(instruction).is_empty()
    }

    fn bytes(&self, instruction: &Instruction) -> &[u8] {
        let range = (usize::try_from(instruction.ip()), usize::try_from(instruction.next_ip()));
        let (Ok(from), Ok(to)) = range else { return &[] };
        self.bytes.get(from..to).unwrap_or_default()
    }

    /// `+0x1a: mov %rax,%rbx`, with the names of what it refers to.
    fn text(&self, number: usize) -> String {
        let Some(instruction) = self.instructions.get(number) else {
            return "the function has ended".to_owned();
        };
        let mut text = String::new();
        GasFormatter::new().format(instruction, &mut text);
        let names: Vec<String> = self.targets(instruction).map(|target| self.name(&target)).collect();
        let names = if names.is_empty() { String::new() } else { format!("  # {}", names.join(", ")) };
        format!("+{:#x}: {text}{names}", instruction.ip())
    }

    fn name(&self, target: &Target<'_>) -> String {
        const LONGEST: usize = 40;
        let with_offset = |name: &str, offset: i64| match offset {
            0 => name.to_owned(),
            1.. => format!("{name}+{offset:#x}"),
            _ => format!("{name}-{:#x}", offset.unsigned_abs()),
        };
        match target {
            Target::Item(id, offset) => with_offset(&self.object.items[*id].name, *offset),
            Target::Outside(name, offset) => with_offset(name, *offset),
            Target::Place(section, offset) => with_offset(&self.object.sections[*section].name, *offset),
            Target::Text(text) => {
                format!("{:?}", String::from_utf8_lossy(text).chars().take(LONGEST).collect::<String>())
            }
            Target::Constant(bytes) => format!("a constant of {} bytes", bytes.len()),
        }
    }
}

/// First instruction in which two compiles of a function differ: in the original, and with the diff. `None` if none does.
pub(crate) fn first(
    comparison: &Comparison<'_>,
    original: ItemId,
    patched: ItemId,
) -> Option<(String, String)> {
    let (a, b) =
        (Code::of(&comparison.original.object, original), Code::of(&comparison.patched.object, patched));
    let same = |x: &Instruction, y: &Instruction| {
        if a.is_branch_inside(x) && b.is_branch_inside(y) {
            return x.mnemonic() == y.mnemonic();
        }
        a.bytes(x) == b.bytes(y)
            && a.relocations(x).len() == b.relocations(y).len()
            && a.targets(x).zip(b.targets(y)).all(|(x, y)| comparison.same_target(&x, &y, 0))
    };
    let both = a.instructions.iter().zip(&b.instructions);
    let count = both.take_while(|(x, y)| same(x, y)).count();
    (count < a.instructions.len().max(b.instructions.len())).then(|| (a.text(count), b.text(count)))
}
