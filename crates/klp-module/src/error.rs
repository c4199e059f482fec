// SPDX-License-Identifier: GPL-2.0-or-later
//! What can be wrong with a module's file, and with the tables of a live patch in it.

use klp_format::NameError;

/// Why bytes are no kernel module that we can read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not an ELF file at all.
    #[error(
        "this is no ELF file: it begins with {:?}, not with \"\\x7fELF\"",
        String::from_utf8_lossy(found)
    )]
    NotElf {
        /// The first bytes, at most four.
        found: Vec<u8>,
    },
    /// ELF, but not of the kind that a kernel module is.
    #[error("this is no kernel module for x86_64 or arm64: its ELF {what} is {found}, expected {expected}")]
    Unsupported {
        /// The field of the ELF header.
        what: &'static str,
        /// Its value.
        found: u64,
        /// What it must be.
        expected: &'static str,
    },
    /// Something lies outside of the file, or of the section that should hold it.
    #[error(
        "the file is cut off or damaged: {what} lies at {offset:#x} and takes {size:#x} bytes, but there are only {available:#x}"
    )]
    OutOfBounds {
        /// What lies there.
        what: String,
        /// From the start of the file, or of the section that `what` names, in bytes.
        offset: u64,
        /// Bytes it takes.
        size: u64,
        /// Bytes there are.
        available: u64,
    },
    /// A number refers to something that is not there.
    #[error("the file is damaged: {what} refers to {target} {index}, but there are only {count}")]
    BadIndex {
        /// What refers.
        what: String,
        /// To what kind of thing.
        target: &'static str,
        /// To which one.
        index: u64,
        /// How many there are.
        count: usize,
    },
    /// A name is not terminated, too long or no UTF-8.
    #[error("the file is damaged: the name of {what}, at {offset:#x} of its string table, {why}")]
    BadName {
        /// Whose name.
        what: String,
        /// Where in the string table, in bytes.
        offset: u64,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A table is not one as the kernel reads it.
    #[error("the file is damaged: {what}")]
    Malformed {
        /// What is wrong, and where.
        what: String,
    },
    /// The reader of ELF structures refused.
    #[error("the file is damaged: {what} cannot be read: {source}")]
    Elf {
        /// What was read.
        what: &'static str,
        /// The reader's reason.
        source: goblin::error::Error,
    },
    /// A section is missing without which it is an object, not a module.
    #[error("this is no finished kernel module: it has no section {name}")]
    NoSection {
        /// The section.
        name: &'static str,
    },
    /// The module's name is none.
    #[error("the name inside the module cannot be one: {0}")]
    Name(NameError),
}

/// Why the tables of a live patch could not be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// No symbol of that name.
    #[error("the module has no symbol {name}, which should name its struct klp_patch")]
    NoSymbol {
        /// The name.
        name: String,
    },
    /// The symbol is not in a section of the module.
    #[error(
        "symbol {name}, which should name the struct klp_patch, is not defined in a section of the module"
    )]
    NotDefined {
        /// The name.
        name: String,
    },
    /// Nothing says where the tables begin.
    #[error(
        "the module has no symbol {symbol}, and which struct klp_patch its init function gives to klp_enable_patch cannot be seen"
    )]
    NoArgument {
        /// The symbol that names the tables of Ferrograft's modules.
        symbol: &'static str,
    },
    /// Nothing says how large the entries of a table are.
    #[error(
        "the size of struct {structure} cannot be seen from the table at {offset:#x} of section {section}: no symbol with a size names it"
    )]
    Extent {
        /// The structure.
        structure: &'static str,
        /// The section's name.
        section: String,
        /// Offset of the table's first byte in its section.
        offset: u64,
    },
    /// A layout whose members do not fit into its structure.
    #[error(
        "the layout given for struct {structure} is wrong: a member at {member} does not fit into {size} bytes"
    )]
    Layout {
        /// The structure.
        structure: &'static str,
        /// The member's offset, in bytes.
        member: u64,
        /// The structure's size, in bytes.
        size: u64,
    },
    /// A structure or string reaches beyond its section.
    #[error("{what} lies at {offset:#x} of section {section}, beyond the section's data")]
    OutOfSection {
        /// What lies there.
        what: &'static str,
        /// The section's name.
        section: String,
        /// Where, in bytes.
        offset: u64,
    },
    /// A pointer that must be there is null.
    #[error(
        "{what} at {offset:#x} of section {section} is a null pointer: the kernel would refuse the patch with EINVAL"
    )]
    Null {
        /// The pointer.
        what: &'static str,
        /// The section's name.
        section: String,
        /// Where it stands, in bytes.
        offset: u64,
    },
    /// A pointer with a value but no relocation: it would lead anywhere in the kernel.
    #[error(
        "{what} at {offset:#x} of section {section} has a value but no relocation: the kernel would follow a wild pointer"
    )]
    NoRelocation {
        /// The pointer.
        what: &'static str,
        /// The section's name.
        section: String,
        /// Where it stands, in bytes.
        offset: u64,
    },
    /// A pointer's relocation is not one that writes a whole address.
    #[error(
        "{what} at {offset:#x} of section {section} has relocation type {kind}, which does not write a 64-bit address"
    )]
    RelocationKind {
        /// The pointer.
        what: &'static str,
        /// The section's name.
        section: String,
        /// Where it stands, in bytes.
        offset: u64,
        /// The relocation's type number.
        kind: u32,
    },
    /// A pointer leads out of the module.
    #[error(
        "{what} at {offset:#x} of section {section} points to symbol {symbol:?}, which is not defined in this module"
    )]
    Elsewhere {
        /// The pointer.
        what: &'static str,
        /// The section's name.
        section: String,
        /// Where it stands, in bytes.
        offset: u64,
        /// What it points to.
        symbol: String,
    },
    /// A string that is no name.
    #[error("{what} at {offset:#x} of section {section} is no terminated text")]
    NoText {
        /// The string.
        what: &'static str,
        /// The section's name.
        section: String,
        /// Where the string stands, in bytes.
        offset: u64,
    },
    /// A symbol position beyond all reason.
    #[error("the position {position} of function {function} is too large")]
    Position {
        /// The function.
        function: String,
        /// What the table says.
        position: u64,
    },
    /// No end of a table in sight.
    #[error("a table of the live patch has no end within {limit} entries: its last, empty entry is missing")]
    Endless {
        /// The most entries that are read.
        limit: usize,
    },
}
