// SPDX-License-Identifier: GPL-2.0-or-later
//! Renders C types as Rust types, and collects the C types that they need.

use std::collections::{BTreeMap, BTreeSet};

use crate::rust_name::is_rust_keyword;
use klp_image::{BtfError, Prototype, TypeId, TypeKind, Types};

use super::same::Names;

/// Types that the rendered text refers to by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Needed {
    /// Structs and unions whose members are needed: name to type.
    pub(crate) full: BTreeMap<String, TypeId>,
    /// Structs and unions that are only behind pointers: name to type, if BTF has one.
    pub(crate) opaque: BTreeMap<String, Option<TypeId>>,
    /// Typedefs and enumerations: name to type.
    pub(crate) names: BTreeMap<String, TypeId>,
}

/// Renderer of one kernel's types. Collects the types that they need.
pub(crate) struct Renderer<'a> {
    types: &'a Types,
    needed: Needed,
    /// Existing definitions, if known. Typedefs without a definition are replaced by their target.
    defined: Option<BTreeSet<String>>,
    /// Type of each name; `None` if a name may stand for several types.
    taken: Option<Names>,
    /// User of the types, for messages.
    user: String,
}

impl<'a> Renderer<'a> {
    pub(crate) fn new(types: &'a Types) -> Self {
        Self {
            types,
            needed: Needed::default(),
            defined: None,
            taken: Some(Names::default()),
            user: String::new(),
        }
    }

    /// Renderer for text in which only `defined` names exist. Other typedefs are replaced by their target.
    pub(crate) fn beside(types: &'a Types, defined: BTreeSet<String>) -> Self {
        Self { defined: Some(defined), ..Self::new(types) }
    }

    /// Renderer for text whose pointers are never dereferenced. A name may stand for several types behind
    /// pointers.
    pub(crate) fn sharing_names(self) -> Self {
        Self { taken: None, ..self }
    }

    /// Sets the user of the following types, for messages.
    pub(crate) fn wants_for(&mut self, user: String) {
        self.user = user;
    }

    fn take(&mut self, name: &str, id: TypeId, full: bool) -> Result<(), BtfError> {
        match &mut self.taken {
            Some(taken) => taken.take(self.types, name, id, full, &self.user),
            None => Ok(()),
        }
    }

    /// Types needed so far.
    pub(crate) fn needed(&self) -> &Needed {
        &self.needed
    }

    /// Types needed so far. A type with members is not also opaque.
    pub(crate) fn into_needed(self) -> Needed {
        let mut needed = self.needed;
        needed.opaque.retain(|name, _| !needed.full.contains_key(name));
        needed
    }

    /// Rust parameter list and result of a function: `(m: *mut seq_file) -> c_int`.
    pub(crate) fn signature(&mut self, prototype: &Prototype) -> Result<String, BtfError> {
        self.signature_with(prototype, |name| match name {
            "self" | "Self" | "super" | "crate" | "_" => format!("{name}_"),
            name if is_rust_keyword(name) => format!("r#{name}"),
            name => name.to_owned(),
        })
    }

    /// The same with parameter names from `rename`. Its argument is the C name, or `arg<position>` for a
    /// parameter without a name.
    pub(crate) fn signature_with(
        &mut self,
        prototype: &Prototype,
        rename: impl Fn(&str) -> String,
    ) -> Result<String, BtfError> {
        let mut parameters = Vec::new();
        let mut taken = BTreeSet::new();
        for (position, (name, id)) in prototype.parameters.iter().enumerate() {
            let unnamed = format!("arg{position}");
            let mut name = rename(name.as_deref().unwrap_or(&unnamed));
            if !taken.insert(name.clone()) {
                name = format!("{name}_{position}");
                taken.insert(name.clone());
            }
            self.look_inside(*id)?;
            parameters.push(format!("{name}: {}", self.rust_type(*id)?));
        }
        if prototype.variadic {
            parameters.push("...".to_owned());
        }
        let returns = match self.types.kind(self.types.bare(prototype.returns)?)? {
            TypeKind::Void => String::new(),
            _ => {
                self.look_inside(prototype.returns)?;
                format!(" -> {}", self.rust_type(prototype.returns)?)
            }
        };
        Ok(format!("({}){returns}", parameters.join(", ")))
    }

    /// Requests the members of the struct behind a pointer parameter or result.
    fn look_inside(&mut self, id: TypeId) -> Result<(), BtfError> {
        if let TypeKind::Pointer(target) = self.types.kind(self.types.bare(id)?)? {
            let target = self.types.bare(target)?;
            if matches!(self.types.kind(target)?, TypeKind::Composite { .. }) {
                self.want(target)?;
            }
        }
        Ok(())
    }

