//! One server for all the tests that run at the same time.

use std::sync::{Arc, Weak};

use tokio::sync::Mutex;

/// A server that lives as long as some test holds it.
///
/// A `static` that owned it would never be dropped and would leave its data behind; this one only remembers it, and the last
/// test that lets go ends it. What is shared must hold nothing that belongs to one test's runtime, such as an HTTP client.
pub struct Shared<T>(Mutex<Weak<T>>);

impl<T> Shared<T> {
    pub const fn new() -> Self {
        Self(Mutex::const_new(Weak::new()))
    }

    /// Returns the server that is running, or launches one; who asks meanwhile waits for the same one.
    pub async fn get_or_launch(
        &self,
        launch: impl AsyncFnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<Arc<T>> {
        let mut running = self.0.lock().await;
        if let Some(server) = running.upgrade() {
            return Ok(server);
        }
        let server = Arc::new(launch().await?);
        *running = Arc::downgrade(&server);
        Ok(server)
    }
}
