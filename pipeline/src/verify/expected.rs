// SPDX-License-Identifier: GPL-2.0-or-later
//! What is expected of a module: facts of the kernel, and what stage 1 resolved.

use std::collections::BTreeMap;

use klp_format::KlpSymbol;
use klp_module::KlpLayout;

use crate::build::{Built, Stage};
use crate::error::{Error, read, read_text};
use crate::ftrace::Sites;
use crate::image::KernelImage;
use crate::kernel::{Arch, KernelTree};
use crate::resolve::{Layout, Resolved};

/// What is expected of a module. Plain facts; those that could not be had carry the reason, which becomes a finding.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Id of the kernel, for messages.
    pub kernel: String,
    /// What the kernel runs on.
    pub arch: Arch,
    /// The version magic in the kernel's image.
    pub vermagic: String,
    /// Symbols that the kernel and its modules export, with their checksums (`Module.symvers`).
    pub exports: Result<BTreeMap<String, u32>, String>,
    /// Whether modules carry the checksums of what they import (`CONFIG_MODVERSIONS`).
    pub modversions: bool,
    /// Bytes of padding before each function; none where the kernel does not use any.
    pub call_padding: Result<Option<u64>, String>,
    /// Whether `__pfx_` symbols name the padding (`CONFIG_PREFIX_SYMBOLS`).
    pub prefix_symbols: bool,
    /// Whether the kernel runs with indirect branch tracking (`CONFIG_X86_KERNEL_IBT`).
    pub ibt: bool,
    /// Whether it runs with branch target identification (`CONFIG_ARM64_BTI_KERNEL`).
    pub bti: bool,
    /// The sites by which ftrace hooks into functions.
    pub sites: Sites,
    /// Layout of the livepatch tables' structs.
    pub layout: KlpLayout,
    /// What the module should be; unknown where only its file is at hand.
    pub patch: Option<ExpectedPatch>,
}

/// What a module should be, as stage 1 resolved it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExpectedPatch {
    /// Its name.
    pub module: String,
    /// The functions that it replaces.
    pub functions: Vec<KlpSymbol>,
    /// The objects for which it has callbacks.
    pub callbacks: Vec<String>,
    /// The states that it supports: id and version.
    pub states: Vec<(u64, u32)>,
    /// Whether it takes the place of the patches that are loaded.
    pub replace: bool,
}

impl Expected {
    /// What is expected of the module that stage 1 resolved.
    pub fn of(tree: &KernelTree, resolved: &Resolved) -> Self {
        Self {
            patch: Some(ExpectedPatch {
                module: resolved.module.clone(),
                functions: resolved.functions.iter().map(|function| function.symbol.clone()).collect(),
                callbacks: resolved.callbacks.iter().map(|(_, object)| object.clone()).collect(),
                states: resolved.states.iter().map(|state| (state.id, state.version)).collect(),
                replace: resolved.replace,
            }),
            ..Self::of_kernel(tree, &resolved.vermagic, resolved.layout)
        }
    }

    /// What is expected of a module that was built, as its build directory has it.
    ///
    /// # Errors
    /// Stage 1's result cannot be read.
    pub fn of_build(tree: &KernelTree, built: &Built) -> Result<Self, Error> {
        let file = built.dir.join(Stage::Resolve.dir_name()).join("resolved.json");
        let resolved: Resolved = serde_json::from_slice(&read(&file)?)
            .map_err(|error| Error::Intermediate { file, message: error.to_string() })?;
        Ok(Self::of(tree, &resolved))
    }

    /// What is expected of any live patch for a kernel, where nothing is known of it but its file.
    ///
    /// # Errors
    /// The kernel's types know no live patching.
    pub fn of_any(tree: &KernelTree, image: &KernelImage) -> Result<Self, Error> {
        let layout = Layout::read(&image.types)
            .map_err(|error| Error::Image { path: tree.image.clone(), message: error.to_string() })?;
        Ok(Self::of_kernel(tree, &image.facts.vermagic, layout))
    }

    fn of_kernel(tree: &KernelTree, vermagic: &str, layout: Layout) -> Self {
        let config = &tree.config;
        let call_padding = match (config.is_on("CALL_PADDING"), config.call_padding()) {
            (true, None) => {
                Err("CONFIG_CALL_PADDING is set without a usable CONFIG_FUNCTION_PADDING_BYTES".to_owned())
            }
            (_, bytes) => Ok(bytes.map(u64::from)),
        };
        let exports = read_text(&tree.symvers())
            .map_err(|error| error.to_string())
            .and_then(|text| parse_symvers(&text).map_err(|error| format!("Module.symvers: {error}")));
        Self {
            kernel: tree.id.clone(),
            arch: tree.arch,
            vermagic: vermagic.to_owned(),
            exports,
            modversions: config.is_on("MODVERSIONS"),
            call_padding,
            prefix_symbols: config.is_on("PREFIX_SYMBOLS"),
            ibt: config.is_on("X86_KERNEL_IBT"),
            bti: config.is_on("ARM64_BTI_KERNEL"),
            sites: Sites::of(tree.arch, config),
            layout: layout.for_reader(),
            patch: None,
        }
    }
}

/// Reads `Module.symvers`: checksum, symbol, object, kind of export and namespace, separated by tabs
/// (`Documentation/kbuild/modules.rst`).
fn parse_symvers(text: &str) -> Result<BTreeMap<String, u32>, String> {
    let line = |(number, line): (usize, &str)| {
        let mut fields = line.split('\t');
        let crc = fields.next().and_then(|crc| u32::from_str_radix(crc.strip_prefix("0x")?, 16).ok());
        match (crc, fields.next(), fields.next()) {
            (Some(crc), Some(name), Some(_object)) if !name.is_empty() => Ok((name.to_owned(), crc)),
            _ => Err(format!("line {} is not `checksum, symbol, object, ...`: {line:?}", number + 1)),
        }
    };
    let exports: BTreeMap<String, u32> = text.lines().enumerate().map(line).collect::<Result<_, _>>()?;
    if exports.is_empty() { Err("it is empty".to_owned()) } else { Ok(exports) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symvers_are_read_and_damage_is_told() {
        let exports =
            parse_symvers("0xf7370f56\tsystem_state\tvmlinux\tEXPORT_SYMBOL\t\n0x00000001\tx\tm\tE\t\n");
        assert_eq!(
            exports.unwrap(),
            BTreeMap::from([("system_state".to_owned(), 0xf737_0f56), ("x".into(), 1)])
        );
        for (text, says) in [("", "empty"), ("0x1\tx\tvmlinux\ngarbage\n", "line 2"), ("1\tx\tv\n", "line 1")]
        {
            assert!(parse_symvers(text).unwrap_err().contains(says), "{text:?}");
        }
    }
}
