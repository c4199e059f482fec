// SPDX-License-Identifier: GPL-2.0-or-later
//! Generates types without a header definition from BTF: structs and unions (with bit-fields, anonymous
//! members, packed members and flexible arrays) and enumerations.
//!
//! BTF has offsets and sizes but no alignment. Each field gets its place from the rules of Rust's `repr(C)`
//! and explicit padding; a struct with closer members is packed. The layout assertions of the bindings check
//! the result.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use klp_image::{BtfError, Member, TypeId, TypeKind, Types};

use super::render::{Needed, Renderer, enum_integer, type_name};
use crate::rust_name::is_rust_keyword;

/// Rust definitions of the types in `needed` that are missing in `defined`, and of all types that they refer
/// to. Empty if no type is missing.
///
/// # Errors
/// BTF is damaged.
pub(crate) fn definitions(
    types: &Types,
    needed: &Needed,
    defined: &BTreeSet<String>,
) -> Result<String, BtfError> {
    let renderer = Renderer::beside(types, defined.clone());
    let writer = Writer { types, renderer, text: String::new(), bit_fields: false, offsets: false };
    written(writer, needed, defined)
}

/// The same without existing definitions, with an assertion for the offset of every field.
///
/// # Errors
/// BTF is damaged.
pub(crate) fn with_offsets(types: &Types, needed: &Needed) -> Result<String, BtfError> {
    let renderer = Renderer::beside(types, BTreeSet::new()).sharing_names();
    let writer = Writer { types, renderer, text: String::new(), bit_fields: false, offsets: true };
    written(writer, needed, &BTreeSet::new())
}

fn written(mut writer: Writer<'_>, needed: &Needed, defined: &BTreeSet<String>) -> Result<String, BtfError> {
    let types = writer.types;
    let mut done = defined.clone();
    loop {
        let more = writer.renderer.needed();
        let missing = |name: &&String| !done.contains(*name);
        let full = needed.full.iter().chain(&more.full).find(|(name, _)| missing(name));
        // Types behind pointers come last: by then no other definition needs their members.
        let name = || needed.names.iter().chain(&more.names).find(|(name, _)| missing(name));
        if let Some((name, id)) = full.or_else(name) {
            let (name, id) = (name.clone(), *id);
            writer.renderer.wants_for(format!("the definition of `{name}`"));
            match types.kind(types.bare(id)?)? {
                TypeKind::Composite { .. } if !matches!(types.kind(id)?, TypeKind::Typedef(..)) => {
                    writer.composite(&name, id)?;
                }
                TypeKind::Composite { name: None, .. } => writer.composite(&name, id)?,
                _ => writer.named(&name, id)?,
            }
            done.insert(name);
            continue;
        }
        let mut opaque = needed.opaque.iter().chain(&more.opaque);
        let Some((name, id)) = opaque.find(|(name, _)| missing(name)) else { break };
        let size = match id.map(|id| types.kind(id)).transpose()? {
            Some(TypeKind::Composite { size, .. }) => size,
            _ => 0,
        };
        let name = name.clone();
        let _ = writeln!(
            writer.text,
            "/// Opaque: name it in `types` of [imports] to look inside.\n#[repr(C)]\npub struct {name} {{\n    pub _opaque: [u8; {size}],\n}}\n"
        );
        done.insert(name);
    }
    if writer.text.is_empty() {
        return Ok(writer.text);
    }
    let bit_fields = if writer.bit_fields { BIT_FIELDS } else { "" };
    Ok(format!("// No header that the fix names defines these: from BTF.\n\n{}{bit_fields}", writer.text))
}

/// Names and types of the named structs and unions that a type contains by value, including the type itself.
///
/// # Errors
/// BTF is damaged.
pub(crate) fn by_value(types: &Types, id: TypeId) -> Result<BTreeMap<String, TypeId>, BtfError> {
    let mut renderer = Renderer::beside(types, BTreeSet::new());
    renderer.want(id)?;
    Ok(renderer.into_needed().full)
}

/// Helper functions for access to bit-fields, emitted once with the definitions.
const BIT_FIELDS: &str = "
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

/// The same where the highest bit is the sign.
#[inline]
fn __signed_bits(bytes: &[u8], start: usize, width: usize) -> i64 {
    let unused = 64 - width;
    (__bits(bytes, start, width) << unused) as i64 >> unused
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
    /// True if the generated text accesses bit-fields.
    bit_fields: bool,
    /// True if every field offset is asserted.
    offsets: bool,
}

/// Field of a Rust struct: its offset, its natural alignment in Rust, its text.
struct Field {
    offset: usize,
    size: usize,
    align: usize,
    text: String,
}

impl Field {
    /// Constant assertion of the field's offset. Empty for the bytes of bit-fields, and for fields of size
    /// zero, which may be omitted.
    fn assertion(&self, parent: &str) -> String {
        let name = self.text.strip_prefix("pub ").and_then(|text| text.split(':').next());
        let Some(name) = name.filter(|_| self.size > 0) else { return String::new() };
        format!("const _: () = assert!(::core::mem::offset_of!({parent}, {name}) == {});\n", self.offset)
    }
}

