// SPDX-License-Identifier: GPL-2.0-or-later
//! Module parameters and tripwires of a fix: keys `params` and `tripwires` of `patch.toml`.
//!
//! Sources of the rules: `include/linux/moduleparam.h`, `kernel/params.c`; for modes `VERIFY_OCTAL_PERMISSIONS()` in
//! `include/linux/sysfs.h`.

use std::fmt::{self, Write};

use serde::Deserialize;
use toml::Value;

use super::Fix;
use super::prototype::is_c_name;
use crate::resolved::ModuleParam;
use crate::rust_name::is_path_keyword;

/// Largest number of elements of an array.
const LENGTH_MAX: u32 = 4096;
/// Mode of a parameter without `mode`, and of a tripwire's counter.
const READABLE: u16 = 0o444;

/// A module parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Param {
    /// Name, a C identifier.
    pub name: String,
    /// Type of the value, or of the elements of an array.
    pub kind: ParamKind,
    /// Number of elements of an array; `None` for a single value.
    pub length: Option<u32>,
    /// Initial values in C: one, or up to `length` for an array.
    pub initial: Vec<String>,
    /// Default as in patch.toml; `None` if the file has none.
    pub default: Option<String>,
    /// Access mode of the file in `/sys/module/<module>/parameters`.
    pub mode: u16,
    /// One line of text; may be empty.
    pub description: String,
    /// True if the parameter is the flag of the patch for atomic replace, which the kernel reads after it has set the parameters.
    pub sets_replace: bool,
}

/// A tripwire: a counter that is readable as a module parameter.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tripwire {
    /// Name, a C identifier.
    pub name: String,
    /// The guarded path, in one line.
    pub description: String,
}

/// Type of a module parameter, with the kernel's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamKind {
    /// `bool`
    Bool,
    /// An integer of the kernel's list.
    Integer(&'static Integer),
    /// A text.
    Charp,
}

/// An integer type of module parameters.
#[derive(Debug, PartialEq, Eq)]
pub struct Integer {
    name: &'static str,
    c: &'static str,
    rust: &'static str,
    suffix: &'static str,
    min: i128,
    max: i128,
}

const fn integer(
    name: &'static str,
    [c, rust, suffix]: [&'static str; 3],
    (min, max): (i128, i128),
) -> Integer {
    Integer { name, c, rust, suffix, min, max }
}

/// Integer types. (`long` has 64 bits on every supported architecture.)
static INTEGERS: [Integer; 8] = [
    integer("byte", ["unsigned char", "c_uchar", "U"], (0, u8::MAX as i128)),
    integer("short", ["short", "c_short", ""], (i16::MIN as i128, i16::MAX as i128)),
    integer("ushort", ["unsigned short", "c_ushort", "U"], (0, u16::MAX as i128)),
    integer("int", ["int", "c_int", ""], (i32::MIN as i128, i32::MAX as i128)),
    integer("uint", ["unsigned int", "c_uint", "U"], (0, u32::MAX as i128)),
    integer("long", ["long", "c_long", "L"], (i64::MIN as i128, i64::MAX as i128)),
    integer("ulong", ["unsigned long", "c_ulong", "UL"], (0, u64::MAX as i128)),
    integer("ullong", ["unsigned long long", "c_ulonglong", "ULL"], (0, u64::MAX as i128)),
];

impl ParamKind {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "bool" => Ok(Self::Bool),
            "charp" => Ok(Self::Charp),
            _ => INTEGERS.iter().find(|kind| kind.name == text).map(Self::Integer).ok_or_else(|| {
                let names: Vec<&str> = INTEGERS.iter().map(|kind| kind.name).collect();
                format!("type {text:?} is none of bool, {}, charp", names.join(", "))
            }),
        }
    }

    /// The kernel's name, as in `module_param()`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Integer(integer) => integer.name,
            Self::Charp => "charp",
        }
    }

    /// Type in C.
    pub fn c_type(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Integer(integer) => integer.c,
            Self::Charp => "char *",
        }
    }

    /// Type of one value in memory, in Rust.
    pub fn rust_type(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Integer(integer) => integer.rust,
            Self::Charp => "*const c_char",
        }
    }

    /// Initial value in C if there is no default.
    fn empty(self) -> String {
        match self {
            Self::Bool | Self::Integer(_) => "0".to_owned(),
            Self::Charp => "\"\"".to_owned(),
        }
    }

    /// Value of `default` as a C expression.
    fn value(self, default: &Value) -> Result<String, String> {
        let text = match default {
            Value::String(text) => text.clone(),
            Value::Integer(number) => number.to_string(),
            Value::Boolean(truth) => truth.to_string(),
            other => return Err(format!("default {other} is no value of type {}", self.name())),
        };
        match self {
            Self::Bool => match text.as_str() {
                "1" | "y" | "Y" | "on" | "true" => Ok("true".to_owned()),
                "0" | "n" | "N" | "off" | "false" => Ok("false".to_owned()),
                _ => Err(format!("default {text:?} is no bool: write \"Y\" or \"N\"")),
            },
            Self::Charp if text.len() >= TEXT_MAX || text.contains(char::is_control) => {
                Err(format!("default: a charp has at most {} bytes and no control characters", TEXT_MAX - 1))
            }
            Self::Charp => Ok(c_text(&text)),
            Self::Integer(integer) => integer.value(&text),
        }
    }
}

