// SPDX-License-Identifier: GPL-2.0-or-later
//! Stage 4: kbuild links the out-of-tree module: objtool, modpost, symbol versions.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use klp_base::files::{read, read_text, write};
use klp_format::{KlpSymbol, NameError};
use klp_kernel::{KernelTree, exports};
use object::{Object, ObjectSection};

use crate::error::Error;
use crate::part::{self, ModulePart};
use crate::resolved::Extern;
use crate::shims;

/// Name of the file with the symbols that the C code of a module uses and that the kernel does not export. One symbol
/// per line.
pub(crate) const SHIM_SYMBOLS: &str = "shim-symbols";

/// Inputs of stage 4.
pub struct Inputs<'a> {
    /// The kernel.
    pub tree: &'a KernelTree,
    /// Name of the module.
    pub module: &'a str,
    /// Parts of the module.
    pub parts: &'a [ModulePart],
    /// Stage 3's result.
    pub object: &'a Path,
    /// Directory with the C code of crate `klp`.
    pub own_shims: &'a Path,
    /// Names in `inlines` of the fixes. In this kernel some may be functions that are not inline.
    pub inlines: &'a BTreeSet<&'a str>,
    /// Finds the symbol of the kernel for a name that C code uses and the kernel does not export.
    pub unexported: &'a dyn Fn(&str) -> Result<KlpSymbol, Error>,
}

/// Links the object and the shims, if any, into `<module>.ko` in `dir`. Returns its path. The file `shim-symbols` beside
/// it has the symbols that the livepatch core resolves for the shims.
///
/// # Errors
/// kbuild failed, one of its tools printed a message that is not known to be harmless, or the shims need a symbol that
/// C code cannot have.
pub fn link(inputs: &Inputs<'_>, dir: &Path) -> Result<PathBuf, Error> {
    let Inputs { tree, module, parts, .. } = *inputs;
    write_sources(inputs, dir)?;
    write(&dir.join("klp.symvers"), symvers(parts, &[]))?;
    let mut symbols = Vec::new();
    if let Err(error) = run(tree, module, dir) {
        let missing = missing(inputs, dir)?;
        if !missing.reasons.is_empty() {
            return Err(Error::NotExported { kernel: tree.id.clone(), reasons: missing.reasons });
        }
        if missing.symbols.is_empty() {
            return Err(error.into());
        }
        // Only the compiled object shows which symbols the C code uses; the second run begins behind it.
        symbols = missing.symbols.iter().map(|name| (inputs.unexported)(name)).collect::<Result<_, _>>()?;
        write(&dir.join("klp.symvers"), symvers(parts, &symbols))?;
        run(tree, module, dir)?;
    }
    let reasons =
        shims::checked_copies(&made_shims(dir, module)?).map_err(|message| unread(tree, &message))?;
    if !reasons.is_empty() {
        return Err(Error::NotExported { kernel: tree.id.clone(), reasons });
    }
    let ko = dir.join(format!("{module}.ko"));
    check_orc(tree, &ko)?;
    let lines: String = symbols.iter().map(|symbol| format!("{symbol}\n")).collect();
    write(&dir.join(SHIM_SYMBOLS), lines)?;
    Ok(ko)
}

/// Symbols that the shims use, from the file beside the module.
///
/// # Errors
/// The file is missing or damaged.
pub(crate) fn shim_symbols(dir: &Path) -> Result<Vec<KlpSymbol>, Error> {
    let file = dir.join(SHIM_SYMBOLS);
    let symbols = read_text(&file)?.lines().map(str::parse).collect::<Result<_, NameError>>();
    symbols.map_err(|error| Error::Intermediate { file, message: error.to_string() })
}

/// Writes what kbuild compiles: the object, the C code and the makefile.
fn write_sources(inputs: &Inputs<'_>, dir: &Path) -> Result<(), Error> {
    let Inputs { module, parts, object, own_shims, .. } = *inputs;
    std::fs::copy(object, dir.join(format!("{module}_rs.bin")))
        .map_err(klp_base::files::io_error("copy", object))?;
    // `-objs`, because `<module>-y` may be a variable of kbuild (`obj-y`, `lib-y`).
    // The module is a composite of one object, because not every kernel's rules find a `.o_shipped` file, and
    // objtool runs on the composite.
    let makefile = format!("# Generated.\nobj-m := {module}.o\n{}", rule(module, &format!("{module}_rs")));
    let mut makefile = makefile;
    for (number, object) in parts.iter().flat_map(|part| &part.objects).enumerate() {
        let name = format!("{module}_c{number}");
        std::fs::copy(object, dir.join(format!("{name}.bin")))
            .map_err(klp_base::files::io_error("copy", object))?;
        makefile.push_str(&rule(module, &name));
    }
    let shims = parts.iter().filter_map(|part| part.shims.as_ref());
    let of_parts: String = shims.map(|file| read_text(file)).collect::<Result<_, _>>()?;
    let shims = shims::of_klp(&read(object)?, own_shims)? + &of_parts;
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
    Ok(write(&dir.join("Makefile"), makefile)?)
}

