// SPDX-License-Identifier: GPL-2.0-or-later
//! Layouts of structs and unions in an object file, from its debug information. A live patch cannot change the layout of
//! objects that exist: two compiles of a file are compared.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use gimli::{AttributeValue, DwAt, EndianSlice, LittleEndian, UnitOffset, UnitRef, constants as dw};
use object::read::elf::ElfFile64;
use object::{
    Architecture, Object as _, ObjectSection, ObjectSymbol, RelocationFlags, RelocationTarget, elf,
};

use crate::object::Damaged;
use crate::refusal::{self, Refusal};

pub(crate) type Reader<'d> = EndianSlice<'d, LittleEndian>;
/// Entry with those below it.
pub(crate) type Tree<'a, 't, 'd> = gimli::EntriesTreeNode<'a, 't, Reader<'d>>;
type Entry<'d> = gimli::DebuggingInformationEntry<Reader<'d>>;

/// Deepest nesting of anonymous structs, of types and of modules.
const DEEPEST: usize = 32;
/// Most members of all types of a file. A module with all headers of a kernel has fewer than a tenth.
const MOST_MEMBERS: usize = 4_000_000;

/// Structs and unions of one compile that have a name and are not local to a function: `struct file`; of Rust code with the modules
/// around it, `struct bindings::file`.
pub(crate) type Layouts = BTreeMap<String, Layout>;

/// Layout of a struct or union.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    /// File of the definition.
    pub(crate) file: String,
    /// Size in bytes.
    pub(crate) size: u64,
    /// Members by their names, with those of anonymous structs: place and size in bits.
    pub(crate) members: BTreeMap<String, Place>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) at: u64,
    size: u64,
}

/// Compares the layouts of two compiles. The notes name members that are new in a hole of a struct.
pub(crate) fn compare(original: &Layouts, patched: &Layouts) -> (Vec<Refusal>, Vec<String>) {
    let (mut refusals, mut notes) = (Vec::new(), Vec::new());
    for (name, before) in original {
        let Some(after) = patched.get(name).filter(|after| *after != before) else { continue };
        // A new name at the place of a member that is gone is that member.
        let gone = before.members.iter().filter(|(member, _)| !after.members.contains_key(*member));
        let gone: BTreeSet<Place> = gone.map(|(_, place)| *place).collect();
        let new = after
            .members
            .iter()
            .filter(|(member, place)| !before.members.contains_key(*member) && !gone.contains(place));
        let new: Vec<String> = new.map(|(member, _)| format!("member `{member}` is new")).collect();
        let changed = before.members.iter().filter_map(|(member, before)| {
            let after = after.members.get(member)?;
            match (before.at == after.at, before.size == after.size) {
                (true, true) => None,
                (false, _) => Some((
                    before.at,
                    format!(
                        "member `{member}` moves from byte {} to byte {}",
                        bytes(before.at),
                        bytes(after.at)
                    ),
                )),
                (true, false) => Some((
                    before.at,
                    format!(
                        "member `{member}` has {} bytes, {} with the diff",
                        bytes(before.size),
                        bytes(after.size)
                    ),
                )),
            }
        });
        let changed = changed.min().map(|(_, text)| text);
        let size = (before.size != after.size)
            .then(|| format!("its size is {} bytes, {} with the diff", before.size, after.size));
        if size.is_none() && changed.is_none() {
            notes.extend(new.iter().map(|new| {
                format!("{}: {name}: {new}, in a hole; objects that exist have any value there", before.file)
            }));
            continue;
        }
        let message: Vec<String> = size.into_iter().chain(new.into_iter().take(1)).chain(changed).collect();
        refusals.push(refusal::LAYOUT.refuse(&before.file, name, message.join("; ")));
    }
    (refusals, notes)
}

/// Bits as bytes: `8`, or `8.3` for a bit field.
fn bytes(bits: u64) -> String {
    match bits % 8 {
        0 => (bits / 8).to_string(),
        rest => format!("{}.{rest}", bits / 8),
    }
}

/// Reads the layouts of an object file with debug information.
pub(crate) fn read(bytes: &[u8]) -> Result<Layouts, Damaged> {
    let mut layouts = Layouts::new();
    let budget = Cell::new(MOST_MEMBERS);
    each_unit(bytes, |unit| {
        let mut tree = unit.entries_tree(None)?;
        collect(unit, tree.root()?, &Within { path: String::new(), depth: 0, budget: &budget }, &mut layouts)
    })?;
    Ok(layouts)
}

