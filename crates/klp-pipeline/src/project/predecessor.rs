// SPDX-License-Identifier: GPL-2.0-or-later
//! Comparison of a stream with the version before it.
//!
//! The kernel compares states alone (`klp_is_patch_compatible()` in `kernel/livepatch/state.c`). A fix or function that a version loses,
//! and a shadow variable of another type, it does not see: the fault is open again, or memory is overwritten.

use std::collections::{BTreeMap, BTreeSet};

use klp_base::cache;
use klp_base::files::read_text;
use syn::parse::{Parse, ParseStream};
use syn::visit::Visit;
use syn::visit_mut::VisitMut;

use super::{Fix, Target};

/// Reason why `target` must not follow `before`, the stream `name`. `dropped`: fixes and functions that it leaves out on purpose.
pub(super) fn compare(
    target: &Target,
    name: &str,
    before: &Target,
    dropped: &[String],
) -> Result<(), String> {
    if target.version <= before.version {
        return Err(format!("`predecessor`: {name} has a version and release that are not lower"));
    }
    if let Some(module) = target.module.as_ref().filter(|_| target.module == before.module) {
        return Err(format!(
            "`module`: {name}, which is loaded before, has the name {module} too, and the kernel loads no second module of a \
             name; put the version into it"
        ));
    }
    states(target, name, before)?;
    if target.replace {
        nothing_lost(target, name, before, dropped)?;
    }
    shadows(target, name, before)
}

fn states(target: &Target, name: &str, before: &Target) -> Result<(), String> {
    for old in before.states() {
        let new = target.states().find(|state| state.id == old.id);
        match new {
            Some(new) if new.version >= old.version => {}
            Some(new) => {
                return Err(format!(
                    "`predecessor`: {name} has state `{}` (id {}) in version {}, and this stream supports only version {}: \
                     the kernel would refuse it with EINVAL",
                    old.name, old.id, old.version, new.version
                ));
            }
            None if target.replace => {
                return Err(format!(
                    "`predecessor`: {name} has state `{}` (id {}), which no fix of this stream supports: the kernel \
                     would refuse it with EINVAL; keep the state in a fix, and undo in its callbacks what it stands for",
                    old.name, old.id
                ));
            }
            None => {}
        }
    }
    Ok(())
}

/// Checks that the stream has all fixes, functions and CVEs of the version before it, apart from those that it drops on purpose.
fn nothing_lost(target: &Target, name: &str, before: &Target, dropped: &[String]) -> Result<(), String> {
    let fixes = |target: &Target| target.fixes.iter().map(|fix| fix.name.clone()).collect::<BTreeSet<_>>();
    let functions = |target: &Target| -> BTreeMap<String, String> {
        let of = |fix: &Fix| {
            fix.patch.iter().map(|item| (item.symbol.to_string(), fix.name.clone())).collect::<Vec<_>>()
        };
        target.fixes.iter().flat_map(of).collect()
    };
    let cves = |target: &Target| -> BTreeMap<String, String> {
        let of = |fix: &Fix| fix.cves.iter().map(|cve| (cve.clone(), fix.name.clone())).collect::<Vec<_>>();
        target.fixes.iter().flat_map(of).collect()
    };
    let is_dropped = |what: &str, fix: &str| dropped.iter().any(|name| name == what || name == fix);
    let instead = |what: &str| {
        format!(
            "the version that replaces {name} opens it again; keep it, or name it in `dropped = [\"{what}\"]`"
        )
    };
    let (old, new) = (cves(before), cves(target));
    if let Some((cve, _)) = old.iter().find(|(cve, fix)| !new.contains_key(*cve) && !is_dropped(cve, fix)) {
        return Err(format!(
            "`fixes`: {name} repairs {cve}, and no fix of this stream does: {}",
            instead(cve)
        ));
    }
    let (old, new) = (functions(before), functions(target));
    if let Some((function, fix)) =
        old.iter().find(|(name, fix)| !new.contains_key(*name) && !is_dropped(name, fix))
    {
        return Err(format!(
            "`fixes`: fix `{fix}` of {name} replaces {function}, and no fix of this stream does: {}",
            instead(function)
        ));
    }
    let (old, new) = (fixes(before), fixes(target));
    let known = |what: &String| {
        old.contains(what) || cves(before).contains_key(what) || functions(before).contains_key(what)
    };
    if let Some(unknown) = dropped.iter().find(|what| !known(what)) {
        return Err(format!("`dropped`: {name} has no fix, function or CVE `{unknown}`"));
    }
    if let Some(kept) = dropped.iter().find(|what| new.contains(*what)) {
        return Err(format!("`dropped`: `{kept}` is one of the stream's `fixes`"));
    }
    Ok(())
}

