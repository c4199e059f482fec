// SPDX-License-Identifier: GPL-2.0-or-later
//! Module parameters and tripwires: their C source, which kbuild compiles with the shims, and their functions in crate
//! `replaced`. Objects of that crate are not linked, so each function is `#[inline]`.
//!
//! The kernel's own macros (`include/linux/moduleparam.h`) make the entries of section `__param`, whose layout
//! belongs to the kernel.

use std::fmt::Write;

use klp_module::PATCH_SYMBOL;

use crate::project::{Fix, Param, ParamKind, Target, Tripwire, c_text};
use crate::rust_name::raw_name;

/// C name prefix of a parameter's variable.
const PARAM: &str = "klp_param_";
/// C name prefix of a tripwire's function.
const TRIPWIRE: &str = "klp_tripwire_";

/// C source of all parameters and tripwires of a module. Empty if there are none.
pub(super) fn c_source(target: &Target) -> String {
    let params: String = target.fixes.iter().flat_map(|fix| &fix.params).map(variable).collect();
    let tripwires: String = target.fixes.iter().flat_map(|fix| &fix.tripwires).map(counter).collect();
    let mut text = String::new();
    if !params.is_empty() || !tripwires.is_empty() {
        text.push_str("#include <linux/module.h>\n");
    }
    if !tripwires.is_empty() {
        text.push_str(
            "#include <linux/atomic.h>\n#include <linux/printk.h>\n#include <linux/ratelimit.h>\n#include <linux/sched.h>\n",
        );
    }
    text + &params + &tripwires
}

/// Variable and parameter in C.
fn variable(param: &Param) -> String {
    let Param { name, kind, length, initial, mode, description, .. } = param;
    let (c_type, type_name, values) = (kind.c_type(), kind.name(), initial.join(", "));
    let mut text = match length {
        None if param.sets_replace => format!(
            "#include <linux/livepatch.h>\nextern struct klp_patch {PATCH_SYMBOL};\n\
             module_param_named({name}, {PATCH_SYMBOL}.replace, {type_name}, {mode:04o});\n"
        ),
        None => format!(
            "{c_type} {PARAM}{name} = {values};\nmodule_param_named({name}, {PARAM}{name}, {type_name}, {mode:04o});\n"
        ),
        Some(length) => format!(
            "{c_type} {PARAM}{name}[{length}] = {{ {values} }};\nunsigned int {PARAM}{name}_count = {};\n\
             module_param_array_named({name}, {PARAM}{name}, {type_name}, &{PARAM}{name}_count, {mode:04o});\n",
            initial.len()
        ),
    };
    if !description.is_empty() {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "MODULE_PARM_DESC({name}, {});", c_text(description));
    }
    text
}

/// Counter, parameter and function of a tripwire in C.
fn counter(tripwire: &Tripwire) -> String {
    let Tripwire { name, description } = tripwire;
    let text = c_text(description);
    format!(
        "static atomic_long_t {TRIPWIRE}{name}_count;\n\
         module_param_cb({name}, &param_ops_ulong, &{TRIPWIRE}{name}_count, 0444);\n\
         __MODULE_PARM_TYPE({name}, \"ulong\");\n\
         MODULE_PARM_DESC({name}, \"Number of tries: \" {text});\n\
         void {TRIPWIRE}{name}(void)\n{{\n\
         \tstatic DEFINE_RATELIMIT_STATE(limit, DEFAULT_RATELIMIT_INTERVAL, DEFAULT_RATELIMIT_BURST);\n\n\
         \tatomic_long_inc(&{TRIPWIRE}{name}_count);\n\
         \tif (__ratelimit(&limit))\n\
         \t\tprintk(KERN_WARNING \"%s: tripwire %s: %s[%d] tried: %s\\n\", KBUILD_MODNAME, \"{name}\", current->comm,\n\
         \t\t       current->pid, {text});\n}}\n"
    )
}

/// Modules `params` and `tripwires` of crate `replaced`.
pub(super) fn rust_source(fix: &Fix) -> String {
    let mut text = String::new();
    if !fix.params.is_empty() {
        text.push_str("\n/// Module parameters. Each function reads the current value.\npub mod params {\n    use bindings::ffi::*;\n");
        text.extend(fix.params.iter().filter(|param| !param.sets_replace).map(read));
        text.push_str("}\n");
    }
    if !fix.tripwires.is_empty() {
        text.push_str("\n/// Functions of the tripwires, for `klp::core::tripwire!`.\npub mod tripwires {\n");
        text.extend(fix.tripwires.iter().map(hit));
        text.push_str("}\n");
    }
    text
}

