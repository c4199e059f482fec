// SPDX-License-Identifier: GPL-2.0-or-later
//! Synthetic kernels of a few kilobytes, with all data that the image library reads. Seeds of the fuzz targets, and input
//! of tests that damage them.

#![allow(unreachable_pub, dead_code, reason = "shared by several programs, none of which uses all of it")]

use std::collections::BTreeMap;

/// Order and format of the symbol table in a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Offsets, base, number, names, markers, sequence, tokens (6.1).
    OffsetsFirst,
    /// Number, names, markers, tokens, offsets, base (6.12).
    OffsetsLast,
    /// Like `OffsetsLast`, but offsets are relative to their own address, and all parts are aligned to 4 bytes (7.3).
    Places,
}

/// All layouts.
pub const LAYOUTS: [Layout; 3] = [Layout::OffsetsFirst, Layout::OffsetsLast, Layout::Places];
/// Release of the synthetic kernel (`uname -r`).
pub const RELEASE: &str = "6.0.0-made-up";
/// Version magic of the synthetic kernel.
pub const VERMAGIC: &str = "6.0.0-made-up SMP preempt mod_unload ";
/// Start address of the code.
pub const TEXT: u64 = 0xffff_ffff_8100_0000;
/// Start address of the constant data.
pub const RODATA: u64 = 0xffff_ffff_8200_0000;
/// Start address of the init code.
pub const INIT_TEXT: u64 = 0xffff_ffff_8300_0000;
/// Address of the table of traceable functions.
pub const INIT_DATA: u64 = 0xffff_ffff_8310_0000;
/// Number of functions `function_0`, `function_1`, ...; each function takes 16 bytes.
pub const FUNCTIONS: u64 = 1100;

/// Address, kind and name of each symbol, in the order of kallsyms.
pub fn symbols() -> Vec<(u64, char, String)> {
    let mut symbols = vec![(0, 'A', "fixed_percpu_data".to_owned()), (64, 'd', "twice".to_owned())];
    let mut text = |address: u64, kind: char, name: &str| symbols.push((address, kind, name.to_owned()));
    text(TEXT, 'T', "_stext");
    text(TEXT, 'T', "_text");
    for index in 0..FUNCTIONS {
        let address = TEXT + 16 * (index + 1);
        match index {
            7 | 9 => text(address, 't', "twice"),
            11 => text(address, 't', "variant.isra.0"),
            14 => {
                text(address, 't', "function_14");
                text(address, 't', "alias_14");
            }
            212 => text(address, 't', "chilly.cold"),
            213 => text(address, 't', "_RNvCs_4rust"),
            214 => text(address, 't', "__pfx_function_215"),
            _ => text(address, 't', &format!("function_{index}")),
        }
    }
    let end = TEXT + 16 * (FUNCTIONS + 1);
    text(end, 'T', "__noinstr_text_start");
    text(end, 't', "quiet");
    text(end + 16, 'T', "__noinstr_text_end");
    text(RODATA, 'D', "constant");
    text(INIT_TEXT, 'T', "__init_begin");
    text(INIT_TEXT + 16, 't', "starter");
    text(INIT_DATA, 'd', "__start_mcount_loc");
    text(INIT_DATA + 8 * entries().len() as u64, 'd', "__stop_mcount_loc");
    text(INIT_DATA + 0x10000, 'T', "__init_end");
    symbols
}

/// Table of traceable functions: `function_0` to `function_99` without `endbr64`, `function_100` to `function_199` with
/// four bytes of `endbr64` before the call, one dropped entry, one entry of init code, and one entry behind a symbol of
/// another function.
pub fn entries() -> Vec<u64> {
    let mut entries: Vec<u64> = (0..100).map(|index| TEXT + 16 * (index + 1)).collect();
    entries.extend((100..200).map(|index| TEXT + 16 * (index + 1) + 4));
    entries.extend([0, INIT_TEXT + 16, TEXT + 16 * 501 + 9]);
    entries
}

/// ELF file of the kernel.
pub fn vmlinux(layout: Layout) -> Vec<u8> {
    with_rodata(&rodata(layout))
}

