//! The one place that reads the clock for decisions.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

/// Returns the time of a pass.
#[allow(clippy::disallowed_methods)] // The one place.
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// Returns the instant of the runtime's clock at which the wall clock will show `at`; at once if that is past.
pub fn instant(at: Timestamp) -> Instant {
    let ahead = Duration::try_from(at.duration_since(now())).unwrap_or(Duration::ZERO);
    Instant::now() + ahead
}
