// SPDX-License-Identifier: GPL-2.0-or-later
//! Layouts and prototypes generated from BTF, compared with the output of pahole and pfunct for the same BTF:
//! 300 of each, selected by a seed that is printed and can be set (FERROGRAFT_SEED).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;

use klp_base::cache::{self, Key};
use klp_base::events::Silent;
use klp_base::process::Cmd;
use klp_image::{KernelImage, Parsed, decompress};
use klp_pipeline::bindings;

use crate::common;

const COUNT: usize = 300;

/// Simple pseudo-random generator (splitmix64).
struct Draw(u64);

impl Draw {
    fn seeded(what: &str) -> Self {
        let now =
            || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
        let seed = std::env::var("FERROGRAFT_SEED").map_or_else(|_| now(), |text| text.parse().unwrap());
        println!("{what}: FERROGRAFT_SEED={seed}");
        Self(seed)
    }

    fn pick<T: Clone>(&mut self, from: &mut Vec<T>, count: usize) -> Vec<T> {
        assert!(from.len() >= count, "only {} to draw from", from.len());
        (0..count)
            .map(|_| {
                self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                from.swap_remove(((mixed ^ (mixed >> 31)) % from.len() as u64) as usize)
            })
            .collect()
    }
}

/// Image of the default kernel, and the output of one of pahole's programs for its BTF. pfunct takes a minute, so the cache keeps
/// the output.
fn image_and_listing(program: &str, options: &[&str]) -> (KernelImage, String) {
    let (_, cache, tree) = common::default_kernel();
    let image = KernelImage::load(tree.image_file(), &cache, &Silent).unwrap();
    let vmlinux = decompress(&fs::read(&tree.image).unwrap()).unwrap();
    let btf = Parsed::parse(&vmlinux, tree.release.as_str()).unwrap().btf;
    let tool = || Cmd::new(program).hint("install the package pahole");
    let version = tool().arg("--version").read().unwrap_or_else(|error| panic!("{error}"));
    let key = options.iter().fold(Key::new("listing of pahole 1").with(program), Key::with);
    let key = key.with(version).with(btf);
    let entry = cache.entry("pahole", program, &key, |dir| {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), btf).unwrap();
        let output = tool().args(options).arg(file.path()).run().unwrap_or_else(|error| panic!("{error}"));
        fs::write(dir.join("listing"), output.stdout).unwrap();
        Ok::<(), cache::Error>(())
    });
    let listing = entry.unwrap_or_else(|error| panic!("{error}")).join("listing");
    (image, fs::read_to_string(listing).unwrap())
}

/// Size of one struct, and member offsets in bytes. Bit-fields are omitted.
struct Seen {
    size: usize,
    members: Vec<(String, usize)>,
}

/// Parses pahole's output: every struct with a tag, first-level members only.
fn read_pahole(text: &str) -> BTreeMap<String, Vec<Seen>> {
    let mut all: BTreeMap<String, Vec<Seen>> = BTreeMap::new();
    let mut name = None;
    let mut members = Vec::new();
    let mut size = 0;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("struct ")
            && let Some(tag) = rest.strip_suffix(" {")
        {
            name = Some(tag.to_owned());
            members.clear();
        } else if line.starts_with('}') {
            if let Some(name) = name.take() {
                all.entry(name).or_default().push(Seen { size, members: std::mem::take(&mut members) });
            }
        } else if let Some(rest) = line.strip_prefix("\t/* size: ") {
            size = rest.split(',').next().unwrap().parse().unwrap();
        } else if let Some((declaration, comment)) = line.split_once("/*")
            && line.starts_with('\t')
            && !line.starts_with("\t\t")
            && let Some(member) = member_name(declaration.trim())
            && let Some(Ok(offset)) = comment.split_whitespace().next().map(str::parse)
        {
            members.push((member, offset));
        }
    }
    all
}