/// Reads the units of an object file's debug information.
pub(crate) fn each_unit(
    bytes: &[u8],
    mut visit: impl FnMut(UnitRef<'_, Reader<'_>>) -> Result<(), Damaged>,
) -> Result<(), Damaged> {
    let file = ElfFile64::<object::LittleEndian>::parse(bytes).map_err(|error| Damaged(error.to_string()))?;
    let sections = gimli::DwarfSections::load(|id| section(&file, id.name()))?;
    let dwarf = sections.borrow(|section| EndianSlice::new(section, LittleEndian));
    let mut headers = dwarf.units();
    while let Some(header) = headers.next()? {
        let unit = dwarf.unit(header)?;
        visit(unit.unit_ref(&dwarf))?;
    }
    Ok(())
}

/// Content of a section, relocated. An address has the number of its section in the upper 32 bits, the offset in the lower ones.
pub(crate) fn section(file: &ElfFile64<'_, object::LittleEndian>, name: &str) -> Result<Vec<u8>, Damaged> {
    let Some(section) = file.section_by_name(name) else { return Ok(Vec::new()) };
    let mut data = section.data().map_err(|error| Damaged(error.to_string()))?.to_vec();
    for (offset, relocation) in section.relocations() {
        let RelocationTarget::Symbol(symbol) = relocation.target() else { continue };
        let RelocationFlags::Elf { r_type } = relocation.flags() else { continue };
        let is_address = match file.architecture() {
            Architecture::Aarch64 => r_type == elf::R_AARCH64_ABS64,
            _ => r_type == elf::R_X86_64_64,
        };
        let size = if is_address { 8 } else { 4 };
        let symbol = file.symbol_by_index(symbol).ok();
        let start = symbol.as_ref().map_or(0, |symbol| symbol.address());
        let number = symbol.and_then(|symbol| symbol.section_index()).filter(|_| is_address);
        let number = number.map_or(0, |index| index.0 as u64) << 32;
        let value = start.wrapping_add_signed(relocation.addend()).wrapping_add(number).to_le_bytes();
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        if let (Some(field), Some(value)) = (data.get_mut(from..from.saturating_add(size)), value.get(..size))
        {
            field.copy_from_slice(value);
        }
    }
    Ok(data)
}

/// Place of entries, and what may still be read of a file that may be anyone's.
struct Within<'b> {
    /// The module around the entries, with `::`.
    path: String,
    /// Depth of that module.
    depth: usize,
    /// Number of members that may still be read.
    budget: &'b Cell<usize>,
}

/// Collects the structs and unions below an entry that are not local to a function.
fn collect<'d>(
    unit: UnitRef<'_, Reader<'d>>,
    node: Tree<'_, '_, 'd>,
    within: &Within<'_>,
    layouts: &mut Layouts,
) -> Result<(), Damaged> {
    let &Within { ref path, depth, budget } = within;
    let mut children = node.children();
    while let Some(child) = children.next()? {
        let entry = child.entry();
        let (named, offset) = match entry.tag() {
            dw::DW_TAG_structure_type | dw::DW_TAG_union_type => (entry, Some(entry.offset())),
            dw::DW_TAG_typedef => (entry, reference(entry)),
            dw::DW_TAG_namespace if depth < DEEPEST => {
                let name = text(unit, entry, dw::DW_AT_name).unwrap_or_default();
                let inner = Within { path: format!("{path}{name}::"), depth: depth + 1, budget };
                collect(unit, child, &inner, layouts)?;
                continue;
            }
            _ => continue,
        };
        let (Some(name), Some(offset)) = (text(unit, named, dw::DW_AT_name), offset) else { continue };
        let definition = unit.entry(offset)?;
        let is_typedef = entry.tag() == dw::DW_TAG_typedef;
        let kind = match definition.tag() {
            _ if is_typedef && definition.attr_value(dw::DW_AT_name).is_some() => continue,
            dw::DW_TAG_structure_type if is_typedef => "typedef",
            dw::DW_TAG_union_type if is_typedef => "typedef",
            dw::DW_TAG_structure_type => "struct",
            dw::DW_TAG_union_type => "union",
            _ => continue,
        };
        // A declaration has no size.
        let Some(size) = number(&definition, dw::DW_AT_byte_size) else { continue };
        let mut members = BTreeMap::new();
        add_members(unit, offset, ("", 0), 0, budget, &mut members)?;
        let file = file_of(unit, &definition).unwrap_or_default();
        layouts.insert(format!("{kind} {path}{name}"), Layout { file, size, members });
    }
    Ok(())
}