/// Length of a charp with its NUL (`param_set_charp()` in `kernel/params.c`).
const TEXT_MAX: usize = 1024;

impl Integer {
    fn value(&self, text: &str) -> Result<String, String> {
        let Some(number) = number(text) else { return Err(format!("default {text:?} is no number")) };
        let Self { name, suffix, min, max, .. } = self;
        if !(*min..=*max).contains(&number) {
            return Err(format!("default {text} does not fit: {name} is from {min} to {max}"));
        }
        if number == i128::from(i64::MIN) {
            // C has no literal for it.
            return Ok(format!("(-{}{suffix} - 1)", i64::MAX));
        }
        Ok(format!("{number}{suffix}"))
    }
}

/// Number as the kernel reads it (`kstrtoll()` with base 0): decimal, hexadecimal with `0x`, octal with `0`.
fn number(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (digits, radix) = match (digits.strip_prefix("0x"), digits.strip_prefix('0')) {
        (Some(digits), _) => (digits, 16),
        (None, Some(rest)) if !rest.is_empty() => (rest, 8),
        _ => (digits, 10),
    };
    let plain = digits.chars().all(|digit| digit.is_digit(radix));
    let number = i128::from_str_radix(digits, radix).ok().filter(|_| plain)?;
    Some(if negative { -number } else { number })
}

/// String literal in C.
pub(crate) fn c_text(text: &str) -> String {
    let mut literal = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => {
                literal.push('\\');
                literal.push(char::from(byte));
            }
            b' '..=b'~' => literal.push(char::from(byte)),
            // Three octal digits end by themselves. Writing to a String cannot fail.
            _ => {
                let _ = write!(literal, "\\{byte:03o}");
            }
        }
    }
    literal.push('"');
    literal
}

/// An entry of `params` as in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ParamTable {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    default: Option<Value>,
    length: Option<u32>,
    mode: Option<String>,
    #[serde(default)]
    description: String,
    sets: Option<String>,
}

/// Converts an entry of `params`.
pub(super) fn param(table: ParamTable) -> Result<Param, String> {
    let ParamTable { name, kind, default, length, mode, description, sets } = table;
    check_name(&name)?;
    let of_name = |message: String| format!("`{name}`: {message}");
    let kind = ParamKind::parse(&kind).map_err(of_name)?;
    let mode = mode.as_deref().map_or(Ok(READABLE), parse_mode).map_err(of_name)?;
    check_line(&description).map_err(|message| of_name(format!("description {message}")))?;
    if kind == ParamKind::Charp {
        if mode & 0o222 != 0 {
            return Err(of_name(format!(
                "mode {mode:04o} allows writing, and the kernel frees the text of a charp that is written, while the fix \
                 may still read it; use \"0444\""
            )));
        }
        if length.is_some() {
            return Err(of_name("there are no arrays of charp; use one text".to_owned()));
        }
    }
    let sets_replace = sets.is_some();
    if let Some(sets) = sets {
        if sets != "replace" {
            return Err(of_name(format!(
                "sets {sets:?} is not \"replace\", the only flag of a patch that can be set"
            )));
        }
        if kind != ParamKind::Bool || length.is_some() || default.is_some() || mode & 0o222 != 0 {
            let form = "a parameter that sets `replace` is a bool without `default` (which `stacked` gives) and read-only";
            return Err(of_name(form.to_owned()));
        }
    }
    if length.is_some_and(|length| !(1..=LENGTH_MAX).contains(&length)) {
        return Err(of_name(format!("length must be from 1 to {LENGTH_MAX}")));
    }
    let initial = initial(kind, length, default.as_ref()).map_err(of_name)?;
    let default = default.map(|value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    });
    Ok(Param { name, kind, length, initial, default, mode, description, sets_replace })
}