    /// Requests the members of a struct or union, and of those that it contains by value.
    pub(crate) fn want(&mut self, id: TypeId) -> Result<(), BtfError> {
        let typedef = self.last_typedef(id)?;
        let id = self.types.bare(id)?;
        match self.types.kind(id)? {
            TypeKind::Composite { name, members, .. } => {
                // The name of an untagged struct is its typedef, if any.
                if let Some(name) = name.or(typedef) {
                    let name = type_name(name);
                    self.take(&name, id, true)?;
                    if self.needed.full.insert(name, id).is_some() {
                        return Ok(());
                    }
                }
                for member in members {
                    self.want(member.type_id)?;
                }
                Ok(())
            }
            TypeKind::Array(element, _) => self.want(element),
            TypeKind::Pointer(target) => self.point_at(target),
            TypeKind::Function(prototype) => self.point_at_function(&prototype),
            _ => Ok(()),
        }
    }

    /// The typedef that refers directly to the bare type.
    fn last_typedef(&self, mut id: TypeId) -> Result<Option<String>, BtfError> {
        let mut last = None;
        for _ in 0..64 {
            match self.types.kind(id)? {
                TypeKind::Typedef(name, target) => {
                    last = Some(name);
                    id = target;
                }
                TypeKind::Const(target) | TypeKind::Qualified(target) | TypeKind::Volatile(target) => {
                    id = target;
                }
                _ => break,
            }
        }
        Ok(last)
    }

    /// Records a type behind a pointer; only its name matters.
    fn point_at(&mut self, id: TypeId) -> Result<(), BtfError> {
        let id = self.types.bare(id)?;
        match self.types.kind(id)? {
            TypeKind::Composite { name: Some(name), .. } => {
                let name = type_name(name);
                self.take(&name, id, false)?;
                self.needed.opaque.insert(name, Some(id));
                Ok(())
            }
            TypeKind::Composite { name: None, members, .. } => {
                members.iter().try_for_each(|member| self.want(member.type_id))
            }
            TypeKind::Forward { name, .. } => {
                self.needed.opaque.entry(type_name(name)).or_insert(None);
                Ok(())
            }
            TypeKind::Pointer(target) | TypeKind::Array(target, _) => self.point_at(target),
            TypeKind::Function(prototype) => self.point_at_function(&prototype),
            _ => Ok(()),
        }
    }

    fn point_at_function(&mut self, prototype: &Prototype) -> Result<(), BtfError> {
        let ids = prototype.parameters.iter().map(|(_, id)| *id).chain([prototype.returns]);
        for id in ids.collect::<Vec<_>>() {
            match self.types.kind(self.types.bare(id)?)? {
                TypeKind::Composite { .. } => self.want(id)?,
                _ => self.point_at(id)?,
            }
        }
        Ok(())
    }

    /// Rust text of a type.
    pub(crate) fn rust_type(&mut self, id: TypeId) -> Result<String, BtfError> {
        Ok(match self.types.kind(id)? {
            TypeKind::Void => "c_void".to_owned(),
            TypeKind::Int { name, size, signed } => integer(&name, size, signed).to_owned(),
            TypeKind::Float(name) => (if name == "float" { "f32" } else { "f64" }).to_owned(),
            TypeKind::Const(target) | TypeKind::Qualified(target) | TypeKind::Volatile(target) => {
                self.rust_type(target)?
            }
            TypeKind::Typedef(name, target) => match known_typedef(&name) {
                Some(known) => known.to_owned(),
                None if self.sees_through(&name, target)? => self.rust_type(target)?,
                None => {
                    match self.types.kind(self.types.bare(target)?)? {
                        TypeKind::Composite { .. } => self.want(id)?,
                        _ => self.point_at(target)?,
                    }
                    let name = type_name(name);
                    self.take(&name, id, true)?;
                    self.needed.names.insert(name.clone(), id);
                    name
                }
            },
            TypeKind::Pointer(target) => self.pointer(target)?,
            TypeKind::Array(element, length) => format!("[{}; {length}]", self.rust_type(element)?),
            TypeKind::Composite { name, size, .. } => match name {
                Some(name) => {
                    self.want(id)?;
                    type_name(name)
                }
                None => format!("[u8; {size}]"),
            },
            TypeKind::Enum { name: Some(name), .. } => {
                let name = type_name(name);
                self.take(&name, id, true)?;
                self.needed.names.insert(name.clone(), id);
                name
            }
            TypeKind::Enum { name: None, size, signed, .. } => enum_integer(size, signed).to_owned(),
            TypeKind::Forward { name, .. } => {
                let name = type_name(name);
                self.needed.opaque.entry(name.clone()).or_insert(None);
                name
            }
            TypeKind::Function(prototype) => self.function_pointer(&prototype)?,
            TypeKind::Other => return Err(BtfError::Damaged(format!("id {id} is no C type"))),
        })
    }

    /// True if a typedef has no definition to refer to.
    fn sees_through(&self, name: &str, target: TypeId) -> Result<bool, BtfError> {
        let untagged =
            matches!(self.types.kind(self.types.bare(target)?)?, TypeKind::Composite { name: None, .. });
        Ok(self.defined.as_ref().is_some_and(|defined| !defined.contains(&type_name(name.to_owned())))
            && !untagged)
    }

