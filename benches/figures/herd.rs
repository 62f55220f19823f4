//! A forge with many repositories, as a process of its own so that its work is not counted with the daemon's. All repositories have
//! the same history; each shows the commit that it was told to. Answers come from `git http-backend`, asked once a question and
//! commit: what a repository answers depends on nothing else.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::forge::backend;
use super::repository::Repository;

/// The forge, as its user sees it.
pub struct Herd {
    /// `http://` and where it listens.
    pub url: String,
    /// The commits that a repository can show, the oldest first.
    pub commits: Vec<String>,
    http: reqwest::Client,
    _process: Child,
}

impl Herd {
    /// Writes so many commits into a folder and starts the process; every repository shows the first one.
    pub async fn start(folder: &Path, commits: usize) -> Result<Self> {
        let mut all = Repository::create(&folder.join("all.git"))?;
        let mut ids = Vec::new();
        for number in 0..commits {
            let text = format!("change {number}\n");
            let files =
                [(".idp/deploy.yaml", "service: {name: checkout, team: shop}\n"), ("src/app", &*text)];
            ids.push(all.write("Change the app", &files)?);
            let shown = folder.join(format!("{number}.git"));
            gix::init_bare(&shown)?;
            std::fs::create_dir_all(shown.join("objects/info"))?;
            std::fs::write(shown.join("objects/info/alternates"), "../../all.git/objects\n")?;
            std::fs::write(shown.join("refs/heads/main"), format!("{}\n", ids[number]))?;
        }
        let mut process = Command::new(std::env::current_exe()?)
            .arg("--forge")
            .arg(folder)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let out = process.stdout.take().context("it has an output")?;
        let address = BufReader::new(out).lines().next_line().await?.context("the forge did not start")?;
        let url = format!("http://{address}");
        Ok(Self { url, commits: ids, http: reqwest::Client::new(), _process: process })
    }

    /// Returns the address of a repository.
    pub fn repository(&self, number: usize) -> String {
        format!("{}/r{number}", self.url)
    }

    /// Has a repository show a commit.
    pub async fn show(&self, number: usize, commit: usize) -> Result<()> {
        let url = format!("{}/show/r{number}/{commit}", self.url);
        self.http.post(url).send().await?.error_for_status()?;
        Ok(())
    }

    /// Returns how many requests were under way at one time at most.
    pub async fn most_at_once(&self) -> Result<usize> {
        let answer = self.http.get(format!("{}/most", self.url)).send().await?.error_for_status()?;
        Ok(answer.text().await?.parse()?)
    }
}

/// The commit that a repository shows, and a request to it.
type Question = (usize, String, Bytes);

struct Forge {
    folder: PathBuf,
    shown: Mutex<HashMap<String, usize>>,
    answers: tokio::sync::Mutex<HashMap<Question, (HeaderMap, Bytes)>>,
    busy: AtomicUsize,
    most: AtomicUsize,
}

/// The other process.
pub async fn serve(words: &[String]) -> Result<()> {
    let [folder] = words else { bail!("a forge has a folder") };
    let forge = Arc::new(Forge {
        folder: folder.into(),
        shown: Mutex::default(),
        answers: tokio::sync::Mutex::default(),
        busy: AtomicUsize::new(0),
        most: AtomicUsize::new(0),
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?);
    let router = axum::Router::new().fallback(answer).with_state(forge);
    Ok(axum::serve(listener, router).await?)
}

async fn answer(State(forge): State<Arc<Forge>>, request: Request) -> Response {
    let busy = forge.busy.fetch_add(1, Ordering::SeqCst) + 1;
    let answered = answered(&forge, request, busy).await;
    forge.busy.fetch_sub(1, Ordering::SeqCst);
    answered.unwrap_or_else(|error| (StatusCode::BAD_REQUEST, error.to_string()).into_response())
}

async fn answered(forge: &Forge, request: Request, busy: usize) -> Result<Response> {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path().trim_start_matches('/').to_owned();
    let lock = || forge.shown.lock().unwrap_or_else(PoisonError::into_inner);
    if path == "most" {
        return Ok(forge.most.load(Ordering::SeqCst).to_string().into_response());
    }
    if let Some((name, commit)) = path.strip_prefix("show/").and_then(|rest| rest.split_once('/')) {
        lock().insert(name.to_owned(), commit.parse()?);
        return Ok(StatusCode::OK.into_response());
    }
    forge.most.fetch_max(busy, Ordering::SeqCst);
    let (name, service) = path.split_once('/').context("a path is REPOSITORY/SERVICE")?;
    let commit = lock().get(name).copied().unwrap_or_default();
    let question = (commit, service.to_owned(), body.collect().await?.to_bytes());
    let mut answers = forge.answers.lock().await;
    if let Some((head, bytes)) = answers.get(&question) {
        return Ok((head.clone(), bytes.clone()).into_response());
    }
    let query = parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    parts.uri = format!("/{commit}.git/{service}{query}").parse()?;
    let (head, body) = backend(&forge.folder, &parts, question.2.clone()).await?.into_parts();
    let answer = (head.headers, body.collect().await?.to_bytes());
    answers.insert(question, answer.clone());
    Ok(answer.into_response())
}
