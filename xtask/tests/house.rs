// SPDX-License-Identifier: GPL-2.0-or-later
//! The house rules that a test can keep: what the documents say is there, and the invariants of ARCHITECTURE.md.

use std::fs;
use std::path::{Path, PathBuf};

use klp_base::process::Cmd;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Files that git knows, or would add.
fn files(suffix: &str) -> Vec<PathBuf> {
    let listed = Cmd::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .cwd(root())
        .read()
        .unwrap();
    let files: Vec<PathBuf> = listed
        .lines()
        .filter(|name| name.ends_with(suffix))
        .map(|name| root().join(name))
        .filter(|path| path.is_file())
        .collect();
    assert!(!files.is_empty(), "no {suffix} files");
    files
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

fn xtask(words: &[&str]) -> String {
    Cmd::new(env!("CARGO_BIN_EXE_xtask")).args(words).read().unwrap()
}

#[test]
fn links_in_documents_lead_somewhere() {
    for file in files(".md") {
        let text = read(&file);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or(link);
            if !target.contains("://") && !target.is_empty() {
                assert!(file.parent().unwrap().join(target).exists(), "{}: {link}", file.display());
            }
        }
    }
}

#[test]
fn commands_in_documents_exist() {
    let help = xtask(&["--help"]);
    for file in files(".md") {
        for line in read(&file).lines() {
            for rest in line.split("cargo xtask ").skip(1) {
                let verb: String = rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
                let there = help.lines().any(|line| line.split_whitespace().next() == Some(verb.as_str()));
                assert!(verb.is_empty() || there, "{}: no verb `{verb}`", file.display());
            }
        }
    }
}

#[test]
fn the_readme_lists_the_pinned_kernels() {
    let readme = read(&root().join("README.md"));
    let listed = xtask(&["kernel", "list"]);
    let pinned = fs::read_dir(root().join("kernel-configs")).unwrap().map(|entry| entry.unwrap().path());
    let pinned = pinned.filter(|path| path.join("kernel.toml").is_file()).count();
    assert!(
        pinned > 0 && listed.lines().count() == pinned,
        "{pinned} kernels are pinned, and listed are:\n{listed}"
    );
    for line in listed.lines() {
        let mut words = line.split_whitespace();
        let (id, arch, release) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
        let row = readme.lines().find(|row| row.starts_with(&format!("| `{id}` ")));
        let row = row.unwrap_or_else(|| panic!("README has no row for {id}"));
        assert!(row.contains(arch) && row.contains(release), "{row}");
    }
}

/// Man pages, completions, the README's support matrix, docs/verify-rules.md.
#[test]
fn generated_files_are_up_to_date() {
    let checked =
        Cmd::new(env!("CARGO_BIN_EXE_xtask")).args(["update-generated", "--check"]).output().unwrap();
    assert!(checked.status.success(), "{}", checked.stdout_text());
}

#[test]
fn the_document_of_rules_has_a_section_for_each_rule_in_order() {
    let text = read(&root().join("docs/verify-rules.md"));
    let headings = text.lines().filter_map(|line| line.strip_prefix("## `")?.strip_suffix('`'));
    assert_eq!(headings.collect::<Vec<_>>(), klp_verify::rules::rule_ids().collect::<Vec<_>>());
}

