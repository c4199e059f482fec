// SPDX-License-Identifier: GPL-2.0-or-later
//! Errors of module files and of the livepatch tables in them.

use klp_format::NameError;

/// Error of a module file that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is not an ELF file.
    #[error(
        "this is no ELF file: it begins with {:?}, not with \"\\x7fELF\"",
        String::from_utf8_lossy(found)
    )]
    NotElf {
        /// First bytes of the file, at most four.
        found: Vec<u8>,
    },
    /// The ELF file is not of the type of a kernel module.
    #[error("this is no kernel module for x86_64 or arm64: its ELF {what} is {found}, expected {expected}")]
    Unsupported {
        /// Field of the ELF header.
        what: &'static str,
        /// Value of the field.
        found: u64,
        /// Required value.
        expected: &'static str,
    },
    /// Data lies outside the file or outside its section.
    #[error(
        "the file is cut off or damaged: {what} lies at {offset:#x} and takes {size:#x} bytes, but there are only {available:#x}"
    )]
    OutOfBounds {
        /// Name of the data.
        what: String,
        /// Offset in bytes, from the start of the file or of the section that `what` names.
        offset: u64,
        /// Required bytes.
        size: u64,
        /// Available bytes.
        available: u64,
    },
    /// An index is out of range.
    #[error("the file is damaged: {what} refers to {target} {index}, but there are only {count}")]
    BadIndex {
        /// Source of the reference.
        what: String,
        /// Kind of the target.
        target: &'static str,
        /// Index of the target.
        index: u64,
        /// Number of existing targets.
        count: usize,
    },
    /// A name is not terminated, too long or not UTF-8.
    #[error("the file is damaged: the name of {what}, at {offset:#x} of its string table, {why}")]
    BadName {
        /// Owner of the name.
        what: String,
        /// Offset in the string table, in bytes.
        offset: u64,
        /// Problem of the name.
        why: &'static str,
    },
    /// A table is not in the form that the kernel reads.
    #[error("the file is damaged: {what}")]
    Malformed {
        /// Problem and location.
        what: String,
    },
    /// The ELF library rejected the data.
    #[error("the file is damaged: {what} cannot be read: {source}")]
    Elf {
        /// Structure that was read.
        what: &'static str,
        /// Reason given by the library.
        source: goblin::error::Error,
    },
    /// A required section is missing: the file is an object file, not a module.
    #[error("this is no finished kernel module: it has no section {name}")]
    NoSection {
        /// Name of the section.
        name: &'static str,
    },
    /// The module name is invalid.
    #[error("the name inside the module cannot be one: {0}")]
    Name(NameError),
}

/// Error of livepatch tables that cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// No symbol with this name.
    #[error("the module has no symbol {name}, which should name its struct klp_patch")]
    NoSymbol {
        /// Name of the symbol.
        name: String,
    },
    /// The symbol is not defined in a section of the module.
    #[error(
        "symbol {name}, which should name the struct klp_patch, is not defined in a section of the module"
    )]
    NotDefined {
        /// Name of the symbol.
        name: String,
    },
    /// The location of the tables is unknown.
    #[error(
        "the module has no symbol {symbol}, and which struct klp_patch its init function gives to klp_enable_patch cannot be seen"
    )]
    NoArgument {
        /// Symbol of the tables in modules of Ferrograft.
        symbol: &'static str,
    },
    /// The entry size of a table is unknown.
    #[error(
        "the size of struct {structure} cannot be seen from the table at {offset:#x} of section {section}: no symbol with a size names it"
    )]
    Extent {
        /// Name of the structure.
        structure: &'static str,
        /// Name of the section.
        section: String,
        /// Offset of the table in its section, in bytes.
        offset: u64,
    },
    /// A member of the layout does not fit into its structure.
    #[error(
        "the layout given for struct {structure} is wrong: a member at {member} does not fit into {size} bytes"
    )]
    Layout {
        /// Name of the structure.
        structure: &'static str,
        /// Offset of the member, in bytes.
        member: u64,
        /// Size of the structure, in bytes.
        size: u64,
    },
    /// A structure or string extends beyond its section.
    #[error("{what} lies at {offset:#x} of section {section}, beyond the section's data")]
    OutOfSection {
        /// Name of the data.
        what: &'static str,
        /// Name of the section.
        section: String,
        /// Offset in the section, in bytes.
        offset: u64,
    },
    /// A required pointer is null.
    #[error("{what} at {offset:#x} of section {section} is a null pointer, which the kernel does not expect")]
    Null {
        /// Name of the pointer.
        what: &'static str,
        /// Name of the section.
        section: String,
        /// Offset of the pointer in the section, in bytes.
        offset: u64,
    },
    /// A pointer has a value but no relocation, so it is not a valid kernel address.
    #[error(
        "{what} at {offset:#x} of section {section} has a value but no relocation: the kernel would follow a wild pointer"
    )]
    NoRelocation {
        /// Name of the pointer.
        what: &'static str,
        /// Name of the section.
        section: String,
        /// Offset of the pointer in the section, in bytes.
        offset: u64,
    },
    /// The relocation of a pointer does not write a 64-bit address.
    #[error(
        "{what} at {offset:#x} of section {section} has relocation type {kind}, which does not write a 64-bit address"
    )]
    RelocationKind {
        /// Name of the pointer.
        what: &'static str,
        /// Name of the section.
        section: String,
        /// Offset of the pointer in the section, in bytes.
        offset: u64,
        /// Type number of the relocation.
        kind: u32,
    },
    /// A pointer refers to a symbol outside the module.
    #[error(
        "{what} at {offset:#x} of section {section} points to symbol {symbol:?}, which is not defined in this module"
    )]
    Elsewhere {
        /// Name of the pointer.
        what: &'static str,
        /// Name of the section.
        section: String,
        /// Offset of the pointer in the section, in bytes.
        offset: u64,
        /// Symbol that the pointer refers to.
        symbol: String,
    },
    /// A string is not a valid name.
    #[error("{what} at {offset:#x} of section {section} is no terminated text")]
    NoText {
        /// Name of the string.
        what: &'static str,
        /// Name of the section.
        section: String,
        /// Offset of the string in the section, in bytes.
        offset: u64,
    },
    /// A symbol position is too large.
    #[error("the position {position} of function {function} is too large")]
    Position {
        /// Name of the function.
        function: String,
        /// Value in the table.
        position: u64,
    },
    /// A table has no end within the limit.
    #[error("a table of the live patch has no end within {limit} entries: its last, empty entry is missing")]
    Endless {
        /// Maximum number of entries.
        limit: usize,
    },
}
