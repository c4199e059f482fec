// SPDX-License-Identifier: GPL-2.0-or-later
//! Types that no header defines, out of BTF: structs and unions with bit-fields, anonymous members, packed members and
//! flexible arrays, and enumerations.
//!
//! BTF has offsets and sizes but no alignment. A field is placed where Rust's `repr(C)` puts it, with explicit padding;
//! a struct whose members lie closer than that is packed. The layout assertions of the bindings check the result.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::render::{Needed, Renderer, enum_integer, is_rust_keyword};
use crate::image::{BtfError, Member, TypeId, TypeKind, Types};

/// Definitions of types, as text.
#[derive(Default)]
pub(crate) struct Definitions {
    /// The Rust items.
    pub(crate) text: String,
    /// What they refer to and do not define.
    pub(crate) needed: Needed,
}

/// Rust definitions of the structs and unions in `wanted`, and of what they hold by value, where `defined` has none.
///
/// # Errors
/// BTF is damaged, or two different types of one name are wanted.
pub(crate) fn definitions(
    types: &Types,
    wanted: &BTreeMap<String, TypeId>,
    defined: &BTreeSet<String>,
) -> Result<Definitions, BtfError> {
    let mut writer =
        Writer { types, renderer: Renderer::beside(types, defined.clone()), text: String::new() };
    let mut done: BTreeMap<String, TypeId> = BTreeMap::new();
    let mut pending: Vec<(String, TypeId)> = wanted.iter().map(|(name, id)| (name.clone(), *id)).collect();
    while let Some((name, id)) = pending.pop() {
        if defined.contains(&name) || done.contains_key(&name) {
            continue;
        }
        writer.composite(&name, id)?;
        done.insert(name, id);
        let more = writer.renderer.needed().full.iter().filter(|(name, _)| !done.contains_key(*name));
        pending.extend(more.map(|(name, id)| (name.clone(), *id)));
    }
    let mut needed = writer.renderer.into_needed();
    let enums: Vec<String> = needed.names.iter().filter(|name| !defined.contains(*name)).cloned().collect();
    for name in enums {
        if enumeration(types, &name, &mut writer.text)? {
            needed.names.remove(&name);
        }
    }
    needed.full.retain(|name, _| !done.contains_key(name) && !defined.contains(name));
    needed.opaque.retain(|name, _| !done.contains_key(name) && !defined.contains(name));
    needed.names.retain(|name| !defined.contains(name));
    Ok(Definitions { text: writer.text, needed })
}

/// Defines an enumeration as bindgen does: an integer type, and constants. False where there is none of that name.
fn enumeration(types: &Types, name: &str, text: &mut String) -> Result<bool, BtfError> {
    let Some(TypeKind::Enum { size, signed, values, .. }) = types.enumeration(name)? else {
        return Ok(false);
    };
    let integer = enum_integer(size, signed);
    let _ = writeln!(text, "pub type {name} = {integer};");
    for (variant, value) in values {
        let value = if signed {
            value.to_string()
        } else {
            (value as u64 & (u64::MAX >> (64 - 8 * size.min(8)))).to_string()
        };
        let _ = writeln!(text, "pub const {name}_{variant}: {name} = {value};");
    }
    text.push('\n');
    Ok(true)
}

/// What reads and writes bit-fields; goes out once with the definitions.
pub(crate) const BIT_FIELDS: &str = "
/// Reads `width` bits from bit `start` of little-endian bytes.
#[inline]
fn __bits(bytes: &[u8], start: usize, width: usize) -> u64 {
    let mut value = 0;
    let mut bit = 0;
    while bit < width {
        let at = start + bit;
        value |= ((bytes[at / 8] >> (at % 8)) as u64 & 1) << bit;
        bit += 1;
    }
    value
}

