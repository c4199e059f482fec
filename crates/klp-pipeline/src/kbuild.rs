// SPDX-License-Identifier: GPL-2.0-or-later
//! Stage 4: kbuild links the out-of-tree module: objtool, modpost, symbol versions.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use klp_base::files::{read, read_text, write};
use klp_kernel::KernelTree;
use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget};

use crate::error::Error;
use crate::part::{self, ModulePart};
use crate::resolved::Extern;
use crate::shims;

/// Links `object` (stage 3's result) and the shims of the parts, if any, into `<module>.ko` in `dir`. Returns its path.
///
/// # Errors
/// kbuild failed, or one of its tools printed a message that is not known to be harmless.
pub fn link(
    tree: &KernelTree,
    module: &str,
    parts: &[ModulePart],
    object: &Path,
    dir: &Path,
) -> Result<PathBuf, Error> {
    std::fs::copy(object, dir.join(format!("{module}_rs.bin")))
        .map_err(klp_base::files::io_error("copy", object))?;
    // `-objs`, because `<module>-y` may be a variable of kbuild (`obj-y`, `lib-y`).
    // The module is a composite of one object, because not every kernel's rules find a `.o_shipped` file, and
    // objtool runs on the composite.
    let makefile = format!(
        "# Generated.\nobj-m := {module}.o\n{module}-objs := {module}_rs.o\ntargets += {module}_rs.o\n\
         $(obj)/{module}_rs.o: $(src)/{module}_rs.bin FORCE\n\t$(call if_changed,copy)\n",
    );
    let shims: String = parts.iter().map(|part| read_text(&part.shims)).collect::<Result<_, _>>()?;
    let makefile = if shims.is_empty() {
        makefile
    } else {
        write(&dir.join(format!("{module}_shims.c")), shims::line_directive(module) + &shims)?;
        // Only Rust code calls a shim, so no header declares it.
        format!(
            "{makefile}{module}-objs += {module}_shims.o\n\
             CFLAGS_{module}_shims.o := -Wno-missing-prototypes -Wno-missing-declarations\n"
        )
    };
    write(&dir.join("Makefile"), makefile)?;
    write(&dir.join("klp.symvers"), symvers(parts))?;
    // In a kernel that compiles only C, kbuild runs objtool after each compilation and never on a copied
    // object. With IBT, kbuild delays objtool until the link of the module and passes the flags for IBT. This
    // build always delays it.
    let symbols = format!("KBUILD_EXTRA_SYMBOLS={}", dir.join("klp.symvers").display());
    klp_kernel::kbuild::run(tree, dir, module, &[&symbols, "delay-objtool=y"], &dir.join("log")).map_err(
        |error| {
            let shims = std::fs::read(dir.join(format!("{module}_shims.o"))).unwrap_or_default();
            let said = error.to_string();
            let reasons = [not_exported(&said, &shims), not_imported(&said)].concat();
            if reasons.is_empty() {
                Error::from(error)
            } else {
                Error::NotExported { kernel: tree.id.clone(), reasons }
            }
        },
    )?;
    let made = dir.join(format!("{module}_shims.o"));
    let made = if made.exists() { read(&made)? } else { Vec::new() };
    let reasons = shims::checked_copies(&made).map_err(|message| klp_kernel::Error::Kernel {
        kernel: tree.id.clone(),
        message: format!("the object of its shims: {message}"),
    })?;
    if !reasons.is_empty() {
        return Err(Error::NotExported { kernel: tree.id.clone(), reasons });
    }
    let ko = dir.join(format!("{module}.ko"));
    check_orc(tree, &ko)?;
    Ok(ko)
}

/// Description and remedy for each symbol that modpost reports as undefined and that the shims refer to.
fn not_exported(said: &str, shims: &[u8]) -> Vec<String> {
    let Ok(shims) = object::File::parse(shims) else { return Vec::new() };
    let missing = said.split("ERROR: modpost: \"").skip(1).filter_map(|rest| rest.split_once('"'));
    let missing =
        missing.filter(|(_, rest)| rest.lines().next().is_some_and(|line| line.ends_with("undefined!")));
    missing.filter_map(|(name, _)| refers_to(&shims, name).map(|how| reason(name, how))).collect()
}

