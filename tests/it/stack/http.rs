//! The HTTP client of the harness.

use std::time::Duration;

/// Returns a client that goes straight to the loopback, whatever proxy the machine is set up with.
///
/// A new one each time: its connections belong to the runtime of one test, and a shared server outlives that.
pub fn client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(30)).build()
}

/// Tells whether a GET is answered with a 2xx.
pub async fn succeeds(url: &str) -> bool {
    let Ok(client) = client() else { return false };
    client.get(url).send().await.is_ok_and(|answer| answer.status().is_success())
}
