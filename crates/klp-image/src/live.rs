// SPDX-License-Identifier: GPL-2.0-or-later
//! Types and symbols of a running system, from its BTF and `/proc/kallsyms`.

use std::collections::BTreeMap;
use std::path::Path;

use klp_base::files::read;
use klp_format::ModuleName;

use crate::btf::Types;
use crate::error::Error;
use crate::error::ImageError;
use crate::symbols::{Builder, Symbols};

/// Symbols of a running kernel and its modules.
pub struct RunningSymbols {
    kernel: Symbols,
    modules: BTreeMap<String, Symbols>,
    hidden: bool,
}

impl RunningSymbols {
    /// Parses the text of `/proc/kallsyms`: lines `<address> <kind> <name>`, for modules followed by a tab and
    /// `[<module>]`.
    ///
    /// # Errors
    /// A line does not have this form, symbols of the kernel itself are missing, or their addresses are not in order.
    pub fn parse(text: &str) -> Result<Self, ImageError> {
        let mut builders: BTreeMap<Option<&str>, Builder> = BTreeMap::new();
        let mut hidden = true;
        for (number, line) in text.lines().enumerate() {
            let wrong = || ImageError::Damaged(format!("its line {} is no symbol: {line:?}", number + 1));
            let mut words = line.split_ascii_whitespace();
            let (Some(address), Some(kind), Some(name)) = (words.next(), words.next(), words.next()) else {
                return Err(wrong());
            };
            let address = u64::from_str_radix(address, 16).map_err(|_| wrong())?;
            let module = words.next().map(|module| module.trim_matches(['[', ']']));
            let (Some(kind), true) = (kind.chars().next(), kind.len() == 1) else { return Err(wrong()) };
            hidden &= address == 0;
            builders.entry(module).or_default().push(name, kind, address);
        }
        let kernel =
            builders.remove(&None).ok_or_else(|| ImageError::Missing("symbols".to_owned()))?.finish()?;
        if !kernel.is_ordered() {
            return Err(ImageError::Damaged("its addresses are not in order".to_owned()));
        }
        let mut modules = BTreeMap::new();
        for (module, builder) in builders {
            modules.insert(module.unwrap_or_default().to_owned(), builder.finish()?);
        }
        Ok(Self { kernel, modules, hidden })
    }

    /// Reads `/proc/kallsyms` of the system with the root directory `root`.
    ///
    /// # Errors
    /// The file cannot be read, or see [`Self::parse`].
    pub fn load(root: &Path) -> Result<Self, Error> {
        let path = root.join("proc/kallsyms");
        let text = String::from_utf8(read(&path)?).map_err(|error| error.to_string());
        let parsed = text.and_then(|text| Self::parse(&text).map_err(|error| error.to_string()));
        parsed.map_err(|message| Error::Image { path, message })
    }

    /// Symbols of the kernel itself. Names, counts and positions are valid even if [`Self::addresses`] fails.
    pub fn kernel(&self) -> &Symbols {
        &self.kernel
    }

    /// Symbols of a loaded module, in the order of the livepatch core.
    pub fn module(&self, name: &ModuleName) -> Option<&Symbols> {
        self.modules.get(name.as_str())
    }

    /// Symbols of the kernel itself, for callers that need addresses.
    ///
    /// # Errors
    /// [`ImageError::Hidden`]: the system shows all addresses as zero.
    pub fn addresses(&self) -> Result<&Symbols, ImageError> {
        if self.hidden { Err(ImageError::Hidden) } else { Ok(&self.kernel) }
    }
}

/// Types of the running kernel of the system with the root directory `root`.
///
/// # Errors
/// The kernel provides no BTF, or the BTF is damaged.
pub fn running_types(root: &Path) -> Result<Types, Error> {
    let path = root.join("sys/kernel/btf/vmlinux");
    let types = Types::parse(&read(&path)?);
    types.map_err(|error| Error::Image { path, message: error.to_string() })
}

/// Types of a loaded module, and of its kernel.
///
/// # Errors
/// The module is not loaded, has no BTF, or does not belong to the types in `base`.
pub fn running_module_types(root: &Path, module: &ModuleName, base: &Types) -> Result<Types, Error> {
    let path = root.join("sys/kernel/btf").join(module.as_str());
    let types = Types::parse_split(&read(&path)?, base);
    types.map_err(|error| Error::Image { path, message: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOWN: &str = "0000000000000000 A fixed_percpu_data\nffffffff81000000 T _stext\nffffffff81000040 t twice\n\
                         ffffffff81000080 t twice\nffffffffc0000010 t twice\t[ext4]\nffffffffc0000000 T first\t[ext4]\n";

    #[test]
    fn kernel_and_module_symbols_are_separate() {
        let running = RunningSymbols::parse(SHOWN).unwrap();
        assert_eq!(running.addresses().unwrap().count("twice"), 2);
        let second = running.kernel().named("twice")[1];
        assert_eq!((second.address, second.position.0), (0xffff_ffff_8100_0080, 2));
        let ext4 = running.module(&ModuleName::new("ext4").unwrap()).unwrap();
        assert_eq!(ext4.named("twice")[0].position.0, 1);
        assert!(running.module(&ModuleName::new("xfs").unwrap()).is_none());
    }

    #[test]
    fn hidden_addresses_are_explained_and_positions_stay() {
        let hidden: String =
            SHOWN.lines().map(|line| format!("0000000000000000{}\n", line.get(16..).unwrap())).collect();
        let running = RunningSymbols::parse(&hidden).unwrap();
        assert_eq!(running.addresses().unwrap_err(), ImageError::Hidden);
        assert!(ImageError::Hidden.to_string().contains("kptr_restrict"));
        assert_eq!(running.kernel().count("twice"), 2);
    }

    #[test]
    fn parse_rejects_malformed_kallsyms() {
        for text in ["", "hello\n", "ffffffff81000000 T\n", "xyz T name\n", "0 TT name\n", "2 t a\n1 t b\n"] {
            assert!(RunningSymbols::parse(text).is_err(), "{text:?}");
        }
    }
}
