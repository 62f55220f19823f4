//! Tasks that live as long as the daemon, and the ways in which the daemon ends.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Why the daemon does not start, or ends.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// A part could not be started; the sentence says which, the source why.
    #[error("{what}")]
    Start {
        /// What was being done, and how to mend it.
        what: String,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A task ended that never should.
    #[error("the task {0} ended unexpectedly")]
    Died(&'static str),
}

pub(super) fn start<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
    what: impl Into<String>,
) -> impl FnOnce(E) -> DaemonError {
    let what = what.into();
    move |source| DaemonError::Start { what, source: source.into() }
}

/// Starts tasks that run as long as the daemon; one that ends before ends the daemon.
pub struct Supervisor {
    pub(super) tasks: TaskTracker,
    pub(super) shutdown: CancellationToken,
    pub(super) obituary: watch::Sender<Option<&'static str>>,
}

impl Supervisor {
    /// Starts a task; it is dropped on shutdown.
    pub fn spawn(&self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let shutdown = self.shutdown.clone();
        self.spawn_finishing(name, async move {
            shutdown.run_until_cancelled(task).await;
        });
    }

    /// Starts a task that ends by itself on shutdown, once what it had begun is done; then the returned token is cancelled.
    pub(super) fn spawn_finishing(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> CancellationToken {
        let (shutdown, obituary) = (self.shutdown.clone(), self.obituary.clone());
        let finished = CancellationToken::new();
        let end = finished.clone().drop_guard();
        self.tasks.spawn(async move {
            let _end = end;
            // On a task of its own, so that its panic is an end that is told.
            let ended = tokio::spawn(task).await;
            if !shutdown.is_cancelled() {
                tracing::error!(task = name, panicked = ended.is_err(), "a task ended that never should");
                obituary.send_replace(Some(name));
            }
        });
        finished
    }

    /// Returns the token that ends every task.
    pub fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }
}
