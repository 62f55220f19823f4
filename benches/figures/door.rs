//! Webhooks over HTTP while the load runs on the same cores: how many are taken a second, how late their answers are, what memory
//! they leave behind, and what a thousand senders that dribble do to a good one. The load is another process.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use super::bed::{Bed, SECRET};
use super::hooks::push;
use super::table::{Figure, Goal, Sheet, Times};

/// Hooks a second.
const RATE: u32 = 10_000;
/// Connections of a load; a forge keeps a few open.
const CONNECTIONS: u32 = 64;
/// Bytes of a hook's body.
const BODY: usize = 4096;
/// Hooks a second beside those who dribble.
const FEW: u32 = 200;

/// How much is measured.
#[derive(Clone, Copy)]
pub struct Load {
    /// How long each load lasts.
    pub lasts: Duration,
    /// Per cent of the rate.
    pub share: u32,
    /// Senders that dribble.
    pub slow: usize,
}

/// Takes the figures.
pub async fn taken(sheet: &mut Sheet, load: Load) -> Result<()> {
    let bed = Bed::start(idp::sandbox::SandboxOptions::default()).await?;
    let address = bed.daemon.address();
    let rate = RATE * load.share / 100;
    let bare = send(address, "health", rate, load.lasts).await?;
    // What is kept of deliveries is bounded and full after so many.
    send(address, "hook", rate, load.lasts).await?;
    let before = memory()?;
    let hooks = send(address, "hook", rate, load.lasts).await?;
    let grown = memory()?.saturating_sub(before);
    let figure = Figure {
        what: "hook of 4 KiB due → answered with 202",
        goal: Goal { median: None, p99: Some(Duration::from_millis(25)) },
        times: Times::new(hooks),
    };
    let against = Figure::plain("against: GET /healthz at the same rate", bare);
    sheet.print(&format!("{rate} hooks a second for {} s", load.lasts.as_secs_f64()), &against, &[figure]);
    println!("  memory grew by {} KiB in the second load", grown / 1024);

    let alone = send(address, "hook", FEW, load.lasts).await?;
    let mut dribblers = child(address, &["dribble", &load.slow.to_string()]).spawn()?;
    let mut said = [0];
    let mut out = dribblers.stdout.take().context("it has an output")?;
    out.read_exact(&mut said).await.context("those who dribble never began")?;
    let beside = send(address, "hook", FEW, load.lasts).await?;
    dribblers.kill().await?;
    let figure = Figure {
        what: "hook beside those who dribble, due → answered",
        goal: Goal { median: None, p99: Some(Duration::from_millis(50)) },
        times: Times::new(beside),
    };
    let against = Figure::plain("against: the same without them", alone);
    sheet.print(&format!("{} senders that dribble", load.slow), &against, &[figure]);
    bed.stop().await;
    Ok(())
}

/// Returns the resident bytes of this process, as the kernel counts them.
pub fn memory() -> Result<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm")?;
    let resident: u64 = pages.split_whitespace().nth(1).context("proc(5) has a second field")?.parse()?;
    Ok(resident * 4096)
}

fn child(address: SocketAddr, arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap_or_default());
    command.arg("--load").arg(address.to_string()).args(arguments);
    command.stdout(Stdio::piped()).kill_on_drop(true);
    command
}

/// Sends requests at a rate from another process; returns for each the time from when it was due to its answer.
async fn send(address: SocketAddr, what: &str, rate: u32, lasts: Duration) -> Result<Vec<Duration>> {
    let (rate, lasts) = (rate.to_string(), lasts.as_millis().to_string());
    let output = child(address, &[what, &rate, &lasts]).output().await?;
    if !output.status.success() {
        bail!("the load of {what} failed: {}", String::from_utf8_lossy(&output.stdout));
    }
    let text = String::from_utf8(output.stdout)?;
    text.split_whitespace().map(|micros| Ok(Duration::from_micros(micros.parse()?))).collect()
}

