// SPDX-License-Identifier: GPL-2.0-or-later
//! C text of types.

use std::cell::Cell;

use super::{DEPTH, Prototype, TypeId, TypeKind, Types};

/// Maximum number of types in one text; a longer text means damaged BTF with a cycle.
const STEPS: u32 = 10_000;

/// State of one text.
pub(super) struct CText<'a> {
    types: &'a Types,
    steps: Cell<u32>,
}

impl<'a> CText<'a> {
    pub(super) fn new(types: &'a Types) -> Self {
        Self { types, steps: Cell::new(STEPS) }
    }

    /// Prototype without a semicolon: `int f(struct x *p, ...)`.
    pub(super) fn prototype(&self, prototype: &Prototype) -> String {
        let declarator = format!("{}({})", prototype.name, self.parameters(prototype, 0));
        self.declaration(prototype.returns, declarator, 0)
    }

    fn parameters(&self, prototype: &Prototype, depth: u32) -> String {
        let mut parameters: Vec<String> = prototype
            .parameters
            .iter()
            .map(|(name, id)| self.declaration(*id, name.clone().unwrap_or_default(), depth + 1))
            .collect();
        if prototype.variadic {
            parameters.push("...".to_owned());
        }
        if parameters.is_empty() { "void".to_owned() } else { parameters.join(", ") }
    }

    /// C declaration of `declarator` with the type `id`.
    fn declaration(&self, id: TypeId, declarator: String, depth: u32) -> String {
        let base =
            |name: &str| if declarator.is_empty() { name.to_owned() } else { format!("{name} {declarator}") };
        let steps = self.steps.get();
        if depth > DEPTH || steps == 0 {
            return base("?");
        }
        self.steps.set(steps - 1);
        let Ok(kind) = self.types.kind(id) else { return base("?") };
        match kind {
            TypeKind::Void => base("void"),
            TypeKind::Int { name, .. } => base(if name == "_Bool" { "bool" } else { &name }),
            TypeKind::Float(name) | TypeKind::Typedef(name, _) => base(&name),
            TypeKind::Pointer(target) => {
                let pointer = format!("*{declarator}");
                let bracketed =
                    matches!(self.types.kind(target), Ok(TypeKind::Function(_) | TypeKind::Array(..)));
                self.declaration(target, if bracketed { format!("({pointer})") } else { pointer }, depth + 1)
            }
            TypeKind::Array(element, length) => {
                self.declaration(element, format!("{declarator}[{length}]"), depth + 1)
            }
            TypeKind::Composite { union, name, .. } => {
                let tag = name.unwrap_or_else(|| "{ ... }".to_owned());
                base(&format!("{} {tag}", if union { "union" } else { "struct" }))
            }
            TypeKind::Enum { name, .. } => {
                base(&format!("enum {}", name.unwrap_or_else(|| "{ ... }".to_owned())))
            }
            TypeKind::Forward { union, name } => {
                base(&format!("{} {name}", if union { "union" } else { "struct" }))
            }
            TypeKind::Const(target) => {
                if matches!(self.types.kind(target), Ok(TypeKind::Pointer(_))) {
                    return self.declaration(target, format!("const {declarator}"), depth + 1);
                }
                format!("const {}", self.declaration(target, declarator, depth + 1))
            }
            TypeKind::Volatile(target) => {
                format!("volatile {}", self.declaration(target, declarator, depth + 1))
            }
            TypeKind::Qualified(target) => self.declaration(target, declarator, depth + 1),
            TypeKind::Function(prototype) => {
                let parameters = self.parameters(&prototype, depth + 1);
                self.declaration(prototype.returns, format!("{declarator}({parameters})"), depth + 1)
            }
            TypeKind::Other => base("?"),
        }
    }
}
