// SPDX-License-Identifier: GPL-2.0-or-later
//! Kernel configuration, and the check that a kernel with this configuration is supported.

use std::collections::BTreeMap;

/// The options that a kernel configuration sets.
#[derive(Clone, Debug, Default)]
pub struct KernelConfig {
    options: BTreeMap<String, String>,
}

impl KernelConfig {
    /// Parses a `.config` file: lines `CONFIG_X=value`. All other lines are comments.
    pub fn parse(text: &str) -> Self {
        let line = |line: &str| {
            let (name, value) = line.strip_prefix("CONFIG_")?.split_once('=')?;
            Some((name.to_owned(), value.trim().trim_matches('"').to_owned()))
        };
        Self { options: text.lines().filter_map(line).collect() }
    }

    /// Value of an option. `name` has no prefix `CONFIG_`.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }

    /// The same configuration without one option, for tests of a kernel without a protection.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.options.remove(name);
        self
    }

    /// True if an option is `y`.
    pub fn is_on(&self, name: &str) -> bool {
        self.value(name) == Some("y")
    }

    /// True if a mitigation is `y`, under its current name or under its name before 6.9 (without the prefix
    /// `MITIGATION_`).
    pub fn has_mitigation(&self, name: &str) -> bool {
        self.is_on(&format!("MITIGATION_{name}")) || self.is_on(name)
    }

    /// Padding before each function in bytes, if the kernel may patch calls to use it.
    pub fn call_padding(&self) -> Option<u32> {
        let bytes = self.value("FUNCTION_PADDING_BYTES")?.parse().ok()?;
        (self.is_on("CALL_PADDING") && bytes > 0).then_some(bytes)
    }

    /// Reason why a kernel with this configuration is not supported, if any.
    pub fn refusal(&self) -> Option<String> {
        if !self.is_on("LIVEPATCH") {
            return Some("it is built without CONFIG_LIVEPATCH, so it cannot load any live patch".to_owned());
        }
        let unknown_plugins =
            self.options.keys().find(|name| name.starts_with("GCC_PLUGIN_") && self.is_on(name));
        let refused = [
            ("RANDSTRUCT", "its structs are laid out by a random seed that Rust code does not follow"),
            (
                "GCC_PLUGIN_RANDSTRUCT",
                "its structs are laid out by a random seed that Rust code does not follow",
            ),
            ("CFI_CLANG", "indirect calls are checked against type ids that we do not emit yet"),
            ("CFI", "indirect calls are checked against type ids that we do not emit yet"),
            (
                "LTO_CLANG",
                "functions are changed at link time, so that their prototypes are not what BTF says",
            ),
        ];
        for (name, why) in refused {
            if self.is_on(name) {
                return Some(format!("it is built with CONFIG_{name}: {why}"));
            }
        }
        unknown_plugins
            .map(|name| format!("it is built with CONFIG_{name}, a GCC plug-in whose effect we do not know"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "CONFIG_LIVEPATCH=y\nCONFIG_CALL_PADDING=y\nCONFIG_FUNCTION_PADDING_BYTES=16\n# CONFIG_CFI is not set\nCONFIG_LOCALVERSION=\"-x\"\n";

    #[test]
    fn options_are_read() {
        let config = KernelConfig::parse(GOOD);
        assert_eq!(config.refusal(), None);
        assert_eq!(config.call_padding(), Some(16));
        assert_eq!(config.value("LOCALVERSION"), Some("-x"));
    }

    #[test]
    fn unsupported_kernels_are_rejected_with_the_option() {
        assert!(KernelConfig::parse("").refusal().unwrap().contains("CONFIG_LIVEPATCH"));
        for option in ["RANDSTRUCT", "CFI_CLANG", "LTO_CLANG", "GCC_PLUGIN_LATENT_ENTROPY"] {
            let refusal = KernelConfig::parse(&format!("{GOOD}CONFIG_{option}=y\n")).refusal().unwrap();
            assert!(refusal.contains(option), "{refusal}");
        }
    }
}
