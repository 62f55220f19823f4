//! Whether this machine has what the genuine servers are built and run with.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use super::build::GoModule;
use super::cache::say;

/// Where this is `1`, a missing tool fails the tests instead of skipping them.
const REQUIRED: &str = "IDP_REQUIRE_STACK";

/// The test is to return at once: the machine lacks something, and that was said.
#[derive(Debug)]
#[must_use]
pub struct Skip;

/// A tool that the suite calls, and where Debian has it.
struct Tool {
    names: &'static [&'static str],
    package: &'static str,
    /// What the tool must fulfil besides being there.
    suits: fn() -> bool,
}

const fn tool(names: &'static [&'static str], package: &'static str) -> Tool {
    Tool { names, package, suits: || true }
}

const TOOLS: [Tool; 10] = [
    Tool { names: &["go"], package: "golang-go, 1.26 or later", suits: go_suits },
    Tool { names: &["java"], package: "openjdk-17-jre-headless or later", suits: java_suits },
    tool(&["mvn"], "maven"),
    tool(&["git"], "git"),
    tool(&["ssh-keygen"], "openssh-client"),
    tool(&["cc"], "gcc"),
    tool(&["prometheus"], "prometheus"),
    tool(&["promtool"], "prometheus"),
    tool(&KCAT, "kcat, before Debian 12 kafkacat"),
    tool(&["setpriv"], "util-linux"),
];

/// The second is its name in Debian before 12.
const KCAT: [&str; 2] = ["kcat", "kafkacat"];

/// Every test with a genuine server begins with this: `if stack::require().is_some() { return Ok(()) }`.
///
/// Returns `None` where all tools are there. Else it says once what is missing, past the capture of the tests' output, since a
/// skipped test looks like a passed one; with `IDP_REQUIRE_STACK=1` it panics instead.
pub fn require() -> Option<Skip> {
    static MISSING: OnceLock<Option<String>> = OnceLock::new();
    let missing = MISSING.get_or_init(|| {
        let missing = missing(&TOOLS);
        if let Some(list) = &missing {
            say(&format!("SKIPPED: tests with genuine servers need {list}"));
        }
        missing
    });
    let list = missing.as_ref()?;
    assert!(std::env::var_os(REQUIRED).is_none_or(|value| value != "1"), "{REQUIRED}=1, and missing: {list}");
    Some(Skip)
}

/// Returns the name under which kcat is installed.
pub fn kcat_program() -> &'static str {
    KCAT.into_iter().find(|name| on_path(name).is_some()).unwrap_or("kcat")
}

fn missing(tools: &[Tool]) -> Option<String> {
    let missing: Vec<String> = tools
        .iter()
        .filter(|tool| !(tool.names.iter().any(|name| on_path(name).is_some()) && (tool.suits)()))
        .map(|tool| format!("{} (Debian: {})", tool.names.join(" or "), tool.package))
        .collect();
    (!missing.is_empty()).then(|| missing.join(", "))
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Asked in the folder of a pinned module: an older Go that fetches the toolchain which `go.mod` wants is good enough.
fn go_suits() -> bool {
    let folder = GoModule { folder: "gitea", cgo: true, tags: "" }.path();
    let Ok(output) = Command::new("go").args(["env", "GOVERSION"]).current_dir(folder).output() else {
        return false;
    };
    // Such as `go1.26.2`.
    let text = String::from_utf8_lossy(&output.stdout);
    let mut parts =
        text.trim().trim_start_matches("go").split('.').map_while(|part| part.parse::<u32>().ok());
    (parts.next(), parts.next()) >= (Some(1), Some(26))
}

fn java_suits() -> bool {
    let Ok(output) = Command::new("java").arg("-version").output() else { return false };
    // Such as `openjdk version "17.0.15" 2025-04-15`, on standard error.
    let text = String::from_utf8_lossy(&output.stderr);
    let version = text.split('"').nth(1).unwrap_or_default();
    version.split('.').next().and_then(|major| major.parse::<u32>().ok()) >= Some(17)
}

#[test]
fn a_missing_tool_is_named_with_its_package() {
    let tools = [tool(&["sh"], "dash"), tool(&["no-such-tool"], "nothing")];
    assert_eq!(missing(&tools).as_deref(), Some("no-such-tool (Debian: nothing)"));
    assert_eq!(missing(&tools[..1]), None);
}
