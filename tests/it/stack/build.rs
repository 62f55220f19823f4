//! How the cached parts are made: Go modules are compiled, Maven artifacts are copied. Both from pins in this folder.

use std::path::{Path, PathBuf};

use anyhow::Context;

use super::cache::BUILD_LIMIT;
use super::process::{Process, guarded};

/// Flags that keep the build the same on every machine: no paths in the binary, no symbols, no version control, and an error
/// instead of an edit where `go.mod` or `go.sum` does not hold all that is needed.
const GO_FLAGS: [&str; 3] = ["-mod=readonly", "-trimpath", "-buildvcs=false"];

/// The tools that one pinned Go module names with `tool` lines.
pub struct GoModule {
    /// The folder with `go.mod` and `go.sum`, under this one.
    pub folder: &'static str,
    pub cgo: bool,
    pub tags: &'static str,
}

impl GoModule {
    pub fn path(&self) -> PathBuf {
        pins(self.folder)
    }

    /// Compiles the module's tools into `target/bin`.
    pub async fn build(&self, linker_flags: &str, target: &Path) -> anyhow::Result<()> {
        let bin = target.join("bin");
        let mut go = guarded("go");
        go.current_dir(self.path())
            .env("GOWORK", "off")
            .env("CGO_ENABLED", if self.cgo { "1" } else { "0" })
            .arg("build")
            .args(GO_FLAGS)
            .args(["-tags", self.tags, "-ldflags", linker_flags, "-o"])
            // With the slash Go takes it for a folder, also while it does not exist.
            .arg(bin.join(""))
            .arg("tool");
        Process::spawn("go build", go, &target.join("build.log"))?.finish(BUILD_LIMIT).await
    }
}

/// Copies what a `pom.xml` depends on, and all that this needs in turn, into `target/lib`.
pub async fn maven_copy(folder: &str, target: &Path) -> anyhow::Result<()> {
    let mut maven = guarded("mvn");
    maven
        // Maven writes beside the pom where it likes to; the working folder is the cache's.
        .current_dir(target)
        .args(["--batch-mode", "--quiet", "--file"])
        .arg(pins(folder).join("pom.xml"))
        .args(["dependency:copy-dependencies", "-DincludeScope=runtime"])
        .arg(format!("-DoutputDirectory={}", target.join("lib").display()));
    Process::spawn("mvn", maven, &target.join("build.log"))?.finish(BUILD_LIMIT).await
}

/// Returns the version at which a `go.mod` pins a module, without its `v`. The pins are the only place that names versions.
pub fn go_version<'a>(go_mod: &'a str, module: &str) -> anyhow::Result<&'a str> {
    go_mod
        .lines()
        .filter_map(|line| {
            line.trim().trim_start_matches("require ").strip_prefix(module)?.strip_prefix(" v")
        })
        .find_map(|rest| rest.split_whitespace().next())
        .with_context(|| format!("go.mod pins no {module}"))
}

fn pins(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/stack").join(folder)
}

#[test]
fn a_version_is_read_from_single_and_grouped_requirements() -> anyhow::Result<()> {
    let go_mod = "module a\n\nrequire x.test/one v1.2.0\n\nrequire (\n\tx.test/two v0.3.0 // indirect\n)\n";
    assert_eq!(go_version(go_mod, "x.test/one")?, "1.2.0");
    assert_eq!(go_version(go_mod, "x.test/two")?, "0.3.0");
    go_version(go_mod, "x.test").expect_err("a path is no prefix");
    Ok(())
}
