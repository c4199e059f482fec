// SPDX-License-Identifier: GPL-2.0-or-later
//! The kernel's own functions behind their replacements: thunks in crate `bindings`, declarations in crate `replaced`.
//!
//! A thunk is one direct branch past the function's ftrace site, to the code that the kernel never changes. It is a symbol of its
//! own because the kernel counts calls by their destinations (call depth tracking, `arch/x86/kernel/callthunks.c`), and because a
//! fix may take its address.

use std::fmt::Write;

use klp_base::arch::Arch;
use klp_kernel::KernelTree;

use crate::resolved::{Extern, Function, Resolved};
use crate::rust_name::object_in_rust;

/// Assembly of the thunks that the fixes call.
pub(super) fn thunks(tree: &KernelTree, resolved: &Resolved) -> String {
    resolved.functions.iter().filter_map(|function| thunk(tree, function)).collect()
}

fn thunk(tree: &KernelTree, function: &Function) -> Option<String> {
    let (name, body) = (function.thunk(), function.body?);
    let alias = function.original().as_ref().map(Extern::link_name)?;
    let (start, branch) = match tree.arch {
        Arch::X86_64 => (if tree.config.is_on("X86_KERNEL_IBT") { "endbr64\\n" } else { "" }, "jmp"),
        // bti c
        Arch::Arm64 => ("hint #34\\n", "b"),
    };
    let padding = match (tree.arch, tree.config.call_padding()) {
        (Arch::X86_64, Some(bytes)) => format!(".skip {bytes}, 0x90\\n"),
        _ => String::new(),
    };
    let symbol = &function.symbol;
    Some(format!(
        "\n// Original of `{symbol}`.\ncore::arch::global_asm!(\n    \".pushsection .text.{name},\\\"ax\\\"\\n.balign 16\\n{padding}\\\n     \
         .globl {name}\\n.type {name}, %function\\n{name}:\\n{start}{branch} {alias} + {body}\\n\\\n     \
         .size {name}, . - {name}\\n.popsection\"\n);\n"
    ))
}

/// Module `original` of crate `replaced`: one module per object. `functions` are those of one fix with their signatures.
pub(super) fn module(functions: &[(&Function, String)]) -> String {
    let mut text = String::from(
        "\n/// The kernel's own functions, past the call of ftrace: a call of one runs what the replacement stands in for.\npub mod original {\n",
    );
    let mut objects: Vec<_> = functions.iter().map(|(function, _)| &function.symbol.object).collect();
    objects.dedup();
    for object in objects {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "    /// Functions of `{object}`.\n    pub mod {} {{\n        use bindings::ffi::*;\n        use bindings::*;",
            object_in_rust(object)
        );
        for (function, signature) in
            functions.iter().filter(|(function, _)| function.symbol.object == *object)
        {
            text.push_str(&declaration(function, signature));
        }
        text.push_str("    }\n");
    }
    text.push_str("}\n");
    text
}

fn declaration(function: &Function, signature: &str) -> String {
    let Function { method, c_prototype, body, .. } = function;
    if body.is_none() {
        return format!(
            "        /// `{c_prototype}` does not begin with a known ftrace site: its original cannot be called.\n        \
             #[allow(non_upper_case_globals)]\n        pub const {method}: Option<klp::core::original::UnknownSite> = None;\n"
        );
    }
    format!(
        "        unsafe extern \"C\" {{\n            /// `{c_prototype}`\n            ///\n            /// # Safety\n            \
         /// The arguments are those of the replacement, or as valid as those; what they point to may be gone afterwards.\n            \
         #[link_name = \"{}\"]\n            pub fn {method}{signature};\n        }}\n",
        function.thunk()
    )
}
