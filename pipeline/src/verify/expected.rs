// SPDX-License-Identifier: GPL-2.0-or-later
//! What is expected of a module: facts of the kernel, and what stage 1 resolved.

use std::collections::{BTreeMap, BTreeSet};

use klp_format::KlpSymbol;
use klp_module::KlpLayout;

use crate::build::{Built, Stage};
use crate::error::{Error, read};
use crate::exports;
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
    /// For each module that it changes, the modules that are loaded whenever that one is.
    pub needs: BTreeMap<String, BTreeSet<String>>,
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
                needs: resolved.needs.clone(),
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
        let exports = exports::of(tree)
            .map_err(|error| error.to_string())
            .map(|exports| exports.into_iter().map(|(name, export)| (name, export.checksum)).collect());
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
            layout: layout.for_reader(),
            patch: None,
        }
    }
}
