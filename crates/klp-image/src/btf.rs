// SPDX-License-Identifier: GPL-2.0-or-later
//! A kernel's types and prototypes, out of its BTF.
//!
//! A type is found from a prototype or a member, by its id, never by its name alone: private structs share names.

use btf_rs::{Btf, BtfType, Type};

use crate::c_text::CText;

/// Longest chain of type references that is followed; the kernel's own limit is 32 (`MAX_RESOLVE_DEPTH`).
pub(crate) const DEPTH: u32 = 64;

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
    /// Two different types of one name are wanted; the text says which.
    #[error("{0}")]
    Clash(String),
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
        /// Whether it has negative values.
        signed: bool,
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

/// The types of a kernel, or of it and some of its modules.
///
/// Ids of the kernel's types are its own. Each module numbers its types from where the kernel's end, so the number of the
/// module stands in the upper bits of their ids.
pub struct Types {
    pub(crate) btf: Btf,
    /// Further modules of the same kernel.
    others: Vec<Btf>,
}

/// Where the number of a module begins in an id, which leaves 64 million types and 63 modules beside the first.
const MODULE_SHIFT: u32 = 26;

/// The types of the kernel and one module, in the module's own numbers.
#[derive(Clone, Copy)]
struct View<'a> {
    btf: &'a Btf,
    number: u32,
}

impl View<'_> {
    /// The first id that is the module's own.
    fn own(self) -> u32 {
        self.btf.split().map_or(0, |split| split.type_id_range().0)
    }

    /// An id of this view as all views know it.
    fn out(self, id: u32) -> TypeId {
        if self.number > 0 && id >= self.own() { id | self.number << MODULE_SHIFT } else { id }
    }

    fn name_of(self, item: &dyn BtfType) -> Result<Option<String>, BtfError> {
        match item.get_name_offset() {
            None | Some(0) => Ok(None),
            Some(_) => Ok(Some(self.btf.resolve_name(item)?).filter(|name| !name.is_empty())),
        }
    }

    fn prototype(self, name: &str, prototype: &btf_rs::FuncProto) -> Result<Prototype, BtfError> {
        let mut parameters = Vec::new();
        let mut variadic = false;
        for parameter in &prototype.parameters {
            if parameter.is_variadic() {
                variadic = true;
            } else {
                parameters.push((self.name_of(parameter)?, self.out(parameter.get_type_id().unwrap_or(0))));
            }
        }
        let returns = self.out(prototype.return_type_id());
        Ok(Prototype { name: name.to_owned(), returns, parameters, variadic })
    }

    fn composite(self, item: &btf_rs::Struct, union: bool) -> Result<TypeKind, BtfError> {
        let mut members = Vec::with_capacity(item.members.len());
        for member in &item.members {
            members.push(Member {
                name: self.name_of(member)?,
                type_id: self.out(member.get_type_id().unwrap_or(0)),
                bit_offset: member.bit_offset(),
                bits: member.bitfield_size().filter(|bits| *bits > 0),
            });
        }
        Ok(TypeKind::Composite { union, name: self.name_of(item)?, size: item.size(), members })
    }
}

impl Types {
    /// Reads raw BTF (the content of a `.BTF` section).
    ///
    /// # Errors
    /// The bytes are no BTF.
    pub fn parse(bytes: &[u8]) -> Result<Self, BtfError> {
        Ok(Self::of(Btf::from_bytes(bytes)?))
    }

    /// Reads a module's BTF, which refers to that of its kernel (split BTF): the types of both.
    ///
    /// # Errors
    /// The bytes are no BTF, or not of a module of that very kernel.
    pub fn parse_split(bytes: &[u8], base: &Self) -> Result<Self, BtfError> {
        Ok(Self::of(Btf::from_split_bytes(bytes, &base.btf)?))
    }

    pub(crate) fn of(btf: Btf) -> Self {
        Self { btf, others: Vec::new() }
    }

    /// Adds the types of another module of the same kernel.
    ///
    /// # Errors
    /// There are 63 already.
    pub fn join(&mut self, other: Self) -> Result<(), BtfError> {
        if self.others.len() + 1 >= 1 << (u32::BITS - MODULE_SHIFT) {
            return Err(BtfError::Damaged("types of more than 63 modules".to_owned()));
        }
        self.others.push(other.btf);
        Ok(())
    }

