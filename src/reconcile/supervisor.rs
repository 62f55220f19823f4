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
        let (shutdown, obituary) = (self.shutdown.clone(), self.obituary.clone());
        self.tasks.spawn(async move {
            let task = tokio::spawn(task);
            let abort = task.abort_handle();
            tokio::select! {
                () = shutdown.cancelled() => {}
                ended = task => {
                    if !shutdown.is_cancelled() {
                        tracing::error!(task = name, panicked = ended.is_err(), "a task ended that never should");
                        obituary.send_replace(Some(name));
                    }
                    return;
                }
            }
            // Passes under way finish by themselves: the queue's task sees the same token.
            if name != "queue" {
                abort.abort();
            }
        });
    }

    /// Returns the token that ends every task.
    pub fn shutdown(&self) -> &CancellationToken {
        &self.shutdown
    }
}