/// Adds the members of a struct or union at a place of the outer one. `prefix` has the names up to there.
fn add_members(
    unit: UnitRef<'_, Reader<'_>>,
    offset: UnitOffset,
    (prefix, start): (&str, u64),
    depth: usize,
    budget: &Cell<usize>,
    members: &mut BTreeMap<String, Place>,
) -> Result<(), Damaged> {
    let mut tree = unit.entries_tree(Some(offset))?;
    let mut children = tree.root()?.children();
    while let Some(child) = children.next()? {
        let entry = child.entry();
        if entry.tag() != dw::DW_TAG_member {
            continue;
        }
        let left = budget.get().checked_sub(1);
        budget.set(left.ok_or_else(|| Damaged(format!("its types have more than {MOST_MEMBERS} members")))?);
        let bits = number(entry, dw::DW_AT_data_bit_offset);
        let at = bits.unwrap_or_else(|| {
            let bytes = number(entry, dw::DW_AT_data_member_location).unwrap_or(0);
            bytes.saturating_mul(8).saturating_add(bit_in_unit(entry).unwrap_or(0))
        });
        let at = start.saturating_add(at);
        let kind = reference(entry);
        let name = text(unit, entry, dw::DW_AT_name);
        let whole = match (&name, prefix) {
            (Some(name), "") => name.clone(),
            (Some(name), prefix) => format!("{prefix}.{name}"),
            (None, prefix) => prefix.to_owned(),
        };
        if let Some(kind) = kind
            && depth < DEEPEST
            && is_anonymous(&unit.entry(kind)?)
        {
            add_members(unit, kind, (&whole, at), depth + 1, budget, members)?;
        }
        let size = match (number(entry, dw::DW_AT_bit_size), kind) {
            (Some(bits), _) => bits,
            (None, Some(kind)) => size_of(unit, kind, 0)?.unwrap_or(0).saturating_mul(8),
            (None, None) => 0,
        };
        if name.is_some() {
            members.insert(whole, Place { at, size });
        }
    }
    Ok(())
}

/// Place of a bit field in its storage unit, as DWARF 4 has it: counted from the most significant bit.
fn bit_in_unit(entry: &Entry<'_>) -> Option<u64> {
    let from_top = number(entry, dw::DW_AT_bit_offset)?;
    let (unit, size) = (number(entry, dw::DW_AT_byte_size)?, number(entry, dw::DW_AT_bit_size)?);
    unit.checked_mul(8)?.checked_sub(from_top.checked_add(size)?)
}

fn is_anonymous(entry: &Entry<'_>) -> bool {
    matches!(entry.tag(), dw::DW_TAG_structure_type | dw::DW_TAG_union_type)
        && entry.attr_value(dw::DW_AT_name).is_none()
}

/// Size of a type, in bytes.
fn size_of(
    unit: UnitRef<'_, Reader<'_>>,
    offset: UnitOffset,
    depth: usize,
) -> Result<Option<u64>, gimli::Error> {
    let entry = unit.entry(offset)?;
    if let Some(size) = number(&entry, dw::DW_AT_byte_size) {
        return Ok(Some(size));
    }
    let Some(inner) = reference(&entry).filter(|_| depth < DEEPEST) else { return Ok(None) };
    let Some(mut size) = size_of(unit, inner, depth + 1)? else { return Ok(None) };
    if entry.tag() == dw::DW_TAG_array_type {
        let mut tree = unit.entries_tree(Some(offset))?;
        let mut children = tree.root()?.children();
        while let Some(child) = children.next()? {
            let bound = child.entry();
            if bound.tag() == dw::DW_TAG_subrange_type {
                let count = number(bound, dw::DW_AT_count)
                    .or_else(|| number(bound, dw::DW_AT_upper_bound).map(|last| last.wrapping_add(1)));
                size = size.saturating_mul(count.unwrap_or(0));
            }
        }
    }
    Ok(Some(size))
}

pub(crate) fn number(entry: &Entry<'_>, attribute: DwAt) -> Option<u64> {
    entry.attr_value(attribute)?.udata_value()
}

pub(crate) fn reference(entry: &Entry<'_>) -> Option<UnitOffset> {
    match entry.attr_value(dw::DW_AT_type)? {
        AttributeValue::UnitRef(offset) => Some(offset),
        _ => None,
    }
}

pub(crate) fn text<'d>(unit: UnitRef<'_, Reader<'d>>, entry: &Entry<'d>, attribute: DwAt) -> Option<String> {
    let value = unit.attr_string(entry.attr_value(attribute)?).ok()?;
    Some(value.to_string_lossy().into_owned())
}

/// File of a definition, from the top of the source.
pub(crate) fn file_of<'d>(unit: UnitRef<'_, Reader<'d>>, entry: &Entry<'d>) -> Option<String> {
    file_in(unit, entry, dw::DW_AT_decl_file)
}

