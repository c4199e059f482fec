// SPDX-License-Identifier: GPL-2.0-or-later
//! Changes that break a module, by rule.

use std::collections::BTreeMap;

use klp_base::events::Severity;
use klp_module::Module;
use klp_verify::rules::*;
use klp_verify::{ExpectedParam, LayoutFact, Memory, Named, PrototypeFact, TypeFacts, TypeLayout};
use object::build::elf::{Relocation, SectionData, Symbol};
use object::elf;

use super::module::{Sample, section};

/// Changes a module or its expected facts.
type Change = fn(&mut Sample);

/// One way to break a module.
pub struct Case {
    /// Rule that must report the fault.
    pub rule: &'static Rule,
    /// Description of the fault, for messages.
    pub what: &'static str,
    /// Change that causes the fault.
    pub make: Change,
    /// Highest severity of the rule's findings.
    pub severity: Severity,
    /// Other rules that report the same fault.
    pub also: &'static [&'static Rule],
}

const fn case(rule: &'static Rule, what: &'static str, make: Change) -> Case {
    Case { rule, what, make, severity: Severity::Error, also: &[] }
}

impl Case {
    const fn also(mut self, also: &'static [&'static Rule]) -> Self {
        self.also = also;
        self
    }

    const fn unchecked(mut self) -> Self {
        self.severity = Severity::Unchecked;
        self
    }

    const fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }
}

const KLP_TEXT: &str = ".klp.rela.vmlinux..text";
const KLP_DATA_SYMBOL: &str = ".klp.sym.vmlinux.saved_command_line,0";
const KLP_FUNCTION_SYMBOL: &str = ".klp.sym.vmlinux.nr_processes,0";
const KLP_DATA: &str = "vmlinux:saved_command_line";
const KLP_FUNCTION: &str = "vmlinux:nr_processes";
const REPLACED: &str = "vmlinux:version_proc_show";
const SEAL: &str = ".rela.ibt_endbr_seal";

