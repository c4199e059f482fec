// SPDX-License-Identifier: GPL-2.0-or-later
//! ftrace call sites of a module: the instructions at the start of a function, and the section that lists the sites.
//!
//! Source: `ftrace_process_locs()` in `kernel/trace/ftrace.c`; `CC_FLAGS_FTRACE` in the kernel's `Makefile` and
//! `arch/arm64/Makefile`. A function without an entry in the list cannot be traced, and cannot be live-patched.

/// Instructions at an ftrace call site, at the start of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// x86: `call __fentry__`; the kernel changes it to a nop when it loads the module.
    Call,
    /// x86: five-byte nop (`CC_USING_NOP_MCOUNT`), in kernels whose build converts the calls with objtool.
    Nop,
    /// arm64: nops of the compiler (`CC_USING_PATCHABLE_FUNCTION_ENTRY`).
    Patchable,
}

/// Call sites of the functions of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sites {
    /// Instructions at the site.
    pub site: Site,
    /// Nops before the function: in bytes on x86, in instructions on arm64.
    pub before: u32,
    /// Nops after the landing pad, in the same unit.
    pub after: u32,
}

/// Section in which compilers list functions with nops before them or at their start.
const COMPILERS_LIST: &str = "__patchable_function_entries";
/// Separate list for the root crate: C objects also have nops before their functions, and are in the compiler's section.
const ROOT_LIST: &str = "__patchable_function_entries.root";

impl Sites {
    /// Section of a module in which the kernel expects the call sites (`FTRACE_CALLSITE_SECTION`).
    pub fn section(self) -> &'static str {
        match self.site {
            Site::Call | Site::Nop => "__mcount_loc",
            Site::Patchable => COMPILERS_LIST,
        }
    }

    /// Section in which stage 3 stores the compiler's list for the root crate.
    pub fn root_section(self) -> &'static str {
        match self.site {
            Site::Call | Site::Nop => ROOT_LIST,
            Site::Patchable => COMPILERS_LIST,
        }
    }

    /// Symbol that the sites call; `None` for nops.
    pub fn called(self) -> Option<&'static str> {
        (self.site == Site::Call).then_some(FENTRY)
    }
}

/// x86: landing pad of indirect branches.
pub const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];
/// x86: five-byte nop of a site that is not traced (`x86_nops[5]` in `arch/x86/kernel/alternative.c`).
pub const NOP5: [u8; 5] = [0x0f, 0x1f, 0x44, 0x00, 0x00];
/// arm64: landing pad of indirect calls (`bti c`).
pub const BTI_C: u32 = 0xd503_245f;

/// Function that sites of [`Site::Call`] call.
pub const FENTRY: &str = "__fentry__";
