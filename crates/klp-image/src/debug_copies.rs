// SPDX-License-Identifier: GPL-2.0-or-later
//! Index of the copies of functions that the compiler inlined or specialised, from a kernel's debug information: the ELF file with
//! DWARF that distributions have in a package of its own. Nothing else in this crate needs that file.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::File;
use std::path::Path;

use gimli::{
    Abbreviation, AttributeValue, DwTag, Dwarf, EndianSlice, EntriesRaw, LittleEndian, SectionId, UnitHeader,
    UnitRef, constants as dw,
};
use klp_base::cache::{Cache, Key};
use klp_base::events::{Event, Sink, StageEnd, stage};
use klp_base::files::{io_error, read, write};
use klp_base::parallel;
use klp_base::sorted_lines::SortedLines;
use object::read::ReadCache;
use object::read::elf::ElfFile64;
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SymbolKind};

use crate::error::{Error, ImageError};
use crate::image::KernelImage;
use crate::index::ImageFile;

type Reader<'d> = EndianSlice<'d, LittleEndian>;

/// Kind of the cache entry.
const KIND: &str = "debug-copies";
/// Name of the index's file in it.
const INDEX: &str = "copies";
/// Sections that are not read: their content is locations of variables.
const UNREAD: [SectionId; 4] =
    [SectionId::DebugLoc, SectionId::DebugLocLists, SectionId::DebugFrame, SectionId::DebugMacro];
/// Longest chain of references from a function's entry to the one with its name: concrete, abstract, declaration.
const LONGEST_CHAIN: usize = 4;

/// Copy of a function's code in another function of the kernel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DebugCopy {
    /// Symbol of the function with the copy.
    pub caller: String,
    /// Address of that function.
    pub address: u64,
    /// File of the call, from the top of the source; of the definition for a clone.
    pub file: String,
    /// Line of the call; 0 for a clone.
    pub line: u64,
    /// True if the copy is a function of its own, specialised for some callers: `f.constprop.0`.
    pub is_clone: bool,
}

/// Definition of a function, and its copies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefinedCopies {
    /// File of the definition, from the top of the source.
    pub file: String,
    /// Line of the definition.
    pub line: u64,
    /// The copies, without those in the function itself. Those in the code of the start, which has run, are left out.
    pub copies: Vec<DebugCopy>,
}

/// The index. A line has the name of a function, file and line of its definition, the form of the copy, symbol and address of the
/// function with the copy, and file and line of the call.
#[derive(Clone, Debug)]
pub struct DebugCopies(SortedLines);

/// Form of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// The function itself, or a part of it.
    Own,
    /// A clone.
    Clone,
    /// Inlined into a caller.
    Inlined,
}

impl Form {
    const ALL: [(Self, &'static str); 3] =
        [(Self::Own, "own"), (Self::Clone, "clone"), (Self::Inlined, "inlined")];

    fn word(self) -> &'static str {
        Self::ALL.iter().find(|(form, _)| *form == self).map_or("", |(_, word)| word)
    }

    fn of(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == word).map(|(form, _)| *form)
    }
}

impl DebugCopies {
    /// Index of the debug information in `file`, which must be of `kernel`. The cache keeps it.
    ///
    /// # Errors
    /// The file cannot be read, is of another kernel, or has no debug information.
    pub fn load(
        file: ImageFile<'_>,
        kernel: &KernelImage,
        cache: &Cache,
        sink: &dyn Sink,
    ) -> Result<Self, Error> {
        let at = |error: ImageError| Error::Image { path: file.path.to_owned(), message: error.to_string() };
        let entry = cache.entry(KIND, file.id, &key(file.fingerprint), |dir| {
            stage(sink, "copies", file.id, || {
                let lines = scan(file.path, kernel.facts.build_id.as_deref(), &|done, all| {
                    let label = format!("debug information of {}", file.id);
                    sink.event(&Event::Progress { label, done, total: Some(all) });
                })
                .map_err(at)?;
                write(&dir.join(INDEX), lines.text())?;
                Ok::<_, Error>((StageEnd::Done, ()))
            })
        })?;
        Ok(Self(SortedLines::stored(read(&entry.join(INDEX))?)))
    }

