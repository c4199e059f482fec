// SPDX-License-Identifier: GPL-2.0-or-later
//! Comparison of an author's C prototype with the prototype in BTF.

use klp_image::{BtfError, Prototype, TypeId, TypeKind, Types};

use crate::project::CPrototype;

/// A C type as written: base type and pointers to it.
struct Written {
    base: Base,
    /// `const` flags of the base type, of the pointer to it, of the pointer to that pointer, and so on. The
    /// length is the number of pointers plus one.
    constant: Vec<bool>,
}

#[derive(PartialEq, Eq)]
enum Base {
    /// An integer, a floating-point type or `void`, in canonical spelling.
    Builtin(String),
    /// `struct`, `union` or `enum`, and the tag.
    Tagged(&'static str, String),
    Typedef(String),
}

/// True if two prototypes are equal for a C compiler. A prototype with complex parameters (for example
/// function pointers) must have exactly the text of BTF's prototype.
///
/// # Errors
/// BTF is damaged.
pub(super) fn same(types: &Types, said: &CPrototype, btf: &Prototype) -> Result<bool, BtfError> {
    let words = |text: &str| text.split_whitespace().collect::<String>();
    if words(&said.renamed("f"))
        == words(&types.c_prototype(&Prototype { name: "f".to_owned(), ..btf.clone() }))
    {
        return Ok(true);
    }
    let parameters = said.parameter_texts();
    if parameters.len() != btf.parameters.len() || said.is_variadic() != btf.variadic {
        return Ok(false);
    }
    let returns = (said.returns(), btf.returns);
    let pairs = parameters.into_iter().zip(btf.parameters.iter().map(|(_, id)| *id));
    for (text, id) in std::iter::once(returns).chain(pairs) {
        let Some(written) = written(text) else { return Ok(false) };
        if !matches(types, &written.base, &written.constant, id, true)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Parses a type with an optional parameter name after it.
fn written(text: &str) -> Option<Written> {
    if text.contains(['(', '.']) {
        return None;
    }
    let spaced = text.replace('*', " * ").replace('[', " [ ").replace(']', " ] ");
    let mut tokens = spaced.split_whitespace().peekable();
    let mut builtin: Vec<&str> = Vec::new();
    let mut base = None;
    let mut constant = vec![false];
    while let Some(token) = tokens.next() {
        match token {
            "const" => *constant.last_mut()? = true,
            "*" => constant.push(false),
            "[" => {
                // An array parameter is a pointer, but a second dimension is not supported.
                tokens.by_ref().find(|token| *token == "]")?;
                if tokens.peek().is_some() {
                    return None;
                }
                constant.push(false);
            }
            "volatile" | "restrict" | "__restrict" | "static" | "inline" | "noinline" | "asmlinkage" => {}
            "__user" | "__iomem" | "__rcu" | "__percpu" | "__force" | "__kernel" | "__must_check" => {}
            "struct" | "union" | "enum" if base.is_none() && builtin.is_empty() => {
                let kind = ["struct", "union", "enum"].into_iter().find(|kind| *kind == token)?;
                base = Some(Base::Tagged(kind, tokens.next()?.to_owned()));
            }
            "void" | "char" | "short" | "int" | "long" | "signed" | "unsigned" | "_Bool" | "bool"
            | "float" | "double" | "__int128"
                if base.is_none() =>
            {
                builtin.push(token);
            }
            _ if base.is_none() && builtin.is_empty() => base = Some(Base::Typedef(token.to_owned())),
            // The parameter's name.
            _ if tokens.peek().is_none_or(|next| *next == "[") => {}
            _ => return None,
        }
    }
    let base = match base {
        Some(base) => base,
        None => Base::Builtin(spelled(&builtin)?),
    };
    Some(Written { base, constant })
}

/// Canonical spelling of an integer type.
fn spelled(words: &[&str]) -> Option<String> {
    let count = |wanted: &str| words.iter().filter(|word| **word == wanted).count();
    let unsigned = count("unsigned") > 0;
    let named = ["void", "float", "double", "__int128"].into_iter().find(|name| count(name) > 0);
    let name = match named {
        _ if words.is_empty() => return None,
        Some(name) => name,
        None if count("_Bool") + count("bool") > 0 => "bool",
        None if count("char") > 0 && count("signed") > 0 => "signed char",
        None if count("char") > 0 => "char",
        None if count("short") > 0 => "short",
        None if count("long") > 1 => "long long",
        None if count("long") > 0 => "long",
        None => "int",
    };
    Some(if unsigned { format!("unsigned {name}") } else { name.to_owned() })
}

/// True if a written type equals the type with this id. With `top`, the outermost `const` is ignored, because
/// it does not matter to the caller.
fn matches(types: &Types, base: &Base, constant: &[bool], id: TypeId, top: bool) -> Result<bool, BtfError> {
    let Some((last, inner)) = constant.split_last() else { return Ok(false) };
    let (is_constant, id) = unqualified(types, id)?;
    if !top && is_constant != *last {
        return Ok(false);
    }
    let kind = types.kind(id)?;
    if let (TypeKind::Pointer(target), false) = (&kind, inner.is_empty()) {
        return matches(types, base, inner, *target, false);
    }
    if !inner.is_empty() {
        let TypeKind::Typedef(_, target) = kind else { return Ok(false) };
        // `const` is already compared.
        return matches(types, base, constant, target, true);
    }
    Ok(match (base, kind) {
        (Base::Typedef(name), TypeKind::Typedef(other, _)) if *name == other => true,
        (Base::Typedef(name), _) => match types.typedef(name)? {
            Some(typedef) => alike(types, typedef, id)?,
            None => false,
        },
        (_, TypeKind::Typedef(_, target)) => matches(types, base, constant, target, true)?,
        (Base::Builtin(name), TypeKind::Void) => name == "void",
        (Base::Builtin(name), TypeKind::Int { name: other, .. } | TypeKind::Float(other)) => {
            spelled(&other.split_whitespace().collect::<Vec<_>>()).as_ref() == Some(name)
        }
        (Base::Tagged(kind, tag), other) => {
            tag_of(&other).is_some_and(|found| found == (*kind, tag.as_str()))
        }
        _ => false,
    })
}

fn tag_of(kind: &TypeKind) -> Option<(&'static str, &str)> {
    let of_union = |union: bool| if union { "union" } else { "struct" };
    match kind {
        TypeKind::Composite { union, name: Some(name), .. } => Some((of_union(*union), name)),
        TypeKind::Forward { union, name } => Some((of_union(*union), name)),
        TypeKind::Enum { name: Some(name), .. } => Some(("enum", name)),
        _ => None,
    }
}

/// A type without its qualifiers, and a flag for `const`.
fn unqualified(types: &Types, mut id: TypeId) -> Result<(bool, TypeId), BtfError> {
    let mut constant = false;
    // `bare` limits the length of the chain.
    types.bare(id)?;
    loop {
        match types.kind(id)? {
            TypeKind::Const(target) => (constant, id) = (true, target),
            TypeKind::Qualified(target) | TypeKind::Volatile(target) => id = target,
            _ => return Ok((constant, id)),
        }
    }
}

/// True if two types are equal after their typedefs are removed.
fn alike(types: &Types, first: TypeId, second: TypeId) -> Result<bool, BtfError> {
    let (mut first, mut second) = (first, second);
    for _ in 0..64 {
        (first, second) = (types.bare(first)?, types.bare(second)?);
        if first == second {
            return Ok(true);
        }
        match (types.kind(first)?, types.kind(second)?) {
            (TypeKind::Pointer(a), TypeKind::Pointer(b)) => (first, second) = (a, b),
            (TypeKind::Int { name: a, .. }, TypeKind::Int { name: b, .. }) => return Ok(a == b),
            (a, b) => return Ok(tag_of(&a).is_some() && tag_of(&a) == tag_of(&b)),
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_have_one_spelling() {
        let spell = |text: &str| spelled(&text.split_whitespace().collect::<Vec<_>>()).unwrap();
        for (one, other) in [
            ("unsigned long", "long unsigned int"),
            ("unsigned", "unsigned int"),
            ("long long int", "signed long long"),
            ("short int", "short"),
            ("_Bool", "bool"),
        ] {
            assert_eq!(spell(one), spell(other));
        }
        for (one, other) in [("char", "signed char"), ("long", "long long"), ("int", "unsigned int")] {
            assert_ne!(spell(one), spell(other));
        }
    }

    #[test]
    fn written_types_have_their_parts() {
        let read = |text: &str| written(text).map(|found| found.constant);
        assert_eq!(read("const struct x *const *p"), Some(vec![true, true, false]));
        assert_eq!(read("char *argv[]"), Some(vec![false, false, false]));
        assert_eq!(read("unsigned long flags"), Some(vec![false]));
        assert_eq!(read("u64 const __user *p"), Some(vec![true, false]));
        assert!(read("int (*f)(int)").is_none() && read("int a[2][3]").is_none() && read("u8 a b").is_none());
    }
}
