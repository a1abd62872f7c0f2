//! What `tracer schema` prints, as a validator that knows nothing else of tracer takes it.

use std::{collections::HashMap, process::Command};

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::Value;

pub struct Validator {
    schemas: Schemas,
    kinds: HashMap<String, SchemaIndex>,
}

impl Validator {
    pub fn of(tracer: &mut Command) -> Validator {
        const NAME: &str = "tracer.schema.json";
        let output = tracer.arg("schema").output().expect("tracer runs");
        let document: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let titles: Vec<String> = document["oneOf"]
            .as_array()
            .expect("a schema for each kind")
            .iter()
            .map(|schema| schema["title"].as_str().expect("a name").to_owned())
            .collect();
        let mut schemas = Schemas::new();
        let mut compiler = Compiler::new();
        compiler.enable_format_assertions();
        compiler.add_resource(NAME, document).expect("a schema");
        let mut compile = |place: &str| {
            let schema = compiler.compile(&format!("{NAME}{place}"), &mut schemas);
            schema.unwrap_or_else(|error| panic!("{place}: {error}"))
        };
        let kinds = titles
            .into_iter()
            .enumerate()
            .map(|(index, title)| (title, compile(&format!("#/oneOf/{index}"))))
            .collect();
        Validator { schemas, kinds }
    }

    /// By the schema of the event that it says it is.
    pub fn check(&self, line: &Value) -> Result<(), String> {
        let event = line["event"].as_str().unwrap_or_default();
        let kind = self.kinds.get(event);
        let kind = *kind.ok_or_else(|| format!("there is no event `{event}`"))?;
        let judgement = self.schemas.validate(line, kind);
        judgement.map_err(|error| error.to_string())
    }
}
