//! For tests: a real SSH server in this process that runs commands through a shell, as sshd does, and can be told to fail.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use russh::keys::key::safe_rng;
use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, HashAlg, PrivateKey, PublicKey};
use russh::server::{Auth, ChannelOpenHandle, Config, Handle, Handler, Msg, Session, VerifiedPublicKey};
use russh::{Channel, ChannelId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdin, Command};

/// What the server does instead of running Git.
#[derive(Debug, Clone)]
pub(in crate::source) enum Fault {
    /// Says this beside Git's words, and ends.
    Says(&'static str),
    /// Does not run programs.
    NoPrograms,
    /// Runs it, and nothing comes.
    Silence,
    /// Answers without end.
    Endless,
    /// Answers what Git never would.
    Garbage,
    /// Does not tell the program which version of the protocol is wanted.
    OldProtocol,
    /// Ends in the middle of a pack, after so many bytes of all answers.
    Cut(usize),
    /// The pack comes byte by byte.
    SlowPack,
}

#[derive(Default)]
struct State {
    keys: Vec<PrivateKey>,
    allowed: Vec<PublicKey>,
    fault: Option<Fault>,
    commands: Vec<String>,
}

/// The server.
#[derive(Clone)]
pub(in crate::source) struct Server {
    root: PathBuf,
    state: Arc<Mutex<State>>,
    logins: Arc<AtomicUsize>,
    /// Connections that are open.
    pub(in crate::source) open: Arc<AtomicUsize>,
    address: std::net::SocketAddr,
}

/// Makes a key.
pub(in crate::source) fn key(algorithm: Algorithm) -> PrivateKey {
    PrivateKey::random(&mut safe_rng(), algorithm).unwrap()
}

/// Writes a private key as ssh-keygen does.
pub(in crate::source) fn write_key(file: &Path, key: &PrivateKey) {
    std::fs::write(file, key.to_openssh(LineEnding::LF).unwrap().as_bytes()).unwrap();
}

impl Server {
    pub(in crate::source) async fn start(root: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            root: root.to_owned(),
            state: Arc::default(),
            logins: Arc::default(),
            open: Arc::default(),
            address: listener.local_addr().unwrap(),
        };
        server.have(&[&key(Algorithm::Ed25519)]);
        let accepting = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let keys = accepting.state.lock().unwrap().keys.clone();
                let config = Config { keys, auth_rejection_time: Duration::ZERO, ..Config::default() };
                let client =
                    Client { server: accepting.clone(), version: String::new(), stdin: None, child: None };
                let open = accepting.open.clone();
                tokio::spawn(async move {
                    open.fetch_add(1, Ordering::SeqCst);
                    if let Ok(session) = russh::server::run_stream(Arc::new(config), stream, client).await {
                        session.await.ok();
                    }
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        server
    }

    /// Has these host keys from now on.
    pub(in crate::source) fn have(&self, keys: &[&PrivateKey]) {
        self.state.lock().unwrap().keys = keys.iter().copied().cloned().collect();
    }

    /// Lets this key in.
    pub(in crate::source) fn allow(&self, key: &PrivateKey) {
        self.state.lock().unwrap().allowed.push(key.public_key().clone());
    }

    pub(in crate::source) fn fail(&self, fault: Option<Fault>) {
        self.state.lock().unwrap().fault = fault;
    }

    /// Returns the commands since the last call, each with the version of the protocol before it.
    pub(in crate::source) fn commands(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().commands)
    }

    pub(in crate::source) fn logins(&self) -> usize {
        self.logins.load(Ordering::SeqCst)
    }

    pub(in crate::source) fn url(&self, path: &str) -> String {
        format!("ssh://git@127.0.0.1:{}{path}", self.address.port())
    }

    /// Returns the lines of `known_hosts` for it.
    pub(in crate::source) fn known(&self) -> String {
        let keys = self.state.lock().unwrap().keys.clone();
        let line = |key: &PrivateKey| {
            format!("[127.0.0.1]:{} {}\n", self.address.port(), key.public_key().to_openssh().unwrap())
        };
        keys.iter().map(line).collect()
    }