/// Checks that shadow variables of one id have the type that the version before it gave them: it may have left some.
fn shadows(target: &Target, name: &str, before: &Target) -> Result<(), String> {
    let (old, new) = (declared(before)?, declared(target)?);
    for (id, (was, _)) in &old {
        if let Some((is, fix)) = new.get(id).filter(|(is, _)| is != was) {
            return Err(format!(
                "`fixes`: fix `{fix}` gives the shadow variables of id {id:#x} the type `{is}`, and in {name} it is `{was}`: variables of \
                 {name} stay when it is replaced, and are taken for the new type; give the new type another id"
            ));
        }
    }
    Ok(())
}

/// Types of the shadow variables that the fixes declare, without the paths of the types, and the fixes, by id.
fn declared(target: &Target) -> Result<BTreeMap<u64, (String, String)>, String> {
    let mut all = BTreeMap::new();
    for fix in &target.fixes {
        for shadow in shadows_of(fix)? {
            all.insert(shadow.id, (shadow.kind, fix.name.clone()));
        }
    }
    Ok(all)
}

/// Declaration `klp::shadow!(NAME: TYPE, id = ID)`.
struct Shadow {
    id: u64,
    kind: String,
}

impl Parse for Shadow {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        input.call(syn::Attribute::parse_outer)?;
        input.parse::<syn::Visibility>()?;
        input.parse::<syn::Ident>()?;
        input.parse::<syn::Token![:]>()?;
        let kind: syn::Type = input.parse()?;
        input.parse::<syn::Token![,]>()?;
        input.parse::<syn::Ident>()?;
        input.parse::<syn::Token![=]>()?;
        let id: syn::LitInt = input.parse()?;
        Ok(Self { id: id.base10_parse()?, kind: last_segments(&kind) })
    }
}

/// Text of a type with the last part of each path alone: how a type is imported makes no difference.
fn last_segments(kind: &syn::Type) -> String {
    struct Shorten;
    impl VisitMut for Shorten {
        fn visit_path_mut(&mut self, path: &mut syn::Path) {
            syn::visit_mut::visit_path_mut(self, path);
            if let Some(last) = path.segments.last().cloned() {
                path.leading_colon = None;
                path.segments = std::iter::once(last).collect();
            }
        }
    }
    let mut kind = kind.clone();
    Shorten.visit_type_mut(&mut kind);
    quote::quote!(#kind).to_string()
}

/// Shadow variables that the source files of a fix declare.
fn shadows_of(fix: &Fix) -> Result<Vec<Shadow>, String> {
    struct Found(Vec<Shadow>);
    impl<'ast> Visit<'ast> for Found {
        fn visit_macro(&mut self, found: &'ast syn::Macro) {
            if found.path.segments.last().is_some_and(|last| last.ident == "shadow") {
                // The compiler reports a wrong declaration.
                self.0.extend(found.parse_body::<Shadow>());
            }
        }
    }
    let mut found = Found(Vec::new());
    let files = cache::walk(&fix.dir.join("src")).map_err(|error| error.to_string())?;
    for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "rs")) {
        let text = read_text(file).map_err(|error| error.to_string())?;
        // A file that does not parse does not compile.
        if let Ok(file) = syn::parse_file(&text) {
            found.visit_file(&file);
        }
    }
    Ok(found.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_compared_without_their_paths() {
        let kind = |text: &str| last_segments(&syn::parse_str(text).unwrap());
        assert_eq!(kind("core::sync::atomic::AtomicU32"), kind("AtomicU32"));
        assert_eq!(kind("[core::sync::atomic::AtomicU64; 8]"), kind("[AtomicU64; 8]"));
        assert_eq!(kind("Option<&'static core::cell::Cell<u8>>"), kind("Option<&'static Cell<u8>>"));
        assert_ne!(kind("[AtomicU64; 8]"), kind("[AtomicU64; 4]"));
        let shadow: Shadow = syn::parse_str("pub COUNT: AtomicU32, id = 0x10").unwrap();
        assert_eq!((shadow.id, shadow.kind.as_str()), (16, "AtomicU32"));
    }
}
