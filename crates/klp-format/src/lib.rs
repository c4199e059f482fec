// SPDX-License-Identifier: GPL-2.0-or-later
//! Names, limits and ELF numbers of kernel live patching, as types with an invariant and one fallible constructor each.
//!
//! Source of the rules: `Documentation/livepatch/module-elf-format.rst`, `include/linux/livepatch.h`,
//! `include/linux/moduleparam.h` and `kernel/livepatch/core.c` of the kernel.
#![no_std]

extern crate alloc;

pub mod ftrace;
pub mod package;

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;
use core::str::FromStr;

// Forces a separate compilation per checkout; `.cargo/config.toml` gives the reason.
const _: Option<&str> = option_env!("FERROGRAFT_CHECKOUT");

/// Section index of symbols that the livepatch core resolves (`SHN_LIVEPATCH`).
pub const SHN_LIVEPATCH: u16 = 0xff20;
/// Flag of relocation sections that the livepatch core applies (`SHF_RELA_LIVEPATCH`).
pub const SHF_RELA_LIVEPATCH: u64 = 0x0010_0000;
/// Name prefix of symbols that the livepatch core resolves.
pub const SYMBOL_PREFIX: &str = ".klp.sym.";
/// Name prefix of the short aliases of such symbols, from compilation to conversion. Reason: with MODVERSIONS modpost
/// rejects link names of 56 characters or more, and [`SYMBOL_PREFIX`] with the object takes 17 of them. An undefined
/// symbol with this prefix in a finished module is an error: it was not converted.
pub const ALIAS_PREFIX: &str = "__klp_sym_";
/// Prefix of the thunks through which fixes call the originals of replaced functions.
pub const THUNK_PREFIX: &str = "klp_original_";
/// Name prefix of relocation sections that the livepatch core applies.
pub const RELA_PREFIX: &str = ".klp.rela.";
/// Object name of the kernel itself.
pub const VMLINUX: &str = "vmlinux";
/// Maximum length of a module name, in bytes: `MODULE_NAME_LEN` (56 on 64-bit kernels) without the terminating NUL.
pub const MODULE_NAME_MAX: usize = 55;
/// Maximum length of a symbol name, in bytes: `KSYM_NAME_LEN` (512 since 6.1) without the terminating NUL.
pub const SYMBOL_NAME_MAX: usize = 511;

/// Error of an invalid name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name is empty.
    #[error("a {what} is missing in {text:?}")]
    Empty {
        /// Kind of name.
        what: &'static str,
        /// Text that should contain the name.
        text: String,
    },
    /// The name is longer than the kernel's field.
    #[error("{what} {text:?} has {length} bytes, the kernel's limit is {limit}", length = text.len())]
    TooLong {
        /// Kind of name.
        what: &'static str,
        /// The name.
        text: String,
        /// Maximum length, in bytes.
        limit: usize,
    },
    /// The name contains an invalid character.
    #[error("{what} {text:?} has the character {character:?}, which cannot stand there")]
    Character {
        /// Kind of name.
        what: &'static str,
        /// The name.
        text: String,
        /// First invalid character.
        character: char,
    },
    /// File name of a module instead of its name.
    #[error(
        "{text:?} is no module's name; write it as the kernel does, with underscores and without .ko: {name:?}"
    )]
    Module {
        /// Text of the input.
        text: String,
        /// Module name in the kernel.
        name: String,
    },
    /// The text does not have the required form.
    #[error("{text:?} is no {what}: it should look like {form}")]
    Form {
        /// Kind of name.
        what: &'static str,
        /// Text of the input.
        text: String,
        /// Example of the form.
        form: &'static str,
    },
}

