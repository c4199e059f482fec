// SPDX-License-Identifier: GPL-2.0-or-later
//! Calls of compiler runtime routines for operations without integer instructions: floating point and 128-bit
//! division. The kernel has none of these routines. This check finds them in stage 3's object and reports the
//! author's line. Without it modpost would report a symbol name that is not in the author's source.
//!
//! Source of the names: <https://gcc.gnu.org/onlinedocs/gccint/Libgcc.html>, and `libm` for the calls of
//! `core`.

use std::collections::BTreeSet;

use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget};

/// Purpose of a routine, which determines the remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Float,
    Division,
    Wide,
}

impl Kind {
    /// Kind of an undefined symbol; `None` if it is not a runtime routine.
    fn of(name: &str) -> Option<Self> {
        const MATHS: [&str; 22] = [
            "acos", "asin", "atan", "atan2", "cbrt", "ceil", "cos", "exp", "exp2", "fabs", "floor", "fma",
            "fmax", "fmin", "fmod", "log", "log10", "log2", "pow", "round", "sin", "sqrt",
        ];
        const MORE_MATHS: [&str; 9] =
            ["cosh", "hypot", "ldexp", "rint", "roundeven", "sinh", "tan", "tanh", "trunc"];
        let maths = |name: &str| MATHS.contains(&name) || MORE_MATHS.contains(&name);
        if maths(name) || name.strip_suffix(['f', 'l']).is_some_and(maths) {
            return Some(Self::Float);
        }
        let rest = name.strip_prefix("__")?;
        let rest = rest.trim_end_matches(|c: char| c.is_ascii_digit());
        let starts = |starts: &[&str]| starts.iter().any(|start| rest.starts_with(start));
        let ends = |ends: &[&str]| ends.iter().any(|end| rest.ends_with(end));
        if ends(&["ti"]) && starts(&["div", "mod", "udiv", "umod"]) {
            return Some(Self::Division);
        }
        if ends(&["hf", "sf", "df", "xf", "tf"])
            && starts(&[
                "add", "sub", "mul", "div", "neg", "cmp", "unord", "eq", "ne", "lt", "le", "gt", "ge", "pow",
                "float", "extend", "trunc",
            ])
        {
            return Some(Self::Float);
        }
        if starts(&["fixhf", "fixsf", "fixdf", "fixxf", "fixtf", "fixuns"]) || starts(&["gnu_f2h", "gnu_h2f"])
        {
            return Some(Self::Float);
        }
        let wide =
            ["mul", "mulo", "ashl", "ashr", "lshr", "clz", "ctz", "ffs", "popcount", "parity", "cmp", "ucmp"];
        (ends(&["ti"]) && starts(&wide)).then_some(Self::Wide)
    }

    fn says(self) -> &'static str {
        match self {
            Self::Float => {
                "floating point: the kernel computes without it; use integers, scaled where there is a fraction"
            }
            Self::Division => {
                "128-bit division: the kernel has no routine for it; divide numbers of 64 bits, or name `mul_u64_u64_div_u64` in \
                 `functions` of [imports] where only the product has 128"
            }
            Self::Wide => "128-bit arithmetic: the kernel has no routine for it; use numbers of 64 bits",
        }
    }
}

/// One line for each call of such a routine in `object`. `exported` returns true for a routine that the
/// kernel exports.
pub(super) fn calls(object: &[u8], exported: impl Fn(&str) -> bool) -> Result<Vec<String>, String> {
    let file = object::File::parse(object).map_err(|error| error.to_string())?;
    let mut found: BTreeSet<(u64, u64, String, Kind)> = BTreeSet::new();
    for section in file.sections().filter(|section| section.kind() == object::SectionKind::Text) {
        for (offset, relocation) in section.relocations() {
            let RelocationTarget::Symbol(index) = relocation.target() else { continue };
            let Ok(symbol) = file.symbol_by_index(index) else { continue };
            let name = symbol.name().unwrap_or_default();
            if let Some(kind) = Kind::of(name).filter(|_| symbol.is_undefined() && !exported(name)) {
                found.insert((section.index().0 as u64, offset, name.to_owned(), kind));
            }
        }
    }
    if found.is_empty() {
        return Ok(Vec::new());
    }
    let lines =
        Lines::read(&file).map_err(|error| format!("its debug information cannot be read: {error}"))?;
    let mut said = BTreeSet::new();
    for (section, offset, name, kind) in found {
        let place =
            lines.at(section, offset).unwrap_or_else(|| "a place that no debug information tells".to_owned());
        said.insert(format!("{place}: {} ({name})", kind.says()));
    }
    Ok(said.into_iter().collect())
}

