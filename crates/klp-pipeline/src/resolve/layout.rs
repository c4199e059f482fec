// SPDX-License-Identifier: GPL-2.0-or-later
//! Sizes and member offsets of the livepatch structs (`include/linux/livepatch.h`).

use klp_image::{BtfError, TypeKind, Types};
use klp_module::KlpLayout;

/// Layout of a kernel's livepatch structs, from its types.
///
/// # Errors
/// The types contain no livepatch structs: the kernel is built without CONFIG_LIVEPATCH.
pub fn klp_layout(types: &Types) -> Result<KlpLayout, BtfError> {
    let (func_size, func) = members(types, "klp_func")?;
    let (object_size, object) = members(types, "klp_object")?;
    let (patch_size, patch) = members(types, "klp_patch")?;
    let (state_size, state) = members(types, "klp_state")?;
    Ok(KlpLayout {
        func_size,
        func_old_name: offset(&func, "old_name")?,
        func_new_func: offset(&func, "new_func")?,
        func_old_sympos: offset(&func, "old_sympos")?,
        object_size,
        object_name: offset(&object, "name")?,
        object_funcs: offset(&object, "funcs")?,
        patch_size,
        patch_mod: offset(&patch, "mod")?,
        patch_objs: offset(&patch, "objs")?,
        patch_replace: offset(&patch, "replace")?,
        object_callbacks: offset(&object, "callbacks")?,
        patch_states: offset(&patch, "states")?,
        state_size,
        state_id: offset(&state, "id")?,
        state_version: offset(&state, "version")?,
    })
}

/// Size of `struct module`, and offset of its member `init`, in bytes. `None` if the types do not have them.
pub fn module_struct(types: &Types) -> Option<(u64, u64)> {
    let (size, all) = members(types, "module").ok()?;
    Some((size, offset(&all, "init").ok()?))
}

fn members(types: &Types, name: &str) -> Result<(u64, Vec<(String, u64)>), BtfError> {
    let missing = || {
        BtfError::Damaged(format!(
            "it does not know struct {name}; is the kernel built with CONFIG_LIVEPATCH?"
        ))
    };
    let id = *types.composites(name)?.first().ok_or_else(missing)?;
    match types.kind(id)? {
        TypeKind::Composite { size, members, .. } => {
            let named =
                members.into_iter().filter_map(|m| m.name.map(|name| (name, u64::from(m.bit_offset / 8))));
            Ok((size as u64, named.collect()))
        }
        _ => Err(missing()),
    }
}

fn offset(members: &[(String, u64)], name: &str) -> Result<u64, BtfError> {
    let found = members.iter().find(|(member, _)| member == name).map(|(_, offset)| *offset);
    found.ok_or_else(|| BtfError::Damaged(format!("a livepatch struct has no member {name}")))
}
