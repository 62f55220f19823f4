//! One session: log in, run Git's program, and its two ends as gix reads and writes them. It holds the look's deadline, its limits and
//! its end, as requests over HTTP do.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes};
use russh::client::{self, AuthResult, Config, Handle, Handler, Msg};
use russh::keys::{HashAlg, PrivateKey, PrivateKeyWithHashAlg};
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, Preferred, SshId};
use tokio::net::TcpStream;

use super::host_key::{self, Pinned};
use super::{command, key};
use crate::config::{SshKey, SshUrl};
use crate::source::auth::AuthError;
use crate::source::error::GitError;
use crate::source::network::Network;
use crate::source::transport::{LIST_LIMIT, PACK_LIMIT};

/// How long a server may take to let us in.
const LOGIN: Duration = Duration::from_secs(15);
/// How long a server may be silent, as over HTTP.
const SILENCE: Duration = Duration::from_secs(30);
/// The shortest line of Git's protocol, in bytes.
const LINE: u64 = 4;
/// How much is kept of what the server says beside Git's words, in bytes.
const SAID: usize = 200;

/// Asks one server for its key.
struct Asked {
    pinned: Pinned,
    /// Why its key is not taken: the library's own error does not say.
    refused: Arc<Mutex<Option<AuthError>>>,
}

impl Handler for Asked {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        shown: &russh::keys::PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        // A certificate is never asked for.
        let russh::keys::PublicKeyOrCertificate::PublicKey { key, .. } = shown else { return Ok(false) };
        let judged = self.pinned.judge(key);
        let trusted = judged.is_ok();
        *locked(&self.refused) = judged.err();
        Ok(trusted)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Logs in and runs Git's program.
pub(super) fn open(url: &SshUrl, key: &SshKey, network: &Network) -> Result<(Incoming, Outgoing), GitError> {
    let pinned = Pinned::load(&key.known, url).map_err(GitError::Auth)?;
    let private = key::load(key)?;
    network.note_request();
    let (handle, channel) = network.wait(LOGIN, async {
        let handle = log_in(url, pinned, private).await?;
        let channel = run(url, &handle).await.map_err(|error| broken(url, error))?;
        Ok((handle, channel))
    })?;
    let (read, write) = channel.split();
    let conversation = Conversation {
        host: host_key::shown(url),
        network: network.clone(),
        read,
        write,
        pending: Vec::new(),
        received: 0,
        limit: LIST_LIMIT,
        said: Vec::new(),
        heard: 0,
        _handle: handle,
    };
    let conversation = Arc::new(Mutex::new(conversation));
    Ok((Incoming { conversation: conversation.clone(), chunk: Bytes::new() }, Outgoing(conversation)))
}

async fn log_in(url: &SshUrl, pinned: Pinned, private: PrivateKey) -> Result<Handle<Asked>, GitError> {
    let stream = TcpStream::connect((url.host.as_str(), url.port)).await;
    let stream = stream.map_err(|error| GitError::Unreachable(error.into()))?;
    stream.set_nodelay(true).map_err(|error| GitError::Unreachable(error.into()))?;
    let config = Config {
        client_id: SshId::Standard(concat!("SSH-2.0-idp_", env!("CARGO_PKG_VERSION")).into()),
        preferred: Preferred { key: pinned.algorithms().into(), ..Preferred::DEFAULT },
        ..Config::default()
    };
    let refused = Arc::default();
    let asked = Asked { pinned, refused: Arc::clone(&refused) };
    let connected = client::connect_stream(Arc::new(config), stream, asked).await;
    if let Some(error) = locked(&refused).take() {
        return Err(GitError::Auth(error));
    }
    let mut handle = connected.map_err(|error| broken(url, error))?;
    let public = private.public_key().to_openssh().unwrap_or_default();
    let private = PrivateKeyWithHashAlg::new(Arc::new(private), None::<HashAlg>);
    let answer = handle.authenticate_publickey(&url.user, private).await;
    match answer.map_err(|error| broken(url, error))? {
        AuthResult::Success => Ok(handle),
        AuthResult::Failure { .. } => Err(GitError::Auth(AuthError::KeyRefused {
            host: host_key::shown(url),
            user: url.user.clone(),
            public,
        })),
    }
}

async fn run(url: &SshUrl, handle: &Handle<Asked>) -> Result<Channel<Msg>, russh::Error> {
    let channel = handle.channel_open_session().await?;
    // A server that does not take it speaks an older protocol, and gix with it.
    channel.set_env(false, "GIT_PROTOCOL", "version=2").await?;
    channel.exec(true, command(&url.path)).await?;
    Ok(channel)
}

fn broken(url: &SshUrl, error: russh::Error) -> GitError {
    match error {
        russh::Error::NoCommonAlgo { kind, theirs, .. } => GitError::Auth(AuthError::NothingInCommon {
            host: host_key::shown(url),
            what: format!("{kind:?}").to_lowercase(),
            theirs: theirs.join(", "),
        }),
        error => GitError::Unreachable(error.into()),
    }
}

/// What both ends share.
struct Conversation {
    host: String,
    network: Network,
    read: ChannelReadHalf,
    write: ChannelWriteHalf<Msg>,
    /// What gix wrote and was not sent yet.
    pending: Vec<u8>,
    /// Bytes of the present answer, and how many it may have.
    received: u64,
    limit: u64,
    /// What the server says beside Git's words.
    said: Vec<u8>,
    /// How much Git's program answered, in bytes.
    heard: u64,
    /// The connection; it ends with this.
    _handle: Handle<Asked>,
}

impl Conversation {
    fn send(&mut self) -> Result<(), GitError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let bytes = Bytes::from(std::mem::take(&mut self.pending));
        let asks = |command: &[u8]| bytes.windows(command.len()).any(|part| part == command);
        // Each answer has its limit: that of a pack only after it was asked for.
        let is_fetch = asks(b"command=fetch") || asks(b"want ");
        (self.received, self.limit) = (0, if is_fetch { PACK_LIMIT } else { LIST_LIMIT });
        let (write, host) = (&self.write, &self.host);
        self.network.wait(SILENCE, async {
            let sent = write.data_bytes(bytes).await;
            sent.map_err(|error| GitError::Unreachable(format!("{host}: {error}").into()))
        })
    }