    /// True if [`Self::load`] has made the index before.
    pub fn is_at_hand(file: ImageFile<'_>, cache: &Cache) -> bool {
        cache.find(KIND, file.id, &key(file.fingerprint)).is_some()
    }

    /// Index that [`Self::load`] has made before, if the cache has it.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn at_hand(file: ImageFile<'_>, cache: &Cache) -> Result<Option<Self>, Error> {
        let found = cache.find(KIND, file.id, &key(file.fingerprint));
        let Some(entry) = found else { return Ok(None) };
        Ok(Some(Self(SortedLines::stored(read(&entry.join(INDEX))?))))
    }

    /// Definition and copies of the function at an address. `None` if the debug information has no such function: then it is not
    /// known.
    pub fn of(&self, function: &str, address: u64) -> Option<DefinedCopies> {
        let lines = self.lines(function.split('.').next().unwrap_or(function));
        let own = lines.iter().find(|line| line.form != Form::Inlined && line.copy.address == address)?;
        let mut defined = defined(&own.definition, &lines);
        defined.copies.retain(|copy| copy.address != address);
        Some(defined)
    }

    /// All definitions of functions with a name, and their copies. The functions themselves may have no code.
    pub fn named(&self, function: &str) -> Vec<DefinedCopies> {
        let lines = self.lines(function);
        let definitions: BTreeSet<&Place> = lines.iter().map(|line| &line.definition).collect();
        definitions.into_iter().map(|definition| defined(definition, &lines)).collect()
    }

    fn lines(&self, name: &str) -> Vec<Line> {
        self.0.with_key(name).filter_map(|line| parse(&line)).collect()
    }

    /// Numbers of functions with copies, and of copies.
    pub fn count(&self) -> (usize, usize) {
        let text = String::from_utf8_lossy(self.0.text());
        let (mut functions, mut copies, mut last) = (0, 0, None);
        for line in text.lines() {
            let mut fields = line.split('\t');
            let function = (fields.next(), fields.next(), fields.next());
            if fields.next() == Some(Form::Own.word()) {
                continue;
            }
            copies += 1;
            functions += usize::from(last.replace(function) != Some(function));
        }
        (functions, copies)
    }
}

fn key(fingerprint: &str) -> Key {
    Key::new("debug copies 4").with(fingerprint)
}

/// File and line of a definition.
type Place = (String, u64);

/// Line of the index, without the name of the function.
struct Line {
    definition: Place,
    form: Form,
    copy: DebugCopy,
}

/// Parses a line behind the name of the function.
fn parse(line: &str) -> Option<Line> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [file, line, form, caller, address, call_file, call_line] = *fields else { return None };
    let form = Form::of(form)?;
    let copy = DebugCopy {
        caller: caller.to_owned(),
        address: u64::from_str_radix(address, 16).ok()?,
        file: call_file.to_owned(),
        line: call_line.parse().ok()?,
        is_clone: form == Form::Clone,
    };
    Some(Line { definition: (file.to_owned(), line.parse().ok()?), form, copy })
}

/// Copies of one definition.
fn defined(definition: &Place, lines: &[Line]) -> DefinedCopies {
    let copies = lines.iter().filter(|line| line.definition == *definition && line.form != Form::Own);
    let copies: BTreeSet<DebugCopy> = copies.map(|line| line.copy.clone()).collect();
    DefinedCopies { file: definition.0.clone(), line: definition.1, copies: copies.into_iter().collect() }
}

/// Functions of the kernel by their addresses, without those of the start.
type Functions<'f> = HashMap<u64, Vec<&'f str>>;

