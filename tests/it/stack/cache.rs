//! What was built or downloaded once and is kept for every later run.

use std::fs::{self, File, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};

use super::wait;

/// The slowest build takes minutes on two cores; a machine under load may take a few times that.
pub const BUILD_LIMIT: Duration = Duration::from_mins(40);

/// Something to build, named by all that decides its content.
pub struct Artifact<'a> {
    pub name: &'static str,
    pub version: &'a str,
    /// Pins, flags: whatever else the result depends on. A change in them makes a new entry, so that nobody runs a stale one.
    pub inputs: &'a [&'a str],
    /// Roughly how long the build takes, for the line that tells why the first run is slow.
    pub cost: &'static str,
}

impl Artifact<'_> {
    fn key(&self) -> String {
        let digest =
            self.inputs.iter().fold(Sha256::new(), |hash, input| hash.chain_update(input).chain_update([0]));
        let digest = hex::encode(digest.finalize());
        format!("{}-{}-{}", self.name, self.version, digest.get(..8).unwrap_or(&digest))
    }

    /// Returns the folder with the finished artifact, and lets `build` fill it where there is none yet.
    ///
    /// Tests of one process and test processes side by side may ask at once: one builds under a lock that the kernel releases
    /// when its holder dies, the others wait. The folder gets its name when it is complete, so a broken-off build is never taken for one.
    pub async fn ensure(
        &self,
        build: impl AsyncFnOnce(&Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<PathBuf> {
        let key = self.key();
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stack");
        let finished = cache.join(&key);
        if finished.exists() {
            return Ok(finished);
        }
        fs::create_dir_all(&cache).with_context(|| format!("create {}", cache.display()))?;
        let _lock = lock(&cache.join(format!("{key}.lock"))).await?;
        if finished.exists() {
            return Ok(finished);
        }
        say(&format!("building {} {}, {}, once", self.name, self.version, self.cost));
        let partial = cache.join(format!("{key}.partial"));
        if partial.exists() {
            fs::remove_dir_all(&partial).with_context(|| format!("remove {}", partial.display()))?;
        }
        fs::create_dir(&partial).with_context(|| format!("create {}", partial.display()))?;
        build(&partial).await.with_context(|| format!("build {} {}", self.name, self.version))?;
        fs::rename(&partial, &finished).with_context(|| format!("name {}", finished.display()))?;
        Ok(finished)
    }
}

/// Takes the lock, by asking again and again: a blocking wait could not be given up when the test is.
async fn lock(path: &Path) -> anyhow::Result<File> {
    let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
    wait::until("another test to finish the same build", BUILD_LIMIT, async || match file.try_lock() {
        Ok(()) => Ok(Some(())),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => bail!("lock {}: {error}", path.display()),
    })
    .await?;
    Ok(file)
}

/// Says one line to whoever runs the tests, also where the test's own output is captured.
pub fn say(line: &str) {
    // Nothing is lost when standard error is closed.
    let _ = writeln!(std::io::stderr(), "stack: {line}");
}
