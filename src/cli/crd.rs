//! `idp crd`: the resource definition of `Release`, ready for `kubectl apply -f -`.

use serde_json::Value;

use super::output::{Format, data, print};
use super::{CliError, Exit, Output};

/// Prints the definition: YAML, unless JSON is asked for.
pub fn run(crd: &Value, output: &Output) -> Result<Exit, CliError> {
    let format = if output.format == Format::Json { Format::Json } else { Format::Yaml };
    print(&data(format, crd)?.unwrap_or_default())?;
    Ok(Exit::Good)
}
