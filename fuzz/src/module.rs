// SPDX-License-Identifier: GPL-2.0-or-later
//! Fuzz target: module files that the loader and the preflight read.

#![allow(unreachable_pub, dead_code, reason = "shared by several programs, none of which uses all of it")]

use klp_module::{KlpLayout, Module};

/// Layout of Debian's kernel 6.12.117.
pub const LAYOUT: KlpLayout = KlpLayout {
    func_size: 152,
    func_old_name: 0,
    func_new_func: 8,
    func_old_sympos: 16,
    object_size: 168,
    object_name: 0,
    object_funcs: 8,
    object_callbacks: 16,
    patch_size: 200,
    patch_mod: 0,
    patch_objs: 8,
    patch_replace: 24,
    patch_states: 16,
    state_size: 24,
    state_id: 0,
    state_version: 8,
};

/// Calls every query of a module.
pub fn module(data: &[u8]) {
    const LIMIT: usize = 1 << 20;
    if let Ok(std::borrow::Cow::Owned(unpacked)) = klp_module::unpack(data, LIMIT) {
        assert!(unpacked.len() <= LIMIT);
    }
    let _ = klp_module::build_id_of_notes(data);
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = klp_module::Manifest::from_modinfo(text);
    }
    let Ok(module) = Module::parse(data) else { return };
    let _ = (module.build_id(), module.manifest().is_ok(), module.params().is_ok());
    let _ =
        (module.name().is_ok(), module.is_livepatch(), module.vermagic(), module.has_appended_signature());
    assert!(module.modinfo().count() <= data.len());
    assert!(module.klp_symbols().count() <= module.symbols().len());
    assert!(module.unconverted_symbols().count() <= module.symbols().len());
    for relocation in module.relocations() {
        assert!(relocation.symbol < module.symbols().len() && relocation.target < module.sections().len());
    }
    for relocation in module.relocations().take(64) {
        let _ = module.function_at(relocation.target, relocation.offset);
        let _ = module.machine().relocation_name(relocation.kind);
    }
    for table in [module.tables(&LAYOUT), module.tables_by_relocation()].into_iter().flatten() {
        assert!(table.objects.len() <= 10_000 && table.sections.len() <= module.sections().len());
    }
    for symbol in module.symbols().iter().take(64) {
        if let Ok(table) = module.patch_table(&LAYOUT, symbol.name) {
            assert!(table.objects.len() <= 10_000);
        }
    }
}
