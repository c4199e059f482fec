// SPDX-License-Identifier: GPL-2.0-or-later
//! Bit-fields of structs that exist only in BTF, compared with C: gcc compiles the same struct, pahole
//! generates its BTF, and two programs set the same values, print the bytes and read the values back.

use std::fmt::Write;
use std::fs;

use klp_base::process::Cmd;
use klp_image::Types;
use klp_pipeline::bindings;
use object::{Object, ObjectSection};

const STRUCTS: &str = "
enum signed_kind { MINUS = -2, ZERO, PLUS };
enum unsigned_kind { A, B, C = 6 };
typedef signed char s8_t;
struct plain {
    unsigned int type:8;
    signed int field_width:24;
    unsigned int flags:8;
    unsigned int base:8;
    signed int precision:16;
    unsigned long long wide:40;
    long long signed_wide:35;
    _Bool flag:1;
    enum signed_kind signed_kind:3;
    enum unsigned_kind unsigned_kind:3;
    s8_t small:5;
    unsigned long whole:64;
};
struct __attribute__((packed)) crossing {
    unsigned char lead;
    unsigned int a:3;
    unsigned long long b:50;
    int c:20;
    long long d:64;
    _Bool e:1;
    int f:1;
};
struct priv { int x; };
struct tagged { int y; };
struct other { int z; };
enum box { IN_BOX };
// Names that are keywords of Rust, and anonymous members with and without a tag.
typedef struct { struct priv gen; struct priv *dyn; enum box box; struct { int inner; }; struct tagged; struct other; } match;
union either {
    int narrow:5;
    unsigned long long broad:63;
};
";

/// Structs with their bit-fields.
const FIELDS: [(&str, &[&str]); 3] = [
    (
        "struct plain",
        &[
            "type",
            "field_width",
            "flags",
            "base",
            "precision",
            "wide",
            "signed_wide",
            "flag",
            "signed_kind",
            "unsigned_kind",
            "small",
            "whole",
        ],
    ),
    ("struct crossing", &["a", "b", "c", "d", "e", "f"]),
    ("union either", &["narrow", "broad"]),
];

const VALUES: [i64; 9] = [0, 1, -1, 5, -5, 0x5555_5555_5555_5555, -0x5555_5555_5555_5556, i64::MAX, i64::MIN];

/// C program that sets every field to every value, over bytes that are all zeroes or all ones, and prints the
/// resulting bytes.
fn program_in_c() -> String {
    let mut text = format!("#include <stdio.h>\n#include <string.h>\n{STRUCTS}\nint main(void)\n{{\n");
    for (name, fields) in FIELDS {
        for (fill, value) in [0, 0xff].iter().flat_map(|fill| VALUES.iter().map(move |value| (fill, value))) {
            for field in fields {
                let _ = writeln!(
                    text,
                    "{{ {name} x; memset(&x, {fill}, sizeof x); x.{field} = {}; printf(\"{name}.{field} %lld\", (long long)x.{field}); \
                     for (unsigned i = 0; i < sizeof x; i++) printf(\" %02x\", ((unsigned char *)&x)[i]); puts(\"\"); }}",
                    if *value == i64::MIN {
                        "(-9223372036854775807LL-1)".to_owned()
                    } else {
                        format!("{value}LL")
                    }
                );
            }
        }
    }
    text + "}\n"
}

fn program_in_rust() -> String {
    let mut text = "use structs::m0::*;\nfn field_of<T, const N: usize>(bytes: &mut [u8; N]) -> &mut T { assert!(size_of::<T>() == N); /* any bytes are a value */ unsafe { &mut *bytes.as_mut_ptr().cast() } }\ntrait From64 { fn from64(value: i64) -> Self; }\n".to_owned();
    for integer in ["i8", "u8", "i32", "u32", "i64", "u64", "usize"] {
        let _ = writeln!(
            text,
            "impl From64 for {integer} {{ fn from64(value: i64) -> Self {{ value as Self }} }}"
        );
    }
    text.push_str("impl From64 for bool { fn from64(value: i64) -> Self { value != 0 } }\nfn main() {\n");
    for (name, fields) in FIELDS {
        let rust = name.rsplit(' ').next().unwrap();
        for (fill, value) in [0, 0xff].iter().flat_map(|fill| VALUES.iter().map(move |value| (fill, value))) {
            for field in fields {
                let getter = if *field == "type" { "type_" } else { field };
                let _ = writeln!(
                    text,
                    "{{ let mut bytes = [{fill}u8; size_of::<{rust}>()]; let x = field_of(&mut bytes); let x: &mut {rust} = x; \
                     x.set_{field}(From64::from64({value}i64)); print!(\"{name}.{field} {{}}\", x.{getter}() as i64); \
                     for byte in bytes {{ print!(\" {{byte:02x}}\"); }} println!(); }}"
                );
            }
        }
    }
    text + "}\n"
}

#[test]
fn bit_fields_are_read_and_set_as_c_does() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let user = "struct plain p; struct crossing c; union either e; match m;\n";
    fs::write(at("structs.c"), format!("{STRUCTS}{user}")).unwrap();
    fs::write(at("program.c"), program_in_c()).unwrap();
    let hint = "install the packages gcc and pahole";
    Cmd::new("gcc")
        .args(["-g", "-c", "-fms-extensions", "-o"])
        .args([at("structs.o"), at("structs.c")])
        .hint(hint)
        .run()
        .unwrap();
    Cmd::new("pahole").arg("-J").arg(at("structs.o")).hint(hint).run().unwrap();
    Cmd::new("gcc")
        .args(["-w", "-fms-extensions", "-o"])
        .args([at("in-c"), at("program.c")])
        .hint(hint)
        .run()
        .unwrap();
    let bytes = fs::read(at("structs.o")).unwrap();
    let file = object::File::parse(&*bytes).unwrap();
    let types = Types::parse(file.section_by_name(".BTF").unwrap().data().unwrap()).unwrap();

    let source = bindings::structs_alone(&types, &types.all_composites().unwrap()).unwrap();
    fs::write(at("structs.rs"), source).unwrap();
    fs::write(at("program.rs"), program_in_rust()).unwrap();
    let rustc = |arguments: &[&str]| {
        Cmd::new("rustc")
            .args(["--edition", "2024", "-Awarnings"])
            .args(arguments)
            .cwd(dir.path())
            .run()
            .unwrap()
    };
    rustc(&["--crate-type", "lib", "structs.rs"]);
    rustc(&["--extern", "structs=libstructs.rlib", "-o", "in-rust", "program.rs"]);
    let run = |name: &str| Cmd::new(at(name)).run().unwrap().stdout_text();
    let (c, rust) = (run("in-c"), run("in-rust"));
    assert_eq!(c.lines().count(), 20 * 2 * VALUES.len());
    for (c, rust) in c.lines().zip(rust.lines()) {
        assert_eq!(c, rust);
    }
    assert_eq!(c, rust);
    assert!(c.contains("struct plain.field_width -5 "), "{c}");
}