impl Writer<'_> {
    /// Defines a typedef or an enumeration.
    fn named(&mut self, name: &str, id: TypeId) -> Result<(), BtfError> {
        let target = match self.types.kind(id)? {
            TypeKind::Typedef(_, target) => target,
            _ => id,
        };
        if let TypeKind::Enum { name: tag, size, signed, values } = self.types.kind(target)?
            && tag.is_none_or(|tag| type_name(tag) == name)
        {
            self.enumeration(name, size, signed, &values);
            return Ok(());
        }
        let rust = self.renderer.rust_type(target)?;
        if rust != name {
            let _ = writeln!(self.text, "pub type {name} = {rust};\n");
        }
        Ok(())
    }

    /// Defines an enumeration in bindgen's form: an integer type and constants.
    fn enumeration(&mut self, name: &str, size: usize, signed: bool, values: &[(String, i64)]) {
        let _ = writeln!(self.text, "pub type {name} = {};", enum_integer(size, signed));
        for (variant, value) in values {
            let value = if signed {
                value.to_string()
            } else {
                (*value as u64 & (u64::MAX >> (64 - 8 * size.min(8)))).to_string()
            };
            let _ = writeln!(self.text, "pub const {name}_{variant}: {name} = {value};");
        }
        self.text.push('\n');
    }

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
                self.accessor(&mut accessors, member, storage, start, union)?;
            }
        }
        let asserted: Vec<String> = fields.iter().map(|field| field.assertion(name)).collect();
        if union {
            self.union(name, size, &fields);
        } else {
            self.structure(name, size, fields);
        }
        let _ = writeln!(self.text, "const _: () = assert!(size_of::<{name}>() == {size});\n");
        if self.offsets {
            self.text.extend(asserted);
        }
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
        // Current C compilers also accept a tagged struct as an anonymous member (-fms-extensions).
        if untagged || member.name.is_none() {
            *anonymous += 1;
        }
        let rust = if untagged {
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
        let rust = if in_union && composite { format!("::core::mem::ManuallyDrop<{rust}>") } else { rust };
        Ok(Field {
            offset: member.bit_offset as usize / 8,
            size,
            align,
            text: format!("pub {field}: {rust}"),
        })
    }

    /// Getter and setter of a bit-field. The value has the type of the bit-field.
    fn accessor(
        &mut self,
        text: &mut String,
        member: &Member,
        storage: usize,
        storage_start: usize,
        in_union: bool,
    ) -> Result<(), BtfError> {
        let (Some(name), Some(bits)) = (&member.name, member.bits) else { return Ok(()) };
        self.bit_fields = true;
        let start = member.bit_offset as usize - storage_start * 8;
        let method = if is_rust_keyword(name) { format!("{name}_") } else { name.clone() };
        let rust = self.renderer.rust_type(member.type_id)?;
        let at = format!("self._bitfield_{storage}, {start}, {bits}");
        let get = match self.types.kind(self.types.bare(member.type_id)?)? {
            _ if rust == "bool" => format!("__bits(&{at}) != 0"),
            TypeKind::Int { signed: true, .. } | TypeKind::Enum { signed: true, .. } => {
                format!("__signed_bits(&{at}) as {rust}")
            }
            _ => format!("__bits(&{at}) as {rust}"),
        };
        let set = format!("__set_bits(&mut {at}, value as u64)");
        // Any byte pattern is valid for the bytes of a union.
        let [get, set] = [get, set].map(|text| if in_union { format!("unsafe {{ {text} }}") } else { text });
        let _ = writeln!(
            text,
            "    /// Bit-field `{name}`, {bits} bits.\n    #[inline]\n    pub fn {method}(&self) -> {rust} {{ {get} }}\n    \
             /// Sets bit-field `{name}`, {bits} bits.\n    #[inline]\n    pub fn set_{name}(&mut self, value: {rust}) {{ {set} }}"
        );
        Ok(())
    }

    fn structure(&mut self, name: &str, size: usize, mut fields: Vec<Field>) {
        // A flexible array of size zero has the offset of the next field, so it must come first.
        fields.sort_by_key(|field| (field.offset, field.size));
        let align = fields.iter().map(|field| field.align).max().unwrap_or(1);
        let natural =
            fields.iter().all(|field| field.offset.is_multiple_of(field.align)) && size.is_multiple_of(align);
        let _ =
            writeln!(self.text, "#[repr(C{})]\npub struct {name} {{", if natural { "" } else { ", packed" });
        let mut at = 0;
        for (index, field) in fields.iter().enumerate() {
            if field.offset < at && field.size == 0 {
                // A marker of size zero inside the bytes of a bit-field.
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
                // bindgen's types have C's alignment, including bit-fields. Types generated here have the
                // alignment of their fields.
                (size, if packed { 1 } else { align })
            }
            _ => (0, 1),
        })
    }
}

/// Byte range of a bit-field: start and end.
fn bit_range(member: &Member) -> Option<(usize, usize)> {
    let bits = member.bits? as usize;
    let start = member.bit_offset as usize;
    Some((start / 8, (start + bits).div_ceil(8)))
}

/// Byte ranges of bit-fields; adjacent ranges are joined.
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
