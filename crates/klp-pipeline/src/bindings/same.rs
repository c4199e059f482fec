// SPDX-License-Identifier: GPL-2.0-or-later
//! C type of each name in the bindings. Private types of different source files may have the same name. BTF
//! also contains copies of one type if its deduplication did not detect them.

use std::collections::BTreeMap;

use klp_image::{BtfError, TypeId, TypeKind, Types};

/// Types that the generated text names, with their users.
#[derive(Default)]
pub(super) struct Names(BTreeMap<String, Vec<Named>>);

struct Named {
    id: TypeId,
    /// True if the text contains the members; false if the type is only behind pointers.
    full: bool,
    user: String,
}

impl Names {
    /// Assigns a name to a type. `user` is the user of the type, for the message.
    ///
    /// # Errors
    /// The name already stands for another type, and text with the members of one type would be used for the
    /// other.
    pub(super) fn take(
        &mut self,
        types: &Types,
        name: &str,
        id: TypeId,
        full: bool,
        user: &str,
    ) -> Result<(), BtfError> {
        let id = types.bare(id)?;
        let known = self.0.entry(name.to_owned()).or_default();
        if known.iter().any(|other| other.id == id && (other.full || !full)) {
            return Ok(());
        }
        for other in known.iter().filter(|other| full || other.full) {
            if !same(types, other.id, id)? {
                return Err(BtfError::Clash(message(types, name, other, id, user)?));
            }
        }
        known.push(Named { id, full, user: user.to_owned() });
        Ok(())
    }
}

fn message(types: &Types, name: &str, first: &Named, second: TypeId, user: &str) -> Result<String, BtfError> {
    let described = |id| {
        Ok::<_, BtfError>(match types.kind(id)? {
            TypeKind::Composite { size, members, .. } => {
                format!("{size} bytes with {} members", members.len())
            }
            TypeKind::Enum { values, .. } => format!("{} values", values.len()),
            other => format!("{other:?}"),
        })
    };
    let (one, other) = (described(first.id)?, described(second)?);
    Ok(format!(
        "two C types are called `{name}`: one of {one}, which {} needs, and one of {other}, which {user} needs; in one module a \
         name of a type stands for one type: make two fixes of it, and build each as a module of its own (`stacked = true` puts \
         one on top of the other)",
        first.user
    ))
}

/// The types among `ids` that differ from each other.
///
/// # Errors
/// BTF is damaged.
pub(super) fn distinct(types: &Types, ids: &[TypeId]) -> Result<Vec<TypeId>, BtfError> {
    let mut found: Vec<TypeId> = Vec::new();
    for id in ids {
        let mut known = false;
        for other in &found {
            known |= same(types, *other, *id)?;
        }
        if !known {
            found.push(*id);
        }
    }
    Ok(found)
}

/// True if two types are equal for users of their members. Types held by value are compared completely, types
/// behind pointers by name.
fn same(types: &Types, first: TypeId, second: TypeId) -> Result<bool, BtfError> {
    let (first, second) = (types.bare(first)?, types.bare(second)?);
    if first == second {
        return Ok(true);
    }
    Ok(match (types.kind(first)?, types.kind(second)?) {
        (
            TypeKind::Composite { union: union_a, name: name_a, size: size_a, members: a },
            TypeKind::Composite { union: union_b, name: name_b, size: size_b, members: b },
        ) => {
            if (union_a, &name_a, size_a, a.len()) != (union_b, &name_b, size_b, b.len()) {
                return Ok(false);
            }
            for (a, b) in a.iter().zip(&b) {
                let placed = (&a.name, a.bit_offset, a.bits) == (&b.name, b.bit_offset, b.bits);
                if !placed || !same(types, a.type_id, b.type_id)? {
                    return Ok(false);
                }
            }
            true
        }
        (TypeKind::Array(a, length_a), TypeKind::Array(b, length_b)) => {
            length_a == length_b && same(types, a, b)?
        }
        (TypeKind::Pointer(a), TypeKind::Pointer(b)) => points_at_same(types, a, b)?,
        // A type that is only declared may be any type with its name.
        (TypeKind::Forward { .. }, TypeKind::Composite { .. } | TypeKind::Forward { .. })
        | (TypeKind::Composite { .. }, TypeKind::Forward { .. })
        | (TypeKind::Function(_), TypeKind::Function(_)) => true,
        (a, b) => a == b,
    })
}

fn points_at_same(types: &Types, first: TypeId, second: TypeId) -> Result<bool, BtfError> {
    let tag = |id| {
        Ok::<_, BtfError>(match types.kind(types.bare(id)?)? {
            TypeKind::Composite { name, .. } => Some(name.unwrap_or_default()),
            TypeKind::Forward { name, .. } => Some(name),
            _ => None,
        })
    };
    match (tag(first)?, tag(second)?) {
        (None, None) => same(types, first, second),
        (a, b) => Ok(a == b),
    }
}
