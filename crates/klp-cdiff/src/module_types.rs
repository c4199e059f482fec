// SPDX-License-Identifier: GPL-2.0-or-later
//! Types in the debug information of a module: layouts of the kernel's structs, and prototypes of its functions in C. They are
//! compared with the kernel's own types.

use std::collections::BTreeMap;

use gimli::{UnitOffset, UnitRef, constants as dw};

use crate::layout::{self, Reader, number, reference, text};

/// Deepest chain of types.
const DEEPEST: usize = 16;
/// Module of Rust code with the kernel's types.
const BINDINGS: &str = "bindings::";
/// Members that bindgen gives a struct that is only declared.
const DECLARED: [&str; 2] = ["_unused", "_address"];

/// Layout of a struct or union.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StructLayout {
    /// Size, in bytes.
    pub size: u64,
    /// Members by their names, with those of anonymous structs, `outer.inner`: their offsets, in bits.
    pub members: BTreeMap<String, u64>,
}

/// Types in the debug information of a module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModuleTypes {
    /// Layouts of structs and unions that kernel headers define, by their names: `struct file`.
    pub layouts: BTreeMap<String, StructLayout>,
    /// Shapes of the return value and of the parameters of each function in C that has code, by its name. A shape is what a call
    /// depends on: `int4`, `*struct file`, `*` for a pointer to anything, `void`, `struct file`.
    pub prototypes: BTreeMap<String, Vec<String>>,
}

/// Reads the types of an object file. `None` if it has no debug information.
///
/// # Errors
/// The file is damaged; the text says what is wrong.
pub fn read(bytes: &[u8]) -> Result<Option<ModuleTypes>, String> {
    let mut types = ModuleTypes::default();
    let mut is_there = false;
    let read = layout::each_unit(bytes, |unit| {
        is_there = true;
        let mut tree = unit.entries_tree(None)?;
        let root = tree.root()?;
        let language = number(root.entry(), dw::DW_AT_language);
        if language != Some(u64::from(dw::DW_LANG_Rust.0)) {
            let mut children = root.children();
            while let Some(child) = children.next()? {
                let entry = child.entry();
                let has_code =
                    [dw::DW_AT_low_pc, dw::DW_AT_ranges].iter().any(|name| entry.attr_value(*name).is_some());
                if entry.tag() != dw::DW_TAG_subprogram || !has_code {
                    continue;
                }
                if let Some((name, shapes)) = prototype(unit, entry.offset())? {
                    types.prototypes.insert(name, shapes);
                }
            }
        }
        Ok(())
    });
    read.map_err(|error| error.to_string())?;
    if !is_there {
        return Ok(None);
    }
    for (name, layout) in layout::read(bytes).map_err(|error| error.to_string())? {
        let (kind, path) = name.split_once(' ').unwrap_or_default();
        let is_declared = layout.members.keys().all(|name| DECLARED.contains(&name.as_str()));
        let own = match path.strip_prefix(BINDINGS) {
            Some(own) if !own.contains("::") && !is_declared => own,
            // A header of the kernel; a module has headers of its own beside its files.
            None if !path.contains("::") && layout.file.contains("include/") => path,
            _ => continue,
        };
        let members = layout.members.into_iter().map(|(name, place)| (name, place.at)).collect();
        types.layouts.insert(format!("{kind} {own}"), StructLayout { size: layout.size, members });
    }
    Ok(Some(types))
}

/// Name and shapes of a function. Copies refer to an entry with the name and the type.
fn prototype(
    unit: UnitRef<'_, Reader<'_>>,
    offset: UnitOffset,
) -> Result<Option<(String, Vec<String>)>, gimli::Error> {
    let entry = unit.entry(offset)?;
    let origin = match entry.attr_value(dw::DW_AT_abstract_origin) {
        Some(gimli::AttributeValue::UnitRef(origin)) => origin,
        _ => offset,
    };
    let entry = unit.entry(origin)?;
    let Some(name) = text(unit, &entry, dw::DW_AT_name) else { return Ok(None) };
    let mut shapes = vec![shape(unit, reference(&entry), 0)?];
    let mut tree = unit.entries_tree(Some(origin))?;
    let mut children = tree.root()?.children();
    while let Some(child) = children.next()? {
        let entry = child.entry();
        if entry.tag() == dw::DW_TAG_formal_parameter {
            shapes.push(shape(unit, reference(entry), 0)?);
        }
    }
    Ok(Some((name, shapes)))
}

