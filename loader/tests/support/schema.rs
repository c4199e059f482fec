// SPDX-License-Identifier: GPL-2.0-or-later
//! Conformance of JSON output to the schemas in `docs/schemas`.
#![allow(clippy::panic, reason = "a test")]

use serde_json::Value;

/// Panics if a document does not conform to the schema that it names.
pub fn assert_conforms(document: &Value) {
    let name = document["schema"].as_str().unwrap();
    let file = name.trim_start_matches("ferrograft.").replace('/', ".");
    let file = format!("{}/../docs/schemas/{file}.json", env!("CARGO_MANIFEST_DIR"));
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    conforms(document, &schema, &schema, name);
}

/// Validator for the subset of JSON Schema that our schemas use.
fn conforms(value: &Value, schema: &Value, root: &Value, at: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = root.pointer(reference.trim_start_matches('#')).unwrap_or_else(|| panic!("{reference}"));
        return conforms(value, target, root, at);
    }
    if let Some(any) = schema["type"].as_array()
        && value.is_null()
        && any.iter().any(|kind| kind == "null")
    {
        return;
    }
    if let Some(wanted) = schema.get("const") {
        assert_eq!(value, wanted, "{at}");
    }
    if let Some(allowed) = schema["enum"].as_array() {
        assert!(allowed.contains(value), "{at}: {value}");
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str()).unwrap_or_default();
    match kind {
        "object" => {
            let object = value.as_object().unwrap_or_else(|| panic!("{at}: {value} is no object"));
            for required in schema["required"].as_array().unwrap_or(&Vec::new()) {
                assert!(object.contains_key(required.as_str().unwrap()), "{at}: {required} is missing");
            }
            for (key, value) in object {
                let property = schema["properties"].get(key);
                let inside = format!("{at}.{key}");
                match (property, schema.get("additionalProperties")) {
                    (Some(property), _) => conforms(value, property, root, &inside),
                    (None, Some(any)) if any.is_object() => conforms(value, any, root, &inside),
                    _ => panic!("{inside} is not in the schema"),
                }
            }
        }
        "array" => {
            let array = value.as_array().unwrap_or_else(|| panic!("{at}: {value} is no array"));
            array.iter().for_each(|item| conforms(item, &schema["items"], root, &format!("{at}[]")));
        }
        "string" => assert!(value.is_string(), "{at}: {value}"),
        "integer" => assert!(value.is_u64(), "{at}: {value}"),
        "boolean" => assert!(value.is_boolean(), "{at}: {value}"),
        other => panic!("{at}: the schema has type {other:?}"),
    }
}