/// Constant data of the kernel: version magic and symbol table.
pub fn rodata(layout: Layout) -> Vec<u8> {
    let mut rodata = vec![0; 64];
    rodata.extend(format!("\0{VERMAGIC}\0").as_bytes());
    align(&mut rodata, 16);
    kallsyms(layout, &mut rodata);
    rodata
}

/// ELF file with the sections of a kernel and without content.
pub fn small() -> Vec<u8> {
    elf(&[
        (".text", TEXT, &[0xcc; 16], true),
        (".rodata", RODATA, VERMAGIC.as_bytes(), false),
        (".BTF", RODATA + 0x80_0000, &btf(), false),
        (".init.data", INIT_DATA, &[0; 16], false),
    ])
}

/// ELF file of a kernel with the given constant data, possibly without a symbol table.
pub fn with_rodata(rodata: &[u8]) -> Vec<u8> {
    let table: Vec<u8> = entries().iter().flat_map(|entry| entry.to_le_bytes()).collect();
    elf(&[
        (".text", TEXT, &vec![0xcc; 16 * (FUNCTIONS as usize + 3)], true),
        (".rodata", RODATA, rodata, false),
        (".BTF", RODATA + 0x80_0000, &btf(), false),
        (".init.text", INIT_TEXT, &[0xcc; 64], true),
        (".init.data", INIT_DATA, &table, false),
    ])
}

/// Bootable image with the given payload, which ends with its unpacked size, as in the kernel's build.
pub fn image(payload: &[u8]) -> Vec<u8> {
    let mut image = vec![0; 1024];
    put(&mut image, 0x1f1, &[1]);
    put(&mut image, 0x202, b"HdrS");
    put(&mut image, 0x24c, &(payload.len() as u32).to_le_bytes());
    image.extend(payload);
    image
}

