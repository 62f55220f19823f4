//! The JSON Schemas that the authors of `CDEvents` publish.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, ensure};
use serde_json::Value;

/// The schemas by their `$id`.
pub struct Schemas {
    all: BTreeMap<String, Value>,
    links: jsonschema::Registry<'static>,
}

impl Schemas {
    /// Reads the schemas; `None` where they are not beside the project, which is an error where the stack is required.
    pub fn read() -> anyhow::Result<Option<Self>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/cdevents-0.5.1");
        if !folder.is_dir() {
            let required = std::env::var("IDP_REQUIRE_STACK").is_ok_and(|value| value == "1");
            ensure!(!required, "the schemas of CDEvents 0.5.1 are required and not at {}", folder.display());
            eprintln!("SKIPPED: no schemas of CDEvents 0.5.1 at {}", folder.display());
            return Ok(None);
        }
        let mut links = jsonschema::Registry::new();
        for (id, link) in schemas(&folder.join("schemas/links"))? {
            links = links.add(id, jsonschema::Resource::from_contents(link))?;
        }
        let mut all = schemas(&folder.join("schemas"))?;
        all.append(&mut schemas(&folder.join("custom"))?);
        Ok(Some(Self { all, links: links.prepare()? }))
    }

    /// Validates an event's data against the schema with this `$id`.
    pub fn validate(&self, id: &str, data: &Value) -> anyhow::Result<()> {
        let schema = self.all.get(id).with_context(|| format!("there is no schema {id}"))?;
        let validator =
            jsonschema::options().with_registry(&self.links).should_validate_formats(true).build(schema)?;
        let errors: Vec<String> = validator.iter_errors(data).map(|error| error.to_string()).collect();
        ensure!(errors.is_empty(), "{id}: {errors:?}\n{data}");
        Ok(())
    }
}

fn schemas(folder: &Path) -> anyhow::Result<BTreeMap<String, Value>> {
    let mut found = BTreeMap::new();
    for file in std::fs::read_dir(folder)? {
        let path = file?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let schema: Value = serde_json::from_str(&std::fs::read_to_string(&path)?)?;
            let id = schema.pointer("/$id").and_then(Value::as_str).context("find $id")?.to_owned();
            found.insert(id, schema);
        }
    }
    Ok(found)
}