/// File that an attribute has the number of.
pub(crate) fn file_in<'d>(
    unit: UnitRef<'_, Reader<'d>>,
    entry: &Entry<'d>,
    attribute: DwAt,
) -> Option<String> {
    let number = match entry.attr_value(attribute)? {
        AttributeValue::FileIndex(number) => number,
        value => value.udata_value()?,
    };
    klp_image::source_path(unit, number)
}

impl From<gimli::Error> for Damaged {
    fn from(error: gimli::Error) -> Self {
        Self(format!("its debug information: {error}"))
    }
}

impl From<object::Error> for Damaged {
    fn from(error: object::Error) -> Self {
        Self(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use klp_base::process::Cmd;

    use super::*;

    const BEFORE: &str = "struct inner { int x; };\n\
        struct one { char a; int b; struct { long c; union { int d; char e; }; }; unsigned f:3, g:5; struct inner h[2]; };\n\
        typedef struct { int i; } anonymous_t;\nunion u { int j; long k; };\nenum e { A, B };\n\
        struct gone { int l; };\nvoid f(void) { struct local { int m; } n; (void)n; }\n";

    fn layouts(source: &str) -> Layouts {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("include")).unwrap();
        std::fs::write(dir.path().join("include/x.h"), source).unwrap();
        std::fs::write(dir.path().join("x.c"), "#include \"./include/x.h\"\nint y;\n").unwrap();
        let flags = ["-g", "-gdwarf-5", "-gz=none", "-fno-eliminate-unused-debug-types", "-c", "x.c"];
        Cmd::new("cc").args(flags).cwd(dir.path()).run().unwrap();
        read(&std::fs::read(dir.path().join("x.o")).unwrap()).unwrap()
    }

    fn compared(from: &str, to: &str) -> (Vec<String>, Vec<String>) {
        assert!(BEFORE.contains(from), "{from}");
        let (refusals, notes) = compare(&layouts(BEFORE), &layouts(&BEFORE.replace(from, to)));
        (
            refusals
                .iter()
                .map(|refusal| format!("{}: {}: {}", refusal.file, refusal.subject, refusal.message))
                .collect(),
            notes,
        )
    }

    #[test]
    fn changed_layouts_are_refused_with_struct_and_member() {
        for (from, to, says) in [
            (
                "int b;",
                "int b, z;",
                "include/x.h: struct one: its size is 40 bytes, 48 with the diff; member `z` is new; member `c` moves from byte 8 to byte 16",
            ),
            (
                "int b;",
                "int z, b;",
                "struct one: its size is 40 bytes, 48 with the diff; member `z` is new; member `b` moves from byte 4 to byte 8",
            ),
            (
                "int x;",
                "long x;",
                "include/x.h: struct inner: its size is 4 bytes, 8 with the diff; member `x` has 4 bytes, 8 with the diff",
            ),
            (
                "long c;",
                "int c;",
                "struct one: its size is 40 bytes, 28 with the diff; member `c` has 8 bytes, 4 with the diff",
            ),
            ("f:3, g:5", "f:2, g:6", "struct one: member `f` has 0.3 bytes, 0.2 with the diff"),
            (
                "int i;",
                "int i, z;",
                "typedef anonymous_t: its size is 4 bytes, 8 with the diff; member `z` is new",
            ),
            (
                "long k;",
                "char k[16];",
                "union u: its size is 8 bytes, 16 with the diff; member `k` has 8 bytes, 16 with the diff",
            ),
            ("h[2]", "h[3]", "struct one: member `h` has 8 bytes, 12 with the diff"),
        ] {
            let (refusals, _) = compared(from, to);
            assert!(refusals.iter().any(|text| text.contains(says)), "{from}: {refusals:?}");
        }
    }

    #[test]
    fn what_no_object_of_the_kernel_notices_is_taken() {
        for (from, to) in [
            ("int b;", "int better;"),
            ("int d;", "unsigned d;"),
            ("struct inner {", "struct new { int p, q; };\nstruct inner {"),
            ("A, B", "A, B, C, D"),
            ("struct gone { int l; };", ""),
            ("int m;", "int m, o;"),
        ] {
            assert_eq!(compared(from, to), (Vec::new(), Vec::new()), "{from}");
        }
        let (refusals, notes) = compared("char a;", "char a, z;");
        assert!(refusals.is_empty());
        assert_eq!(
            notes,
            [
                "include/x.h: struct one: member `z` is new, in a hole; objects that exist have any value there"
            ]
        );
    }
}
