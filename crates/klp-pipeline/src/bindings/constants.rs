// SPDX-License-Identifier: GPL-2.0-or-later
//! Diagnosis for names in `constants` that are not constants. clang is asked only after bindgen has failed.

/// Name prefix of the probes.
pub(super) const PROBE: &str = "__klp_probe_";
/// `pointer_type_class`, `real_type_class`, `record_type_class` and `union_type_class` of gcc's
/// `typeclass.h`. clang uses the same values.
const POINTER: &str = "5";
const REAL: &str = "8";
const RECORDS: [&str; 2] = ["12", "13"];

/// Description of `name`, with the remedy. `compile` appends C text to the headers and returns bindgen's text
/// of the variables with the prefix [`PROBE`]; `None` if clang rejects the text.
pub(super) fn diagnose(name: &str, compile: impl Fn(&str) -> Option<String>) -> String {
    let value = |text: &str, probe: &str| {
        let rest = text.split(&format!("pub const {PROBE}{probe}:")).nth(1)?;
        Some(rest.split(['=', ';']).nth(1)?.trim().to_owned())
    };
    let class = format!(
        "static const int {PROBE}class = __builtin_classify_type({name});\n\
         static const int {PROBE}string = __builtin_types_compatible_p(__typeof__({name}), char[sizeof({name})]);\n\
         static const int {PROBE}constant = __builtin_constant_p({name});\n"
    );
    let Some(text) = compile(&class) else {
        // `sizeof` does not accept the name, or it is not an expression.
        return if is_macro(name, compile) {
            format!(
                "`{name}` is a macro, but no expression of its own: where it takes arguments, {}; else write in Rust what it stands for",
                in_macros(name)
            )
        } else {
            format!(
                "no header that the fix names has a constant `{name}`; check the name, and `headers` of [imports]"
            )
        };
    };
    let class = value(&text, "class").unwrap_or_default();
    let is = |probe: &str| value(&text, probe).as_deref() == Some("1");
    if is("string") {
        format!("`{name}` is a string, and no constant of an integer type; write it in Rust, as c\"...\"")
    } else if class == POINTER && name == "NULL" {
        "`NULL` is a pointer, and pointers are no constants; write `core::ptr::null_mut()` or `core::ptr::null()`".to_owned()
    } else if class == POINTER {
        format!(
            "`{name}` is a pointer, and pointers are no constants; name the variable that it points to in `variables` of [imports], or write \
             `core::ptr::null_mut()` where it is none"
        )
    } else if class == REAL {
        format!(
            "`{name}` is a number with a fraction, and the kernel computes without floating point; write it in Rust, scaled"
        )
    } else if RECORDS.contains(&class.as_str()) {
        format!(
            "`{name}` is the value of a struct or union, and no constant of an integer type; write it in Rust, member by member"
        )
    } else if is("constant") {
        format!("`{name}` is a constant that bindgen cannot evaluate; write its value in Rust")
    } else {
        format!(
            "the value of `{name}` is not known before the code runs, so it is no constant; name in `variables` or `functions` of [imports] what it reads"
        )
    }
}

/// C text that clang refuses where the type is no integer type.
pub(super) fn integer_in_c(c_type: &str) -> String {
    format!("_Static_assert(({c_type})1 / 2 == 0 && ({c_type})1 == 1, \"\");\n")
}

/// Constant of the C type that the fix gives, in C.
pub(super) struct Typed<'a> {
    pub(super) name: &'a str,
    pub(super) c_type: &'a str,
    /// Expression of its value.
    pub(super) expression: &'a str,
    /// Text that clang refuses where the type does not hold the value.
    pub(super) text: &'a str,
}

/// Description of a constant that does not have the type that the fix gives, with the remedy. `compile` is that of
/// [`diagnose`].
pub(super) fn diagnose_type(constant: &Typed<'_>, compile: impl Fn(&str) -> Option<String>) -> String {
    let Typed { name, c_type, expression, text } = *constant;
    if compile(&integer_in_c(c_type)).is_none() {
        return format!(
            "`{c_type}`, the type of `{name}`, is no integer type of C or of a header that the fix names"
        );
    }
    let value = compile(&format!("static const __typeof__({expression}) {PROBE}value = {expression};\n"))
        .and_then(|text| Some(text.split(['=', ';']).nth(1)?.trim().to_owned()));
    match value {
        Some(_) if compile(text).is_some() => {
            format!(
                "bindgen evaluates no constant of type `{c_type}` (`{name}`); give it an integer type, as \"int\""
            )
        }
        Some(value) if value.parse::<i128>().is_ok() => {
            format!("`{c_type}` does not hold the value of `{name}`, {value}; give it a type that does")
        }
        _ => format!("`{name}` is no integer, so it takes no type; write its name alone"),
    }
}

/// True if the headers define a macro of this name. `compile` is that of [`diagnose`].
pub(super) fn is_macro(name: &str, compile: impl Fn(&str) -> Option<String>) -> bool {
    compile(&format!("#ifdef {name}\nstatic const int {PROBE}macro = 1;\n#endif\n"))
        .is_some_and(|text| text.contains(PROBE))
}

/// Remedy for a macro with arguments.
pub(super) fn in_macros(name: &str) -> String {
    format!("name it in `macros` of [imports] with the prototype that you need, as \"int {name}(int x)\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn diagnosis_distinguishes_kinds_of_names() {
        let answers = |class: &str, string: u8, constant: u8| {
            let text = format!(
                "pub const {PROBE}class: ffi::c_int = {class};\npub const {PROBE}string: ffi::c_int = {string};\npub const {PROBE}constant: ffi::c_int = {constant};\n"
            );
            move |_: &str| Some(text.clone())
        };
        for (name, answer, expected) in [
            ("NULL", answers("5", 0, 1), "core::ptr::null_mut()"),
            ("BANNER", answers("5", 1, 1), "is a string"),
            ("INIT_TASK", answers("5", 0, 0), "is a pointer"),
            ("PI", answers("8", 0, 1), "floating point"),
            ("SPIN", answers("12", 0, 0), "a struct or union"),
            ("jiffies", answers("1", 0, 0), "not known before the code runs"),
        ] {
            let said = diagnose(name, answer);
            assert!(said.contains(expected), "{name}: {said}");
        }
        let nothing = diagnose("NOTHING", |text| text.contains("#ifdef").then(String::new));
        assert!(nothing.contains("no header that the fix names"), "{nothing}");
        let with_arguments =
            |text: &str| text.contains("#ifdef").then(|| format!("pub const {PROBE}macro: i32 = 1;"));
        assert!(diagnose("MAX", with_arguments).contains("`macros`"));
    }
}
