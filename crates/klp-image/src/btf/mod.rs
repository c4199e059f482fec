// SPDX-License-Identifier: GPL-2.0-or-later
//! Types and prototypes of a kernel, from its BTF.
//!
//! Types are found by id, from a prototype or a member, never by name alone: private structs may share a name.

mod c_text;

use btf_rs::{Btf, BtfType, Type};

use self::c_text::CText;

/// Maximum length of a chain of type references; the kernel's own limit is 32 (`MAX_RESOLVE_DEPTH`).
pub(crate) const DEPTH: u32 = 64;

/// Error of a BTF query.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    /// The BTF is damaged.
    #[error("its BTF is damaged: {0}")]
    Damaged(String),
    /// No function with this name.
    #[error("its BTF knows no function of that name")]
    NoFunction,
    /// Several functions with different prototypes; the value is their number.
    #[error("its BTF knows {0} functions of that name, and cannot tell which one is meant")]
    Ambiguous(usize),
    /// Two different types with the same name are requested; the text names them.
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

/// Prototype of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prototype {
    /// Name of the function.
    pub name: String,
    /// Return type.
    pub returns: TypeId,
    /// Parameters: name, if known, and type.
    pub parameters: Vec<(Option<String>, TypeId)>,
    /// True if the function takes variable arguments (`...`).
    pub variadic: bool,
}

/// A member of a struct or union.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Member name; `None` for an anonymous struct or union.
    pub name: Option<String>,
    /// Member type.
    pub type_id: TypeId,
    /// Offset from the start of the struct, in bits.
    pub bit_offset: u32,
    /// Size of a bit-field, in bits.
    pub bits: Option<u32>,
}

/// Kind of a type, without resolution of the types that it refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypeKind {
    /// `void`.
    Void,
    /// Integer, boolean or character type.
    Int {
        /// C name: `unsigned int`, `_Bool`, ...
        name: String,
        /// Size, in bytes.
        size: usize,
        /// True for a signed type.
        signed: bool,
    },
    /// A floating-point type.
    Float(String),
    /// A pointer.
    Pointer(TypeId),
    /// Array: element type and number of elements.
    Array(TypeId, usize),
    /// A struct or union.
    Composite {
        /// True for a union.
        union: bool,
        /// Tag, if present.
        name: Option<String>,
        /// Size, in bytes.
        size: usize,
        /// Members.
        members: Vec<Member>,
    },
    /// An enumeration.
    Enum {
        /// Tag, if present.
        name: Option<String>,
        /// Size, in bytes.
        size: usize,
        /// True if the values are signed.
        signed: bool,
        /// Names and values; unsigned 64-bit values are stored with the same bits.
        values: Vec<(String, i64)>,
    },
    /// Struct or union declared without a definition.
    Forward {
        /// True for a union.
        union: bool,
        /// Tag.
        name: String,
    },
    /// Typedef: name and target type.
    Typedef(String, TypeId),
    /// `const`: qualified type.
    Const(TypeId),
    /// `restrict` or a type tag: qualified type.
    Qualified(TypeId),
    /// `volatile`: qualified type.
    Volatile(TypeId),
    /// A function type.
    Function(Prototype),
    /// Not a C type (variable, section, tag).
    Other,
}

/// Types of a kernel, optionally with those of some modules.
///
/// Type ids of the kernel are unchanged. Each module numbers its types from the end of the kernel's ids, so the upper
/// bits of a module's type id contain the number of the module.
pub struct Types {
    pub(crate) btf: Btf,
    /// BTF of further modules of the same kernel.
    others: Vec<Btf>,
}

/// First bit of the module number in a type id: 64 million types, and 63 modules besides the first.
const MODULE_SHIFT: u32 = 26;

/// Types of the kernel and one module, with the ids of that module.
#[derive(Clone, Copy)]
struct View<'a> {
    btf: &'a Btf,
    number: u32,
}