/// Payload in the legacy LZ4 format, with literals only.
pub fn lz4(kernel: &[u8]) -> Vec<u8> {
    let mut block = vec![0xf0];
    let mut rest = kernel.len() - 15;
    while rest >= 255 {
        block.push(255);
        rest -= 255;
    }
    block.push(rest as u8);
    block.extend(kernel);
    let length = (block.len() as u32).to_le_bytes();
    [&[2, 0x21, 0x4c, 0x18][..], &length, &block, &(kernel.len() as u32).to_le_bytes()].concat()
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

fn align(bytes: &mut Vec<u8>, alignment: usize) {
    bytes.resize(bytes.len().next_multiple_of(alignment), 0);
}

/// Appends the symbol table.
fn kallsyms(layout: Layout, out: &mut Vec<u8>) {
    let alignment = if layout == Layout::Places { 4 } else { 8 };
    let symbols = symbols();
    let addresses: Vec<u64> = symbols.iter().map(|(address, ..)| *address).collect();
    if layout == Layout::OffsetsFirst {
        offsets(&addresses, out);
    }
    out.extend((symbols.len() as u32).to_le_bytes());
    align(out, alignment);
    let start = out.len();
    let mut markers = Vec::new();
    for (index, (_, kind, name)) in symbols.iter().enumerate() {
        if index % 256 == 0 {
            markers.push((out.len() - start) as u32);
        }
        // Token 1 is `function_`; each other token is its own character.
        let text = format!("{kind}{name}").replace("function_", "\u{1}");
        out.push(text.len() as u8);
        out.extend(text.as_bytes());
    }
    align(out, alignment);
    out.extend(markers.iter().flat_map(|marker| marker.to_le_bytes()));
    align(out, alignment);
    if layout == Layout::OffsetsFirst {
        out.extend(vec![0x55; 3 * symbols.len()]);
        align(out, alignment);
    }
    let table = out.len();
    let mut index = Vec::new();
    for token in 0..=255_u8 {
        index.push((out.len() - table) as u16);
        match token {
            1 => out.extend(b"function_"),
            b' '..=b'~' => out.push(token),
            _ => {}
        }
        out.push(0);
    }
    align(out, alignment);
    out.extend(index.iter().flat_map(|offset| offset.to_le_bytes()));
    align(out, alignment);
    match layout {
        Layout::OffsetsFirst => {}
        Layout::OffsetsLast => offsets(&addresses, out),
        Layout::Places => {
            for address in addresses {
                // An offset relative to its own address cannot express an absolute symbol; such kernels have none.
                let place = RODATA + out.len() as u64;
                out.extend((address.max(TEXT).wrapping_sub(place) as u32).to_le_bytes());
            }
        }
    }
}

/// Appends offsets from the first code address, and that base. A value below 2 GiB is absolute.
fn offsets(addresses: &[u64], out: &mut Vec<u8>) {
    for address in addresses {
        let offset = if *address < TEXT { *address } else { (TEXT - 1).wrapping_sub(*address) };
        out.extend((offset as u32).to_le_bytes());
    }
    align(out, 8);
    out.extend(TEXT.to_le_bytes());
}

/// BTF with `int`, `struct pair { int first; int second : 3; }`, `enum colour { red = -1 }` and `int function_0(struct
/// pair *p, ...)`; `starter` has no parameters.
pub fn btf() -> Vec<u8> {
    let mut strings = vec![0];
    let mut known = BTreeMap::new();
    let mut name = |text: &str| {
        *known.entry(text.to_owned()).or_insert_with(|| {
            let at = strings.len() as u32;
            strings.extend(text.as_bytes());
            strings.push(0);
            at
        })
    };
    let kind = |kind: u32, members: u32| kind << 24 | members;
    let words = [
        vec![name("int"), kind(1, 0), 4, 1 << 24 | 32],
        vec![name("pair"), kind(4, 2) | 1 << 31, 8, name("first"), 1, 0, name("second"), 1, 3 << 24 | 32],
        vec![0, kind(2, 0), 2],
        vec![0, kind(13, 2), 1, name("p"), 3, 0, 0],
        vec![name("function_0"), kind(12, 1), 4],
        vec![0, kind(13, 0), 0],
        vec![name("starter"), kind(12, 0), 6],
        vec![name("colour"), kind(6, 1) | 1 << 31, 4, name("red"), u32::MAX],
        vec![name("pair_t"), kind(8, 0), 2],
        vec![0, kind(10, 0), 9],
        vec![0, kind(3, 0), 0, 10, 1, 4],
    ];
    let types: Vec<u8> = words.concat().iter().flat_map(|word| word.to_le_bytes()).collect();
    let header = [24, 0, types.len() as u32, types.len() as u32, strings.len() as u32];
    let header: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
    [&[0x9f, 0xeb, 1, 0][..], &header, &types, &strings].concat()
}

/// Module of the synthetic kernel: `function_0` and `inner` are traceable, `asm` is not, `init_module` is init code. The
/// last section contains types of the module.
pub fn module() -> Vec<u8> {
    let mut this_module = vec![0; 128];
    put(&mut this_module, 24, b"made_up");
    let modinfo = format!("license=GPL\0vermagic={VERMAGIC}\0");
    let strings = b"\0function_0\0inner\0asm\0init_module\0__this_module\0";
    let function = 2;
    let (local, global) = (0, 1 << 4);
    // Name, binding and kind, section, value: first the null symbol, then the symbols of sections 1 to 3.
    let symbols: [(u32, u8, u16, u64); 6] = [
        (0, 0, 0, 0),
        (12, local | function, 1, 16),
        (18, local | function, 1, 32),
        (1, global | function, 1, 0),
        (22, global | function, 2, 0),
        (34, global | 1, 3, 0),
    ];
    let symtab: Vec<u8> = symbols
        .iter()
        .flat_map(|(name, info, section, value)| {
            let head = [&name.to_le_bytes()[..], &[*info, 0], &section.to_le_bytes()].concat();
            [&head[..], &value.to_le_bytes(), &16_u64.to_le_bytes()].concat()
        })
        .collect();
    // Offset, symbol and kind (R_X86_64_64), addend.
    let relocations = [[0, 3 << 32 | 1, 0], [8, 3 << 32 | 1, 20], [16, 4 << 32 | 1, 0_u64]];
    let relocations: Vec<u8> = relocations.concat().iter().flat_map(|word| word.to_le_bytes()).collect();
    let section = |name, data, flags| Section { name, data, flags, ..Section::default() };
    elf_of(
        1,
        &[
            section(".text", &[0xcc; 48], 6),
            section(".init.text", &[0xcc; 16], 6),
            section(".gnu.linkonce.this_module", &this_module, 3),
            section("__mcount_loc", &[0; 24], 2),
            Section {
                kind: 4,
                link: 8,
                info: 4,
                entry: 24,
                ..section(".rela__mcount_loc", &relocations, 0x40)
            },
            section(".modinfo", modinfo.as_bytes(), 2),
            section(".BTF", &split_btf(), 2),
            Section { kind: 2, link: 9, info: 3, entry: 24, ..section(".symtab", &symtab, 0) },
            Section { kind: 3, ..section(".strtab", strings, 0) },
        ],
    )
}

/// Split BTF of the module, based on [`btf`]: `void inner(struct pair *)`.
pub fn split_btf() -> Vec<u8> {
    let base = btf();
    let below = u32::from_le_bytes([base[20], base[21], base[22], base[23]]);
    let strings = b"inner\0";
    // Prototype with one parameter of type 3, a pointer to `struct pair`; then the function.
    let words = [0, 13 << 24 | 1, 0, 0, 3, below, 12 << 24, BTF_TYPES + 1];
    let types: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let header = [24, 0, types.len() as u32, types.len() as u32, strings.len() as u32];
    let header: Vec<u8> = header.iter().flat_map(|word| word.to_le_bytes()).collect();
    [&[0x9f, 0xeb, 1, 0][..], &header, &types, strings].concat()
}

/// Number of types in [`btf`].
pub const BTF_TYPES: u32 = 11;

/// ELF file with loaded sections: name, address, bytes, and true for code.
fn elf(sections: &[(&str, u64, &[u8], bool)]) -> Vec<u8> {
    let sections: Vec<Section<'_>> = sections
        .iter()
        .map(|(name, address, data, code)| {
            let flags = 2 | if *code { 4 } else { 0 };
            Section { name, address: *address, data, flags, ..Section::default() }
        })
        .collect();
    elf_of(2, &sections)
}

struct Section<'a> {
    name: &'a str,
    kind: u32,
    flags: u64,
    address: u64,
    data: &'a [u8],
    link: u32,
    info: u32,
    entry: u64,
}

