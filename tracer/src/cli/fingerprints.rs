//! `--fingerprints`: the timeouts of this site, added to those that tracer knows.

use std::{fs, path::PathBuf};

use super::Usage;
use crate::core::timeouts::{BUILT_IN, Table};

/// The table with what the file says, if there is one.
pub fn table(path: Option<PathBuf>) -> Result<Table, Usage> {
    let Some(path) = path else {
        return Ok(BUILT_IN.clone());
    };
    let shown = path.display();
    let text = fs::read_to_string(&path).map_err(|error| {
        Usage(format!(
            "cannot read the fingerprints {shown}: {error}; expected a TOML file with lines such as \
             checkout-lb = \"45s\""
        ))
    })?;
    let table = BUILT_IN.clone().with_site(&text);
    table.map_err(|fault| Usage(format!("{shown}:{}: {}", fault.line, fault.what)))
}
