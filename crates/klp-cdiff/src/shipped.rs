// SPDX-License-Identifier: GPL-2.0-or-later
//! The code that a kernel runs, as it was shipped: the image, or the file of a module.

use std::collections::{BTreeMap, BTreeSet};

use klp_format::{ObjectName, SymbolPosition};
use klp_image::{KernelImage, Memory, ModuleImage, Symbol};
use klp_module::{Module, SymbolSection};

use crate::object::Relocation;

/// Place in shipped code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// Number of the section; 0 in the image.
    pub(crate) section: usize,
    /// Address in the image, offset in the section of a module.
    pub(crate) address: u64,
}

impl Place {
    pub(crate) fn after(self, offset: u64) -> Self {
        Self { address: self.address.wrapping_add(offset), ..self }
    }

    pub(crate) fn before(self, offset: u64) -> Self {
        Self { address: self.address.wrapping_sub(offset), ..self }
    }
}

/// Target of a field of shipped code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pointed {
    /// A place of the same object.
    Here(Place),
    /// A symbol of another object.
    Outside(String),
}

/// Symbol of shipped code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) name: String,
    /// Symbol position; 0 for a unique name.
    pub(crate) position: SymbolPosition,
    pub(crate) place: Place,
    pub(crate) is_code: bool,
    pub(crate) is_global: bool,
}

/// Code as it was shipped.
pub(crate) struct Shipped<'k> {
    /// Name of the object.
    pub(crate) name: ObjectName,
    content: Content<'k>,
}

enum Content<'k> {
    /// The kernel itself.
    Kernel { image: &'k KernelImage, memory: &'k Memory },
    /// A module.
    Module {
        image: &'k ModuleImage,
        module: Module<'k>,
        relocations: BTreeMap<Place, klp_module::Relocation>,
    },
}

impl<'k> Shipped<'k> {
    pub(crate) fn kernel(name: ObjectName, image: &'k KernelImage, memory: &'k Memory) -> Self {
        Self { name, content: Content::Kernel { image, memory } }
    }

    pub(crate) fn module(name: ObjectName, image: &'k ModuleImage, module: Module<'k>) -> Self {
        let relocations = module
            .relocations()
            .map(|relocation| (Place { section: relocation.target, address: relocation.offset }, relocation))
            .collect();
        Self { name, content: Content::Module { image, module, relocations } }
    }

    /// Symbols with a name.
    pub(crate) fn named(&self, name: &str) -> Vec<Found> {
        match &self.content {
            Content::Kernel { image, .. } => {
                let symbols = image.symbols.named(name);
                let unique = symbols.len() == 1;
                symbols.iter().map(|symbol| found(symbol, 0, unique)).collect()
            }
            Content::Module { image, .. } => {
                let unique = image.symbols.count(name) == 1;
                let symbols = image.places().filter(|(symbol, _)| symbol.name == name);
                symbols.map(|(symbol, section)| found(&symbol, section, unique)).collect()
            }
        }
    }

    /// Symbols at a place.
    pub(crate) fn at(&self, place: Place) -> Vec<Found> {
        match &self.content {
            Content::Kernel { image, .. } => image
                .symbols
                .at(place.address)
                .map(|symbol| found(&symbol, 0, image.symbols.count(symbol.name) == 1))
                .collect(),
            Content::Module { image, .. } => image
                .places()
                .filter(|(symbol, section)| *section == place.section && symbol.address == place.address)
                .map(|(symbol, section)| found(&symbol, section, image.symbols.count(symbol.name) == 1))
                .collect(),
        }
    }

    /// `length` bytes at a place.
    pub(crate) fn bytes(&self, place: Place, length: u64) -> Option<&[u8]> {
        match &self.content {
            Content::Kernel { memory, .. } => memory.bytes(place.address, length),
            Content::Module { module, .. } => {
                let data = module.sections().get(place.section)?.data;
                let from = usize::try_from(place.address).ok()?;
                data.get(from..from.checked_add(usize::try_from(length).ok()?)?)
            }
        }
    }

    /// Target of a field at a place: the value of the symbol of this relocation, which the compiler made there.
    pub(crate) fn pointed(&self, field: Place, relocation: &Relocation) -> Option<Pointed> {
        let bytes = self.bytes(field, relocation.size())?;
        let value = match bytes.len() {
            1 => i64::from(bytes.first()?.cast_signed()),
            4 => i64::from(i32::from_le_bytes(*bytes.first_chunk()?)),
            8 => i64::from_le_bytes(*bytes.first_chunk()?),
            _ => return None,
        };
        match &self.content {
            Content::Kernel { .. } => {
                let base = if relocation.is_relative() { field.address } else { 0 };
                let address = base.wrapping_add_signed(value).wrapping_sub(relocation.addend.cast_unsigned());
                Some(Pointed::Here(Place { section: 0, address }))
            }
            Content::Module { module, relocations, .. } => {
                let Some(found) = relocations.get(&field) else {
                    // The assembler resolved it: a place of the same section.
                    let address = field
                        .address
                        .wrapping_add_signed(value)
                        .wrapping_sub(relocation.addend.cast_unsigned());
                    return relocation.is_relative().then_some(Pointed::Here(Place { address, ..field }));
                };
                let symbol = module.symbols().get(found.symbol)?;
                let more = found.addend.wrapping_sub(relocation.addend);
                match symbol.section {
                    SymbolSection::Section(section) => Some(Pointed::Here(Place {
                        section,
                        address: symbol.value.wrapping_add_signed(more),
                    })),
                    _ if more == 0 => Some(Pointed::Outside(symbol.name.to_owned())),
                    _ => None,
                }
            }
        }
    }
}

fn found(symbol: &Symbol<'_>, section: usize, unique: bool) -> Found {
    Found {
        name: symbol.name.to_owned(),
        position: if unique { SymbolPosition(0) } else { symbol.position },
        place: Place { section, address: symbol.address },
        is_code: symbol.is_code(),
        is_global: symbol.kind.is_ascii_uppercase(),
    }
}

/// Functions whose landing pad the kernel removes when it boots, because nothing of the kernel calls them indirectly
/// (`apply_seal_endbr()` in `arch/x86/kernel/alternative.c`).
pub(crate) fn sealed(image: &KernelImage, memory: &Memory) -> BTreeSet<u64> {
    let mark = |name: &str| image.symbols.named(name).first().map(|symbol| symbol.address);
    let (Some(start), Some(end)) = (mark("__ibt_endbr_seal"), mark("__ibt_endbr_seal_end")) else {
        return BTreeSet::new();
    };
    let entry = |place: u64| {
        let distance = i32::from_le_bytes(*memory.bytes(place, 4)?.first_chunk()?);
        Some(place.wrapping_add_signed(distance.into()))
    };
    (start..end).step_by(4).filter_map(entry).collect()
}
