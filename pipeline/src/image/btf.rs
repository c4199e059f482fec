// SPDX-License-Identifier: GPL-2.0-or-later
//! A kernel's types and prototypes, out of its BTF.
//!
//! A type is found from a prototype or a member, by its id, never by its name alone: private structs share names.

use btf_rs::{Btf, BtfType, Type};

use super::c_text::CText;

/// Longest chain of type references that is followed; the kernel's own limit is 32 (`MAX_RESOLVE_DEPTH`).
pub(super) const DEPTH: u32 = 64;

/// Why BTF could not answer.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    /// The bytes are no BTF.
    #[error("its BTF is damaged: {0}")]
    Damaged(String),
    /// There is no function of that name.
    #[error("its BTF knows no function of that name")]
    NoFunction,
    /// There are several with different prototypes.
    #[error("its BTF knows {0} functions of that name, and cannot tell which one is meant")]
    Ambiguous(usize),
}

impl From<btf_rs::Error> for BtfError {
    fn from(error: btf_rs::Error) -> Self {
        Self::Damaged(error.to_string())
    }
}

/// Id of a type; 0 is `void`.
pub type TypeId = u32;

/// A function's prototype.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prototype {
    /// The function's name.
    pub name: String,
    /// Type that it returns.
    pub returns: TypeId,
    /// Names (where known) and types of its parameters.
    pub parameters: Vec<(Option<String>, TypeId)>,
    /// Whether it takes further arguments (`...`).
    pub variadic: bool,
}

/// A member of a struct or union.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name; none for an anonymous struct or union.
    pub name: Option<String>,
    /// Its type.
    pub type_id: TypeId,
    /// Bits from the struct's start.
    pub bit_offset: u32,
    /// Bits, for a bit-field.
    pub bits: Option<u32>,
}

/// What a type is, one step deep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypeKind {
    /// `void`.
    Void,
    /// An integer, or a boolean or character type, by its C name.
    Int {
        /// `unsigned int`, `_Bool`, ...
        name: String,
        /// Bytes.
        size: usize,
    },
    /// A floating-point type.
    Float(String),
    /// A pointer.
    Pointer(TypeId),
    /// An array of this many elements.
    Array(TypeId, usize),
    /// A struct or union.
    Composite {
        /// Whether it is a union.
        union: bool,
        /// Its tag, if it has one.
        name: Option<String>,
        /// Bytes.
        size: usize,
        /// Its members.
        members: Vec<Member>,
    },
    /// An enumeration.
    Enum {
        /// Its tag, if it has one.
        name: Option<String>,
        /// Bytes.
        size: usize,
        /// Whether its values are signed.
        signed: bool,
        /// Names and values; those of an unsigned 64-bit enumeration as their bits.
        values: Vec<(String, i64)>,
    },
    /// A struct or union that is only declared.
    Forward {
        /// Whether it is a union.
        union: bool,
        /// Its tag.
        name: String,
    },
    /// A typedef.
    Typedef(String, TypeId),
    /// `const`, and the type it stands on.
    Const(TypeId),
    /// `restrict` or a type tag, and the type it stands on.
    Qualified(TypeId),
    /// `volatile`, and the type it stands on.
    Volatile(TypeId),
    /// A function type.
    Function(Prototype),
    /// Not a type of C code (variables, sections, tags).
    Other,
}

/// The types of a kernel, or of one of its modules.
pub struct Types {
    pub(super) btf: Btf,
}

impl Types {
    /// Reads raw BTF (the content of a `.BTF` section).
    ///
    /// # Errors
    /// The bytes are no BTF.
    pub fn parse(bytes: &[u8]) -> Result<Self, BtfError> {
        Ok(Self { btf: Btf::from_bytes(bytes)? })
    }