fn checked(
    what: &'static str,
    text: &str,
    limit: usize,
    allowed: impl Fn(char) -> bool,
) -> Result<String, NameError> {
    if text.is_empty() {
        return Err(NameError::Empty { what, text: String::new() });
    }
    if text.len() > limit {
        return Err(NameError::TooLong { what, text: text.to_owned(), limit });
    }
    match text.chars().find(|&c| !allowed(c)) {
        Some(character) => Err(NameError::Character { what, text: text.to_owned(), character }),
        None => Ok(text.to_owned()),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $type(String);

        impl $type {
            /// Name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }
    };
}

name! {
    /// Name of a kernel module, as in `/sys/module`.
    ///
    /// # Invariants
    /// 1 to [`MODULE_NAME_MAX`] bytes of `[A-Za-z0-9_]`.
    ModuleName
}

impl ModuleName {
    /// Checks a module name.
    ///
    /// # Errors
    /// The text is empty, too long, or contains a character other than letters, digits and underscores.
    pub fn new(text: &str) -> Result<Self, NameError> {
        checked("module name", text, MODULE_NAME_MAX, |c| c.is_ascii_alphanumeric() || c == '_').map(Self)
    }

    /// Module name from any text: characters other than `[A-Za-z0-9_]` become underscores, as in kpatch-patch packages.
    ///
    /// # Errors
    /// The text is empty or too long.
    pub fn sanitized(text: &str) -> Result<Self, NameError> {
        let mapped: String = text.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        Self::new(&mapped)
    }
}

name! {
    /// Name of a patched object: `vmlinux` or the name of a module.
    ///
    /// # Invariants
    /// Valid as a [`ModuleName`].
    ObjectName
}

impl ObjectName {
    /// Checks an object name.
    ///
    /// # Errors
    /// As [`ModuleName::new`]; for the file name of a module the error contains the module name.
    pub fn new(text: &str) -> Result<Self, NameError> {
        ModuleName::new(text).map(|name| Self(name.0)).map_err(|error| {
            let file = text.rsplit('/').next().unwrap_or_default();
            let stem = file.find(".ko").map_or(file, |end| &file[..end]);
            let name = stem.replace('-', "_");
            if matches!(error, NameError::Character { .. }) && ModuleName::new(&name).is_ok() {
                return NameError::Module { text: text.to_owned(), name };
            }
            error
        })
    }

    /// True for vmlinux, false for a module.
    pub fn is_vmlinux(&self) -> bool {
        self.0 == VMLINUX
    }
}

name! {
    /// Release of a kernel, as printed by `uname -r`.
    ///
    /// # Invariants
    /// 1 to 64 bytes (`__NEW_UTS_LEN`), starts with a digit, no white space, no slash.
    KernelRelease
}

impl KernelRelease {
    /// Checks a release.
    ///
    /// # Errors
    /// The text is empty, too long, contains a space or a slash, or does not start with a version.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let release = checked("kernel release", text, 64, |c| c.is_ascii_graphic() && c != '/')?;
        if release.starts_with(|c: char| c.is_ascii_digit()) && release != "." && release != ".." {
            return Ok(Self(release));
        }
        Err(NameError::Form { what: "kernel release", text: release, form: "6.12.117+deb12-amd64" })
    }

    /// Major and minor number: 6 and 12 for `6.12.117+deb12-amd64`.
    pub fn version(&self) -> (u32, u32) {
        let mut numbers =
            self.0.split(|c: char| !c.is_ascii_digit()).map(|digits| digits.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }
}

/// Major and minor number of a version text: 6 and 12 for `6.12`.
pub fn parse_version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Calendar date, as `2027-06-30`.
///
/// # Invariants
/// The date exists in the proleptic Gregorian calendar, and its year has four digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

impl Date {
    /// Parses `YYYY-MM-DD`; `None` for another form, or for a day that does not exist.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('-');
        let mut number = |digits: usize| {
            let part = parts.next()?;
            (part.len() == digits && part.bytes().all(|byte| byte.is_ascii_digit())).then_some(part)
        };
        let (year, month, day) =
            (number(4)?.parse().ok()?, number(2)?.parse().ok()?, number(2)?.parse().ok()?);
        let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days = match month {
            4 | 6 | 9 | 11 => 30,
            2 if is_leap => 29,
            2 => 28,
            1..=12 => 31,
            _ => return None,
        };
        (parts.next().is_none() && (1..=days).contains(&day)).then_some(Self { year, month, day })
    }

    /// Date of a day, counted from 1970-01-01. `None` for a year after 9999.
    pub fn of_day(days: u64) -> Option<Self> {
        // Days since 0000-03-01, in eras of 400 years; years that begin in March, so that a leap day ends a year.
        let days = days.checked_add(719_468)?;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted + 2) / 5 + 1;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        let date = Self {
            year: u16::try_from(year).ok()?,
            month: month.try_into().ok()?,
            day: day.try_into().ok()?,
        };
        (date.year <= 9999).then_some(date)
    }

    /// Year, month from 1, day of the month.
    pub fn parts(self) -> (u16, u8, u8) {
        (self.year, self.month, self.day)
    }

    /// Days from 1970-01-01 to this date; negative before.
    pub fn days_since_epoch(self) -> i64 {
        // Days by years and months that begin in March, so that a leap day ends a year.
        let (month, year) = (i64::from(self.month), i64::from(self.year) - i64::from(self.month <= 2));
        let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + i64::from(self.day) - 1;
        year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// Symbol position among the symbols of one name in one object, in the order of kallsyms, from 1. The value 0 means that
/// the name is unique.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SymbolPosition(pub u32);

impl fmt::Display for SymbolPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Symbol of an object: `object:symbol`, or `object:symbol,position` if the name is not unique.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KlpSymbol {
    /// Object of the symbol.
    pub object: ObjectName,
    /// Name in the symbol table of the object.
    pub symbol: String,
    /// Symbol position.
    pub position: SymbolPosition,
}

impl KlpSymbol {
    /// Checks the parts.
    ///
    /// # Errors
    /// The symbol is empty, too long, or contains a space, colon, comma or control character.
    pub fn new(object: ObjectName, symbol: &str, position: SymbolPosition) -> Result<Self, NameError> {
        let allowed = |c: char| c.is_ascii_graphic() && c != ':' && c != ',';
        let symbol = checked("symbol name", symbol, SYMBOL_NAME_MAX, allowed)?;
        Ok(Self { object, symbol, position })
    }

    /// Parses the name in the symbol table of a livepatch module: `.klp.sym.<object>.<symbol>,<position>`.
    ///
    /// # Errors
    /// The text does not have this form.
    pub fn from_elf_name(text: &str) -> Result<Self, NameError> {
        let form = || NameError::Form {
            what: "livepatch symbol",
            text: text.to_owned(),
            form: ".klp.sym.vmlinux.saved_command_line,0",
        };
        let rest = text.strip_prefix(SYMBOL_PREFIX).ok_or_else(form)?;
        let (object, rest) = rest.split_once('.').ok_or_else(form)?;
        let (symbol, position) = rest.rsplit_once(',').ok_or_else(form)?;
        let position = position.parse().map(SymbolPosition).map_err(|_| form())?;
        Self::new(ObjectName::new(object)?, symbol, position)
    }

    /// Name in the symbol table of a livepatch module.
    pub fn elf_name(&self) -> String {
        format!("{SYMBOL_PREFIX}{}.{},{}", self.object, self.symbol, self.position)
    }
}

impl fmt::Display for KlpSymbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.object, self.symbol)?;
        if self.position.0 == 0 { Ok(()) } else { write!(f, ",{}", self.position) }
    }
}