fn shape(
    unit: UnitRef<'_, Reader<'_>>,
    offset: Option<UnitOffset>,
    depth: usize,
) -> Result<String, gimli::Error> {
    let Some(offset) = offset.filter(|_| depth < DEEPEST) else { return Ok("void".to_owned()) };
    let entry = unit.entry(offset)?;
    let name = || text(unit, &entry, dw::DW_AT_name);
    let inner = |depth: usize| shape(unit, reference(&entry), depth + 1);
    Ok(match entry.tag() {
        dw::DW_TAG_pointer_type | dw::DW_TAG_array_type => pointer_to(&inner(depth)?),
        dw::DW_TAG_base_type | dw::DW_TAG_enumeration_type => {
            format!("int{}", number(&entry, dw::DW_AT_byte_size).unwrap_or(4))
        }
        dw::DW_TAG_structure_type => {
            name().map_or_else(|| "struct".to_owned(), |name| format!("struct {name}"))
        }
        dw::DW_TAG_union_type => name().map_or_else(|| "union".to_owned(), |name| format!("union {name}")),
        dw::DW_TAG_subroutine_type => "function".to_owned(),
        _ => inner(depth)?,
    })
}

/// Shape of a pointer. Pointers to `void`, to numbers and to types without a name are pointers to anything.
pub fn pointer_to(shape: &str) -> String {
    match shape.split_once(' ') {
        Some(_) if !shape.starts_with('*') => format!("*{shape}"),
        _ => "*".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use klp_base::lots::Lots;
    use klp_base::process::Cmd;

    use super::*;

    fn object(source: &str, flags: &[&str]) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("include")).unwrap();
        std::fs::write(
            dir.path().join("include/k.h"),
            "struct k { char a; long b; union { int c; char d; } e; unsigned f:3, g:4; };\n",
        )
        .unwrap();
        std::fs::write(
            dir.path().join("x.c"),
            format!("#include \"include/k.h\"\nstruct own {{ int x; }};\n{source}"),
        )
        .unwrap();
        Cmd::new("gcc")
            .args(["-O2", "-gz=none"])
            .args(flags)
            .args(["-c", "x.c"])
            .cwd(dir.path())
            .run()
            .unwrap();
        std::fs::read(dir.path().join("x.o")).unwrap()
    }

    fn types(source: &str, flags: &[&str]) -> Option<ModuleTypes> {
        read(&object(source, flags)).unwrap()
    }

    #[test]
    fn shapes_and_layouts_are_read() {
        let source = "enum e { A };\ntypedef unsigned long size;\n\
            int f(struct k *k, void *v, const char *s, size n, enum e e, int (*g)(int)) { struct own o = { 1 }; return k->e.c + o.x + n; }\n\
            void h(struct k k, struct k **p) { }\n";
        for version in ["-gdwarf-4", "-gdwarf-5"] {
            let types = types(source, &[version]).unwrap();
            let of = |name: &str| types.prototypes[name].join(", ");
            assert_eq!(of("f"), "int4, *struct k, *, *, int8, int4, *");
            assert_eq!(of("h"), "void, struct k, *");
            let names: Vec<&str> = types.layouts.keys().map(String::as_str).collect();
            assert_eq!(names, ["struct k"], "not the module's own");
            let layout = &types.layouts["struct k"];
            assert_eq!(layout.size, 24);
            let members: Vec<(&str, u64)> =
                layout.members.iter().map(|(name, at)| (name.as_str(), *at)).collect();
            assert_eq!(
                members,
                [("a", 0), ("b", 64), ("e", 128), ("e.c", 128), ("e.d", 128), ("f", 160), ("g", 163)]
            );
        }
    }

    #[test]
    fn a_file_without_debug_information_has_no_types() {
        assert_eq!(types("int f(void) { return 1; }\n", &["-g0"]), None);
        assert!(read(b"\x7fELF").is_err());
    }

    /// Anyone's file may be checked.
    #[test]
    fn damaged_debug_information_is_an_error_or_other_types() {
        let source = "typedef struct { struct { struct k k; int a; } x, y; union { struct { long b; } z; }; } t;\nint f(t *t, struct k **k) { return t->x.a; }\n";
        let good = object(source, &["-gdwarf-5"]);
        let file = object::File::parse(good.as_slice()).unwrap();
        let places = [".debug_info", ".debug_abbrev", ".debug_str", ".debug_line"].map(|name| {
            let section = object::Object::section_by_name(&file, name).unwrap();
            object::ObjectSection::file_range(&section).unwrap()
        });
        let mut lots = Lots::new(5);
        let (mut errors, mut others) = (0, 0);
        for _ in 0..3000 {
            let mut bytes = good.clone();
            for _ in 0..=lots.below(3) {
                let (start, size) = places[lots.below(places.len())];
                let at = usize::try_from(start).unwrap() + lots.below(usize::try_from(size).unwrap());
                bytes[at] = u8::try_from(lots.below(256)).unwrap();
            }
            match read(&bytes) {
                Err(_) => errors += 1,
                Ok(_) => others += 1,
            }
        }
        assert!(errors > 100 && others > 100, "{errors} {others}");
    }
}