pub const CASES: &[Case] = &[
    case(&ELF, "it is cut off", |m| m.bytes.truncate(m.bytes.len() / 2)),
    case(&ELF, "it is no ELF file", |m| m.bytes[0] = b'#'),
    case(&ELF, "it is empty", |m| m.bytes.clear()),
    case(&ARCHITECTURE, "it is for arm64", |m| m.bytes[18] = 183),
    case(&FILE_DIGEST, "a byte of a text is another", |m| m.text(".modinfo", "description=", "Description=")),
    case(&FILE_DIGEST, "there is no digest", |m| m.text(".modinfo", "klp_digest=", "klp_Digest=")),
    case(&SIGNATURE, "its trailer has another kind of message", |m| {
        m.bytes.extend([0_u8; 12]);
        m.bytes.extend(b"~Module signature appended~\n");
    }),
    case(&SIGNATURE, "there is none, and the kernel asks for one", |m| m.expected.signed_only = true),
    case(&WRITABLE_CODE, "the code can be written", |m| {
        m.section(".text", |section| section.sh_flags |= elf::SHF_WRITE);
    }),
    case(&UNWIND_TABLE, "objtool did not run", |m| {
        m.section(".orc_unwind", |section| section.name = b".Orc_unwind"[..].into());
    }),
    case(&RELOCATION_TYPE, "a call goes through the global offset table", |m| {
        // Relocation of LLVM's calls of memcpy and similar functions without -Zplt=yes.
        m.relocations(".rela.text", |list| {
            list.iter_mut().rfind(|r| r.r_type == elf::R_X86_64_PLT32).unwrap().r_type =
                elf::R_X86_64_GOTPCREL;
        });
    }),
    case(&RELOCATION_TYPE, "a load goes through the global offset table, in the relaxable form", |m| {
        m.relocations(".rela.text", |list| list.last_mut().unwrap().r_type = elf::R_X86_64_REX_GOTPCRELX);
    }),
    case(&RELOCATION_TYPE, "a livepatch relocation has a type that the loader does not know", |m| {
        m.relocations(KLP_TEXT, |list| list[0].r_type = elf::R_X86_64_GOTPCREL);
    }),
    case(&RELOCATION_RANGE, "a relocation writes over the end of its section", |m| {
        let mut size = 0;
        m.section(".text", |text| size = text.sh_size);
        m.relocations(".rela.text", |list| list.last_mut().unwrap().r_offset = size - 3);
    }),
    case(&RELOCATION_RANGE, "a livepatch relocation writes over the end of its section", |m| {
        let mut size = 0;
        m.section(".text", |text| size = text.sh_size);
        m.relocations(KLP_TEXT, |list| list[0].r_offset = size - 1);
    })
    // The instruction there then leads to another place.
    .also(const { &[&ORIGINAL_SITE, &LIVEPATCH_TARGET] }),
    case(&CALL_PADDING, "an instruction stands in the padding", |m| {
        let [_, (_, second)] = m.neighbours();
        m.data(".text", |code| code[second as usize - 1] = 0xc3);
    }),
    case(&CALL_PADDING, "the padding is one long nop, which call thunks do not take for padding", |m| {
        let [_, (_, second)] = m.neighbours();
        let long_nop = [0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0];
        m.data(".text", |code| code[second as usize - 10..second as usize].copy_from_slice(&long_nop));
    }),
    case(&CALL_PADDING, "no symbol names the padding", |m| {
        let [(first, _), _] = m.neighbours();
        m.symbol(&format!("__pfx_{first}"), |symbol| symbol.delete = true);
    }),
    case(&CALL_PADDING, "the symbol names other bytes", |m| {
        let [(first, _), _] = m.neighbours();
        m.symbol(&format!("__pfx_{first}"), |symbol| symbol.st_value += 1);
    }),
    case(&CALL_PADDING, "the padding belongs to the function before", |m| {
        let [(first, start), (_, second)] = m.neighbours();
        m.symbol(&first, |symbol| symbol.st_size = second - start - 8);
    }),
    case(&CALL_PADDING, "the function begins where its section begins", |m| {
        let [(first, _), _] = m.neighbours();
        // A second name for the padding itself.
        m.symbol(&format!("__pfx_{first}"), |symbol| symbol.name = b"starts_at_zero"[..].into());
    }),
    case(&CALL_PADDING, "the kernel's configuration does not say how much", |m| {
        m.expected.call_padding = Err("no number".to_owned());
    })
    .unchecked(),
    case(&IBT_ENDBR, "the replacement begins with another instruction", |m| {
        let at = m.replacement().new_function.offset as usize;
        m.data(".text", |code| code[at..at + 4].copy_from_slice(&[0x0f, 0x1f, 0x40, 0x00]));
    }),
    case(&IBT_ENDBR, "the module's init begins with another instruction", |m| {
        m.data(".init.text", |code| code[16..20].copy_from_slice(&[0x0f, 0x1f, 0x40, 0x00]));
    }),
    case(&IBT_ENDBR, "the module's exit begins with endbr32", |m| {
        m.data(".exit.text", |code| code[19] = 0xfb);
    }),
    case(&IBT_ENDBR, "the replacement's endbr64 is sealed", |m| {
        let at = m.replacement().new_function.offset;
        m.relocations(SEAL, |list| list[0].r_addend = i64::try_from(at).unwrap());
    }),
    case(&IBT_ENDBR, "the endbr64 of the module's init is sealed", |m| {
        // Result of objtool if no data section refers to init_module.
        m.edit(|builder| {
            let init = builder.symbols.iter().find(|s| *s.name == *b"init_module").unwrap().id();
            let SectionData::Relocation(list) = &mut section(builder, SEAL).data else { panic!() };
            (list[0].symbol, list[0].r_addend) = (Some(init), 0);
        });
    }),
    // The rule is for arm64. Its byte pattern comes from the architecture's table, so any module can be used
    // here. tests/cases/bti-missing has a module for arm64 that is compiled without landing pads.
    case(&BTI_LANDING_PAD, "the replacement begins with another instruction", |m| {
        (m.expected.bti, m.expected.ibt) = (true, false);
        let at = m.replacement().new_function.offset as usize;
        m.data(".text", |code| code[at..at + 4].copy_from_slice(&[0x0f, 0x1f, 0x40, 0x00]));
    }),
    case(&BTI_LANDING_PAD, "the module's exit begins with another instruction", |m| {
        (m.expected.bti, m.expected.ibt) = (true, false);
        m.data(".exit.text", |code| code[19] = 0xfb);
    }),
    case(&KLP_SYMBOL, "it was not converted: kbuild's result", |m| m.bytes = m.unconverted.clone())
        .also(const { &[&DEBUG_LEFT, &TRACEABLE_REPLACEMENT] }),
    case(&KLP_SYMBOL, "an alias was not converted", |m| {
        m.add_symbol("__klp_sym_0123456789abcdef", |_| ());
    }),
    case(&KLP_SYMBOL, "a livepatch symbol is undefined", |m| {
        m.add_symbol(".klp.sym.vmlinux.nr_threads,0", |_| ());
    }),
    case(&KLP_SYMBOL, "a livepatch symbol is defined in a section", |m| {
        m.add_symbol(".klp.sym.vmlinux.nr_threads,0", |symbol| symbol.st_shndx = elf::SHN_ABS);
    }),
    case(&KLP_SYMBOL, "a livepatch symbol's name has no position", |m| {
        m.symbol(KLP_DATA_SYMBOL, |symbol| symbol.name = b".klp.sym.vmlinux.saved_command_line"[..].into());
    }),
    case(&KLP_SYMBOL, "a livepatch symbol has the name of an ordinary one", |m| {
        m.symbol(KLP_DATA_SYMBOL, |symbol| symbol.name = b"saved_command_line"[..].into());
    }),
    case(&KLP_SYMBOL, "an ordinary relocation uses a livepatch symbol", |m| {
        m.redirect(".rela.text", "strlen", KLP_FUNCTION_SYMBOL);
    }),
    case(&KLP_RELOCATION, "the section's name has no object", |m| {
        m.section(KLP_TEXT, |section| section.name = b".klp.rela..text"[..].into());
    }),
    case(&KLP_RELOCATION, "the section's name has no target", |m| {
        m.section(KLP_TEXT, |section| section.name = b".klp.rela.vmlinux"[..].into());
    }),
    case(&KLP_RELOCATION, "the section's name has no prefix", |m| {
        m.section(KLP_TEXT, |section| section.name = b".rela.klp.vmlinux..text"[..].into());
    }),
    case(&KLP_RELOCATION, "the section's name says another target", |m| {
        m.section(KLP_TEXT, |section| section.name = b".klp.rela.vmlinux..rodata"[..].into());
    }),
    case(&KLP_RELOCATION, "the section's name says another object than its symbols", |m| {
        m.section(KLP_TEXT, |section| section.name = b".klp.rela.ext4..text"[..].into());
    }),
    case(&KLP_RELOCATION, "a symbol of a module in the section of vmlinux", |m| {
        m.symbol(KLP_DATA_SYMBOL, |symbol| symbol.name = b".klp.sym.ext4.saved_command_line,0"[..].into());
    })
    .also(const { &[&LIVEPATCH_TARGET] }),
    case(
        &KLP_RELOCATION,
        "the symbols of a module belong to a section that the kernel reads when it loads the patch",
        |m| {
            m.edit(|builder| {
                let table = builder.sections.add();
                table.name = b"__jump_table"[..].into();
                table.sh_type = elf::SHT_PROGBITS;
                table.sh_flags = elf::SHF_ALLOC | elf::SHF_WRITE;
                table.sh_addralign = 8;
                table.data = SectionData::Data(vec![0; 16].into());
                let table = table.id();
                let klp = section(builder, KLP_TEXT);
                klp.name = b".klp.rela.ext4.__jump_table"[..].into();
                klp.sh_info_section = Some(table);
                let SectionData::Relocation(list) = &mut klp.data else { panic!() };
                list.truncate(1);
                (list[0].r_offset, list[0].r_type) = (8, elf::R_X86_64_64);
            });
            m.symbol(KLP_DATA_SYMBOL, |symbol| {
                symbol.name = b".klp.sym.ext4.saved_command_line,0"[..].into();
            });
            m.symbol(KLP_FUNCTION_SYMBOL, |symbol| symbol.name = b".klp.sym.ext4.nr_processes,0"[..].into());
        },
    )
    .also(const { &[&LIVEPATCH_TARGET] }),
    case(&KLP_RELOCATION, "the symbols are of a module that is no object of the patch", |m| {
        m.section(KLP_TEXT, |section| section.name = b".klp.rela.ext4..text"[..].into());
        for (from, to) in [
            (KLP_DATA_SYMBOL, b".klp.sym.ext4.saved_command_line,0".as_slice()),
            (KLP_FUNCTION_SYMBOL, b".klp.sym.ext4.nr_processes,0"),
        ] {
            m.symbol(from, |symbol| symbol.name = to.into());
        }
    })
    .also(const { &[&LIVEPATCH_TARGET] }),
    case(&LIVEPATCH_TARGET, "the kernel has several symbols of the name", |m| {
        m.named(KLP_DATA, Named::Missing("there are 3 symbols of that name".to_owned()));
    }),
    case(&LIVEPATCH_TARGET, "the variable is freed when the kernel has started", |m| {
        m.found(KLP_DATA, |found| found.memory = Memory::Init);
    }),
    case(&LIVEPATCH_TARGET, "the function is data", |m| {
        m.found(KLP_FUNCTION, |found| found.memory = Memory::Data);
    }),
    case(&LIVEPATCH_TARGET, "the module of the symbol is not at hand", |m| {
        m.named(KLP_DATA, Named::NotKnown("there is no package".to_owned()));
    })
    .unchecked(),
    case(&KLP_RELOCATION, "flag SHF_RELA_LIVEPATCH is missing", |m| {
        m.section(KLP_TEXT, |section| section.sh_flags.0 &= !0x0010_0000);
    }),
    case(&KLP_RELOCATION, "flag SHF_ALLOC is missing", |m| {
        m.section(KLP_TEXT, |section| section.sh_flags.0 &= !elf::SHF_ALLOC.0);
    }),
    case(&KLP_RELOCATION, "it is not linked to the symbol table", |m| header(m, KLP_TEXT, 40, 1)),
    case(&KLP_RELOCATION, "it changes another section than it says", |m| {
        let rodata = Module::parse(&m.bytes).unwrap().section(".rodata").unwrap().index;
        header(m, KLP_TEXT, 44, u32::try_from(rodata).unwrap());
    }),
    case(&KLP_RELOCATION, "it changes a section that takes no memory", |m| {
        let names = Module::parse(&m.bytes).unwrap().section(".strtab").unwrap().index;
        header(m, KLP_TEXT, 44, u32::try_from(names).unwrap());
    }),
    case(&KLP_RELOCATION, "it is a section of notes", |m| header(m, KLP_TEXT, 4, 7)),
    case(&KLP_RELOCATION, "it uses an ordinary symbol", |m| {
        m.redirect(KLP_TEXT, KLP_FUNCTION_SYMBOL, "strlen");
    }),
    case(&KLP_RELOCATION, "there are two for one object and target", |m| {
        m.edit(|builder| {
            let end = builder.sections.iter().filter(|s| s.is_alloc()).map(|s| s.sh_offset + s.sh_size).max();
            let (first, mut list) = {
                let first = section(builder, KLP_TEXT);
                let SectionData::Relocation(list) = &mut first.data else { panic!() };
                let moved = list.split_off(1);
                (first.id(), moved)
            };
            let second = builder.sections.copy(first);
            second.sh_offset = end.unwrap().next_multiple_of(8);
            second.data = SectionData::Relocation(std::mem::take(&mut list));
        });
    }),
    case(&VERMAGIC, "it is of another release", |m| m.text(".modinfo", "vermagic=6.12.", "vermagic=6.13.")),
    case(&VERMAGIC, "the space at its end is missing", |m| {
        m.text(".modinfo", "modversions \0", "modversions\0\0");
    }),
    case(&VERMAGIC, "it is missing", |m| m.text(".modinfo", "vermagic=", "Vermagic=")),
    case(&LIVEPATCH_TAG, "it is missing", |m| m.text(".modinfo", "livepatch=Y", "Livepatch=Y")),
    case(&LIVEPATCH_TAG, "it says no", |m| m.text(".modinfo", "livepatch=Y", "livepatch=N")),
    case(&LICENSE_TAG, "it is missing", |m| m.text(".modinfo", "license=GPL", "License=GPL")),
    case(&LICENSE_TAG, "it is not compatible with the GPL", |m| {
        m.text(".modinfo", "license=GPL", "license=MIT");
    }),
    case(&MODULE_NAME, "struct module has another name", |m| {
        m.text(".gnu.linkonce.this_module", "kpatch_verify", "kpatch_Verify");
    }),
    case(&MODULE_NAME, "the module information has another name", |m| {
        m.text(".modinfo", "name=kpatch_verify", "name=kpatch_Verify");
    }),
    case(&MODULE_NAME, "it is not the name that was meant", |m| {
        m.expected.patch.as_mut().unwrap().module = "kpatch_other".to_owned();
    }),
    case(&MODULE_PARAMETER, "a parameter is missing", |m| {
        let (name, kind) = ("limit".to_owned(), "uint".to_owned());
        m.expected.patch.as_mut().unwrap().params.push(ExpectedParam { name, kind, mode: 0o644 });
    }),
    case(&PATCH_TABLE, "another function is replaced", |m| {
        m.text(".rodata", "version_proc_show", "version_PROC_show");
    })
    .also(const { &[&MANIFEST, &REPLACED_FUNCTION] }),
    case(&PATCH_TABLE, "a function of the patch is not replaced", |m| {
        let missing = "vmlinux:cmdline_proc_show".parse().unwrap();
        m.expected.patch.as_mut().unwrap().functions.push(missing);
    }),
    case(&PATCH_TABLE, "another of several functions of the name is replaced", |m| {
        let at = (m.function_offset() + m.expected.layout.func_old_sympos) as usize;
        m.data(".data", |data| data[at] = 2);
    })
    .also(const { &[&MANIFEST, &REPLACED_FUNCTION] }),
    case(&PATCH_TABLE, "atomic replace is off", |m| {
        let at = m.patch_offset() + m.expected.layout.patch_replace as usize;
        m.data(".data", |data| data[at] = 0);
    })
    .also(const { &[&MANIFEST] }),
    case(&MANIFEST, "atomic replace is off, and the plan is not known", |m| {
        let at = m.patch_offset() + m.expected.layout.patch_replace as usize;
        m.data(".data", |data| data[at] = 0);
        m.expected.patch = None;
    }),
    case(&MANIFEST, "it is for another build of the kernel", |m| {
        m.expected.build_id = Some("00".repeat(20));
    }),
    case(&MANIFEST, "it cannot be read", |m| m.text(".modinfo", "\"functions\"", "\"Functions\"")),
    case(&REPLACED_FUNCTION, "the object has another function of that name", |m| {
        m.named(REPLACED, Named::Missing("position 2 was asked for".to_owned()));
    }),
    case(&REPLACED_FUNCTION, "it has no ftrace site", |m| {
        m.found(REPLACED, |found| found.not_replaceable = Some("it is noinstr".to_owned()));
    }),
    case(&LASTING_FUNCTION, "it is the main function of a kernel thread", |m| {
        m.found(REPLACED, |found| found.thread_of.push("init_workers".to_owned()));
    })
    .warning(),
    case(&OTHER_ENTRY, "the compiler made a clone of it, and copies are not known", |m| {
        m.found(REPLACED, |found| found.siblings.push("version_proc_show.part.0".to_owned()));
        m.expected.patch.as_mut().unwrap().copies.clear();
    })
    .warning(),
    case(&ASSERTED, "the author wrote the prototype", |m| {
        let symbol = REPLACED.parse().unwrap();
        m.expected.patch.as_mut().unwrap().asserted.insert((symbol, "int f(void)".to_owned()));
    })
    .warning(),
    case(&AUTHOR_SOURCE, "a text has no zero at its end", |m| {
        let found = ("x/src/lib.rs:1:1".to_owned(), "it has no zero".to_owned());
        m.expected.patch.as_mut().unwrap().source.push(found);
    })
    .warning(),
    case(&RETPOLINE_TAG, "there is no tag", |m| m.text(".modinfo", "retpoline=Y", "retpolino=Y")),
    case(&MODULE_STRUCT, "struct module is of another kernel", |m| {
        m.expected.module_struct = m.expected.module_struct.map(|(size, init)| (size + 64, init));
    }),
    case(&MODULE_STRUCT, "it names no init function", |m| {
        let (_, init) = m.expected.module_struct.unwrap();
        m.relocations(".rela.gnu.linkonce.this_module", |list| list.retain(|r| r.r_offset != init));
    }),
    case(&PATCH_TABLE, "it replaces, and was to be stacked", |m| {
        m.expected.patch.as_mut().unwrap().replace = false;
    }),
    case(&PATCH_TABLE, "a state is missing", |m| {
        m.expected.patch.as_mut().unwrap().states.push((1, 2));
    }),
    case(&PATCH_TABLE, "callbacks are missing", |m| {
        m.expected.patch.as_mut().unwrap().callbacks.push("vmlinux".to_owned());
    }),
    case(&PATCH_TABLE, "nothing leads to the tables", hide_tables).unchecked(),
    case(&REPLACEMENT_SYMBOL, "the replacement's symbol is none of a function", |m| {
        let name = m.replacement().symbol.unwrap();
        m.symbol(&name, |symbol| symbol.set_st_info(elf::STB_GLOBAL, elf::STT_NOTYPE));
    })
    .also(const { &[&TRACEABLE_REPLACEMENT] }),
    case(&REPLACEMENT_SYMBOL, "the replacement's symbol has no size", |m| {
        let name = m.replacement().symbol.unwrap();
        m.symbol(&name, |symbol| symbol.st_size = 0);
    }),
    case(&REPLACEMENT_SYMBOL, "the replacement begins in the middle of a function", |m| {
        let at = m.function_offset() + m.expected.layout.func_new_func;
        m.relocations(".rela.data", |list| {
            list.iter_mut().find(|relocation| relocation.r_offset == at).unwrap().r_addend += 4;
        });
    })
    .also(const { &[&IBT_ENDBR] }),
    case(&REPLACEMENT_SYMBOL, "the replacement is data", replace_by_data),
    case(&REPLACEMENT_FRAME, "the replacement's first call is a jump", |m| {
        let at = first_call(m);
        m.data(".text", |code| code[at] = 0xe9);
    }),
    case(&REPLACEMENT_FRAME, "the replacement jumps out on one way, without a relocation", |m| {
        // After the ftrace site: jne to 120 bytes before, which is another function or padding.
        let at = m.replacement().new_function.offset as usize + 9;
        m.data(".text", |code| code[at..at + 2].copy_from_slice(&[0x75, 0x88]));
    }),
    case(&REPLACEMENT_FRAME, "a part of the replacement is no instruction", |m| {
        let at = first_call(m);
        m.data(".text", |code| code[at] = 0x06);
    })
    .unchecked()
    .also(const { &[&STACK_FRAME] }),
    case(&STACK_FRAME, "frames are larger than the kernel's limit", |m| m.expected.frame_warn = 8).warning(),
    case(&STACK_FRAME, "frames do not fit into the stack", |m| m.expected.thread_size = 48),
    case(&STACK_FRAME, "a part of a function is no instruction", |m| {
        let at = first_call(m);
        m.data(".text", |code| code[at] = 0x06);
    })
    .unchecked()
    .also(const { &[&REPLACEMENT_FRAME] }),
    case(&SELF_CALL, "the replacement calls what it replaces", |m| {
        let name = b".klp.sym.vmlinux.version_proc_show,0";
        m.symbol(KLP_FUNCTION_SYMBOL, |symbol| symbol.name = name[..].into());
    }),
    case(&TYPE_LAYOUT, "a struct of the module is smaller than the kernel's", |m| {
        let layout = |size| TypeLayout { size, members: BTreeMap::new() };
        let fact = LayoutFact { name: "struct file".to_owned(), module: layout(8), kernel: vec![layout(16)] };
        m.expected.types = Ok(Some(TypeFacts { layouts: vec![fact], ..TypeFacts::default() }));
    }),
    case(&TYPE_LAYOUT, "the debug information cannot be read", |m| {
        m.expected.types = Err("it is cut".to_owned());
    })
    .unchecked()
    .also(const { &[&REPLACEMENT_PROTOTYPE] }),
    case(&REPLACEMENT_PROTOTYPE, "a replacement has fewer parameters", |m| {
        let fact = PrototypeFact {
            symbol: m.expected.patch.as_ref().unwrap().functions[0].clone(),
            replacement: "show".to_owned(),
            text: "int f(int a)".to_owned(),
            module: vec!["int4".to_owned()],
            kernel: vec!["int4".to_owned(), "int4".to_owned()],
        };
        m.expected.types = Ok(Some(TypeFacts { prototypes: vec![fact], ..TypeFacts::default() }));
    }),
    case(&PATCH_SET, "a module of the name is loaded", |m| {
        let own = m.expected.patch.as_ref().unwrap().module.clone();
        m.loaded(|other| other.name = own);
    }),
    case(&PATCH_SET, "a state of a loaded patch is not supported", |m| {
        m.loaded(|other| other.states.push((77, 1)));
    }),
    case(&PATCH_SET, "a function of a loaded patch is lost", |m| {
        m.loaded(|other| other.functions.extend(["vmlinux:f".parse().unwrap()]));
    })
    .warning(),
    case(&PATCH_SET, "a CVE of a loaded patch is lost", |m| {
        m.loaded(|other| other.cves.push("CVE-2026-1".to_owned()));
    })
    .warning(),
    case(&INLINED_COPY, "nothing calls the replaced function", |m| {
        let patch = m.expected.patch.as_mut().unwrap();
        patch.unreached = patch.functions.clone();
        patch.copies.clear();
    })
    .warning(),
    case(&INLINED_COPY, "a function with a copy is not replaced", |m| m.copy_in("statm_show", false)),
    case(&INLINED_COPY, "callers use a clone", |m| m.copy_in("version_proc_show.constprop.0", true)),
    case(&INLINED_COPY, "the copies are not known", |m| {
        let patch = m.expected.patch.as_mut().unwrap();
        let known = std::mem::take(&mut patch.copies);
        patch.copies_not_known = known.into_keys().map(|symbol| (symbol, "no source".to_owned())).collect();
        patch.unreached = patch.functions.clone();
    })
    .warning(),
    case(&INLINED_COPY, "the debug information has a copy, and only the file is known", |m| {
        m.copy_in("statm_show", false);
        m.expected.debug_copies = m.expected.patch.take().unwrap().copies;
    })
    .warning(),
    case(&INLINED_COPY, "nothing in the module calls the replaced function", |m| {
        m.expected.patch.as_mut().unwrap().unreached = vec!["klp_inlined:klp_inlined_kept".parse().unwrap()];
    })
    .warning(),
    case(&ORIGINAL_SITE, "a call leads into a function", |m| m.shift(KLP_FUNCTION_SYMBOL, 9)),
    case(&ORIGINAL_SITE, "a thunk has other code", |m| {
        let [(first, _), _] = m.neighbours();
        let name = b"__pfx_klp_original_0123456789abcdef";
        m.symbol(&format!("__pfx_{first}"), |symbol| symbol.name = name[..].into());
        m.symbol(&first, |symbol| symbol.name = name["__pfx_".len()..].into());
    }),
    case(&SELF_CALL, "the replacement uses the address of what it replaces", |m| {
        let name = b".klp.sym.vmlinux.version_proc_show,0";
        m.symbol(KLP_DATA_SYMBOL, |symbol| symbol.name = name[..].into());
    })
    .warning(),
    case(&TRACEABLE_REPLACEMENT, "the replacement is in no list", |m| {
        let (_, addend) = site(m);
        m.relocations(SITES, |list| list.retain(|entry| entry.r_addend != addend));
    }),
    case(&TRACEABLE_REPLACEMENT, "there is no list", |m| {
        m.section("__mcount_loc", |section| section.name = b"__Mcount_loc"[..].into());
    }),
    case(&TRACEABLE_REPLACEMENT, "an entry leads into the middle of a function", |m| {
        let (_, addend) = site(m);
        m.relocations(SITES, |list| {
            list.iter_mut().find(|entry| entry.r_addend == addend).unwrap().r_addend += 2;
        });
    }),
    case(&TRACEABLE_REPLACEMENT, "an entry leads to the function's first instruction", |m| {
        let (_, addend) = site(m);
        m.relocations(SITES, |list| {
            list.iter_mut().find(|entry| entry.r_addend == addend).unwrap().r_addend -= 4;
        });
    }),
    case(&TRACEABLE_REPLACEMENT, "a site is the compiler's nop still", |m| {
        let (at, _) = site(m);
        m.data(".text", |code| code[at..at + 5].copy_from_slice(&[0x0f, 0x1f, 0x44, 0x00, 0x08]));
    }),
    case(&TRACEABLE_REPLACEMENT, "a site calls another function", |m| {
        let (at, _) = site(m);
        m.edit(|builder| {
            let other = builder.symbols.iter().find(|s| *s.name == *b"seq_write").unwrap().id();
            let SectionData::Relocation(list) = &mut section(builder, ".rela.text").data else { panic!() };
            let call = list.iter_mut().find(|relocation| relocation.r_offset == at as u64 + 1).unwrap();
            call.symbol = Some(other);
        });
    }),
    case(&UNDEFINED_SYMBOL, "nobody exports a symbol that it needs", |m| {
        m.add_symbol("saved_command_line", |_| ());
    }),
    case(&SYMBOL_NAMESPACE, "the namespace of a symbol is not imported", |m| {
        m.export("seq_write", |export| export.namespace = Some("SEQ".to_owned()));
    }),
    case(&SYMBOL_NAMESPACE, "a symbol is exported to other modules alone", |m| {
        m.export("seq_write", |export| export.namespace = Some("module:kvm,other".to_owned()));
    }),
    case(&SYMBOL_NAMESPACE, "the kernel says that a namespace is not imported", |m| {
        m.export("seq_write", |export| export.namespace = Some("SEQ".to_owned()));
        m.expected.namespaces_enforced = false;
    })
    .warning(),
    case(&UNDEFINED_SYMBOL, "the kernel's exports are not known", |m| {
        m.expected.exports = Err("no such file".to_owned());
    })
    .unchecked()
    .also(const { &[&SYMBOL_NAMESPACE, &SYMBOL_VERSION] }),
    case(&SYMBOL_VERSION, "the kernel's exports are not known", |m| {
        m.expected.exports = Err("no such file".to_owned());
    })
    .unchecked()
    .also(const { &[&SYMBOL_NAMESPACE, &UNDEFINED_SYMBOL] }),
    case(&SYMBOL_VERSION, "a checksum is another", |m| {
        let at = version_entry(m, b"seq_write");
        m.data("__versions", |data| data[at] ^= 1);
    }),
    case(&SYMBOL_VERSION, "a checksum is the kernel's in its low half alone", |m| {
        let at = version_entry(m, b"seq_write");
        m.data("__versions", |data| data[at + 4] = 1);
    }),
    case(&SYMBOL_VERSION, "the checksum of the modules' layout is another", |m| {
        let at = version_entry(m, b"module_layout");
        m.data("__versions", |data| data[at + 3] ^= 0x80);
    }),
    case(&SYMBOL_VERSION, "a checksum is missing", |m| m.text("__versions", "seq_write", "seq_Write")),
    case(&SYMBOL_VERSION, "there are no checksums", |m| {
        m.section("__versions", |section| section.name = b"__Versions"[..].into());
    }),
    case(&SYMBOL_VERSION, "the last entry is cut off", |m| {
        m.section("__versions", |section| {
            let SectionData::Data(bytes) = &mut section.data else { panic!() };
            bytes.to_mut().pop();
        });
    }),
    case(&DEBUG_LEFT, "a section of debug information", |m| {
        m.edit(|builder| {
            let section = builder.sections.add();
            section.name = b".debug_info"[..].into();
            section.sh_type = elf::SHT_PROGBITS;
            section.sh_addralign = 1;
            section.data = SectionData::Data(b"left"[..].into());
        });
    })
    .warning(),
    case(&PANIC_REACHABLE, "code refers to the place of a panic", |m| panic_location(m, b"src/lib.rs", 17))
        .warning(),
    case(&PANIC_REACHABLE, "code refers to the place of a panic, and the fix denies that", |m| {
        panic_location(m, b"src/lib.rs", 17);
        m.expected.patch.as_mut().unwrap().deny_panic = true;
    }),
];

