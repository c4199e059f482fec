// SPDX-License-Identifier: GPL-2.0-or-later
//! Jump labels of static keys that a module owns.
//!
//! The kernel goes through the labels of a live patch (`jump_label_add_module()`) before the livepatch core fills in symbols of modules. It
//! would take the label itself for its key, and write over it.

use klp_format::VMLINUX;

use super::{Extraction, Referred};
use crate::object::{ALLOC, Target, WRITE};
use crate::refusal;
use crate::special;

/// Section of the key that replaces those of modules.
const SECTION: &str = ".data.klp_static_key";
/// Size of `struct static_key`. Zeroes are a key that is off.
const SIZE: usize = 16;
/// Bits of the reference to a key that say what the compiler made of the branch (`JUMP_LABEL` in `arch/x86/include/asm/jump_label.h`).
const BRANCH: i64 = 3;

impl Extraction<'_> {
    /// Key of its own for a label whose key a module owns: the kernel never changes the branch. That is right for dynamic debugging and for
    /// tracepoints, which the code then passes by. Other keys of modules are refused. `section` has the reference, `target` is what
    /// it leads to.
    pub(super) fn switch_of_module(&mut self, section: &str, target: &Target<'_>) -> Option<Referred> {
        if section != special::JUMPS {
            return None;
        }
        let object = self.object();
        let in_module = !self.facts.shipped.name.is_vmlinux();
        let (name, offset, is_passed_by, here) = match *target {
            Target::Item(id, offset) if !object.items[id].is_function() => {
                let original = &self.comparison.original.object;
                let item = &original.items[self.comparison.pairs.original(id)?];
                let is_debug = original.sections[item.section].name == special::DEBUG;
                (item.name.clone(), offset, is_debug, in_module)
            }
            Target::Outside(name, offset) if !self.facts.added.contains(name) => {
                let here = in_module && !self.facts.shipped.named(name).is_empty();
                (name.to_owned(), offset, false, here)
            }
            _ => return None,
        };
        let exported = self.facts.exports.get(&name).map(|export| export.object_name() != VMLINUX);
        if !exported.unwrap_or(here) {
            return None;
        }
        if is_passed_by || name.starts_with(special::TRACEPOINT) {
            self.passed_by.insert(name);
        } else {
            let message = "a changed function branches by this static key of a module";
            self.refuse(refusal::MODULE_KEY, &name, message);
        }
        let number = self.out.section(SECTION, object::elf::SHT_PROGBITS.0, ALLOC | WRITE, 0);
        let place = self.out.sections[number].push(&[0; SIZE], 8, 0);
        Some((super::Base::Section(number), place.cast_signed() + (offset & BRANCH)))
    }
}