/// Rule of a makefile for an object that is copied.
fn rule(module: &str, object: &str) -> String {
    format!(
        "{module}-objs += {object}.o\ntargets += {object}.o\n\
         $(obj)/{object}.o: $(src)/{object}.bin FORCE\n\t$(call if_changed,copy)\n",
    )
}

fn run(tree: &KernelTree, module: &str, dir: &Path) -> Result<(), klp_kernel::Error> {
    // In a kernel that compiles only C, kbuild runs objtool after each compilation and never on a copied
    // object. With IBT, kbuild delays objtool until the link of the module and passes the flags for IBT. This
    // build always delays it.
    let symbols = format!("KBUILD_EXTRA_SYMBOLS={}", dir.join("klp.symvers").display());
    klp_kernel::kbuild::run(tree, dir, module, &[&symbols, "delay-objtool=y"], &dir.join("log"))
        .map_err(explained)
}

/// Adds the cause to a message of objtool that does not name it.
fn explained(error: klp_kernel::Error) -> klp_kernel::Error {
    /// Words of objtool, and what they mean for a fix. The second ones are those of older kernels.
    const CAUSES: [(&str, &str); 2] = [
        (
            "is missing a __noreturn annotation",
            "each path through that function ends in a panic or in a loop without end, so that it never returns, and a replacement must: \
             `unwrap`, `expect`, an index or a borrow there always fails",
        ),
        (
            ": unreachable instruction",
            "code stands behind a call of a function that never returns: each path through it ends in a panic or in a loop without end; \
             `unwrap`, `expect`, an index or a borrow there always fails",
        ),
    ];
    match error {
        klp_kernel::Error::UnknownOutput { tool, subject, text, log } => {
            let causes = CAUSES.iter().filter(|(words, _)| text.contains(words));
            let causes: String = causes.map(|(_, cause)| format!("\n    = {cause}")).collect();
            klp_kernel::Error::UnknownOutput { tool, subject, text: text + &causes, log }
        }
        error => error,
    }
}

fn unread(tree: &KernelTree, message: &str) -> klp_kernel::Error {
    klp_kernel::Error::Kernel {
        kernel: tree.id.clone(),
        message: format!("the object of its shims: {message}"),
    }
}

/// Symbols that kbuild cannot link: those of the shims, and inline functions that are not inline in this kernel.
fn missing(inputs: &Inputs<'_>, dir: &Path) -> Result<shims::Missing, Error> {
    let Inputs { tree, module, parts, .. } = *inputs;
    let exports = exports::of(tree)?;
    let imported: BTreeSet<&str> =
        part::symbols(parts).filter_map(|item| item.namespace.as_deref()).collect();
    let found = |object: &[u8], concerns: &dyn Fn(&str) -> bool| {
        shims::missing(object, &exports, &imported, concerns).map_err(|message| unread(tree, &message))
    };
    let mut missing = found(&made_shims(dir, module)?, &|_| true)?;
    let of_rust = found(&read(inputs.object)?, &|name| inputs.inlines.contains(name))?;
    missing.symbols.extend(of_rust.symbols);
    missing.reasons.extend(of_rust.reasons);
    missing.symbols.sort();
    missing.symbols.dedup();
    Ok(missing)
}

/// Object of the shims; empty if the module has none.
fn made_shims(dir: &Path, module: &str) -> Result<Vec<u8>, Error> {
    let made = dir.join(format!("{module}_shims.o"));
    Ok(if made.exists() { read(&made)? } else { Vec::new() })
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
fn symvers(parts: &[ModulePart], of_shims: &[KlpSymbol]) -> String {
    // Two fixes may have different names for one symbol.
    let names = part::symbols(parts).filter(|item| !item.exported).map(Extern::link_name);
    let names: BTreeSet<String> = names.chain(of_shims.iter().map(|symbol| symbol.symbol.clone())).collect();
    names.iter().fold(String::new(), |mut text, name| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "0x00000000\t{name}\tvmlinux\tEXPORT_SYMBOL\t");
        text
    })
}
