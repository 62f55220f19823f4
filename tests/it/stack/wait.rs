//! Waiting for a condition: the only place of the harness that sleeps, together with `process`.

use std::time::Duration;

use anyhow::bail;
use tokio::time::{Instant, sleep};

/// How often a condition is looked at.
pub const POLL: Duration = Duration::from_millis(50);

/// Looks again and again until `probe` finds something, and returns that.
///
/// `Ok(None)` means not yet; an error ends the wait at once; so does the deadline, with `what` in its message.
pub async fn until<T>(
    what: &str,
    limit: Duration,
    mut probe: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = probe().await? {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            bail!("waited {limit:?} in vain: {what}");
        }
        sleep(POLL).await;
    }
}
