//! `idp schema`: the JSON Schema of `.idp/deploy.yaml`, for editors.

use super::output::{Format, data, print};
use super::{CliError, Exit, Output};
use crate::declare;

/// Prints the schema: JSON, unless YAML is asked for. Keys of version 1 that are not enforced yet carry `x-unsupported: true`.
pub fn run(output: &Output) -> Result<Exit, CliError> {
    let format = if output.format == Format::Yaml { Format::Yaml } else { Format::Json };
    print(&data(format, &declare::schema())?.unwrap_or_default())?;
    Ok(Exit::Good)
}