/// A fault that hides the subject of some rules: these rules, the fault, and the change that makes it.
type Unchecked = (&'static [&'static Rule], &'static str, Change);

/// Modules and kernels for which the listed rules cannot be applied: their outcome must be "not checked".
pub const UNCHECKED: &[Unchecked] = &[
    (&[&ARCHITECTURE, &RELOCATION_TYPE, &VERMAGIC, &PANIC_REACHABLE], "the file cannot be read", |m| {
        m.bytes[0] = b'#';
    }),
    (&[&RELOCATION_TYPE, &VERMAGIC, &PANIC_REACHABLE], "the file is for arm64", |m| m.bytes[18] = 183),
    (&[&RELOCATION_RANGE], "the number of bytes that a relocation writes is not known", |m| {
        m.relocations(KLP_TEXT, |list| list[0].r_type = elf::R_X86_64_GOTPCREL);
    }),
    (&[&IBT_ENDBR], "struct module, which leads to init and exit, is missing", hide_struct_module),
    (&[&BTI_LANDING_PAD], "struct module, which leads to init and exit, is missing", |m| {
        (m.expected.bti, m.expected.ibt) = (true, false);
        hide_struct_module(m);
    }),
    (
        &[&IBT_ENDBR, &REPLACEMENT_FRAME, &SELF_CALL, &TRACEABLE_REPLACEMENT],
        "the replacement is data",
        replace_by_data,
    ),
    (&[&BTI_LANDING_PAD], "the replacement is data", |m| {
        (m.expected.bti, m.expected.ibt) = (true, false);
        replace_by_data(m);
    }),
    (&[&REPLACEMENT_FRAME, &STACK_FRAME, &SELF_CALL], "the replacement has no size", |m| {
        let name = m.replacement().symbol.unwrap();
        m.symbol(&name, |symbol| symbol.st_size = 0);
    }),
    (&[&SELF_CALL], "a part of the replacement is no instruction", |m| {
        let at = first_call(m);
        m.data(".text", |code| code[at] = 0x06);
    }),
    (&[&KLP_RELOCATION], "it uses a symbol of a module, and nothing leads to the tables", |m| {
        m.add_symbol(".klp.sym.ext4.ext4_sync_fs,0", |symbol| {
            symbol.st_shndx = elf::SymbolSection(klp_format::SHN_LIVEPATCH);
        });
        hide_tables(m);
    }),
    (&[&SYMBOL_VERSION], "the kernel's exports have no checksum of struct module", |m| {
        m.expected.exports.as_mut().unwrap().remove("module_layout");
    }),
];