/// The other process: `ADDRESS hook|health RATE MILLISECONDS` or `ADDRESS dribble COUNT`.
pub async fn load(words: &[String]) -> Result<()> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        [address, "dribble", count] => dribble(address.parse()?, count.parse()?).await,
        [address, what, rate, millis] => {
            let times = sent(address.parse()?, what, rate.parse()?, millis.parse()?).await?;
            let times: Vec<String> = times.iter().map(|time| time.as_micros().to_string()).collect();
            println!("{}", times.join(" "));
            Ok(())
        }
        _ => bail!("a load is an address, its kind, and numbers"),
    }
}

async fn sent(address: SocketAddr, what: &str, rate: u32, millis: u32) -> Result<Vec<Duration>> {
    let body = push(BODY);
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes())?;
    mac.update(body.as_bytes());
    let signature = hex::encode(mac.finalize().into_bytes());
    let hook = what == "hook";
    // Before a load there is no other of the same ids.
    let run: u64 = rand::random();
    let begin = Instant::now() + Duration::from_millis(50);
    let mut connections = JoinSet::new();
    let count = rate * millis / 1000;
    for first in 0..CONNECTIONS.min(count) {
        let (body, signature) = (body.clone(), signature.clone());
        connections.spawn(async move {
            let mut stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let mut times = Vec::new();
            for number in (first..count).step_by(CONNECTIONS as usize) {
                let due = begin + Duration::from_secs(1) * number / rate;
                let request = if hook {
                    format!(
                        "POST /hooks/checkout HTTP/1.1\r\nhost: idp\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
                         x-gitea-event: push\r\nx-gitea-delivery: {run:x}-{number}\r\nx-gitea-signature: {signature}\r\n\r\n{body}",
                        body.len()
                    )
                } else {
                    "GET /healthz HTTP/1.1\r\nhost: idp\r\n\r\n".to_owned()
                };
                sleep_until(due).await;
                stream.write_all(request.as_bytes()).await?;
                answered(&mut stream, if hook { "202" } else { "200" }).await?;
                times.push(due.elapsed());
            }
            anyhow::Ok(times)
        });
    }
    let mut all = Vec::new();
    while let Some(times) = connections.join_next().await {
        all.extend(times??);
    }
    Ok(all)
}

/// Reads one answer to its end.
async fn answered(stream: &mut TcpStream, status: &str) -> Result<()> {
    let mut answer = Vec::with_capacity(512);
    loop {
        if stream.read_buf(&mut answer).await? == 0 {
            bail!("the connection was closed");
        }
        let text = std::str::from_utf8(&answer)?;
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap_or("0");
        if body.len() < length.trim().parse()? {
            continue;
        }
        if !head.starts_with(&format!("HTTP/1.1 {status}")) {
            bail!("answered with {}", head.lines().next().unwrap_or_default());
        }
        return Ok(());
    }
}

/// Opens connections that send a byte of a request's head each 200 ms, anew when they are closed, until it is killed.
async fn dribble(address: SocketAddr, count: usize) -> Result<()> {
    let mut senders = JoinSet::new();
    let (begun, mut begins) = tokio::sync::mpsc::channel(count.max(1));
    for _ in 0..count {
        let begun = begun.clone();
        senders.spawn(async move {
            loop {
                if let Ok(mut stream) = TcpStream::connect(address).await {
                    let _ = begun.try_send(());
                    for byte in b"POST /hooks/checkout HTTP/1.1\r\n".iter().chain(std::iter::repeat(&b'x')) {
                        if stream.write_all(&[*byte]).await.is_err() {
                            break;
                        }
                        sleep(Duration::from_millis(200)).await;
                    }
                }
                sleep(Duration::from_millis(200)).await;
            }
        });
    }
    for _ in 0..count {
        begins.recv().await;
    }
    println!();
    senders.join_next().await;
    Ok(())
}