    /// Reads a module's BTF, which refers to that of its kernel (split BTF): the types of both.
    ///
    /// # Errors
    /// The bytes are no BTF, or not of a module of that very kernel.
    pub fn parse_split(bytes: &[u8], base: &Self) -> Result<Self, BtfError> {
        Ok(Self { btf: Btf::from_split_bytes(bytes, &base.btf)? })
    }

    /// The prototype of the function `name`.
    ///
    /// # Errors
    /// There is none, or there are several with different prototypes.
    pub fn function(&self, name: &str) -> Result<Prototype, BtfError> {
        let mut found: Vec<Prototype> = Vec::new();
        for id in self.functions(name)? {
            if let Type::Func(func) = self.btf.resolve_type_by_id(id)?
                && let Type::FuncProto(prototype) = self.btf.resolve_chained_type(&func)?
            {
                let prototype = self.prototype(name, &prototype)?;
                if !found.iter().any(|other| self.c_prototype(other) == self.c_prototype(&prototype)) {
                    found.push(prototype);
                }
            }
        }
        match found.len() {
            0 => Err(BtfError::NoFunction),
            1 => Ok(found.remove(0)),
            several => Err(BtfError::Ambiguous(several)),
        }
    }

    /// Ids of the functions of this name: the module's own, where it has some.
    fn functions(&self, name: &str) -> Result<Vec<TypeId>, BtfError> {
        let mut functions = Vec::new();
        for id in self.btf.resolve_ids_by_name(name)? {
            if matches!(self.btf.resolve_type_by_id(id)?, Type::Func(_)) {
                functions.push(id);
            }
        }
        let own = self.btf.split().map_or(0, |split| split.type_id_range().0);
        if functions.iter().any(|id| *id >= own) {
            functions.retain(|id| *id >= own);
        }
        Ok(functions)
    }

    fn prototype(&self, name: &str, prototype: &btf_rs::FuncProto) -> Result<Prototype, BtfError> {
        let mut parameters = Vec::new();
        let mut variadic = false;
        for parameter in &prototype.parameters {
            if parameter.is_variadic() {
                variadic = true;
            } else {
                parameters.push((self.name_of(parameter)?, parameter.get_type_id().unwrap_or(0)));
            }
        }
        Ok(Prototype { name: name.to_owned(), returns: prototype.return_type_id(), parameters, variadic })
    }

    /// Ids of the structs and unions of this name.
    ///
    /// # Errors
    /// The BTF is damaged.
    pub fn composites(&self, name: &str) -> Result<Vec<TypeId>, BtfError> {
        let ids = self.btf.resolve_ids_by_name(name)?;
        let mut found = Vec::new();
        for id in ids {
            if matches!(self.btf.resolve_type_by_id(id)?, Type::Struct(_) | Type::Union(_)) {
                found.push(id);
            }
        }
        Ok(found)
    }

    /// The enumeration with this tag, if there is one.
    ///
    /// # Errors
    /// The BTF is damaged.
    pub fn enumeration(&self, name: &str) -> Result<Option<TypeKind>, BtfError> {
        for id in self.btf.resolve_ids_by_name(name)? {
            let kind = self.kind(id)?;
            if matches!(kind, TypeKind::Enum { .. }) {
                return Ok(Some(kind));
            }
        }
        Ok(None)
    }