/// Reads all units of the debug information.
fn scan(
    path: &Path,
    build_id: Option<&str>,
    progress: &(dyn Fn(u64, u64) + Sync),
) -> Result<SortedLines, ImageError> {
    let damaged = |error: &dyn std::fmt::Display| ImageError::Damaged(error.to_string());
    let file = File::open(path).map_err(|error| damaged(&io_error("open", path)(error)))?;
    let file = ReadCache::new(file);
    let elf = ElfFile64::<object::LittleEndian, _>::parse(&file).map_err(|error| damaged(&error))?;
    let found = elf.build_id().map_err(|error| damaged(&error))?.map(klp_base::cache::hex);
    if found.is_none() || found.as_deref() != build_id {
        return Err(ImageError::Foreign {
            module: format!("build id {}", found.as_deref().unwrap_or("none")),
            kernel: format!("build id {}", build_id.unwrap_or("none")),
        });
    }
    let dwarf = Dwarf::load(|id| {
        let section = if UNREAD.contains(&id) { None } else { elf.section_by_name(id.name()) };
        let data = section.map(|section| section.data()).transpose()?.unwrap_or_default();
        Ok::<_, object::Error>(EndianSlice::new(data, LittleEndian))
    })
    .map_err(|error| damaged(&error))?;
    let functions = functions(&elf).map_err(|error| damaged(&error))?;
    let headers: Vec<UnitHeader<Reader<'_>>> = headers(&dwarf).map_err(|error| damaged(&error))?;
    if headers.is_empty() {
        return Err(ImageError::Missing("debug information (section .debug_info)".to_owned()));
    }
    let all = headers.len() as u64;
    let lines = parallel::on_all_processors(
        headers.len(),
        parallel::processors(),
        &|done| progress(done as u64, all),
        &|number| of_unit(&dwarf, headers[number], &functions),
    );
    Ok(SortedLines::of(lines?.into_iter().flatten().collect()))
}

fn functions<'f>(
    elf: &ElfFile64<'f, object::LittleEndian, &'f ReadCache<File>>,
) -> Result<Functions<'f>, object::Error> {
    let mut of_start = HashSet::new();
    for section in elf.sections() {
        if section.name()?.starts_with(".init.") {
            of_start.insert(section.index());
        }
    }
    let mut functions = Functions::new();
    for symbol in elf.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text) {
        if symbol.section_index().is_some_and(|section| !of_start.contains(&section)) {
            functions.entry(symbol.address()).or_default().push(symbol.name()?);
        }
    }
    functions.values_mut().for_each(|names| names.sort_unstable());
    Ok(functions)
}

impl From<gimli::Error> for ImageError {
    fn from(error: gimli::Error) -> Self {
        Self::Damaged(format!("its debug information: {error}"))
    }
}

fn headers<'d>(dwarf: &Dwarf<Reader<'d>>) -> Result<Vec<UnitHeader<Reader<'d>>>, gimli::Error> {
    let (mut found, mut headers) = (Vec::new(), dwarf.units());
    while let Some(header) = headers.next()? {
        found.push(header);
    }
    Ok(found)
}

/// Entry of a function.
#[derive(Debug, Default)]
struct Entry<'d> {
    /// Place in the unit.
    offset: usize,
    name: Option<&'d [u8]>,
    file: u64,
    line: u64,
    /// Entry with the rest of the attributes.
    origin: Option<usize>,
    /// Address of its code.
    address: Option<u64>,
}

/// Inlined call: entry of the function, address of the function around it, file and line of the call.
#[derive(Debug)]
struct Call {
    origin: usize,
    caller: u64,
    file: u64,
    line: u64,
}