/// Name in a C declaration. `None` for bit-fields and unnamed members.
fn member_name(declaration: &str) -> Option<String> {
    let declaration = declaration.split(" __attribute__").next()?.trim_end_matches(';').trim();
    let declarator = match declaration.split_once("(*") {
        Some((_, rest)) => rest.split([')', '[']).next()?,
        None => declaration.split('[').next()?.rsplit([' ', '*', '}']).next()?,
    };
    let plain = !declarator.is_empty() && declarator.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    plain.then(|| declarator.to_owned())
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn structs_are_laid_out_as_pahole_says() {
    let (image, listing) = image_and_listing("pahole", &["-F", "btf"]);
    let pahole = read_pahole(&listing);
    let mut names: Vec<String> = pahole
        .iter()
        .filter(|(name, seen)| {
            seen.len() == 1 && image.types.composites(name).is_ok_and(|ids| ids.len() == 1)
        })
        .map(|(name, _)| name.clone())
        .collect();
    assert!(names.len() > 5000, "pahole's listing was not understood: {} structs", names.len());
    let drawn = Draw::seeded("structs").pick(&mut names, COUNT);
    let mut source = bindings::from_btf_alone(&image.types, &drawn).unwrap();
    let mut offsets = 0;
    for name in &drawn {
        let seen = &pahole[name][0];
        let _ = writeln!(
            source,
            "const _: () = assert!(size_of::<{name}>() == {}, \"size of {name}\");",
            seen.size
        );
        for (member, offset) in
            seen.members.iter().filter(|(member, _)| !klp_pipeline::rust_name::is_rust_keyword(member))
        {
            let _ = writeln!(
                source,
                "const _: () = assert!(core::mem::offset_of!({name}, {member}) == {offset}, \"{name}.{member}\");"
            );
            offsets += 1;
        }
    }
    assert!(offsets > COUNT, "only {offsets} offsets to compare");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("layouts.rs");
    fs::write(&file, source).unwrap();
    Cmd::new("rustc")
        .args(["--crate-type", "lib", "--edition", "2024", "--emit", "metadata", "-Awarnings", "--out-dir"])
        .args([dir.path(), &file])
        .run()
        .unwrap_or_else(|error| panic!("{error}"));
    println!("{COUNT} structs, {offsets} offsets");
}

/// Prototypes without white space, which the two tools print differently.
fn squeezed(text: &str) -> String {
    let text = text.replace("_Bool", "bool").replace('\t', " ");
    let words: Vec<&str> = text.split_whitespace().collect();
    let text = words.join(" ").replace("restrict ", "");
    text.replace(" *", "*").replace("* ", "*").replace("( ", "(").replace(" )", ")")
}

#[test]
#[ignore = "needs the pinned kernel; run by cargo xtask test"]
fn prototypes_are_as_pfunct_says() {
    let (image, listing) = image_and_listing("pfunct", &["-F", "btf", "-P"]);
    let mut by_name: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in listing.lines() {
        let head = line.split('(').next().unwrap_or_default();
        let name = head.rsplit([' ', '*']).next().unwrap_or_default();
        by_name.entry(name.to_owned()).or_default().push(line.trim_end_matches(';').to_owned());
    }
    let ours =
        |name: &str| image.types.function(name).map(|found| squeezed(&image.types.c_prototype(&found)));
    // pahole 1.24 prints the `const` of a pointer before its target type (and therefore twice), and prints a
    // pointer to an array as a pointer to its elements. Such prototypes are omitted. The other 49,000 are all
    // equal.
    let mut names: Vec<String> = by_name
        .iter()
        .filter(|(name, lines)| !name.is_empty() && lines.len() == 1)
        .filter(|(name, _)| ours(name).is_ok_and(|text| !text.contains("*const") && !text.contains(")[")))
        .map(|(name, _)| name.clone())
        .collect();
    assert!(names.len() > 40_000, "pfunct's listing was not understood: {} functions", names.len());
    let drawn = Draw::seeded("functions").pick(&mut names, COUNT);
    let mut wrong = Vec::new();
    for name in &drawn {
        let ours = ours(name).unwrap();
        let theirs = squeezed(&by_name[name][0]);
        if ours != theirs {
            wrong.push(format!("ours:   {ours}\npfunct: {theirs}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {COUNT} differ:\n{}", wrong.len(), wrong.join("\n"));
}
