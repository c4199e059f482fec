// SPDX-License-Identifier: GPL-2.0-or-later
//! Module parameters: entries of section `__param` (`struct kernel_param` of `include/linux/moduleparam.h`).

use crate::error::TableError;
use crate::module::Module;
use crate::table::{Place, Walk};

/// Section of the parameters.
pub const PARAM_SECTION: &str = "__param";
/// Operations of parameters that are arrays; the operations of the elements are in their `struct kparam_array`.
const ARRAY: &str = "param_array_ops";
/// Size of `struct kernel_param` of 64-bit kernels, in bytes, and offsets of its members.
const SIZE: u64 = 40;
const NAME: u64 = 0;
const OPS: u64 = 16;
const PERM: u64 = 24;
const ARG: u64 = 32;
/// Offsets in `struct kparam_array` of 64-bit kernels.
const ARRAY_OPS: u64 = 16;
const ARRAY_ELEM: u64 = 24;

/// A module parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamEntry {
    /// Name.
    pub name: String,
    /// Symbol of the operations that read and write the value, or the elements of an array.
    pub operations: String,
    /// True if the parameter is an array.
    pub array: bool,
    /// Access mode of its file in sysfs.
    pub mode: u16,
    /// Location of the value.
    pub value: Place,
}

impl Module<'_> {
    /// Module parameters, in the order of section `__param`. Empty if there is no such section.
    ///
    /// # Errors
    /// An entry is incomplete, or a pointer of it is null or leads out of the module.
    pub fn params(&self) -> Result<Vec<ParamEntry>, TableError> {
        let Some(section) = self.section(PARAM_SECTION) else { return Ok(Vec::new()) };
        let mut walk = Walk::new(self);
        let entries = 0..section.size.div_ceil(SIZE);
        entries.map(|at| entry(&mut walk, Place { section: section.index, offset: at * SIZE })).collect()
    }
}

fn entry(walk: &mut Walk<'_, '_>, at: Place) -> Result<ParamEntry, TableError> {
    walk.structure(at, SIZE, "struct kernel_param")?;
    let name = walk.required_text(at.plus(NAME), "kernel_param.name")?;
    let mut operations = walk.required_symbol(at.plus(OPS), "kernel_param.ops")?;
    let mode = walk.bytes(at.plus(PERM), 2, "kernel_param.perm")?;
    let mode = mode.iter().rev().fold(0, |mode, &byte| mode << 8 | u16::from(byte));
    let mut value = walk.required_place(at.plus(ARG), "kernel_param.arg")?;
    let array = operations == ARRAY;
    if array {
        operations = walk.required_symbol(value.plus(ARRAY_OPS), "kparam_array.ops")?;
        value = walk.required_place(value.plus(ARRAY_ELEM), "kparam_array.elem")?;
    }
    Ok(ParamEntry { name, operations, array, mode, value })
}