/// Lines of the index for one unit.
fn of_unit<'d>(
    dwarf: &Dwarf<Reader<'d>>,
    header: UnitHeader<Reader<'d>>,
    functions: &Functions<'_>,
) -> Result<Vec<String>, ImageError> {
    let unit = dwarf.unit(header)?;
    let unit = unit.unit_ref(dwarf);
    let (entries, calls) = walk(unit, functions)?;
    let named = |offset: usize| {
        let mut at = offset;
        for _ in 0..LONGEST_CHAIN {
            let entry = &entries[entries.binary_search_by_key(&at, |entry| entry.offset).ok()?];
            match (entry.name, entry.origin) {
                (Some(name), _) => return Some((String::from_utf8_lossy(name).into_owned(), entry)),
                (None, Some(origin)) => at = origin,
                (None, None) => return None,
            }
        }
        None
    };
    let mut paths: HashMap<u64, String> = HashMap::new();
    let mut path = |number: u64| {
        paths.entry(number).or_insert_with(|| source_path(unit, number).unwrap_or_default()).clone()
    };
    let mut lines = Vec::new();
    for entry in &entries {
        let Some(address) = entry.address else { continue };
        let (Some(symbols), Some((name, definition))) = (functions.get(&address), named(entry.offset)) else {
            continue;
        };
        let own = symbols.iter().find(|symbol| **symbol == name);
        // A part that was split off belongs to the function.
        let own = own.or_else(|| symbols.iter().find(|symbol| symbol.contains(".part.")));
        let (form, symbol) = own.map_or((Form::Clone, symbols.first()), |own| (Form::Own, Some(own)));
        let (file, line, symbol) =
            (path(definition.file), definition.line, symbol.copied().unwrap_or_default());
        lines.push(format!("{name}\t{file}\t{line}\t{}\t{symbol}\t{address:x}\t{file}\t0", form.word()));
    }
    let own_names: HashMap<u64, String> =
        entries.iter().filter_map(|entry| Some((entry.address?, named(entry.offset)?.0))).collect();
    for call in calls {
        let Some(symbols) = functions.get(&call.caller) else { continue };
        let (name, definition) = named(call.origin).ok_or_else(|| {
            ImageError::Damaged(format!(
                "its debug information has no name of a function that is inlined into {}",
                symbols.join(", ")
            ))
        })?;
        // A copy of the function in itself goes with it.
        if symbols.contains(&name.as_str()) {
            continue;
        }
        let own = own_names.get(&call.caller).and_then(|own| symbols.iter().find(|symbol| *symbol == own));
        let caller = own.or(symbols.first()).copied().unwrap_or_default();
        lines.push(format!(
            "{name}\t{}\t{}\t{}\t{caller}\t{:x}\t{}\t{}",
            path(definition.file),
            definition.line,
            Form::Inlined.word(),
            call.caller,
            path(call.file),
            call.line
        ));
    }
    Ok(lines)
}

/// Types whose entries hold no function.
fn is_type(tag: DwTag) -> bool {
    matches!(
        tag,
        dw::DW_TAG_structure_type
            | dw::DW_TAG_union_type
            | dw::DW_TAG_enumeration_type
            | dw::DW_TAG_subroutine_type
    )
}

/// Reads the functions and inlined calls of a unit. Both lists have the order of the entries.
fn walk<'d>(
    unit: UnitRef<'_, Reader<'d>>,
    functions: &Functions<'_>,
) -> Result<(Vec<Entry<'d>>, Vec<Call>), ImageError> {
    let mut entries = unit.entries_raw(None)?;
    // Depth of the entry that `entries` began at.
    let mut start = 0;
    // Functions around the entry: depth and address.
    let mut around: Vec<(isize, Option<u64>)> = Vec::new();
    let (mut found, mut calls) = (Vec::new(), Vec::new());
    while !entries.is_empty() {
        let (offset, depth) = (entries.next_offset().0, start + entries.next_depth());
        let Some(abbreviation) = entries.read_abbreviation()? else { continue };
        while around.last().is_some_and(|(outer, _)| *outer >= depth) {
            around.pop();
        }
        let caller = around.last().and_then(|(_, address)| *address);
        match (abbreviation.tag(), caller) {
            (dw::DW_TAG_subprogram, _) => {
                let entry = function(unit, &mut entries, abbreviation, offset, functions)?;
                if abbreviation.has_children() {
                    around.push((depth, entry.address));
                }
                found.push(entry);
            }
            (dw::DW_TAG_inlined_subroutine, Some(caller)) => {
                let mut call = Call { origin: 0, caller, file: 0, line: 0 };
                for attribute in abbreviation.attributes() {
                    let attribute = entries.read_attribute(*attribute)?;
                    match attribute.name() {
                        dw::DW_AT_abstract_origin => call.origin = origin(&attribute.value())?,
                        dw::DW_AT_call_file => call.file = number(&attribute.value()),
                        dw::DW_AT_call_line => call.line = number(&attribute.value()),
                        _ => {}
                    }
                }
                calls.push(call);
            }
            (tag, _) if is_type(tag) && abbreviation.has_children() => {
                // Most entries are members of types: they are passed over.
                let mut next = None;
                for attribute in abbreviation.attributes() {
                    let attribute = entries.read_attribute(*attribute)?;
                    if attribute.name() == dw::DW_AT_sibling {
                        next = place(&attribute.value());
                    }
                }
                if let Some(next) = next.filter(|next| *next > offset) {
                    entries = unit.entries_raw(Some(gimli::UnitOffset(next)))?;
                    start = depth;
                }
            }
            _ => entries.skip_attributes(abbreviation.attributes())?,
        }
    }
    Ok((found, calls))
}