fn hide_struct_module(sample: &mut Sample) {
    let name = ".gnu.linkonce.this_module";
    sample.section(name, |section| section.name = b".gnu.linkonce.That_module"[..].into());
}

/// Makes the tables name a piece of data as the replacement.
fn replace_by_data(sample: &mut Sample) {
    let at = sample.function_offset() + sample.expected.layout.func_new_func;
    sample.edit(|builder| {
        let data = builder.symbols.iter().find(|s| *s.name == *b"__klp_patch").unwrap().id();
        let SectionData::Relocation(list) = &mut section(builder, ".rela.data").data else { panic!() };
        list.iter_mut().find(|relocation| relocation.r_offset == at).unwrap().symbol = Some(data);
    });
}

/// Removes all references to the tables of the live patch.
pub fn hide_tables(sample: &mut Sample) {
    sample.symbol("__klp_patch", |symbol| symbol.name = b"patch"[..].into());
    sample.symbol("__this_module", |symbol| symbol.name = b"this_module"[..].into());
}

/// Offset in `.text` of the replacement's first call out of its section.
fn first_call(sample: &Sample) -> usize {
    let function = sample.replacement().new_function;
    let module = Module::parse(&sample.bytes).unwrap();
    let size = module.function_at(function.section, function.offset).unwrap().size;
    let code = module.sections()[function.section].data;
    let inside = function.offset..function.offset + size;
    let mut calls: Vec<usize> = module
        .relocations_of(function.section)
        .filter(|relocation| inside.contains(&relocation.offset))
        // A separate rule checks the ftrace site.
        .filter(|relocation| module.symbols()[relocation.symbol].name != "__fentry__")
        .map(|relocation| relocation.offset as usize - 1)
        .filter(|&at| code[at] == 0xe8)
        .collect();
    calls.sort_unstable();
    calls[0]
}