/// Writes `width` bits from bit `start` of little-endian bytes.
#[inline]
fn __set_bits(bytes: &mut [u8], start: usize, width: usize, value: u64) {
    let mut bit = 0;
    while bit < width {
        let at = start + bit;
        let mask = 1 << (at % 8);
        if value >> bit & 1 == 1 { bytes[at / 8] |= mask } else { bytes[at / 8] &= !mask }
        bit += 1;
    }
}
";

struct Writer<'a> {
    types: &'a Types,
    renderer: Renderer<'a>,
    text: String,
}

/// A field of a Rust struct: where it lies, what Rust would align it to, its text.
struct Field {
    offset: usize,
    size: usize,
    align: usize,
    text: String,
}

impl Writer<'_> {
    fn composite(&mut self, name: &str, id: TypeId) -> Result<(), BtfError> {
        let TypeKind::Composite { union, size, members, .. } = self.types.kind(self.types.bare(id)?)? else {
            return Err(BtfError::Damaged(format!("{name} is no struct or union")));
        };
        let mut accessors = String::new();
        let mut fields = Vec::new();
        let mut anonymous = 0;
        for member in members.iter().filter(|member| member.bits.is_none()) {
            fields.push(self.field(name, member, union, &mut anonymous)?);
        }
        for (storage, (start, end)) in bit_ranges(&members, union).into_iter().enumerate() {
            let text = format!("_bitfield_{storage}: [u8; {}]", end - start);
            fields.push(Field { offset: start, size: end - start, align: 1, text });
            for member in
                members.iter().filter(|member| bit_range(member).is_some_and(|r| r.0 >= start && r.1 <= end))
            {
                accessor(&mut accessors, member, storage, start);
            }
        }
        if union {
            self.union(name, size, &fields);
        } else {
            self.structure(name, size, fields);
        }
        let _ = writeln!(self.text, "const _: () = assert!(size_of::<{name}>() == {size});\n");
        if !accessors.is_empty() {
            let _ = writeln!(self.text, "impl {name} {{\n{accessors}}}\n");
        }
        Ok(())
    }

    fn field(
        &mut self,
        parent: &str,
        member: &Member,
        in_union: bool,
        anonymous: &mut u32,
    ) -> Result<Field, BtfError> {
        let bare = self.types.bare(member.type_id)?;
        let (size, align) = self.layout(member.type_id, 0)?;
        let untagged = match self.types.kind(bare)? {
            TypeKind::Composite { name: None, .. } => {
                !matches!(self.types.kind(member.type_id)?, TypeKind::Typedef(..))
            }
            _ => false,
        };
        let composite = matches!(self.types.kind(bare)?, TypeKind::Composite { .. } | TypeKind::Array(..));
        let rust = if untagged {
            *anonymous += 1;
            let inner = format!("{parent}__bindgen_ty_{anonymous}");
            self.composite(&inner, bare)?;
            inner
        } else {
            self.renderer.rust_type(member.type_id)?
        };
        let field = match &member.name {
            Some(name) if is_rust_keyword(name) => format!("{name}_"),
            Some(name) => name.clone(),
            None => format!("__bindgen_anon_{anonymous}"),
        };
        let rust = if in_union && composite { format!("core::mem::ManuallyDrop<{rust}>") } else { rust };
        Ok(Field {
            offset: member.bit_offset as usize / 8,
            size,
            align,
            text: format!("pub {field}: {rust}"),
        })
    }

    fn structure(&mut self, name: &str, size: usize, mut fields: Vec<Field>) {
        // A flexible array at the end of nothing has the offset of what follows: it goes first then.
        fields.sort_by_key(|field| (field.offset, field.size));
        let align = fields.iter().map(|field| field.align).max().unwrap_or(1);
        let natural =
            fields.iter().all(|field| field.offset.is_multiple_of(field.align)) && size.is_multiple_of(align);
        let _ =
            writeln!(self.text, "#[repr(C{})]\npub struct {name} {{", if natural { "" } else { ", packed" });
        let mut at = 0;
        for (index, field) in fields.iter().enumerate() {
            if field.offset < at && field.size == 0 {
                // A marker inside a bit-field's bytes.
                continue;
            }
            if field.offset > at {
                let _ = writeln!(self.text, "    _padding_{index}: [u8; {}],", field.offset - at);
            }
            let _ = writeln!(self.text, "    {},", field.text);
            at = field.offset + field.size;
        }
        if size > at {
            let _ = writeln!(self.text, "    _padding_end: [u8; {}],", size - at);
        }
        self.text.push_str("}\n\n");
    }

    fn union(&mut self, name: &str, size: usize, fields: &[Field]) {
        let natural = fields.iter().all(|field| size.is_multiple_of(field.align));
        let _ =
            writeln!(self.text, "#[repr(C{})]\npub union {name} {{", if natural { "" } else { ", packed" });
        for field in fields {
            let _ = writeln!(self.text, "    {},", field.text);
        }
        let _ = writeln!(self.text, "    _size: [u8; {size}],\n}}\n");
    }

    /// Size and natural alignment of a type, in bytes.
    fn layout(&self, id: TypeId, depth: u32) -> Result<(usize, usize), BtfError> {
        if depth > 64 {
            return Err(BtfError::Damaged(format!("the type with id {id} holds itself")));
        }
        let bare = self.types.bare(id)?;
        Ok(match self.types.kind(bare)? {
            TypeKind::Int { size, .. } => (size, size.max(1)),
            TypeKind::Float(name) => {
                if name == "float" {
                    (4, 4)
                } else {
                    (8, 8)
                }
            }
            TypeKind::Pointer(_) => (8, 8),
            TypeKind::Enum { size, .. } => (size, size.max(1)),
            TypeKind::Array(element, length) => {
                let (size, align) = self.layout(element, depth + 1)?;
                (size * length, align)
            }
            TypeKind::Composite { union, size, members, .. } => {
                let mut align = 1;
                let mut packed = false;
                for member in members.iter().filter(|member| member.bits.is_none()) {
                    let (_, member_align) = self.layout(member.type_id, depth + 1)?;
                    packed |= !union && !(member.bit_offset as usize / 8).is_multiple_of(member_align);
                    align = align.max(member_align);
                }
                let packed = packed || !size.is_multiple_of(align);
                // What bindgen defines has C's alignment, bit-fields counted; ours has that of its fields.
                (size, if packed { 1 } else { align })
            }
            _ => (0, 1),
        })
    }
}