/// Reads the entry of a function.
fn function<'d>(
    unit: UnitRef<'_, Reader<'d>>,
    entries: &mut EntriesRaw<'_, Reader<'d>>,
    abbreviation: &Abbreviation,
    offset: usize,
    functions: &Functions<'_>,
) -> Result<Entry<'d>, ImageError> {
    let mut entry = Entry { offset, ..Entry::default() };
    let (mut start, mut ranges) = (None, None);
    for attribute in abbreviation.attributes() {
        let attribute = entries.read_attribute(*attribute)?;
        let value = attribute.value();
        match attribute.name() {
            dw::DW_AT_name => entry.name = Some(unit.attr_string(value)?.slice()),
            dw::DW_AT_decl_file => entry.file = number(&value),
            dw::DW_AT_decl_line => entry.line = number(&value),
            dw::DW_AT_abstract_origin | dw::DW_AT_specification => entry.origin = Some(origin(&value)?),
            dw::DW_AT_low_pc => start = unit.attr_address(value)?,
            dw::DW_AT_ranges => ranges = unit.attr_ranges(value)?,
            _ => {}
        }
    }
    // Of a function in several ranges the rare code is no beginning.
    let is_start = |address: &u64| {
        functions.get(address).is_some_and(|names| names.iter().any(|name| !name.contains(".cold")))
    };
    entry.address = start.filter(is_start);
    if let Some(mut ranges) = ranges {
        while let (None, Some(range)) = (entry.address, ranges.next()?) {
            entry.address = Some(range.begin).filter(is_start);
        }
    }
    Ok(entry)
}

/// Entry of the same unit that has the rest of an entry's attributes. Nothing is left out: a copy that is not in the index reads as none.
fn origin(value: &AttributeValue<Reader<'_>>) -> Result<usize, ImageError> {
    place(value).ok_or_else(|| {
        ImageError::Damaged(
            "its debug information refers from one unit to another, as after dwz or link time optimisation, which the index does not \
             follow"
                .to_owned(),
        )
    })
}

fn place(value: &AttributeValue<Reader<'_>>) -> Option<usize> {
    match value {
        AttributeValue::UnitRef(offset) => Some(offset.0),
        _ => None,
    }
}

fn number(value: &AttributeValue<Reader<'_>>) -> u64 {
    match value {
        AttributeValue::FileIndex(number) => *number,
        value => value.udata_value().unwrap_or(0),
    }
}

/// Path of a file by its number in a unit, from the top of the source. Headers of a module of another tree have absolute paths.
pub fn source_path(unit: UnitRef<'_, EndianSlice<'_, LittleEndian>>, number: u64) -> Option<String> {
    let header = unit.line_program.as_ref()?.header();
    let file = header.file(number)?;
    let part = |value| Some(unit.attr_string(value).ok()?.to_string_lossy().into_owned());
    let (name, dir) = (part(file.path_name())?, file.directory(header).and_then(part));
    // Directory 0 is that of the compile.
    let is_of_compile = file.directory_index() == 0;
    let path = match dir.filter(|dir| !(is_of_compile && dir.starts_with('/'))) {
        Some(dir) if !name.starts_with('/') => format!("{dir}/{name}"),
        _ => name,
    };
    Some(path.trim_start_matches("./").to_owned())
}

#[cfg(test)]
mod tests {
    use klp_base::process::Cmd;

    use super::*;

    const SOURCE: &str = "int g(int);\nstatic inline __attribute__((always_inline)) int small(int a) { return g(a) + 1; }\n\
        struct wide { int a, b, c; };\nint keep(int a) { return small(a); }\n\
        static __attribute__((noinline)) int big(int a, int b) { for (int i = 0; i < a; i++) b += g(i * b); return b; }\n\
        int one(struct wide *w) { return small(w->a) + big(w->b, 3); }\nint two(int a) { return big(g(a), 3) + keep(a) * 2; }\n\
        int __attribute__((section(\".init.text\"))) begin(int a) { return small(a) + keep(a); }\n\
        int __attribute__((noinline)) g(int a) { return a ^ 5; }\n";