const SITES: &str = ".rela__mcount_loc";

/// Position of the replacement's ftrace site after the landing pad: as offset in `.text`, and as addend of
/// the entry.
fn site(sample: &Sample) -> (usize, i64) {
    let at = sample.replacement().new_function.offset + 4;
    (usize::try_from(at).unwrap(), at.cast_signed())
}

/// Adds a `core::panic::Location`: file name, address and length of the name, line and column.
fn panic_location(sample: &mut Sample, file: &[u8], line: u32) {
    let mut at = 0;
    sample.section(".rodata", |rodata| {
        let SectionData::Data(bytes) = &mut rodata.data else { panic!() };
        let bytes = bytes.to_mut();
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        at = bytes.len();
        bytes.extend([0; 8]);
        bytes.extend((file.len() as u64).to_le_bytes());
        bytes.extend(line.to_le_bytes());
        bytes.extend(9_u32.to_le_bytes());
        bytes.extend(file);
        rodata.sh_size = bytes.len() as u64;
    });
    sample.edit(|builder| {
        let rodata = section(builder, ".rodata").id();
        let is_of_section =
            |symbol: &&Symbol<'_>| symbol.section == Some(rodata) && symbol.st_type() == elf::STT_SECTION;
        let symbol = builder.symbols.iter().find(is_of_section).map(|symbol| symbol.id());
        let SectionData::Relocation(list) = &mut section(builder, ".rela.rodata").data else { panic!() };
        let (r_offset, r_addend) = (at as u64, at as i64 + 24);
        list.push(Relocation { r_offset, symbol, r_type: elf::R_X86_64_64, r_addend });
    });
}

