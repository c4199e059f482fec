// SPDX-License-Identifier: GPL-2.0-or-later
//! Independent sources for the results of stage 1. They share no code with stage 1. Names are counted by
//! another parser of kallsyms or in the module's own symbol table. Functions are looked up in the raw BTF. If
//! ftrace's table is not available, the instructions at a function's entry are read.

use std::collections::BTreeMap;

use klp_base::files::read;
use klp_image::{KernelImage, decompress, unpack_module};
use klp_kernel::KernelTree;
use klp_pipeline::Error;
use object::{Architecture, Object, ObjectSection, ObjectSymbol, RelocationTarget};

use super::kallsyms;

/// `endbr64`, and the first byte of a call.
const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];
const CALL: u8 = 0xe8;
/// `nop`, `bti c`, `paciasp` of arm64.
const NOP: [u8; 4] = [0x1f, 0x20, 0x03, 0xd5];
const BTI_C: [u8; 4] = [0x5f, 0x24, 0x03, 0xd5];
const PACIASP: [u8; 4] = [0x3f, 0x23, 0x03, 0xd5];
/// Kinds of BTF, `include/uapi/linux/btf.h`.
const FUNC: u32 = 12;
const FUNC_PROTO: u32 = 13;

/// Facts about one object from the independent sources.
pub(super) struct Witness {
    file: Vec<u8>,
    /// Number of symbols by name.
    names: BTreeMap<String, u32>,
    /// Functions in the object's BTF by name, with one flag per function: true if it is variadic.
    functions: BTreeMap<String, Vec<bool>>,
    /// Address of `__fentry__`. `None` in a module, where relocations refer to it.
    fentry: Option<u64>,
}

/// Location of a function.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// Number of its section; `None` in the kernel.
    section: Option<usize>,
    address: u64,
}

impl Witness {
    /// Facts about the kernel.
    ///
    /// # Errors
    /// The image cannot be read, or the independent parser cannot read its kallsyms or BTF.
    pub(super) fn of_kernel(tree: &KernelTree, image: &KernelImage) -> Result<Self, Error> {
        let failed = |message: String| klp_image::Error::Image { path: tree.vmlinux.clone(), message };
        let bytes = read(&tree.vmlinux)?;
        let file = if bytes.starts_with(b"\x7fELF") {
            bytes
        } else {
            decompress(&bytes).map_err(|error| failed(error.to_string()))?
        };
        let names = kallsyms::names(&file)
            .ok_or_else(|| failed("the second reader does not find its kallsyms".to_owned()))?;
        let functions = functions(&file, None)
            .ok_or_else(|| failed("the second reader cannot walk its BTF".to_owned()))?;
        let fentry = image.symbols.named("__fentry__").first().map(|symbol| symbol.address);
        Ok(Self { file, names, functions, fentry })
    }