    /// Receives more of the answer; nothing at its end.
    fn receive(&mut self) -> Result<Bytes, GitError> {
        self.send()?;
        loop {
            let read = &mut self.read;
            let message = self.network.wait(SILENCE, async { Ok(read.wait().await) })?;
            match message {
                Some(ChannelMsg::Data { data }) if !data.is_empty() => {
                    self.heard += data.len() as u64;
                    self.network.count(&mut self.received, data.len(), self.limit)?;
                    return Ok(data);
                }
                Some(ChannelMsg::ExtendedData { data, .. }) => {
                    self.network.count(&mut self.received, data.len(), self.limit)?;
                    let room = SAID.saturating_sub(self.said.len());
                    self.said.extend_from_slice(data.get(..room).unwrap_or(&data));
                }
                Some(ChannelMsg::Failure) => return Err(self.ended("it does not run git-upload-pack")),
                // What it says may come after the end of its words; and Gitea ends an empty line before it.
                Some(ChannelMsg::Close) | None if self.heard < LINE => {
                    return Err(self.ended("it ended the session"));
                }
                Some(ChannelMsg::Close) | None => return Ok(Bytes::new()),
                Some(_) => {}
            }
        }
    }

    fn ended(&self, otherwise: &str) -> GitError {
        let said = String::from_utf8_lossy(&self.said);
        let said: Vec<&str> = said.split_whitespace().collect();
        let said = if said.is_empty() { otherwise.to_owned() } else { said.join(" ") };
        GitError::Auth(AuthError::NoRepository { host: self.host.clone(), said })
    }
}

/// What the program answers.
pub(super) struct Incoming {
    conversation: Arc<Mutex<Conversation>>,
    chunk: Bytes,
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.chunk.is_empty() {
            let mut conversation = locked(&self.conversation);
            let received = conversation.receive();
            self.chunk = received.map_err(|error| conversation.network.fail(error))?;
        }
        let count = self.chunk.as_ref().read(buffer)?;
        self.chunk.advance(count);
        Ok(count)
    }
}

/// What the program is asked; it is sent when it is complete, or when its answer is read.
pub(super) struct Outgoing(Arc<Mutex<Conversation>>);

impl Write for Outgoing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        locked(&self.0).pending.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let mut conversation = locked(&self.0);
        conversation.send().map_err(|error| conversation.network.fail(error))
    }
}