/// Harmless changes: no rule may report a finding.
pub const HARMLESS: &[(&str, Change)] = &[
    ("a weak symbol that nobody exports", |m| {
        m.add_symbol("nobody_has_it", |symbol| symbol.set_st_info(elf::STB_WEAK, elf::STT_NOTYPE));
    }),
    ("the part of a C function that GCC puts aside, without padding", |m| {
        let text = Module::parse(&m.bytes).unwrap().section(".text").unwrap().index;
        m.edit(|builder| {
            let text = builder.sections.iter().nth(text - 1).unwrap();
            assert_eq!(*text.name, b".text"[..]);
            let text = text.id();
            let symbol = builder.symbols.add();
            symbol.name = b"show.cold"[..].into();
            symbol.section = Some(text);
            symbol.set_st_info(elf::STB_LOCAL, elf::STT_FUNC);
        });
    }),
    ("an unknown relocation type where nobody applies it", |m| {
        m.edit(|builder| {
            let symbol_table = section(builder, ".symtab").id();
            let target = builder.sections.add();
            (target.name, target.sh_type, target.sh_addralign) =
                (b".note.x"[..].into(), elf::SHT_PROGBITS, 1);
            target.data = SectionData::Data(b"12345678"[..].into());
            let target = target.id();
            let relocations = builder.sections.add();
            relocations.name = b".rela.note.x"[..].into();
            (relocations.sh_type, relocations.sh_addralign) = (elf::SHT_RELA, 8);
            (relocations.sh_link_section, relocations.sh_info_section) = (Some(symbol_table), Some(target));
            let (r_type, r_offset, r_addend) = (elf::R_X86_64_GOTPCREL, 0, 0);
            relocations.data =
                SectionData::Relocation(vec![Relocation { r_offset, symbol: None, r_type, r_addend }]);
        });
    }),
    ("flag SHF_INFO_LINK is missing, as after GNU strip", |m| {
        m.section(KLP_TEXT, |section| section.sh_flags.0 &= !elf::SHF_INFO_LINK.0);
    }),
    ("a name as of a source file, with numbers behind it that are no line", |m| {
        panic_location(m, b"src/lib.rs", 0);
    }),
    ("a panic inside of the library core", |m| panic_location(m, b"core/src/str/mod.rs", 17)),
    ("a panic inside of the kernel's crate", |m| panic_location(m, b"./linux/rust/kernel/str.rs", 17)),
    ("a name that is none of a source file", |m| panic_location(m, b"src/lib.c", 17)),
    ("a signature is appended", |m| m.bytes = klp_module::signature::append(&m.bytes, b"12345").unwrap()),
];

/// Offset of a symbol's entry in section `__versions`.
fn version_entry(sample: &Sample, name: &[u8]) -> usize {
    let module = Module::parse(&sample.bytes).unwrap();
    let entries = module.section("__versions").unwrap().data.chunks(VERSION_ENTRY_SIZE);
    let named = |entry: &[u8]| entry[8..].starts_with(name) && entry[8 + name.len()] == 0;
    entries.enumerate().find(|(_, entry)| named(entry)).unwrap().0 * VERSION_ENTRY_SIZE
}

/// Sets a 32-bit field of a section header directly in the file, because the ELF builder cannot write such a
/// value.
fn header(sample: &mut Sample, name: &str, field: usize, value: u32) {
    let index = Module::parse(&sample.bytes).unwrap().section(name).unwrap().index;
    let table = u64::from_le_bytes(sample.bytes[40..48].try_into().unwrap());
    let at = usize::try_from(table).unwrap() + index * 64 + field;
    sample.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}