    /// Facts about one of the kernel's modules.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn of_module(kernel: &Self, path: &std::path::Path) -> Result<Self, Error> {
        let failed = |message: String| klp_image::Error::Image { path: path.to_owned(), message };
        let file = unpack_module(&read(path)?).map_err(|error| failed(error.to_string()))?.into_owned();
        let module = object::File::parse(&*file).map_err(|error| failed(error.to_string()))?;
        let mut names = BTreeMap::new();
        for symbol in module.symbols().filter(|symbol| symbol.is_definition()) {
            *names.entry(symbol.name().unwrap_or_default().to_owned()).or_insert(0) += 1;
        }
        let functions = functions(&file, Some(&kernel.file)).unwrap_or_default();
        Ok(Self { file, names, functions, fentry: None })
    }

    /// Names of a module's functions.
    pub(super) fn code(&self) -> Vec<String> {
        let Ok(module) = object::File::parse(&*self.file) else { return Vec::new() };
        let code = module.symbols().filter(|symbol| {
            symbol.kind() == object::SymbolKind::Text && symbol.is_definition() && symbol.size() > 0
        });
        code.filter_map(|symbol| symbol.name().ok().map(ToOwned::to_owned)).collect()
    }

    /// Location of a function with the kallsyms address `address`. In a module the location is taken from its
    /// symbol table.
    pub(super) fn place(&self, name: &str, address: u64) -> Option<Place> {
        if self.fentry.is_some() || self.functions.is_empty() && self.names.is_empty() {
            return Some(Place { section: None, address });
        }
        let module = object::File::parse(&*self.file).ok()?;
        if !module.kind().eq(&object::ObjectKind::Relocatable) {
            return Some(Place { section: None, address });
        }
        let symbol = module.symbols().find(|symbol| symbol.name() == Ok(name))?;
        Some(Place { section: Some(symbol.section_index()?.0), address: symbol.address() })
    }

    /// Checks the conditions for a successful build. The error names the contradiction.
    pub(super) fn allows(&self, name: &str, place: Place) -> Result<(), String> {
        if self.count(name) != 1 {
            return Err(format!("{} symbols have the name", self.count(name)));
        }
        match self.functions.get(name).map(Vec::as_slice) {
            Some([false]) => {}
            found => return Err(format!("its BTF has {found:?} (whether variadic) of that name")),
        }
        if self.begins_with_call(place) {
            Ok(())
        } else {
            Err("it does not begin with a call of __fentry__".to_owned())
        }
    }

    /// Short reason and confirming source of a rejection, selected by its message. The error names the
    /// contradiction.
    pub(super) fn confirms(
        &self,
        name: &str,
        place: Place,
        message: &str,
    ) -> Result<(&'static str, &'static str), String> {
        let says = |part: &str| message.contains(part);
        let functions = self.functions.get(name).map_or(0, Vec::len);
        let (reason, source, holds) = if says("variant") {
            ("a compiler's variant", "its name", name.contains('.'))
        } else if says("symbols of that name") || says("several symbols") {
            ("several symbols of the name", "a second reader of the symbols", self.count(name) > 1)
        } else if says("variable number") {
            let variadic = self.functions.get(name).is_some_and(|all| all.contains(&true));
            ("a variable number of arguments", "a walk over the raw BTF", variadic)
        } else if says("cannot tell which") {
            ("several prototypes", "a walk over the raw BTF", functions > 1)
        } else if says("unlikely part") {
            ("the unlikely part of a function", "its name", name.contains(".cold"))
        } else if says("written in Rust") {
            let rust = name.starts_with("_R") && !self.begins_with_call(place);
            ("written in Rust", "its name and its first instructions", rust)
        } else if says("`__init`") {
            ("code of the start", "the sections of the image", self.is_init(place))
        } else if says("noinstr") || says("does not begin with a call") {
            ("no call of __fentry__", "its first instructions", !self.begins_with_call(place))
        } else if says("BTF") {
            ("not in BTF", "a walk over the raw BTF", functions == 0)
        } else {
            return Err("no second source knows this reason".to_owned());
        };
        if holds { Ok((reason, source)) } else { Err(format!("{source} does not confirm it")) }
    }

    fn count(&self, name: &str) -> u32 {
        self.names.get(name).copied().unwrap_or(0)
    }

    /// True if a function is in code that is freed after init.
    fn is_init(&self, place: Place) -> bool {
        let Ok(file) = object::File::parse(&*self.file) else { return false };
        file.sections().any(|section| {
            let within = match place.section {
                Some(number) => section.index().0 == number,
                None => (section.address()..section.address() + section.size()).contains(&place.address),
            };
            within && section.name().is_ok_and(|name| name.starts_with(".init") || name.starts_with(".exit"))
        })
    }

    /// True if a function begins with the instruction that ftrace replaces.
    fn begins_with_call(&self, place: Place) -> bool {
        self.call(place).unwrap_or(false)
    }

    fn call(&self, place: Place) -> Option<bool> {
        let file = object::File::parse(&*self.file).ok()?;
        let section = match place.section {
            Some(number) => file.section_by_index(object::SectionIndex(number)).ok()?,
            None => file.sections().find(|section| {
                section.kind() == object::SectionKind::Text
                    && (section.address()..section.address() + section.size()).contains(&place.address)
            })?,
        };
        let data = section.data().ok()?;
        let start = usize::try_from(place.address - section.address()).ok()?;
        let code = data.get(start..)?;
        if file.architecture() == Architecture::Aarch64 {
            let code =
                [BTI_C, PACIASP].iter().fold(code, |code, word| code.strip_prefix(word).unwrap_or(code));
            return Some(code.starts_with(&[NOP, NOP].concat()));
        }
        let before = if code.starts_with(&ENDBR64) { ENDBR64.len() } else { 0 };
        let code = code.get(before..)?;
        if *code.first()? != CALL {
            return Some(false);
        }
        let operand = start + before + 1;
        match self.fentry {
            Some(fentry) => {
                let distance = i32::from_le_bytes(code.get(1..5)?.try_into().ok()?);
                let after = section.address() + operand as u64 + 4;
                Some(after.wrapping_add_signed(i64::from(distance)) == fentry)
            }
            None => Some(section.relocations().any(|(at, relocation)| {
                at == section.address() + operand as u64
                    && matches!(relocation.target(), RelocationTarget::Symbol(index)
                        if file.symbol_by_index(index).is_ok_and(|symbol| symbol.name() == Ok("__fentry__")))
            })),
        }
    }
}