    /// Id of the typedef of this name, if there is one.
    ///
    /// # Errors
    /// The BTF is damaged.
    pub fn typedef(&self, name: &str) -> Result<Option<TypeId>, BtfError> {
        let ids = self.btf.resolve_ids_by_name(name)?;
        for id in ids {
            if matches!(self.btf.resolve_type_by_id(id)?, Type::Typedef(_)) {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    fn name_of(&self, item: &dyn BtfType) -> Result<Option<String>, BtfError> {
        match item.get_name_offset() {
            None | Some(0) => Ok(None),
            Some(_) => Ok(Some(self.btf.resolve_name(item)?).filter(|name| !name.is_empty())),
        }
    }

    /// What a type is, one step deep.
    ///
    /// # Errors
    /// There is no such type.
    pub fn kind(&self, id: TypeId) -> Result<TypeKind, BtfError> {
        let target = |item: &dyn BtfType| item.get_type_id().unwrap_or(0);
        Ok(match self.btf.resolve_type_by_id(id)? {
            Type::Void => TypeKind::Void,
            Type::Int(int) => {
                TypeKind::Int { name: self.name_of(&int)?.unwrap_or_default(), size: int.size() }
            }
            Type::Float(float) => TypeKind::Float(self.name_of(&float)?.unwrap_or_default()),
            Type::Ptr(ptr) => TypeKind::Pointer(target(&ptr)),
            Type::Array(array) => TypeKind::Array(target(&array), array.len()),
            Type::Struct(item) => self.composite(&item, false)?,
            Type::Union(item) => self.composite(&item, true)?,
            Type::Enum(item) => {
                let mut values = Vec::with_capacity(item.members.len());
                for member in &item.members {
                    let value = if item.is_signed() {
                        i64::from(member.val() as i32)
                    } else {
                        i64::from(member.val())
                    };
                    values.push((self.name_of(member)?.unwrap_or_default(), value));
                }
                TypeKind::Enum {
                    name: self.name_of(&item)?,
                    size: item.size(),
                    signed: item.is_signed(),
                    values,
                }
            }
            Type::Enum64(item) => {
                let mut values = Vec::with_capacity(item.members.len());
                for member in &item.members {
                    values.push((self.name_of(member)?.unwrap_or_default(), member.val() as i64));
                }
                TypeKind::Enum {
                    name: self.name_of(&item)?,
                    size: item.size(),
                    signed: item.is_signed(),
                    values,
                }
            }
            Type::Fwd(item) => {
                TypeKind::Forward { union: item.is_union(), name: self.name_of(&item)?.unwrap_or_default() }
            }
            Type::Typedef(item) => TypeKind::Typedef(self.name_of(&item)?.unwrap_or_default(), target(&item)),
            Type::Const(item) => TypeKind::Const(target(&item)),
            Type::Volatile(item) => TypeKind::Volatile(target(&item)),
            Type::Restrict(item) => TypeKind::Qualified(target(&item)),
            Type::TypeTag(item) => TypeKind::Qualified(target(&item)),
            Type::FuncProto(item) => TypeKind::Function(self.prototype("", &item)?),
            _ => TypeKind::Other,
        })
    }

    fn composite(&self, item: &btf_rs::Struct, union: bool) -> Result<TypeKind, BtfError> {
        let mut members = Vec::with_capacity(item.members.len());
        for member in &item.members {
            members.push(Member {
                name: self.name_of(member)?,
                type_id: member.get_type_id().unwrap_or(0),
                bit_offset: member.bit_offset(),
                bits: member.bitfield_size().filter(|bits| *bits > 0),
            });
        }
        Ok(TypeKind::Composite { union, name: self.name_of(item)?, size: item.size(), members })
    }

    /// The type without `const`, `volatile`, `restrict`, tags and typedefs.
    ///
    /// # Errors
    /// There is no such type, or the chain does not end.
    pub fn bare(&self, mut id: TypeId) -> Result<TypeId, BtfError> {
        for _ in 0..DEPTH {
            match self.kind(id)? {
                TypeKind::Const(target)
                | TypeKind::Qualified(target)
                | TypeKind::Volatile(target)
                | TypeKind::Typedef(_, target) => {
                    id = target;
                }
                _ => return Ok(id),
            }
        }
        Err(BtfError::Damaged(format!("the type with id {id} refers to itself")))
    }

    /// The prototype in C, without a semicolon: `int f(struct x *p, ...)`.
    pub fn c_prototype(&self, prototype: &Prototype) -> String {
        CText::new(self).prototype(prototype)
    }
}
