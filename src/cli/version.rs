//! `idp version`: which program this is.

use serde::Serialize;

use super::{CliError, Exit, Output};
use crate::model::GROUP;
use crate::model::record::SCHEMA;

#[derive(Serialize)]
struct Version {
    program: &'static str,
    record_schema: u32,
    group: &'static str,
}

/// Prints the program's version and the schema of the records that it reads and writes.
pub fn run(output: &Output) -> Result<Exit, CliError> {
    let version = Version { program: env!("CARGO_PKG_VERSION"), record_schema: SCHEMA, group: GROUP };
    output.show(&version, |_| {
        format!("idp {} (records of {GROUP}, schema {SCHEMA})", env!("CARGO_PKG_VERSION"))
    })?;
    Ok(Exit::Good)
}
