// SPDX-License-Identifier: GPL-2.0-or-later
//! A module for changes: built by the pipeline from fix `peek`, with functions that change it.

use klp_module::{Module, PatchedFunction};
use klp_verify::{Expected, ExpectedCopy, ExpectedExport, LoadedPatch, Named, NamedSymbol, PATCH_SYMBOL};
use object::build::elf::{Builder, Relocation, Section, SectionData, Symbol};
use object::elf;

/// A module with its expected facts.
#[derive(Clone)]
pub struct Sample {
    pub bytes: Vec<u8>,
    /// The same module before stage postlink.
    pub unconverted: Vec<u8>,
    pub expected: Expected,
}

impl Sample {
    /// Changes the file through the ELF builder.
    pub fn edit(&mut self, change: impl FnOnce(&mut Builder<'_>)) {
        let mut bytes = std::mem::take(&mut self.bytes);
        let masked = mask_livepatch_relocations(&mut bytes);
        let mut builder = Builder::read(bytes.as_slice()).unwrap();
        for section in builder.sections.iter_mut().filter(|s| masked.contains(&s.name.to_vec())) {
            section.sh_flags |= elf::SHF_ALLOC;
        }
        change(&mut builder);
        builder.write(&mut self.bytes).unwrap();
    }

    /// Changes one section.
    pub fn section(&mut self, name: &str, change: impl FnOnce(&mut Section<'_>)) {
        self.edit(|builder| change(section(builder, name)));
    }

    /// Changes the bytes of one section.
    pub fn data(&mut self, name: &str, change: impl FnOnce(&mut [u8])) {
        self.section(name, |section| match &mut section.data {
            SectionData::Data(bytes) => change(bytes.to_mut()),
            other => panic!("{name} holds {other:?}"),
        });
    }

    /// Replaces a text in a section by another text with the same length. The old text must occur exactly
    /// once.
    pub fn text(&mut self, name: &str, from: &str, to: &str) {
        assert_eq!(from.len(), to.len());
        self.data(name, |bytes| {
            let found: Vec<usize> = (0..=bytes.len() - from.len())
                .filter(|&at| bytes[at..].starts_with(from.as_bytes()))
                .collect();
            assert_eq!(found.len(), 1, "{from:?} in {name}");
            bytes[found[0]..found[0] + to.len()].copy_from_slice(to.as_bytes());
        });
    }

    /// Changes the relocations of one section.
    pub fn relocations(&mut self, name: &str, change: impl FnOnce(&mut Vec<Relocation>)) {
        self.section(name, |section| match &mut section.data {
            SectionData::Relocation(relocations) => change(relocations),
            other => panic!("{name} holds {other:?}"),
        });
    }

    /// Changes one symbol.
    pub fn symbol(&mut self, name: &str, change: impl FnOnce(&mut Symbol<'_>)) {
        self.edit(|builder| {
            let found = builder.symbols.iter_mut().find(|symbol| *symbol.name == *name.as_bytes());
            change(found.unwrap_or_else(|| panic!("no symbol {name}")));
        });
    }

    /// Adds a symbol with this name.
    pub fn add_symbol(&mut self, name: &str, change: impl FnOnce(&mut Symbol<'_>)) {
        let name = name.as_bytes().to_vec();
        self.edit(|builder| {
            let symbol = builder.symbols.add();
            symbol.name = name.into();
            symbol.set_st_info(elf::STB_GLOBAL, elf::STT_NOTYPE);
            change(symbol);
        });
    }

    /// States a copy of the first replaced function in another function.
    pub fn copy_in(&mut self, caller: &str, is_clone: bool) {
        let patch = self.expected.patch.as_mut().unwrap();
        let symbol = patch.functions[0].clone();
        let copy =
            ExpectedCopy { caller: caller.to_owned(), file: "fs/proc/x.c".to_owned(), line: 7, is_clone };
        patch.copies.entry(symbol).or_default().push(copy);
    }

    /// Changes what is known of an exported symbol.
    pub fn export(&mut self, name: &str, change: impl FnOnce(&mut ExpectedExport)) {
        change(self.expected.exports.as_mut().unwrap().get_mut(name).unwrap());
    }

    /// States that a live patch is loaded before the module.
    pub fn loaded(&mut self, change: impl FnOnce(&mut LoadedPatch)) {
        let mut other = LoadedPatch { name: "other".to_owned(), ..LoadedPatch::default() };
        change(&mut other);
        self.expected.loaded.push(other);
    }

    /// States what is known of a symbol that the module names.
    pub fn named(&mut self, symbol: &str, named: Named) {
        let known = self.expected.named.get_mut(&symbol.parse().unwrap());
        *known.unwrap_or_else(|| panic!("the module does not name {symbol}")) = named;
    }

    /// Changes what is known of a symbol that the module names.
    pub fn found(&mut self, symbol: &str, change: impl FnOnce(&mut NamedSymbol)) {
        match self.expected.named.get_mut(&symbol.parse().unwrap()) {
            Some(Named::Found(found)) => change(found),
            other => panic!("{symbol} is {other:?}"),
        }
    }

    /// Makes the relocations against a symbol lead this number of bytes further.
    pub fn shift(&mut self, symbol: &str, bytes: i64) {
        self.edit(|builder| {
            let found = builder.symbols.iter().find(|found| *found.name == *symbol.as_bytes());
            let id = found.unwrap_or_else(|| panic!("no symbol {symbol}")).id();
            let mut changed = 0;
            for section in &mut builder.sections {
                let SectionData::Relocation(list) = &mut section.data else { continue };
                for relocation in list.iter_mut().filter(|relocation| relocation.symbol == Some(id)) {
                    relocation.r_addend += bytes;
                    changed += 1;
                }
            }
            assert!(changed > 0, "nothing uses {symbol}");
        });
    }

    /// Makes one relocation of section `name` refer to the symbol `to`.
    pub fn redirect(&mut self, name: &str, from: &str, to: &str) {
        self.edit(|builder| {
            let id = |wanted: &str| {
                builder.symbols.iter().find(|symbol| *symbol.name == *wanted.as_bytes()).unwrap().id()
            };
            let (from, to) = (id(from), id(to));
            let SectionData::Relocation(relocations) = &mut section(builder, name).data else {
                panic!("{name} has no relocations")
            };
            relocations.iter_mut().find(|relocation| relocation.symbol == Some(from)).unwrap().symbol =
                Some(to);
        });
    }

    /// The function that the module replaces, from its tables.
    pub fn replacement(&self) -> PatchedFunction {
        let module = Module::parse(&self.bytes).unwrap();
        let table = module.patch_table(&self.expected.layout, PATCH_SYMBOL).unwrap();
        table.objects[0].functions[0].clone()
    }

    /// Offset of the `struct klp_patch` in section `.data`.
    pub fn patch_offset(&self) -> usize {
        usize::try_from(Module::parse(&self.bytes).unwrap().symbol(PATCH_SYMBOL).unwrap().value).unwrap()
    }

    /// Offset of the replacement's `struct klp_func` in section `.data`.
    pub fn function_offset(&self) -> u64 {
        let module = Module::parse(&self.bytes).unwrap();
        let data = module.section(".data").unwrap().index;
        let new_func = self.replacement().new_function;
        let leads_there = |relocation: &klp_module::Relocation| {
            let symbol = &module.symbols()[relocation.symbol];
            symbol.section == klp_module::SymbolSection::Section(new_func.section)
                && symbol.value.wrapping_add_signed(relocation.addend) == new_func.offset
        };
        let found = module.relocations_of(data).find(leads_there).unwrap().offset;
        found - self.expected.layout.func_new_func
    }

    /// A function of `.text` and the next function, each with name and offset.
    pub fn neighbours(&self) -> [(String, u64); 2] {
        let module = Module::parse(&self.bytes).unwrap();
        let text = module.section(".text").unwrap().index;
        let mut functions: Vec<_> = module
            .symbols()
            .iter()
            .filter(|symbol| symbol.kind == klp_module::SymbolKind::Function)
            .filter(|symbol| symbol.section == klp_module::SymbolSection::Section(text))
            .filter(|symbol| !symbol.name.starts_with("__pfx_"))
            .map(|symbol| (symbol.name.to_owned(), symbol.value))
            .collect();
        functions.sort_by_key(|(_, value)| *value);
        [functions[0].clone(), functions[1].clone()]
    }
}

pub fn section<'b, 'data>(builder: &'b mut Builder<'data>, name: &str) -> &'b mut Section<'data> {
    let found = builder.sections.iter_mut().find(|section| *section.name == *name.as_bytes());
    found.unwrap_or_else(|| panic!("no section {name}"))
}

/// The ELF builder treats relocations of allocated sections as relocations for a dynamic linker, and rejects
/// their symbols. This function clears the flag SHF_ALLOC. Returns the names of the changed sections.
fn mask_livepatch_relocations(bytes: &mut [u8]) -> Vec<Vec<u8>> {
    let module = Module::parse(bytes).unwrap();
    let ours = module.sections().iter().filter(|section| section.is_rela() && section.is_alloc());
    let ours: Vec<_> = ours.map(|section| (section.index, section.name.as_bytes().to_vec())).collect();
    let table = usize::try_from(u64::from_le_bytes(bytes[40..48].try_into().unwrap())).unwrap();
    for (index, _) in &ours {
        bytes[table + index * 64 + 8] &= !2;
    }
    ours.into_iter().map(|(_, name)| name).collect()
}
