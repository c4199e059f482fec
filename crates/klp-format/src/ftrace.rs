// SPDX-License-Identifier: GPL-2.0-or-later
//! How a kernel's ftrace finds the functions of a module: the room at their beginning, and the section that lists them.
//!
//! Source: `ftrace_process_locs()` in `kernel/trace/ftrace.c`; `CC_FLAGS_FTRACE` in the kernel's `Makefile` and
//! `arch/arm64/Makefile`. A function that is in no list cannot be traced, and neither can a live patch that runs it.

/// What stands at the beginning of a function that ftrace can hook into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// x86: `call __fentry__`, which the kernel turns into a nop when it loads the module.
    Call,
    /// x86: the five-byte nop already (`CC_USING_NOP_MCOUNT`), where the kernel's own build has objtool put it there.
    Nop,
    /// arm64: the compiler's nops (`CC_USING_PATCHABLE_FUNCTION_ENTRY`).
    Patchable,
}

/// The sites of a kernel's functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sites {
    /// What stands there.
    pub site: Site,
    /// Nops before the function: bytes on x86, instructions on arm64.
    pub before: u32,
    /// Nops behind the landing pad, in the same unit.
    pub after: u32,
}

/// The section in which compilers list the functions with room before them, or for a site.
const COMPILERS_LIST: &str = "__patchable_function_entries";
/// Our own list, of the root crate alone: C objects have room before their functions as well, and are in the compiler's.
const ROOT_LIST: &str = "__patchable_function_entries.root";

impl Sites {
    /// The section in which the kernel looks for a module's sites (`FTRACE_CALLSITE_SECTION`).
    pub fn section(self) -> &'static str {
        match self.site {
            Site::Call | Site::Nop => "__mcount_loc",
            Site::Patchable => COMPILERS_LIST,
        }
    }

    /// The section in which stage 3 keeps the compiler's list for the root crate.
    pub fn root_section(self) -> &'static str {
        match self.site {
            Site::Call | Site::Nop => ROOT_LIST,
            Site::Patchable => COMPILERS_LIST,
        }
    }

    /// The symbol that the sites call, if they call one.
    pub fn called(self) -> Option<&'static str> {
        (self.site == Site::Call).then_some(FENTRY)
    }
}

/// What sites of [`Site::Call`] call.
pub const FENTRY: &str = "__fentry__";