    fn pointer(&mut self, target: TypeId) -> Result<String, BtfError> {
        let bare = self.types.bare(target)?;
        match self.types.kind(bare)? {
            TypeKind::Function(prototype) => return self.function_pointer(&prototype),
            TypeKind::Composite { name: Some(name), .. } => {
                let name = type_name(name);
                self.take(&name, bare, false)?;
                self.needed.opaque.insert(name, Some(bare));
            }
            TypeKind::Composite { name: None, .. }
                if !matches!(self.types.kind(target)?, TypeKind::Typedef(..) | TypeKind::Const(_)) =>
            {
                return Ok("*mut c_void".to_owned());
            }
            _ => {}
        }
        let text = match self.pointee(target)? {
            Some(name) => name,
            None => self.rust_type(target)?,
        };
        Ok(format!("*{} {text}", if self.is_const(target)? { "const" } else { "mut" }))
    }

    /// Name of a struct behind a pointer, without a request for its members.
    fn pointee(&self, id: TypeId) -> Result<Option<String>, BtfError> {
        Ok(match self.types.kind(id)? {
            TypeKind::Const(target) | TypeKind::Qualified(target) | TypeKind::Volatile(target) => {
                self.pointee(target)?
            }
            TypeKind::Typedef(name, target)
                if known_typedef(&name).is_none() && self.sees_through(&name, target)? =>
            {
                self.pointee(target)?
            }
            TypeKind::Composite { name, .. } => name.map(type_name),
            _ => None,
        })
    }

    fn is_const(&self, id: TypeId) -> Result<bool, BtfError> {
        Ok(match self.types.kind(id)? {
            TypeKind::Const(_) => true,
            TypeKind::Qualified(target) | TypeKind::Volatile(target) => self.is_const(target)?,
            _ => false,
        })
    }

    fn function_pointer(&mut self, prototype: &Prototype) -> Result<String, BtfError> {
        let mut parameters = Vec::new();
        for (_, id) in &prototype.parameters {
            parameters.push(self.rust_type(*id)?);
        }
        if prototype.variadic {
            parameters.push("...".to_owned());
        }
        let returns = match self.types.kind(self.types.bare(prototype.returns)?)? {
            TypeKind::Void => String::new(),
            _ => format!(" -> {}", self.rust_type(prototype.returns)?),
        };
        Ok(format!("Option<unsafe extern \"C\" fn({}){returns}>", parameters.join(", ")))
    }
}

/// Integer type of an enumeration.
pub(crate) fn enum_integer(size: usize, signed: bool) -> &'static str {
    match (size, signed) {
        (1, false) => "u8",
        (1, true) => "i8",
        (2, false) => "u16",
        (2, true) => "i16",
        (8, false) => "u64",
        (8, true) => "i64",
        (_, false) => "c_uint",
        (_, true) => "c_int",
    }
}

/// Names of the kernel's C integer types in module `ffi` of the bindings. gcc and clang use different
/// spellings for the same type.
fn integer(name: &str, size: usize, signed: bool) -> &'static str {
    match (name, size) {
        ("_Bool" | "bool", _) => "bool",
        ("char", _) => "c_char",
        ("signed char", _) => "c_schar",
        ("unsigned char", _) => "c_uchar",
        ("short int" | "short", _) => "c_short",
        ("short unsigned int" | "unsigned short", _) => "c_ushort",
        ("int", _) => "c_int",
        ("unsigned int", _) => "c_uint",
        ("long int" | "long", _) => "c_long",
        ("long unsigned int" | "unsigned long", _) => "c_ulong",
        ("long long int" | "long long", _) => "c_longlong",
        ("long long unsigned int" | "unsigned long long", _) => "c_ulonglong",
        ("__int128", _) => "i128",
        ("__int128 unsigned" | "unsigned __int128", _) => "u128",
        (_, 1) if signed => "i8",
        (_, 2) if signed => "i16",
        (_, 4) if signed => "i32",
        (_, 8) if signed => "i64",
        (_, 1) => "u8",
        (_, 2) => "u16",
        (_, 4) => "u32",
        (_, 16) => "u128",
        (_, _) => "u64",
    }
}

/// Typedefs with a built-in Rust type.
fn known_typedef(name: &str) -> Option<&'static str> {
    Some(match name {
        "bool" => "bool",
        "u8" | "__u8" | "uint8_t" => "u8",
        "u16" | "__u16" | "uint16_t" => "u16",
        "u32" | "__u32" | "uint32_t" => "u32",
        "u64" | "__u64" | "uint64_t" => "u64",
        "s8" | "__s8" | "int8_t" => "i8",
        "s16" | "__s16" | "int16_t" => "i16",
        "s32" | "__s32" | "int32_t" => "i32",
        "s64" | "__s64" | "int64_t" => "i64",
        "size_t" | "uintptr_t" | "__kernel_size_t" => "usize",
        "ssize_t" | "intptr_t" | "__kernel_ssize_t" => "isize",
        _ => return None,
    })
}

/// Rust name of a C type. A Rust keyword gets a trailing underscore, as in bindgen.
pub(crate) fn type_name(name: String) -> String {
    if is_rust_keyword(&name) { name + "_" } else { name }
}
