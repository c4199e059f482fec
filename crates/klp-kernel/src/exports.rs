// SPDX-License-Identifier: GPL-2.0-or-later
//! Symbols that the kernel and its modules export to modules: the only parser of `Module.symvers`.
//!
//! Source of the format: `Documentation/kbuild/modules.rst`, section "Symbols and Module.symvers".

use std::collections::BTreeMap;

use klp_base::files::read_text;

use crate::error::Error;
use crate::tree::KernelTree;

/// One exported symbol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// Checksum of the symbol's type; 0 if the kernel is built without CONFIG_MODVERSIONS.
    pub checksum: u32,
    /// `vmlinux`, or the path of a module without `.ko`.
    pub object: String,
    /// Namespace that a module must import to use the symbol.
    pub namespace: Option<String>,
}

impl Export {
    /// Name of the object in the kernel: `snd_pcm` for `sound/core/snd-pcm`.
    pub fn object_name(&self) -> String {
        self.object.rsplit('/').next().unwrap_or_default().replace('-', "_")
    }

    /// True if any module may use the symbol after importing its namespace. A namespace with the prefix
    /// `module:` lists the only modules that may use it (`verify_module_namespace` in
    /// `kernel/module/main.c`).
    pub fn is_for_all(&self) -> bool {
        !self.namespace.as_deref().is_some_and(|name| name.starts_with("module:"))
    }
}

/// Exported symbols by name.
pub type Exports = BTreeMap<String, Export>;

/// Parses `Module.symvers`: checksum, symbol, object, kind of export and namespace, separated by tabs.
///
/// # Errors
/// A line has another form, or the text is empty.
pub fn parse(text: &str) -> Result<Exports, String> {
    let mut exports = Exports::new();
    for (number, text) in (1..).zip(text.lines()) {
        let (name, export) = line(text).ok_or_else(|| {
            format!("line {number} is not `checksum, symbol, object, kind, namespace`: {text:?}")
        })?;
        if exports.insert(name.clone(), export).is_some() {
            return Err(format!("line {number}: {name} is there twice"));
        }
    }
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("its last line has no end: it is cut off".to_owned());
    }
    if exports.is_empty() { Err("it is empty".to_owned()) } else { Ok(exports) }
}

fn line(text: &str) -> Option<(String, Export)> {
    let fields: Vec<&str> = text.split('\t').collect();
    let [checksum, name, object, kind, namespace] = fields[..] else { return None };
    let digits = checksum.strip_prefix("0x").filter(|digits| digits.len() == 8)?;
    let hexadecimal = digits.chars().all(|c| c.is_ascii_hexdigit());
    let symbol = |c: char| c.is_ascii_alphanumeric() || "_.$".contains(c);
    let good = hexadecimal
        && !name.is_empty()
        && name.chars().all(symbol)
        && !object.is_empty()
        && object.chars().all(|c| c.is_ascii_graphic())
        && ["EXPORT_SYMBOL", "EXPORT_SYMBOL_GPL"].contains(&kind)
        && namespace.chars().all(|c| c.is_ascii_graphic());
    if !good {
        return None;
    }
    // Newer kernels write the namespace in quotes.
    let namespace = Some(namespace.trim_matches('"')).filter(|name| !name.is_empty());
    let export = Export {
        checksum: u32::from_str_radix(digits, 16).ok()?,
        object: object.to_owned(),
        namespace: namespace.map(ToOwned::to_owned),
    };
    Some((name.to_owned(), export))
}

/// Reads the exported symbols of a kernel.
///
/// # Errors
/// The file is missing or damaged.
pub fn of(tree: &KernelTree) -> Result<Exports, Error> {
    let file = tree.symvers();
    parse(&read_text(&file)?)
        .map_err(|message| Error::Config { file, message: format!("{message}; fetch the kernel again") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symvers_are_parsed_and_damage_is_reported() {
        let text = "0xf7370f56\tsystem_state\tvmlinux\tEXPORT_SYMBOL\t\n\
                    0x00000001\tx\tsound/core/snd-pcm\tEXPORT_SYMBOL_GPL\tNS\n\
                    0x00000000\ty\tarch/x86/kvm/kvm\tEXPORT_SYMBOL_GPL\tmodule:kvm-intel\n";
        let exports = parse(text).unwrap();
        let x = &exports["x"];
        assert_eq!(exports["system_state"].checksum, 0xf737_0f56);
        assert_eq!((x.object_name().as_str(), x.namespace.as_deref()), ("snd_pcm", Some("NS")));
        assert!(x.is_for_all() && !exports["y"].is_for_all());
        for (text, says) in [
            ("", "empty"),
            ("0x00000001\tx\tvmlinux\tEXPORT_SYMBOL\t\ngarbage\n", "line 2"),
            ("00000001\tx\tvmlinux\tEXPORT_SYMBOL\t\n", "line 1"),
            ("0x0001\tx\tvmlinux\tEXPORT_SYMBOL\t\n", "line 1"),
            ("0x00000001\tx\tvmlinux\n", "line 1"),
            ("0x00000001\tx\tvmlinux\tEXPORT_SYMBOL\n", "line 1"),
            ("0x00000001\tx y\tvmlinux\tEXPORT_SYMBOL\t\n", "line 1"),
            ("0x00000001\tx\t\tEXPORT_SYMBOL\t\n", "line 1"),
            ("0x00000001\tx\tvmlinux\tNS\tEXPORT_SYMBOL\n", "line 1"),
            ("0x00000001\tx\tvmlinux\tEXPORT_SYMBOL\t\t\n", "line 1"),
            ("0x00000001\tx\tvmlinux\tEXPORT_SYMBOL\t\n\n", "line 2"),
            ("0x00000001\tx\tvmlinux\tEXPORT_SYMBOL\t", "cut off"),
            (
                "0x00000001\tx\tvmlinux\tEXPORT_SYMBOL\t\n0x00000002\tx\tvmlinux\tEXPORT_SYMBOL\t\n",
                "line 2: x is there twice",
            ),
        ] {
            assert!(parse(text).unwrap_err().contains(says), "{text:?}");
        }
    }
}
