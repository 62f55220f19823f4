//! Version 1 of `.idp/deploy.yaml` as types: the JSON Schema is generated from them, and so are the keys that are known and the keys that
//! are not enforced yet. They describe the file as it is written; what it means is read elsewhere.
//!
//! `x-unsupported` marks what is part of version 1 and refused until it is enforced; its shape is given loosely.

// Nothing ever holds a value of these types: they exist for their schema.
#![allow(dead_code)]

mod deploy;
mod file;
mod gates;
mod service;
mod source;
mod workload;

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;

use file::File;

/// What is not enforced yet: any shape.
type Loose = Value;

/// Returns the JSON Schema of `.idp/deploy.yaml`, version 1, the keys that are not enforced yet included (`x-unsupported`).
pub fn schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<File>().to_value();
    without_null(&mut schema);
    schema
}

/// Optional keys are left out, not null.
fn without_null(schema: &mut Value) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(without_null),
        Value::Object(map) => {
            if let Some(Value::Array(types)) = map.get_mut("type") {
                types.retain(|kind| kind != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    map.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(branches)) = map.get_mut("anyOf") {
                branches.retain(|branch| branch.get("type") != Some(&Value::from("null")));
                if let [Value::Object(only)] = branches.as_slice() {
                    let only = only.clone();
                    map.remove("anyOf");
                    only.into_iter().for_each(|(key, value)| {
                        map.entry(key).or_insert(value);
                    });
                }
            }
            for (key, inner) in map.iter_mut() {
                // The value of an environment may be empty: its name says enough.
                if key == "additionalProperties" {
                    inner
                        .get_mut("anyOf")
                        .and_then(Value::as_array_mut)
                        .into_iter()
                        .flatten()
                        .for_each(without_null);
                } else {
                    without_null(inner);
                }
            }
        }
        _ => {}
    }
}

macro_rules! pattern {
    ($(#[$doc:meta])* $name:ident, $pattern:literal) => {
        $(#[$doc])*
        #[derive(JsonSchema)]
        #[schemars(extend("pattern" = $pattern))]
        pub(super) struct $name(String);
    };
}

pattern!(
    /// A DNS label.
    Label, "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
);
pattern!(
    /// A duration with its unit: 30s, 5m, 1h30m, 7d.
    Duration, "^([0-9]+(ms|s|m|h|d))+$|^0$"
);

/// A text, a number, or true or false; kept as it is written.
#[derive(JsonSchema)]
#[schemars(untagged)]
pub(super) enum Scalar {
    Text(String),
    Number(f64),
    Flag(bool),
}
