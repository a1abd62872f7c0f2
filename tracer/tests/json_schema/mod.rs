//! What `tracer schema` prints, as a validator that knows nothing else of tracer takes it.

use std::{collections::HashMap, process::Command};

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::Value;

pub struct Validator {
    schemas: Schemas,
    document: SchemaIndex,
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
        Validator {
            document: compile(""),
            kinds,
            schemas,
        }
    }

    /// By the whole document: the line is exactly one of the events.
    pub fn check(&self, line: &Value) -> Result<(), String> {
        self.judge(line, self.document)
    }

    /// By the schema of the kind that it says it is, which is quicker.
    pub fn check_kind(&self, line: &Value) -> Result<(), String> {
        let event = line["event"].as_str().unwrap_or_default();
        let kind = self.kinds.get(event);
        self.judge(line, *kind.ok_or(format!("there is no event `{event}`"))?)
    }

    fn judge(&self, line: &Value, schema: SchemaIndex) -> Result<(), String> {
        self.schemas
            .validate(line, schema)
            .map_err(|error| error.to_string())
    }
}