/// Initial values in C.
fn initial(kind: ParamKind, length: Option<u32>, default: Option<&Value>) -> Result<Vec<String>, String> {
    match (length, default) {
        (None, None) => Ok(vec![kind.empty()]),
        (None, Some(value)) => Ok(vec![kind.value(value)?]),
        (Some(_), None) => Ok(Vec::new()),
        (Some(length), Some(Value::Array(values))) => {
            if values.len() > length as usize {
                return Err(format!("default has {} values, and the array only {length}", values.len()));
            }
            values.iter().map(|value| kind.value(value)).collect()
        }
        (Some(_), Some(other)) => Err(format!("default {other} must be a list of values, as [1, 2]")),
    }
}

/// Converts a tripwire.
pub(super) fn tripwire(tripwire: Tripwire) -> Result<Tripwire, String> {
    check_name(&tripwire.name)?;
    if tripwire.description.trim().is_empty() {
        return Err(format!("`{}`: description is empty: it names the guarded path", tripwire.name));
    }
    check_line(&tripwire.description)
        .map_err(|message| format!("`{}`: description {message}", tripwire.name))?;
    Ok(tripwire)
}

fn check_name(name: &str) -> Result<(), String> {
    if !is_c_name(name) {
        return Err(format!("`{name}` is no name of C: letters, digits and _, no digit first"));
    }
    if is_path_keyword(name) {
        return Err(format!("`{name}` cannot be a name in Rust; choose another one"));
    }
    Ok(())
}

fn check_line(text: &str) -> Result<(), String> {
    if text.contains(char::is_control) { Err("must be one line of text".to_owned()) } else { Ok(()) }
}

fn parse_mode(text: &str) -> Result<u16, String> {
    let octal = text.starts_with('0') && text.len() > 1 && text.bytes().all(|byte| byte.is_ascii_digit());
    let mode = u16::from_str_radix(text, 8).ok().filter(|_| octal);
    let Some(mode) = mode else {
        return Err(format!("mode {text:?} should look like \"0644\""));
    };
    if mode & !0o666 != 0 {
        return Err(format!("mode {text:?} has other bits than those for reading and writing"));
    }
    if mode & 0o002 != 0 {
        return Err(format!("mode {text:?} lets everybody write, which the kernel refuses"));
    }
    let [user, group, others] = [mode >> 6, mode >> 3 & 7, mode & 7];
    if group & !user != 0 || others & 0o4 & !group != 0 {
        return Err(format!(
            "mode {text:?} gives the group or others more than their owner, which the kernel refuses"
        ));
    }
    Ok(mode)
}

/// Message for a name that stands twice among the parameters and tripwires of fixes of one module.
pub(super) fn clash(fixes: &[Fix]) -> Option<String> {
    let names = |fix: &'_ Fix| -> Vec<String> {
        let params = fix.params.iter().map(|param| param.name.clone());
        params.chain(fix.tripwires.iter().map(|tripwire| tripwire.name.clone())).collect()
    };
    let all: Vec<(&str, String)> =
        fixes.iter().flat_map(|fix| names(fix).into_iter().map(|name| (fix.name.as_str(), name))).collect();
    all.iter().enumerate().find_map(|(at, (fix, name))| {
        let (other, _) = all[..at].iter().find(|(_, other)| other == name)?;
        Some(if other == fix {
            format!("`{fix}` has two parameters or tripwires `{name}`; a module has one of a name")
        } else {
            format!(
                "both `{other}` and `{fix}` have a parameter or tripwire `{name}`; a module has one of a name, rename one of them"
            )
        })
    })
}

/// Parameters that the module of these fixes has, those of tripwires last.
pub fn module_params(fixes: &[Fix]) -> Vec<ModuleParam> {
    let params = fixes.iter().flat_map(|fix| &fix.params).map(|param| ModuleParam {
        name: param.name.clone(),
        kind: param.to_string(),
        mode: param.mode,
    });
    let counters = fixes.iter().flat_map(|fix| &fix.tripwires).map(|tripwire| ModuleParam {
        name: tripwire.name.clone(),
        kind: "ulong".to_owned(),
        mode: READABLE,
    });
    params.chain(counters).collect()
}