/// Shift that gives each section a separate address range.
const SECTION: u32 = 40;

type Reader = gimli::EndianArcSlice<gimli::RunTimeEndian>;

/// Source lines by address.
struct Lines(addr2line::Context<Reader>);

impl Lines {
    fn read(file: &object::File<'_>) -> Result<Self, gimli::Error> {
        let load = |id: gimli::SectionId| -> Result<Reader, gimli::Error> {
            let data =
                file.section_by_name(id.name()).map(|section| relocated(file, &section)).unwrap_or_default();
            Ok(Reader::new(data.into(), gimli::RunTimeEndian::Little))
        };
        Ok(Self(addr2line::Context::from_dwarf(gimli::Dwarf::load(load)?)?))
    }

    /// Source line in a fix of an instruction: the innermost inlined call outside of `core`.
    fn at(&self, section: u64, offset: u64) -> Option<String> {
        let frames = self.0.find_frames((section << SECTION) + offset);
        let mut frames = frames.skip_all_loads().ok()?;
        let mut last = None;
        while let Ok(Some(frame)) = frames.next() {
            let Some(location) = frame.location else { continue };
            let (Some(path), Some(line)) = (location.file, location.line) else { continue };
            let path = path.trim_start_matches("./");
            last = Some(format!("{path}:{line}"));
            if !path.contains("core/src/") {
                break;
            }
        }
        last
    }
}

/// Content of a debug section of a relocatable object, with its relocations applied.
fn relocated<'data>(file: &object::File<'data>, section: &object::Section<'data, '_>) -> Vec<u8> {
    let mut data = section.uncompressed_data().map(|data| data.into_owned()).unwrap_or_default();
    for (offset, relocation) in section.relocations() {
        let RelocationTarget::Symbol(index) = relocation.target() else { continue };
        let Ok(symbol) = file.symbol_by_index(index) else { continue };
        let text = symbol.section_index().filter(|index| {
            file.section_by_index(*index).is_ok_and(|section| section.kind() == object::SectionKind::Text)
        });
        let base = text.map_or(0, |index| (index.0 as u64) << SECTION);
        let value = base.wrapping_add(symbol.address()).wrapping_add_signed(relocation.addend());
        let Ok(start) = usize::try_from(offset) else { continue };
        let size = usize::from(relocation.size() / 8);
        if let (Some(place), Some(bytes)) =
            (data.get_mut(start..start + size), value.to_le_bytes().get(..size))
        {
            place.copy_from_slice(bytes);
        }
    }
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtime_routines_are_recognized_by_name() {
        for name in [
            "__muldf3",
            "__adddf3",
            "__floatsidf",
            "__fixunsdfsi",
            "__extendsfdf2",
            "__unorddf2",
            "fmod",
            "powf",
            "sqrt",
        ] {
            assert_eq!(Kind::of(name), Some(Kind::Float), "{name}");
        }
        for name in ["__udivti3", "__umodti3", "__divti3", "__modti3", "__udivmodti4"] {
            assert_eq!(Kind::of(name), Some(Kind::Division), "{name}");
        }
        assert_eq!(Kind::of("__muloti4"), Some(Kind::Wide));
        for name in [
            "__fentry__",
            "memcpy",
            "__x86_return_thunk",
            "_printk",
            "__kmalloc",
            "__divide",
            "pow2",
            "__fix_it",
        ] {
            assert_eq!(Kind::of(name), None, "{name}");
        }
    }
}
