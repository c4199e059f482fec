// SPDX-License-Identifier: GPL-2.0-or-later
//! ftrace sites that a kernel configuration requires.

use klp_base::arch::Arch;
use klp_format::ftrace::{Site, Sites};

use crate::config::KernelConfig;

/// Layout of the ftrace sites of functions in a kernel with this configuration.
pub fn sites_of(arch: Arch, config: &KernelConfig) -> Sites {
    match arch {
        Arch::X86_64 => {
            let nop = config.is_on("FTRACE_MCOUNT_USE_OBJTOOL") && config.is_on("HAVE_OBJTOOL_NOP_MCOUNT");
            Sites {
                site: if nop { Site::Nop } else { Site::Call },
                before: config.call_padding().unwrap_or(0),
                after: 5,
            }
        }
        Arch::Arm64 => {
            let before = if config.is_on("DYNAMIC_FTRACE_WITH_CALL_OPS") { 2 } else { 0 };
            Sites { site: Site::Patchable, before, after: 2 }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sites_follow_the_configuration() {
        let sites = |arch, config: &str| sites_of(arch, &KernelConfig::parse(config));
        let padded = sites(Arch::X86_64, "CONFIG_CALL_PADDING=y\nCONFIG_FUNCTION_PADDING_BYTES=16\n");
        assert_eq!(padded, Sites { site: Site::Call, before: 16, after: 5 });
        assert_eq!(sites(Arch::X86_64, ""), Sites { site: Site::Call, before: 0, after: 5 });
        let nops = "CONFIG_FTRACE_MCOUNT_USE_OBJTOOL=y\nCONFIG_HAVE_OBJTOOL_NOP_MCOUNT=y\n";
        assert_eq!((sites(Arch::X86_64, nops).site, sites(Arch::X86_64, nops).called()), (Site::Nop, None));
        let call_ops = sites(Arch::Arm64, "CONFIG_DYNAMIC_FTRACE_WITH_CALL_OPS=y\n");
        assert_eq!(call_ops, Sites { site: Site::Patchable, before: 2, after: 2 });
        assert_eq!(sites(Arch::Arm64, "").before, 0);
    }
}