/// Function that reads a parameter.
fn read(param: &Param) -> String {
    let Param { name, kind, length, mode, description, .. } = param;
    let ty = kind.rust_type();
    let head = format!("    /// `{param}`, mode {mode:04o}. {}\n", one_line(description));
    let function = raw_name(name);
    match (length, kind) {
        (Some(length), _) => format!(
            "{head}    #[inline]\n    pub fn {function}() -> klp::core::params::Array<{ty}, {length}> {{\n        \
             unsafe extern \"C\" {{\n            #[link_name = \"{PARAM}{name}\"]\n            static mut VALUES: [{ty}; {length}];\n            \
             #[link_name = \"{PARAM}{name}_count\"]\n            static mut COUNT: c_uint;\n        }}\n        \
             // SAFETY: both are variables of this module, which the kernel changes by single accesses.\n        \
             unsafe {{ klp::core::params::Array::new(&raw const VALUES, &raw const COUNT) }}\n    }}\n"
        ),
        (None, ParamKind::Charp) => format!(
            "{head}    #[inline]\n    pub fn {function}() -> &'static core::ffi::CStr {{\n        \
             unsafe extern \"C\" {{\n            #[link_name = \"{PARAM}{name}\"]\n            static mut VALUE: {ty};\n        }}\n        \
             // SAFETY: the kernel sets it before the module's init to a text that lives as long as the module.\n        \
             unsafe {{ core::ffi::CStr::from_ptr(VALUE.cast()) }}\n    }}\n"
        ),
        (None, _) => format!(
            "{head}    #[inline]\n    pub fn {function}() -> {ty} {{\n        \
             unsafe extern \"C\" {{\n            #[link_name = \"{PARAM}{name}\"]\n            static mut VALUE: {ty};\n        }}\n        \
             // SAFETY: it is a variable of this module, which the kernel changes by single accesses.\n        \
             unsafe {{ klp::core::access::read_once(&raw const VALUE) }}\n    }}\n"
        ),
    }
}

/// Function of a tripwire.
fn hit(tripwire: &Tripwire) -> String {
    let Tripwire { name, description } = tripwire;
    format!(
        "    /// {}\n    #[inline]\n    pub fn {}() {{\n        unsafe extern \"C\" {{\n            #[link_name = \"{TRIPWIRE}{name}\"]\n            \
         safe fn hit();\n        }}\n        hit();\n    }}\n",
        one_line(description),
        raw_name(name)
    )
}

/// Text for a line of documentation, in which brackets would be links.
fn one_line(text: &str) -> String {
    text.replace('[', "\\[").replace(']', "\\]")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::read_fix;

    #[test]
    fn parameters_are_in_c_and_rust() {
        let dir = tempfile::tempdir().unwrap();
        let text = "description = 'x'\npatch = ['vmlinux:a']\n\
            params = [{ name = 'limit', type = 'uint', default = 3, mode = '0644', description = 'A [limit]' },\n\
            { name = 'type', type = 'charp', default = '%s' }, { name = 'pids', type = 'int', length = 2, default = [7] }]\n\
            tripwires = [{ name = 'odd', description = '100% \"odd\"' }]";
        std::fs::write(dir.path().join("patch.toml"), text).unwrap();
        let fix = read_fix("test", dir.path()).unwrap();
        let rust = rust_source(&fix);
        for expected in [
            "/// `uint`, mode 0644. A \\[limit\\]\n    #[inline]\n    pub fn limit() -> c_uint {",
            "pub fn r#type() -> &'static core::ffi::CStr {",
            "pub fn pids() -> klp::core::params::Array<c_int, 2> {",
            "#[link_name = \"klp_tripwire_odd\"]",
        ] {
            assert!(rust.contains(expected), "no {expected}\n{rust}");
        }
        syn::parse_file(&rust).unwrap();
        let c = c_source(&Target::of_fix(fix));
        for expected in [
            "unsigned int klp_param_limit = 3U;\nmodule_param_named(limit, klp_param_limit, uint, 0644);\nMODULE_PARM_DESC(limit, \"A [limit]\");",
            "char * klp_param_type = \"%s\";\nmodule_param_named(type, klp_param_type, charp, 0444);\n",
            "int klp_param_pids[2] = { 7 };\nunsigned int klp_param_pids_count = 1;\n",
            "void klp_tripwire_odd(void)\n",
            "current->pid, \"100% \\\"odd\\\"\");",
        ] {
            assert!(c.contains(expected), "no {expected}\n{c}");
        }
    }
}