/// Remedy for each symbol whose namespace import modpost reports as missing. (The imports of functions and
/// variables are added automatically; references of shims are known only here.)
fn not_imported(said: &str) -> Vec<String> {
    let missing = said.split(" uses symbol ").skip(1).filter_map(|rest| {
        let (name, rest) = rest.split_once(" from namespace ")?;
        Some((name, rest.split_once(", but does not import it")?.0))
    });
    let reason = |(name, namespace)| {
        format!(
            "    {name} is exported in the namespace {namespace}, which the module does not import; put \"vmlinux:{name}\" into \
             `functions` (or `variables`) of [imports] too, and it does"
        )
    };
    missing.map(reason).collect()
}

/// Kind of reference to a symbol.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Use {
    Plain,
    StaticCall,
    StaticKey,
}

/// Kind of reference from the object to the symbol, if any.
fn refers_to(object: &object::File<'_>, name: &str) -> Option<Use> {
    let uses = object.sections().flat_map(|section| {
        let table = section.name().unwrap_or_default().to_owned();
        let named = section.relocations().filter(|(_, relocation)| match relocation.target() {
            RelocationTarget::Symbol(index) => {
                object.symbol_by_index(index).is_ok_and(|symbol| symbol.name() == Ok(name))
            }
            _ => false,
        });
        named
            .map(|_| match table.as_str() {
                "__jump_table" => Use::StaticKey,
                ".static_call_sites" => Use::StaticCall,
                _ if name.starts_with("__SCT__") || name.starts_with("__SCK__") => Use::StaticCall,
                _ => Use::Plain,
            })
            .collect::<Vec<_>>()
    });
    uses.max()
}

fn reason(name: &str, how: Use) -> String {
    match how {
        Use::StaticKey => format!(
            "    {name} is a static key, which the kernel does not export to modules: the jump on it would stand in a table of \
             this module that the kernel cannot fill; write in Rust what the C function does, and read the key, as \
             `(&raw const {name}.key.enabled.counter).read_volatile() > 0` with \"vmlinux:{name}\" in `variables` of [imports]"
        ),
        Use::StaticCall => format!(
            "    {name} is a static call, which the kernel does not export to modules: it rewrites the call while it runs; name in \
             `functions` of [imports] the function that it leads to on this system, and write in Rust what the C function does"
        ),
        Use::Plain => format!(
            "    {name} is not exported to modules, and C code can refer to nothing else; write in Rust what the C function does, \
             with \"vmlinux:{name}\" in `functions` or `variables` of [imports]"
        ),
    }
}

/// Checks that the kernel can unwind a stack through the module. objtool must have run, regardless of
/// kbuild's rules.
fn check_orc(tree: &KernelTree, ko: &Path) -> Result<(), Error> {
    if !tree.config.is_on("UNWINDER_ORC") {
        return Ok(());
    }
    let unserved =
        |message: String| Error::from(klp_kernel::Error::Kernel { kernel: tree.id.clone(), message });
    let bytes = read(ko)?;
    let module = object::File::parse(&*bytes).map_err(|error| {
        unserved(format!("its build system made a {} that is no ELF file: {error}", ko.display()))
    })?;
    let missing = [".orc_unwind", ".orc_unwind_ip"]
        .into_iter()
        .find(|name| module.section_by_name(name).is_none_or(|section| section.size() == 0));
    match missing {
        None => Ok(()),
        Some(name) => Err(unserved(format!(
            "its build system did not run objtool on {}: there is no {name}, so that stacks could not be walked through it; see its log beside it",
            ko.display()
        ))),
    }
}

/// Symbol list for modpost of the symbols that the livepatch core resolves. Any other undefined symbol
/// remains an error.
fn symvers(parts: &[ModulePart]) -> String {
    // Two fixes may have different names for one symbol.
    let names: BTreeSet<String> =
        part::symbols(parts).filter(|item| !item.exported).map(Extern::link_name).collect();
    names.iter().fold(String::new(), |mut text, name| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "0x00000000\t{name}\tvmlinux\tEXPORT_SYMBOL\t");
        text
    })
}
