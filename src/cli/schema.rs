//! `idp schema`: the JSON Schema of `.idp/deploy.yaml`, for editors.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;

use crate::declare;

/// Print the JSON Schema of `.idp/deploy.yaml`.
///
/// Keys that are part of version 1 and not enforced yet carry `x-unsupported: true`.
#[derive(Debug, Args)]
pub struct SchemaArgs {}

/// Prints the schema. Exit 0; 1 if it could not be written.
pub fn run(_: &SchemaArgs) -> ExitCode {
    match write(&mut io::stdout().lock()) {
        // Who closed the pipe has read enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            let _ = writeln!(io::stderr(), "error: print the schema: {error}");
            ExitCode::from(1)
        }
        _ => ExitCode::SUCCESS,
    }
}

fn write(out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, &declare::schema())?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_is_printed_is_json_with_a_line_end() {
        let mut out = Vec::new();
        super::write(&mut out).unwrap();
        assert!(out.ends_with(b"}\n"));
        let schema: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(schema["title"], "deploy.yaml");
    }
}