/// The type as in `parmtype` of `.modinfo`.
impl fmt::Display for Param {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.length.is_some() {
            f.write_str("array of ")?;
        }
        f.write_str(self.kind.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Param, String> {
        param(toml::from_str(text).map_err(|error| error.to_string())?)
    }

    #[test]
    fn defaults_become_values_of_c() {
        for (kind, default, expected) in [
            ("uint", "'3'", "3U"),
            ("uint", "3", "3U"),
            ("int", "'-0x10'", "-16"),
            ("ushort", "'017'", "15U"),
            ("long", "'-9223372036854775808'", "(-9223372036854775807L - 1)"),
            ("ulong", "'18446744073709551615'", "18446744073709551615UL"),
            ("bool", "true", "true"),
            ("bool", "'N'", "false"),
            ("charp", "'a \"b\" \\ é'", "\"a \\\"b\\\" \\\\ \\303\\251\""),
        ] {
            let param = read(&format!("name = 'x'\ntype = '{kind}'\ndefault = {default}")).unwrap();
            assert_eq!((param.initial, param.mode), (vec![expected.to_owned()], 0o444), "{kind}");
        }
        let list = read("name = 'x'\ntype = 'int'\nlength = 4\ndefault = [1, -2]\nmode = '0600'").unwrap();
        assert_eq!(
            (list.initial.as_slice(), list.mode),
            (["1".to_owned(), "-2".to_owned()].as_slice(), 0o600)
        );
        assert_eq!(list.to_string(), "array of int");
        assert_eq!(read("name = 'x'\ntype = 'charp'").unwrap().initial, ["\"\""]);
    }

    #[test]
    fn wrong_parameters_are_refused() {
        for (text, expected) in [
            ("name = 'a-b'\ntype = 'int'", "`a-b` is no name of C"),
            ("name = '1a'\ntype = 'int'", "`1a` is no name of C"),
            ("name = 'self'\ntype = 'int'", "cannot be a name in Rust"),
            ("name = 'x'\ntype = 'u32'", "`x`: type \"u32\" is none of bool, byte, short,"),
            ("name = 'x'\ntype = 'byte'\ndefault = '256'", "default 256 does not fit: byte is from 0 to 255"),
            ("name = 'x'\ntype = 'uint'\ndefault = -1", "does not fit: uint is from 0 to 4294967295"),
            ("name = 'x'\ntype = 'int'\ndefault = '3k'", "\"3k\" is no number"),
            ("name = 'x'\ntype = 'int'\ndefault = '+3'", "\"+3\" is no number"),
            ("name = 'x'\ntype = 'int'\ndefault = '--3'", "\"--3\" is no number"),
            ("name = 'x'\ntype = 'int'\ndefault = ''", "\"\" is no number"),
            ("name = 'x'\ntype = 'int'\ndefault = [1]", "default [1] is no value of type int"),
            ("name = 'x'\ntype = 'bool'\ndefault = 'maybe'", "is no bool"),
            ("name = 'x'\ntype = 'charp'\ndefault = \"a\\nb\"", "no control characters"),
            ("name = 'x'\ntype = 'charp'\nmode = '0644'", "mode 0644 allows writing"),
            ("name = 'x'\ntype = 'charp'\nlength = 2", "no arrays of charp"),
            ("name = 'x'\ntype = 'int'\nlength = 0", "length must be from 1 to"),
            (
                "name = 'x'\ntype = 'int'\nlength = 1\ndefault = [1, 2]",
                "default has 2 values, and the array only 1",
            ),
            ("name = 'x'\ntype = 'int'\nlength = 1\ndefault = 1", "must be a list of values"),
            ("name = 'x'\ntype = 'bool'\nsets = 'stacked'", "sets \"stacked\" is not \"replace\""),
            ("name = 'x'\ntype = 'int'\nsets = 'replace'", "is a bool without `default`"),
            ("name = 'x'\ntype = 'bool'\nsets = 'replace'\ndefault = true", "is a bool without `default`"),
            ("name = 'x'\ntype = 'bool'\nsets = 'replace'\nmode = '0644'", "and read-only"),
            ("name = 'x'\ntype = 'int'\nmode = '644'", "mode \"644\" should look like \"0644\""),
            ("name = 'x'\ntype = 'int'\nmode = '0888'", "should look like"),
            ("name = 'x'\ntype = 'int'\nmode = '0755'", "other bits than those for reading and writing"),
            ("name = 'x'\ntype = 'int'\nmode = '0666'", "lets everybody write"),
            ("name = 'x'\ntype = 'int'\nmode = '0464'", "more than their owner"),
            ("name = 'x'\ntype = 'int'\nmode = '0404'", "more than their owner"),
            ("name = 'x'\ntype = 'int'\ndescription = \"a\\nb\"", "description must be one line"),
            ("name = 'x'\ntype = 'int'\nvalue = 1", "unknown field `value`"),
            ("name = 'x'", "missing field `type`"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