impl View<'_> {
    /// First type id of the module.
    fn own(self) -> u32 {
        self.btf.split().map_or(0, |split| split.type_id_range().0)
    }

    /// Converts a type id of this view to a type id for all views.
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
    /// Parses raw BTF (the content of a `.BTF` section).
    ///
    /// # Errors
    /// The bytes are not BTF.
    pub fn parse(bytes: &[u8]) -> Result<Self, BtfError> {
        Ok(Self::of(Btf::from_bytes(bytes)?))
    }

    /// Parses the BTF of a module, which refers to the BTF of its kernel (split BTF). The result has the types of both.
    ///
    /// # Errors
    /// The bytes are not BTF, or the module belongs to another kernel.
    pub fn parse_split(bytes: &[u8], base: &Self) -> Result<Self, BtfError> {
        Ok(Self::of(Btf::from_split_bytes(bytes, &base.btf)?))
    }

    pub(crate) fn of(btf: Btf) -> Self {
        Self { btf, others: Vec::new() }
    }

    /// Adds the types of another module of the same kernel.
    ///
    /// # Errors
    /// There are already 63 added modules.
    pub fn join(&mut self, other: Self) -> Result<(), BtfError> {
        if self.others.len() + 1 >= 1 << (u32::BITS - MODULE_SHIFT) {
            return Err(BtfError::Damaged("types of more than 63 modules".to_owned()));
        }
        self.others.push(other.btf);
        Ok(())
    }

    /// Views: the kernel with the first module, if present, then the kernel with each further module.
    fn views(&self) -> impl Iterator<Item = View<'_>> {
        std::iter::once(&self.btf).chain(&self.others).zip(0..).map(|(btf, number)| View { btf, number })
    }

    /// View and local id of a type id.
    fn view(&self, id: TypeId) -> Result<(View<'_>, u32), BtfError> {
        let number = id >> MODULE_SHIFT;
        let view = self.views().find(|view| view.number == number);
        let view = view.ok_or_else(|| BtfError::Damaged(format!("there is no type with the id {id:#x}")))?;
        Ok((view, id & ((1 << MODULE_SHIFT) - 1)))
    }

    /// Ids of the types with this name that satisfy `wanted`.
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

    /// Prototype of the function `name`; functions of modules take precedence.
    ///
    /// # Errors
    /// The function does not exist, or has several different prototypes.
    pub fn function(&self, name: &str) -> Result<Prototype, BtfError> {
        let mut functions = self.functions(name)?;
        let own = self.views().next().map_or(0, View::own);
        if own > 0 && functions.iter().any(|id| *id >= own) {
            functions.retain(|id| *id >= own);
        }
        self.only_prototype(name, functions)
    }

    /// Prototype of a function of one object: of the kernel if `module` is `None`, else of the module with this index, in
    /// the order in which the types were added (0, 1, ...).
    ///
    /// # Errors
    /// The object has no function with this name, or several with different prototypes.
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

    /// Common prototype of all these functions.
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

    /// Ids of the structs and unions with this name.
    ///
    /// # Errors
    /// The BTF is damaged.
    pub fn composites(&self, name: &str) -> Result<Vec<TypeId>, BtfError> {
        self.named(name, |item| matches!(item, Type::Struct(_) | Type::Union(_)))
    }

    /// Name and id of all named structs and unions; for a module, only its own. A type without a tag has the name of its
    /// typedef.
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

    /// Values of the enumerators with this name, without duplicates. Several files of the kernel may have one of the name.
    ///
    /// # Errors
    /// The BTF is damaged.
    pub fn enumerators(&self, name: &str) -> Result<Vec<i64>, BtfError> {
        let mut found = Vec::new();
        for view in self.views() {
            // The kernel's types are in each view; of a further module only its own are new.
            let (own, end) = view.btf.split().unwrap_or(view.btf.base()).type_id_range();
            for id in if view.number == 0 { 1 } else { own }..=end {
                if !matches!(view.btf.resolve_type_by_id(id)?, Type::Enum(_) | Type::Enum64(_)) {
                    continue;
                }
                let TypeKind::Enum { values, .. } = self.kind(view.out(id))? else { continue };
                for (_, value) in values.into_iter().filter(|(other, _)| other == name) {
                    if !found.contains(&value) {
                        found.push(value);
                    }
                }
            }
        }
        Ok(found)
    }

    /// Id of the typedef with this name, if present.
    ///
    /// # Errors
    /// The BTF is damaged.
    pub fn typedef(&self, name: &str) -> Result<Option<TypeId>, BtfError> {
        Ok(self.named(name, |item| matches!(item, Type::Typedef(_)))?.first().copied())
    }

    /// Kind of a type, without resolution of the types that it refers to.
    ///
    /// # Errors
    /// The type does not exist.
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

    /// Type without `const`, `volatile`, `restrict`, tags and typedefs.
    ///
    /// # Errors
    /// The type does not exist, or the chain of references is too long.
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

    /// Prototype as C text, without a semicolon: `int f(struct x *p, ...)`.
    pub fn c_prototype(&self, prototype: &Prototype) -> String {
        CText::new(self).prototype(prototype)
    }
}
