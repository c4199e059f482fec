// SPDX-License-Identifier: GPL-2.0-or-later
//! Symbols of the kernel and its modules that a live patch names.

/// Answer of the object's image or file for a symbol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Named {
    /// The object has the symbol, at the position that is asked for.
    Found(NamedSymbol),
    /// The object has no such symbol, with the reason.
    Missing(String),
    /// The object is not at hand, with the reason.
    NotKnown(String),
}

/// A symbol of the kernel or of one of its modules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedSymbol {
    /// Kind of its memory.
    pub memory: Memory,
    /// Reason why a live patch cannot replace it.
    pub not_replaceable: Option<String>,
    /// Other functions of the object that are the same source function: entries of a system call, clones.
    pub siblings: Vec<String>,
    /// Kernel threads that never leave the function: the functions that start them.
    pub thread_of: Vec<String>,
}

/// Kind of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Permanent code.
    Code,
    /// Permanent data.
    Data,
    /// Permanent data that is read-only.
    ReadOnly,
    /// Code or data that is freed after the object's start.
    Init,
    /// Template of per-CPU data: the address is an offset.
    PerCpu,
}