    /// The kernel with the first module, if there is one; then with each further one.
    fn views(&self) -> impl Iterator<Item = View<'_>> {
        std::iter::once(&self.btf).chain(&self.others).zip(0..).map(|(btf, number)| View { btf, number })
    }

    /// Where an id belongs, and what it is there.
    fn view(&self, id: TypeId) -> Result<(View<'_>, u32), BtfError> {
        let number = id >> MODULE_SHIFT;
        let view = self.views().find(|view| view.number == number);
        let view = view.ok_or_else(|| BtfError::Damaged(format!("there is no type with the id {id:#x}")))?;
        Ok((view, id & ((1 << MODULE_SHIFT) - 1)))
    }

    /// Ids of the types of this name that `wanted` takes.
    fn named(&self, name: &str, wanted: impl Fn(&Type) -> bool) -> Result<Vec<TypeId>, BtfError> {
        let mut found = Vec::new();
        for view in self.views() {
            for id in view.btf.resolve_ids_by_name(name)? {
                if wanted(&view.btf.resolve_type_by_id(id)?) && !found.contains(&view.out(id)) {
                    found.push(view.out(id));
                }
            }
        }
        Ok(found)
    }

    /// The prototype of the function `name`: a module's own, where one has it.
    ///
    /// # Errors
    /// There is none, or there are several with different prototypes.
    pub fn function(&self, name: &str) -> Result<Prototype, BtfError> {
        let mut functions = self.functions(name)?;
        let own = self.views().next().map_or(0, View::own);
        if own > 0 && functions.iter().any(|id| *id >= own) {
            functions.retain(|id| *id >= own);
        }
        self.only_prototype(name, functions)
    }

    /// The prototype of a function of one object: the kernel's where `module` is none, else of the module that was the first
    /// (0), second (1), ... to bring types.
    ///
    /// # Errors
    /// The object has none of that name, or several with different prototypes.
    pub fn function_of(&self, module: Option<u32>, name: &str) -> Result<Prototype, BtfError> {
        let own = self.views().next().map_or(0, View::own);
        let number = |id: TypeId| id >> MODULE_SHIFT;
        let of_kernel = |id: TypeId| number(id) == 0 && (own == 0 || id < own);
        let mut functions = self.functions(name)?;
        functions.retain(|id| match module {
            None => of_kernel(*id),
            Some(module) => number(*id) == module && !of_kernel(*id),
        });
        self.only_prototype(name, functions)
    }

    fn functions(&self, name: &str) -> Result<Vec<TypeId>, BtfError> {
        self.named(name, |item| matches!(item, Type::Func(_)))
    }

    /// The prototype that all of these functions have.
    fn only_prototype(&self, name: &str, functions: Vec<TypeId>) -> Result<Prototype, BtfError> {
        let mut found: Vec<Prototype> = Vec::new();
        for id in functions {
            let (view, id) = self.view(id)?;
            if let Type::Func(func) = view.btf.resolve_type_by_id(id)?
                && let Type::FuncProto(prototype) = view.btf.resolve_chained_type(&func)?
            {
                let prototype = view.prototype(name, &prototype)?;
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

    /// Ids of the structs and unions of this name.
    ///
    /// # Errors
    /// The BTF is damaged.
    pub fn composites(&self, name: &str) -> Result<Vec<TypeId>, BtfError> {
        self.named(name, |item| matches!(item, Type::Struct(_) | Type::Union(_)))
    }

    /// All structs and unions that have a name, of a module its own alone: a name and an id each. What has no tag goes by the
    /// name of its typedef.
    ///
    /// # Errors
    /// The BTF is damaged.
    pub fn all_composites(&self) -> Result<Vec<(String, TypeId)>, BtfError> {
        let mut all = Vec::new();
        for view in self.views() {
            let (start, end) = view.btf.split().unwrap_or(view.btf.base()).type_id_range();
            for id in start..=end {
                let name = match self.kind(view.out(id))? {
                    TypeKind::Composite { name, .. } => name,
                    TypeKind::Typedef(name, target) => {
                        let untagged = matches!(self.kind(target)?, TypeKind::Composite { name: None, .. });
                        untagged.then_some(name)
                    }
                    _ => None,
                };
                all.extend(name.map(|name| (name, view.out(id))));
            }
        }
        Ok(all)
    }

    /// Id of the typedef of this name, if there is one.
    ///
    /// # Errors
    /// The BTF is damaged.
    pub fn typedef(&self, name: &str) -> Result<Option<TypeId>, BtfError> {
        Ok(self.named(name, |item| matches!(item, Type::Typedef(_)))?.first().copied())
    }

    /// What a type is, one step deep.
    ///
    /// # Errors
    /// There is no such type.
    pub fn kind(&self, id: TypeId) -> Result<TypeKind, BtfError> {
        let (view, id) = self.view(id)?;
        let target = |item: &dyn BtfType| view.out(item.get_type_id().unwrap_or(0));
        Ok(match view.btf.resolve_type_by_id(id)? {
            Type::Void => TypeKind::Void,
            Type::Int(int) => TypeKind::Int {
                name: view.name_of(&int)?.unwrap_or_default(),
                size: int.size(),
                signed: int.is_signed(),
            },
            Type::Float(float) => TypeKind::Float(view.name_of(&float)?.unwrap_or_default()),
            Type::Ptr(ptr) => TypeKind::Pointer(target(&ptr)),
            Type::Array(array) => TypeKind::Array(target(&array), array.len()),
            Type::Struct(item) => view.composite(&item, false)?,
            Type::Union(item) => view.composite(&item, true)?,
            Type::Enum(item) => {
                let mut values = Vec::with_capacity(item.members.len());
                for member in &item.members {
                    let value = if item.is_signed() {
                        i64::from(member.val() as i32)
                    } else {
                        i64::from(member.val())
                    };
                    values.push((view.name_of(member)?.unwrap_or_default(), value));
                }
                TypeKind::Enum {
                    name: view.name_of(&item)?,
                    size: item.size(),
                    signed: item.is_signed(),
                    values,
                }
            }
            Type::Enum64(item) => {
                let mut values = Vec::with_capacity(item.members.len());
                for member in &item.members {
                    values.push((view.name_of(member)?.unwrap_or_default(), member.val() as i64));
                }
                TypeKind::Enum {
                    name: view.name_of(&item)?,
                    size: item.size(),
                    signed: item.is_signed(),
                    values,
                }
            }
            Type::Fwd(item) => {
                TypeKind::Forward { union: item.is_union(), name: view.name_of(&item)?.unwrap_or_default() }
            }
            Type::Typedef(item) => TypeKind::Typedef(view.name_of(&item)?.unwrap_or_default(), target(&item)),
            Type::Const(item) => TypeKind::Const(target(&item)),
            Type::Volatile(item) => TypeKind::Volatile(target(&item)),
            Type::Restrict(item) => TypeKind::Qualified(target(&item)),
            Type::TypeTag(item) => TypeKind::Qualified(target(&item)),
            Type::FuncProto(item) => TypeKind::Function(view.prototype("", &item)?),
            _ => TypeKind::Other,
        })
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