#[test]
fn the_readme_shows_the_fix_that_is_there() {
    let readme = read(&root().join("README.md"));
    let shown = readme.split("```rust\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    assert!(read(&root().join("patches/cmdline/src/lib.rs")).contains(shown), "{shown}");
}

#[test]
fn the_operators_guide_sends_programs_to_json() {
    // Parsers of `kpatch list` take its lines on stalled tasks for modules; the text is the original's.
    let guide = read(&root().join("docs/kpatch.md"));
    assert!(guide.contains("Programs that read `kpatch list` should read `kpatch list --json`"));
    assert!(root().join("docs/schemas/kpatch.list.1.json").is_file());
}

/// `stack_order` is in the kernel since 6.14 (`Documentation/ABI/testing/sysfs-kernel-livepatch`).
#[test]
fn the_release_that_brought_stack_order_is_named_rightly() {
    let mut named = 0;
    for file in files("").into_iter().filter(|file| file.extension().is_none_or(|kind| kind != "ko")) {
        let Ok(text) = fs::read_to_string(&file) else { continue };
        for line in text.lines().filter(|line| line.contains("stack_order") && line.contains("came with")) {
            assert!(line.contains("6.14") || line.contains("line.contains"), "{}: {line}", file.display());
            named += 1;
        }
    }
    assert!(named >= 3);
}

#[test]
fn the_document_shows_both_forms_of_a_fix() {
    let text = read(&root().join("docs/kernel-crate.md"));
    let blocks: Vec<&str> =
        text.split("```rust\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    for (block, fix) in blocks.iter().zip(["cmdline", "cmdline-kernel"]) {
        assert!(read(&root().join(format!("patches/{fix}/src/lib.rs"))).ends_with(block), "{block}");
    }
    assert_eq!(blocks.len(), 2);
}

#[test]
fn files_stay_readable_and_say_their_licence() {
    for file in files(".rs") {
        let text = read(&file);
        let relative = file.strip_prefix(root()).unwrap();
        let kernel_side =
            ["kmod", "patches", "tests/fixes", "tests/faults", "tests/foreign/fixes", "tests/compile-fail"]
                .iter()
                .any(|dir| relative.starts_with(dir));
        let licence = if kernel_side { "GPL-2.0-only" } else { "GPL-2.0-or-later" };
        let first = text.lines().next().unwrap_or_default();
        assert_eq!(first, format!("// SPDX-License-Identifier: {licence}"), "{}", file.display());
        assert!(text.lines().count() <= 800, "{} is two rooms in one", file.display());
    }
    assert!(read(&root().join("xtask/src/main.rs")).lines().count() < 120);
    assert!(read(&root().join("loader/src/main.rs")).lines().count() < 60);
}

#[test]
fn unsafe_code_stays_where_it_belongs() {
    for file in files(".rs") {
        let relative = file.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
        let kernel_side = [
            "kmod/",
            "patches/",
            "tests/fixes/",
            "tests/faults/",
            "tests/foreign/fixes/",
            "tests/compile-fail/",
        ]
        .iter()
        .any(|dir| relative.starts_with(dir));
        if kernel_side || relative.ends_with("/sys.rs") || relative.starts_with("xtask/tests/") {
            continue;
        }
        if let Some(number) = unsafe_line(&read(&file)) {
            panic!("{relative}:{number}: unsafe code");
        }
    }
}

/// The number of the first line with unsafe code, however it is spelt. Comments and texts do not count; generated code that
/// is written as a text does not run here.
fn unsafe_line(text: &str) -> Option<usize> {
    let spelt = |code: &str| {
        let mut words =
            code.split(|c: char| !(c.is_alphanumeric() || c == '_')).filter(|word| !word.is_empty());
        words.any(|word| word == "unsafe")
    };
    let mut in_text = false;
    for (number, line) in (1..).zip(text.lines()) {
        let (code, still) = outside_of_texts(line, in_text);
        in_text = still;
        if spelt(&code) {
            return Some(number);
        }
    }
    None
}

/// What of a line stands outside of string literals and comments, and whether a literal goes on in the next line.
fn outside_of_texts(line: &str, mut in_text: bool) -> (String, bool) {
    let mut code = String::new();
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\\' if in_text => {
                rest.next();
            }
            // A character literal that could be taken for more: '"', '\\'.
            '\'' if !in_text && matches!(rest.peek(), Some('"' | '\\')) => {
                if rest.next() == Some('\\') {
                    rest.next();
                }
            }
            '"' => in_text = !in_text,
            '/' if !in_text && rest.peek() == Some(&'/') => break,
            _ if in_text => {}
            _ => code.push(c),
        }
    }
    (code, in_text)
}

#[test]
fn unsafe_code_is_seen_however_it_is_spelt() {
    for code in [
        "unsafe{ f() }",
        "let x = 1; unsafe {",
        "foo(unsafe { f() })",
        "unsafe fn f() {",
        "unsafe impl Send for A {}",
        "\"a\", unsafe {",
    ] {
        assert_eq!(unsafe_line(&format!("fn a() {{}}\n{code}\n")), Some(2), "{code}");
    }
    for code in ["// unsafe {", "let unsafe_code = 1;", "\"unsafe { f() }\"", "\"a \\\" unsafe {\""] {
        assert_eq!(unsafe_line(code), None, "{code}");
    }
    assert_eq!(unsafe_line("let text = \"one\nunsafe {\ntwo\";\nunsafe {"), Some(4));
}