impl FromStr for KlpSymbol {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let form = || NameError::Form {
            what: "symbol of an object",
            text: text.to_owned(),
            form: "vmlinux:cmdline_proc_show, or vmlinux:show,2 for the second of that name",
        };
        let (object, rest) = text.split_once(':').ok_or_else(form)?;
        let (symbol, position) = match rest.rsplit_once(',') {
            Some((symbol, position)) => (symbol, position.parse().map_err(|_| form())?),
            None => (rest, 0),
        };
        Self::new(ObjectName::new(object)?, symbol, SymbolPosition(position))
    }
}

/// Name of the section with the livepatch relocations of one object for one section of the module.
pub fn rela_section_name(object: &ObjectName, target_section: &str) -> String {
    format!("{RELA_PREFIX}{object}.{target_section}")
}

/// Parses the result of [`rela_section_name`]: object and target section.
///
/// # Errors
/// The text does not have this form.
pub fn parse_rela_section_name(text: &str) -> Result<(ObjectName, &str), NameError> {
    let form = || NameError::Form {
        what: "livepatch relocation section",
        text: text.to_string(),
        form: ".klp.rela.vmlinux..text",
    };
    let (object, section) =
        text.strip_prefix(RELA_PREFIX).and_then(|rest| rest.split_once('.')).ok_or_else(form)?;
    if section.is_empty() {
        return Err(form());
    }
    Ok((ObjectName::new(object)?, section))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn date_accepts_days_that_exist() {
        // `date -u -d <text> +%s`, divided by 86400
        for (text, days) in [
            ("1970-01-01", 0),
            ("1969-12-31", -1),
            ("2000-02-29", 11016),
            ("2000-03-01", 11017),
            ("2027-06-30", 20999),
            ("2100-03-01", 47541),
        ] {
            let date = Date::parse(text).unwrap();
            assert_eq!((date.to_string().as_str(), date.days_since_epoch()), (text, days));
            assert_eq!(u64::try_from(days).ok().and_then(Date::of_day), (days >= 0).then_some(date));
        }
        for text in [
            "2100-02-29",
            "2027-06-31",
            "2027-00-01",
            "2027-13-01",
            "2027-6-30",
            "2027-06-30x",
            "27-06-30",
            "2027-06-30-1",
            "+027-06-30",
            "",
        ] {
            assert_eq!(Date::parse(text), None, "{text}");
        }
        assert!(Date::parse("2027-06-30") < Date::parse("2027-07-01"));
        let last = Date::parse("9999-12-31").unwrap();
        let days = u64::try_from(last.days_since_epoch()).unwrap();
        assert_eq!(
            (Date::of_day(days), Date::of_day(days + 1), Date::of_day(u64::MAX)),
            (Some(last), None, None)
        );
    }

    #[test]
    fn names_round_trip() {
        for text in ["vmlinux:cmdline_proc_show", "ext4:show,2"] {
            let symbol: KlpSymbol = text.parse().unwrap();
            assert_eq!(symbol.to_string(), text);
            assert_eq!(KlpSymbol::from_elf_name(&symbol.elf_name()).unwrap(), symbol);
        }
        let object = ObjectName::new("vmlinux").unwrap();
        assert_eq!(rela_section_name(&object, ".text"), ".klp.rela.vmlinux..text");
        assert_eq!(parse_rela_section_name(".klp.rela.vmlinux..text").unwrap(), (object, ".text"));
    }

    #[test]
    fn compiler_made_names_keep_their_dots() {
        let symbol = KlpSymbol::from_elf_name(".klp.sym.vmlinux.foo.isra.0,3").unwrap();
        assert_eq!((symbol.symbol.as_str(), symbol.position.0), ("foo.isra.0", 3));
    }

    #[test]
    fn wrong_names_are_refused() {
        for text in ["", "vmlinux", "vmlinux:", ":x", "a-b:x", "vmlinux:x,y", "vmlinux:x,-1"] {
            assert!(text.parse::<KlpSymbol>().is_err(), "{text:?}");
        }
        for text in ["", "klp.sym.vmlinux.x,0", ".klp.sym.vmlinux.x", ".klp.sym.vmlinux", ".klp.sym..x,0"] {
            assert!(KlpSymbol::from_elf_name(text).is_err(), "{text:?}");
        }
        for text in ["snd-pcm", "snd-pcm.ko.xz", "snd_pcm.ko", "sound/core/snd-pcm.ko"] {
            let error = format!("{text}:f").parse::<KlpSymbol>().unwrap_err().to_string();
            assert!(error.ends_with("without .ko: \"snd_pcm\""), "{text}: {error}");
        }
        assert!(parse_rela_section_name(".klp.rela.vmlinux.").is_err());
        assert!(ModuleName::new(&"a".repeat(56)).is_err());
        assert!(KernelRelease::new("../etc").is_err());
    }

    #[test]
    fn module_names_follow_the_package_convention() {
        let name = ModuleName::sanitized("kpatch_6.12.117+deb12-amd64_1_1").unwrap();
        assert_eq!(name.as_str(), "kpatch_6_12_117_deb12_amd64_1_1");
        assert_eq!(KernelRelease::new("6.12.117+deb12-amd64").unwrap().version(), (6, 12));
    }
}
