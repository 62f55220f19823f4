//! One server process: its log, its readiness, its freezing, its end.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{LazyLock, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::time::{Instant, sleep};

use super::wait::{self, POLL};

const TAIL: usize = 30;

/// A child process that ends when this is dropped, or when the test process ends in whatever way.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

/// Returns a command whose process the kernel kills when ours is gone.
///
/// `setpriv` sets the parent-death signal and then becomes the program, so the child's id is the program's. Doing the same
/// between fork and exec ourselves would need unsafe code.
pub fn guarded(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

impl Process {
    /// Starts a [`guarded`] command; both its outputs are appended to the file `log`.
    pub fn spawn(name: &'static str, mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("open {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = spawn_on_lasting_thread(command).with_context(|| format!("start {name}"))?;
        Ok(Self { name, child, log: log.to_owned() })
    }

    /// Waits until `probe` says yes; an early end or the deadline is an error that shows the end of the log.
    pub async fn ready(
        &mut self,
        limit: Duration,
        mut probe: impl AsyncFnMut() -> bool,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + limit;
        loop {
            // Asked before the probe: what answers on the port of a dead process is somebody else's.
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status} before it was ready\n{}", self.name, self.log_tail());
            }
            if probe().await {
                return Ok(());
            }
            if Instant::now() >= deadline {
                bail!("{} is not ready after {limit:?}\n{}", self.name, self.log_tail());
            }
            sleep(POLL).await;
        }
    }

    /// Fails if the process has ended.
    pub fn ensure_runs(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("{} ended by itself with {status}\n{}", self.name, self.log_tail()),
        }
    }

    /// Waits for the end of a process that ends by itself and succeeds.
    pub async fn finish(mut self, limit: Duration) -> anyhow::Result<()> {
        let status: ExitStatus = wait::until(self.name, limit, async || Ok(self.child.try_wait()?))
            .await
            .with_context(|| self.log_tail())?;
        ensure!(status.success(), "{} ended with {status}\n{}", self.name, self.log_tail());
        Ok(())
    }

    /// Asks the process to end, as a service manager does; [`Self::finish`] waits for it.
    pub fn terminate(&self) -> anyhow::Result<()> {
        self.signal("TERM")
    }

    /// Stops the process from running while its sockets stay open: peers connect, and wait.
    pub fn freeze(&self) -> anyhow::Result<()> {
        self.signal("STOP")
    }

    /// Lets a frozen process go on.
    pub fn thaw(&self) -> anyhow::Result<()> {
        self.signal("CONT")
    }

    /// Sends a signal with the shell's own `kill`, which needs no package. The child is not reaped before it is dropped, so
    /// its id cannot have become another process'.
    fn signal(&self, signal: &str) -> anyhow::Result<()> {
        let id = self.child.id().to_string();
        let status = Command::new("sh").args(["-c", "kill -s \"$1\" \"$2\"", "sh", signal, &id]).status()?;
        ensure!(status.success(), "send {signal} to {}: {status}", self.name);
        Ok(())
    }

    fn log_tail(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines.get(lines.len().saturating_sub(TAIL)..).unwrap_or_default();
        format!("the end of {}:\n{}", self.log.display(), tail.join("\n"))
    }
}

impl Drop for Process {
    /// Kills without asking: the data is temporary, and for a server that starts again a crash is the harder case.
    fn drop(&mut self) {
        // Fails only for a process that has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Spawns from a thread that lives as long as the process.
///
/// The kernel sends the parent-death signal when the *thread* that forked ends. Tests run on threads of their own, so a
/// server that several share would die with the test that happened to ask first.
fn spawn_on_lasting_thread(command: Command) -> std::io::Result<Child> {
    type Request = (Command, mpsc::SyncSender<std::io::Result<Child>>);
    static SPAWNER: LazyLock<mpsc::Sender<Request>> = LazyLock::new(|| {
        let (sender, requests) = mpsc::channel::<Request>();
        thread::spawn(move || {
            for (mut command, answer) in requests {
                // Nobody waits for the answer any more: the child comes back in the error and is left to the guard.
                let _ = answer.send(command.spawn());
            }
        });
        sender
    });
    let (answer, child) = mpsc::sync_channel(1);
    SPAWNER.send((command, answer)).map_err(std::io::Error::other)?;
    child.recv().map_err(std::io::Error::other)?
}

#[cfg(test)]
mod tests {
    use super::super::require;
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn shell(script: &str, folder: &Path) -> anyhow::Result<Process> {
        let mut command = guarded("sh");
        command.args(["-c", script]).current_dir(folder);
        Process::spawn("a shell", command, &folder.join("log"))
    }

    fn has_said(word: &str, folder: &Path) -> bool {
        fs::read_to_string(folder.join("log")).is_ok_and(|log| log.contains(word))
    }

    #[tokio::test]
    async fn an_end_before_readiness_is_told_with_the_last_lines_of_the_log() -> anyhow::Result<()> {
        if require().is_some() {
            return Ok(());
        }
        let folder = tempfile::tempdir()?;
        let mut process = shell("seq 100; echo the reason >&2; exit 3", folder.path())?;
        let error = process.ready(SOON, async || false).await.expect_err("it ended").to_string();
        assert!(error.starts_with("a shell ended with exit status: 3 before it was ready"), "{error}");
        assert!(
            error.contains("\n72\n") && !error.contains("\n71\n") && error.ends_with("the reason"),
            "{error}"
        );
        Ok(())
    }

    #[tokio::test]
    async fn a_process_outlives_the_thread_that_asked_for_it_but_not_its_handle() -> anyhow::Result<()> {
        if require().is_some() {
            return Ok(());
        }
        let folder = tempfile::tempdir()?;
        let path = folder.path().to_owned();
        let script = "echo begun; until [ -e signal ]; do sleep 0.05; done; echo alive; exec sleep 600";
        let asking = thread::spawn(move || -> anyhow::Result<Process> {
            tokio::runtime::Builder::new_current_thread().enable_time().build()?.block_on(async {
                let mut process = shell(script, &path)?;
                // Before that the guard is not set yet, and the end of this thread would harm nobody.
                process.ready(SOON, async || has_said("begun", &path)).await?;
                Ok(process)
            })
        });
        let mut process = asking.join().expect("the thread does not panic")?;
        fs::write(folder.path().join("signal"), "")?;
        process.ready(SOON, async || has_said("alive", folder.path())).await?;
        let entry = PathBuf::from(format!("/proc/{}", process.child.id()));
        assert!(entry.exists());
        drop(process);
        assert!(!entry.exists(), "it is killed and reaped");
        Ok(())
    }
}