    /// A linked file with two units of a function of one name, and its build id.
    fn linked(dir: &Path, flags: &[&str]) -> std::path::PathBuf {
        std::fs::create_dir(dir.join("lib")).unwrap();
        std::fs::write(dir.join("x.c"), SOURCE).unwrap();
        let other = "static inline __attribute__((always_inline)) int small(int a) { return a + 4; }\nint three(int a) { return small(a); }\n";
        std::fs::write(dir.join("lib/y.c"), other).unwrap();
        let cc = Cmd::new("gcc").args([
            "-O2",
            "-fno-inline-functions-called-once",
            "-nostdlib",
            "-static",
            "-Wl,--build-id",
            "-Wl,-eone,-uone,-utwo,-uthree",
        ]);
        cc.args(flags).args(["-o", "vmlinux", "x.c", "lib/y.c"]).cwd(dir).run().unwrap();
        dir.join("vmlinux")
    }

    fn build_id(file: &Path) -> String {
        let bytes = std::fs::read(file).unwrap();
        let elf = ElfFile64::<object::LittleEndian>::parse(bytes.as_slice()).unwrap();
        klp_base::cache::hex(elf.build_id().unwrap().unwrap())
    }

    #[test]
    fn copies_are_found_by_definition_without_those_of_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let file = linked(dir.path(), &["-g", "-gdwarf-5", "-gz=none"]);
        let index = DebugCopies(scan(&file, Some(&build_id(&file)), &|_, _| {}).unwrap());
        let shown = |name: &str| -> Vec<(String, u64, Vec<String>)> {
            let defined = index.named(name).into_iter();
            let one =
                |copy: DebugCopy| format!("{} {}:{} {}", copy.caller, copy.file, copy.line, copy.is_clone);
            defined
                .map(|found| (found.file, found.line, found.copies.into_iter().map(one).collect()))
                .collect()
        };
        let text = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            shown("small"),
            [
                ("lib/y.c".to_owned(), 1, text(&["three lib/y.c:2 false"])),
                ("x.c".to_owned(), 2, text(&["keep x.c:4 false", "one x.c:6 false", "two x.c:4 false"]))
            ]
        );
        assert_eq!(shown("keep"), [("x.c".to_owned(), 4, text(&["two x.c:7 false"]))]);
        assert_eq!(shown("big"), [("x.c".to_owned(), 5, text(&["big.constprop.0 x.c:0 true"]))]);
        assert_eq!(shown("three"), [("lib/y.c".to_owned(), 2, Vec::new())]);
        assert!(shown("nothing").is_empty());
        let keep = index.lines("keep").into_iter().find(|line| line.form == Form::Own).unwrap().copy.address;
        assert_eq!(index.of("keep", keep).unwrap().copies.len(), 1);
        assert_eq!(index.of("keep", keep + 1), None);
        let clone = index.named("big").remove(0).copies.remove(0).address;
        assert_eq!(index.of("big.constprop.0", clone).unwrap().copies, [], "a clone is no copy of itself");
        assert_eq!(index.count().0, 4);
    }

    #[test]
    fn references_to_other_units_are_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = linked(dir.path(), &["-g", "-gdwarf-5", "-gz=none", "-flto"]);
        let error = scan(&file, Some(&build_id(&file)), &|_, _| {}).unwrap_err().to_string();
        assert!(error.contains("from one unit to another"), "{error}");
    }

    #[test]
    fn files_of_another_kernel_or_without_debug_information_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = linked(dir.path(), &["-g0"]);
        let scan = |id: Option<&str>| scan(&file, id, &|_, _| {}).unwrap_err().to_string();
        assert!(scan(Some(&build_id(&file))).contains("has no debug information"));
        assert!(scan(Some("00")).contains("another kernel") && scan(None).contains("another kernel"));
        std::fs::write(&file, b"\x7fELF").unwrap();
        assert!(scan(Some("00")).contains("damaged"));
    }
}