/// Number of lines of each function of a source that rustfmt has formatted: first line, name, lines.
fn function_lengths(text: &str) -> Vec<(usize, String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let indentation = line.len() - line.trim_start().len();
        let Some((before, rest)) = line.trim_start().split_once("fn ") else { continue };
        let is_item = before.split_whitespace().all(|word| {
            word.starts_with("pub") || ["const", "unsafe", "extern", "\"C\"", "async"].contains(&word)
        });
        if !is_item || (line.ends_with(';') || line.ends_with('}')) {
            continue;
        }
        let end = format!("{}}}", " ".repeat(indentation));
        let Some(length) = lines[at..].iter().position(|line| *line == end) else { continue };
        let name = rest.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or_default();
        found.push((at + 1, name.to_owned(), length + 1));
    }
    found
}

#[test]
fn functions_of_the_product_have_at_most_80_lines() {
    let mut seen = 0;
    for file in files(".rs") {
        let relative = file.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
        if !relative.contains("src/") || relative.starts_with("tests/") || relative.starts_with("fuzz/") {
            continue;
        }
        let text = read(&file);
        let product = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        for (line, name, length) in function_lengths(product) {
            assert!(length <= 80, "{relative}:{line}: {name} has {length} lines");
            seen += 1;
        }
    }
    assert!(seen > 1000, "only {seen} functions were found");
}

#[test]
fn long_functions_are_seen() {
    let text =
        format!("impl A {{\n    pub(crate) fn long(&self) {{\n{}    }}\n}}\n", "        f();\n".repeat(79));
    assert_eq!(function_lengths(&text), [(2, "long".to_owned(), 81)]);
}

#[test]
fn the_loader_and_the_module_reader_stay_small() {
    let tree = |package: &str| {
        Cmd::new("cargo")
            .args(["tree", "--quiet", "-e", "normal", "--prefix", "none", "-p", package])
            .cwd(root())
            .read()
            .unwrap()
    };
    let names = |package: &str| -> std::collections::BTreeSet<String> {
        tree(package)
            .lines()
            .filter_map(|line| line.split_whitespace().next().map(ToOwned::to_owned))
            .collect()
    };
    let loader = names("kpatch");
    for build_crate in
        ["klp-base", "klp-pipeline", "klp-vm", "bindgen", "object", "libc-test", "openssl", "tokio"]
    {
        assert!(!loader.contains(build_crate), "the loader depends on {build_crate}");
    }
    assert!(loader.len() <= 60, "the loader's tree has {} crates", loader.len());
    let reader = names("klp-module");
    assert!(reader.contains("goblin") && !reader.contains("object"), "{reader:?}");
    assert!(!names("klp-vm").contains("klp-format"), "the harness knows nothing of live patching");
}

#[test]
#[ignore = "needs the static programs; run by cargo xtask test"]
fn kpatch_is_static_and_small() {
    let guest =
        std::env::var_os("FERROGRAFT_TEST_GUEST").expect("FERROGRAFT_TEST_GUEST names the guest program");
    let kpatch = Path::new(&guest).with_file_name("kpatch");
    let bytes = fs::metadata(&kpatch).unwrap().len();
    assert!(bytes < 3_000_000, "{} has {bytes} bytes", kpatch.display());
    let headers = Cmd::new("readelf").arg("-lW").arg(&kpatch).read().unwrap();
    assert!(headers.contains("LOAD") && !headers.contains("INTERP"), "{headers}");
    let dynamic = Cmd::new("readelf").arg("-dW").arg(&kpatch).read().unwrap();
    assert!(!dynamic.contains("NEEDED"), "{dynamic}");
}

#[test]
fn no_place_of_one_machine_stands_in_the_project() {
    for suffix in [".rs", ".toml", ".md", ".sh", "run"] {
        for file in files(suffix) {
            let text = read(&file);
            let home = format!("{}root{}", '/', '/');
            assert!(!text.contains(&home) || file.ends_with("house.rs"), "{}", file.display());
        }
    }
}