/// Functions in a file's BTF. For a module, `base` is the kernel's file.
fn functions(file: &[u8], base: Option<&[u8]>) -> Option<BTreeMap<String, Vec<bool>>> {
    let (types, strings) = parts(file)?;
    let (base_types, base_strings) = match base {
        Some(base) => {
            let (types, strings) = parts(base)?;
            (walk(types)?.len(), strings)
        }
        None => (0, &[][..]),
    };
    let own = walk(types)?;
    let text = |offset: usize| {
        let bytes = match offset.checked_sub(base_strings.len()) {
            Some(own) => strings.get(own..)?,
            None => base_strings.get(offset..)?,
        };
        let end = bytes.iter().position(|byte| *byte == 0)?;
        Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
    };
    let mut found: BTreeMap<String, Vec<bool>> = BTreeMap::new();
    for item in own.iter().filter(|item| item.kind == FUNC) {
        // Type ids begin at 1; a module's ids follow the kernel's.
        let index = (item.target as usize).checked_sub(base_types + 1);
        let prototype = index.and_then(|index| own.get(index)).filter(|item| item.kind == FUNC_PROTO);
        found.entry(text(item.name as usize)?).or_default().push(prototype.is_some_and(|item| item.variadic));
    }
    Some(found)
}

/// A BTF type, with the fields that the search for functions needs.
struct Item {
    kind: u32,
    name: u32,
    target: u32,
    variadic: bool,
}

/// Bytes of types and of strings in a file's `.BTF`.
fn parts(file: &[u8]) -> Option<(&[u8], &[u8])> {
    let file = object::File::parse(file).ok()?;
    let btf = file.section_by_name(".BTF")?.data().ok()?;
    let number = |at: usize| Some(u32::from_le_bytes(btf.get(at..at + 4)?.try_into().ok()?) as usize);
    let header = number(4)?;
    let part = |at: usize| btf.get(header + number(at)?..header + number(at)? + number(at + 4)?);
    Some((part(8)?, part(16)?))
}

/// All types in the order of their ids.
fn walk(types: &[u8]) -> Option<Vec<Item>> {
    let number = |at: usize| Some(u32::from_le_bytes(types.get(at..at + 4)?.try_into().ok()?));
    let mut items = Vec::new();
    let mut at = 0;
    while at < types.len() {
        let (name, info, target) = (number(at)?, number(at + 4)?, number(at + 8)?);
        let (kind, length) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
        at += 12;
        let behind = match kind {
            1 | 14 | 17 => 4,
            3 => 12,
            4 | 5 | 15 | 19 => 12 * length,
            6 | FUNC_PROTO => 8 * length,
            2 | 7..=12 | 16 | 18 => 0,
            _ => return None,
        };
        let last = (kind == FUNC_PROTO && length > 0).then(|| number(at + behind - 4)).flatten();
        items.push(Item { kind, name, target, variadic: last == Some(0) });
        at += behind;
    }
    Some(items)
}