    pub(in crate::source) fn fingerprint(&self) -> String {
        self.state.lock().unwrap().keys[0].public_key().fingerprint(HashAlg::Sha256).to_string()
    }
}

/// One client.
struct Client {
    server: Server,
    version: String,
    stdin: Option<ChildStdin>,
    child: Option<Arc<tokio::sync::Mutex<Child>>>,
}

impl Handler for Client {
    type Error = russh::Error;

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        self.server.logins.fetch_add(1, Ordering::SeqCst);
        let state = self.server.state.lock().unwrap();
        let known = state.allowed.iter().any(|allowed| allowed.key_data() == key.public_key.key_data());
        Ok(if known && user == "git" { Auth::Accept } else { Auth::reject() })
    }

    async fn channel_open_session(
        &mut self,
        _channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn env_request(
        &mut self,
        _channel: ChannelId,
        name: &str,
        value: &str,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        assert_eq!(name, "GIT_PROTOCOL");
        value.clone_into(&mut self.version);
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let command = String::from_utf8(command.to_vec()).unwrap();
        let fault = {
            let mut state = self.server.state.lock().unwrap();
            state.commands.push(format!("{} {command}", self.version));
            state.fault.clone()
        };
        if matches!(fault, Some(Fault::NoPrograms)) {
            session.channel_failure(channel)?;
            return Ok(());
        }
        session.channel_success(channel)?;
        let handle = session.handle();
        match fault {
            Some(Fault::Silence) => {}
            Some(Fault::Says(text)) => {
                tokio::spawn(async move {
                    // As Gitea does.
                    handle.data(channel, "\n").await.ok();
                    handle.extended_data(channel, 1, text.as_bytes().to_vec()).await.ok();
                    end(&handle, channel, 1).await;
                });
            }
            Some(Fault::Garbage) => {
                tokio::spawn(async move {
                    handle.data(channel, b"this is no packet line".to_vec()).await.ok();
                    end(&handle, channel, 0).await;
                });
            }
            Some(Fault::Endless) => {
                tokio::spawn(async move {
                    handle.data(channel, "000eversion 2\n").await.ok();
                    let line = format!("fff0{}", "x".repeat(0xfff0 - 4)).repeat(8);
                    while handle.data(channel, line.clone()).await.is_ok() {}
                });
            }
            fault => self.run(channel, &command, handle, fault.as_ref()),
        }
        Ok(())
    }

    async fn data(
        &mut self,
        _channel: ChannelId,
        data: &[u8],
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        if let Some(stdin) = &mut self.stdin {
            stdin.write_all(data).await.ok();
            stdin.flush().await.ok();
        }
        Ok(())
    }

    async fn channel_eof(&mut self, _channel: ChannelId, _session: &mut Session) -> Result<(), Self::Error> {
        self.stdin = None;
        Ok(())
    }
}

impl Client {
    fn run(&mut self, channel: ChannelId, command: &str, handle: Handle, fault: Option<&Fault>) {
        let old = matches!(fault, Some(Fault::OldProtocol));
        let mut child = Command::new("sh")
            .args(["-c", command])
            .current_dir(&self.server.root)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .envs([("GIT_CONFIG_GLOBAL", "/dev/null"), ("GIT_CONFIG_SYSTEM", "/dev/null")])
            .env("GIT_PROTOCOL", if old { "" } else { &self.version })
            .kill_on_drop(true)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        self.stdin = child.stdin.take();
        let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let child = Arc::new(tokio::sync::Mutex::new(child));
        // Gone with the client.
        self.child = Some(child.clone());
        let cut = if let Some(Fault::Cut(bytes)) = fault { *bytes } else { usize::MAX };
        let is_slow = matches!(fault, Some(Fault::SlowPack));
        tokio::spawn(async move {
            let (mut buffer, mut sent) = (vec![0; 8_192], 0);
            while let Ok(count @ 1..) = stdout.read(&mut buffer).await {
                let count = count.min(cut - sent);
                if is_slow && buffer.windows(4).any(|part| part == b"PACK") {
                    for byte in &buffer[..count] {
                        handle.data(channel, vec![*byte]).await.ok();
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                } else {
                    handle.data(channel, buffer[..count].to_vec()).await.ok();
                }
                sent += count;
                if sent == cut {
                    break;
                }
            }
            let mut said = Vec::new();
            if sent < cut {
                stderr.read_to_end(&mut said).await.ok();
            }
            handle.extended_data(channel, 1, said).await.ok();
            end(&handle, channel, 0).await;
        });
    }
}

async fn end(handle: &Handle, channel: ChannelId, status: u32) {
    handle.exit_status_request(channel, status).await.ok();
    handle.eof(channel).await.ok();
    handle.close(channel).await.ok();
}