/// Bytes that a bit-field touches: start and end.
fn bit_range(member: &Member) -> Option<(usize, usize)> {
    let bits = member.bits? as usize;
    let start = member.bit_offset as usize;
    Some((start / 8, (start + bits).div_ceil(8)))
}

/// Bytes that bit-fields touch, neighbours joined.
fn bit_ranges(members: &[Member], union: bool) -> Vec<(usize, usize)> {
    let mut ranges: Vec<(usize, usize)> = members.iter().filter_map(bit_range).collect();
    ranges.sort_unstable();
    let mut joined: Vec<(usize, usize)> = Vec::new();
    for (start, end) in ranges {
        match joined.last_mut() {
            Some(last) if union || start <= last.1 => last.1 = last.1.max(end),
            _ => joined.push((start, end)),
        }
    }
    joined
}

fn accessor(text: &mut String, member: &Member, storage: usize, storage_start: usize) {
    let (Some(name), Some(bits)) = (&member.name, member.bits) else { return };
    let start = member.bit_offset as usize - storage_start * 8;
    let rust = if is_rust_keyword(name) { format!("{name}_") } else { name.clone() };
    let _ = writeln!(
        text,
        "    /// Bit-field `{name}`, {bits} bits.\n    #[inline]\n    pub fn {rust}(&self) -> u64 {{ __bits(&self._bitfield_{storage}, {start}, {bits}) }}\n    \
         /// Sets bit-field `{name}`, {bits} bits.\n    #[inline]\n    pub fn set_{name}(&mut self, value: u64) {{ __set_bits(&mut self._bitfield_{storage}, {start}, {bits}, value) }}"
    );
}