impl Default for Section<'_> {
    fn default() -> Self {
        Self { name: "", kind: 1, flags: 0, address: 0, data: &[], link: 0, info: 0, entry: 0 }
    }
}

/// ELF file for x86_64 of this kind (1 relocatable, 2 executable).
fn elf_of(kind: u8, sections: &[Section<'_>]) -> Vec<u8> {
    let mut file = vec![0; 64];
    let mut names = vec![0];
    let mut table = vec![0; 64];
    let mut header = |section: &Section<'_>, name: usize, offset: usize, size: usize| {
        table.extend((name as u32).to_le_bytes());
        table.extend(section.kind.to_le_bytes());
        for word in [section.flags, section.address, offset as u64, size as u64] {
            table.extend(word.to_le_bytes());
        }
        table.extend(section.link.to_le_bytes());
        table.extend(section.info.to_le_bytes());
        for word in [16, section.entry] {
            table.extend(word.to_le_bytes());
        }
    };
    for section in sections {
        align(&mut file, 16);
        header(section, names.len(), file.len(), section.data.len());
        names.extend(section.name.as_bytes());
        names.push(0);
        file.extend(section.data);
    }
    let own = names.len();
    names.extend(b".shstrtab\0");
    header(&Section { kind: 3, ..Section::default() }, own, file.len(), names.len());
    file.extend(&names);
    align(&mut file, 8);
    let place = file.len() as u64;
    file.extend(&table);
    put(&mut file, 0, b"\x7fELF\x02\x01\x01");
    put(&mut file, 16, &[kind, 0, 62, 0, 1, 0, 0, 0]);
    put(&mut file, 40, &place.to_le_bytes());
    put(&mut file, 52, &[64, 0, 56, 0, 0, 0, 64, 0]);
    put(&mut file, 60, &(sections.len() as u16 + 2).to_le_bytes());
    put(&mut file, 62, &(sections.len() as u16 + 1).to_le_bytes());
    file
}
