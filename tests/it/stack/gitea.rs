//! A genuine forge, Gitea: it serves Git over HTTP, merges pull requests and sends signed webhooks.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use super::build::{GoModule, go_version};
use super::cache::Artifact;
use super::gitea_repo::Repo;
use super::process::{Process, guarded};
use super::{command, http, port};

const MODULE: GoModule = GoModule { folder: "gitea", cgo: true, tags: "sqlite sqlite_unlock_notify" };
const NAME: &str = "code.gitea.io/gitea";
const GO_MOD: &str = include_str!("gitea/go.mod");
const GO_SUM: &str = include_str!("gitea/go.sum");

const START_LIMIT: Duration = Duration::from_mins(1);
const TOOL_LIMIT: Duration = Duration::from_mins(1);

/// Gitea keeps `admin` and the like for itself.
const ADMIN: &str = "keeper";

/// A forge with one user, who may do everything.
#[derive(Debug)]
pub struct Gitea {
    pub url: String,
    /// Where it speaks SSH, on 127.0.0.1.
    pub ssh_port: u16,
    /// What the administrator does.
    pub admin: Forge,
    artifact: PathBuf,
    running: Option<Process>,
    folder: TempDir,
}

/// The forge's REST API as one user uses it.
#[derive(Clone, Debug)]
pub struct Forge {
    pub url: String,
    pub user: String,
    pub token: String,
}

impl Gitea {
    /// Starts a forge of one's own and returns it when it answers.
    pub async fn launch() -> anyhow::Result<Self> {
        let artifact = artifact().await?;
        let folder = TempDir::new()?;
        let port = port::free()?;
        let ssh_port = port::free()?;
        let url = format!("http://127.0.0.1:{port}");
        let text = configuration(folder.path(), &artifact, (port, ssh_port));
        fs::write(folder.path().join("app.ini"), text)?;
        // Its own would be RSA with 4096 bits, which takes seconds to make.
        fs::create_dir(folder.path().join("ssh"))?;
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(folder.path().join("ssh/host"));
        command::run(&mut keygen, TOOL_LIMIT).await?;
        let admin = Forge { url: url.clone(), user: ADMIN.into(), token: String::new() };
        let mut gitea = Self { url, ssh_port, admin, artifact, running: None, folder };
        gitea.run(&["migrate"]).await?;
        gitea.admin.token = gitea.create_admin().await?;
        gitea.start().await?;
        Ok(gitea)
    }

    /// Returns the public key of the server over SSH, `TYPE KEY`.
    pub async fn host_key(&self) -> anyhow::Result<String> {
        let mut keygen = Command::new("ssh-keygen");
        let key = self.folder.path().join("ssh/host");
        let printed = command::run(keygen.arg("-y").arg("-f").arg(key), TOOL_LIMIT).await?;
        Ok(printed.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
    }

    /// Ends the forge at once, as a machine does that loses power.
    pub fn stop(&mut self) {
        self.running = None;
    }

    /// Starts it again, on the same port and with the same data; does nothing while it runs.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        if self.running.is_some() {
            return Ok(());
        }
        let mut web = guarded(self.program());
        web.args(["web", "--config"]).arg(self.configuration());
        let mut process = Process::spawn("gitea", web, &self.folder.path().join("gitea.log"))?;
        let version = format!("{}/api/v1/version", self.url);
        process.ready(START_LIMIT, async || http::succeeds(&version).await).await?;
        self.running = Some(process);
        Ok(())
    }

    /// Makes the forge accept connections and answer nothing, until [`Self::thaw`].
    pub fn freeze(&mut self) -> anyhow::Result<()> {
        self.running.as_ref().context("freeze a stopped forge")?.freeze()
    }

    /// Lets a frozen forge go on.
    pub fn thaw(&mut self) -> anyhow::Result<()> {
        self.running.as_ref().context("thaw a stopped forge")?.thaw()
    }

    /// Makes the first user, which only the program itself can do, and returns the user's token.
    async fn create_admin(&self) -> anyhow::Result<String> {
        let email = format!("{ADMIN}@forge.test");
        let user =
            ["--username", ADMIN, "--random-password", "--email", &email, "--must-change-password=false"];
        let token = ["--access-token", "--access-token-name", "stack", "--access-token-scopes", "all"];
        let printed =
            self.run(&[&["admin", "user", "create", "--admin"], &user[..], &token[..]].concat()).await?;
        let token =
            printed.lines().find_map(|line| line.strip_prefix("Access token was successfully created... "));
        Ok(token.with_context(|| format!("find the token in {printed}"))?.trim().to_owned())
    }

    async fn run(&self, args: &[&str]) -> anyhow::Result<String> {
        command::run(
            Command::new(self.program()).args(args).arg("--config").arg(self.configuration()),
            TOOL_LIMIT,
        )
        .await
    }

    fn program(&self) -> PathBuf {
        self.artifact.join("bin/gitea")
    }

    fn configuration(&self) -> PathBuf {
        self.folder.path().join("app.ini")
    }
}

impl Forge {
    /// Makes a user without special rights and returns the forge as that user sees it.
    pub async fn create_user(&self, name: &str) -> anyhow::Result<Self> {
        let password = hex::encode(rand::random::<[u8; 16]>());
        let email = format!("{name}@forge.test");
        let user =
            json!({ "username": name, "email": email, "password": password, "must_change_password": false });
        self.call(Method::POST, "admin/users", &user).await?;
        // A token is given only to who knows the password.
        let request = http::client()?
            .post(format!("{}/api/v1/users/{name}/tokens", self.url))
            .basic_auth(name, Some(password))
            .json(&json!({ "name": "stack", "scopes": ["all"] }));
        let token = text(&read(request).await?, "/sha1")?;
        Ok(Self { url: self.url.clone(), user: name.into(), token })
    }

    /// Makes an organisation that this user owns.
    pub async fn create_org(&self, name: &str) -> anyhow::Result<()> {
        self.call(Method::POST, "orgs", &json!({ "username": name })).await.map(drop)
    }

    /// Makes a repository of this user or of an organisation, with a first commit on `main`.
    pub async fn create_repo(&self, owner: &str, name: &str) -> anyhow::Result<Repo> {
        let path = if owner == self.user { "user/repos".into() } else { format!("orgs/{owner}/repos") };
        let options = json!({ "name": name, "auto_init": true, "default_branch": "main", "private": true });
        self.call(Method::POST, &path, &options).await?;
        Ok(Repo { forge: self.clone(), owner: owner.into(), name: name.into() })
    }

    /// Calls the REST API below `/api/v1/`; for all that has no function of its own here.
    pub async fn call(&self, method: Method, path: &str, body: &Value) -> anyhow::Result<Value> {
        let url = format!("{}/api/v1/{path}", self.url);
        let mut request =
            http::client()?.request(method, url).header("Authorization", format!("token {}", self.token));
        if !body.is_null() {
            request = request.json(body);
        }
        read(request).await
    }
}

/// Sends a request that must succeed; an empty answer is null.
async fn read(request: reqwest::RequestBuilder) -> anyhow::Result<Value> {
    let answer = request.send().await?;
    let (url, status, text) = (answer.url().clone(), answer.status(), answer.text().await?);
    ensure!(status.is_success(), "{url}: {status} {text}");
    if text.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(&text).with_context(|| format!("read the answer of {url}: {text}"))
}

/// Returns the text at a place in an answer.
pub fn text(answer: &Value, pointer: &str) -> anyhow::Result<String> {
    let value = answer.pointer(pointer).and_then(Value::as_str);
    Ok(value.with_context(|| format!("find {pointer} in {answer}"))?.to_owned())
}

fn configuration(folder: &Path, artifact: &Path, (port, ssh_port): (u16, u16)) -> String {
    let (folder, artifact) = (folder.display(), artifact.display());
    format!(
        "\
; Tests in a container run as root; for anybody else this says nothing.
I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = true
WORK_PATH = {folder}/work

[server]
HTTP_ADDR = 127.0.0.1
HTTP_PORT = {port}
ROOT_URL = http://127.0.0.1:{port}/
OFFLINE_MODE = true
START_SSH_SERVER = true
BUILTIN_SSH_SERVER_USER = git
SSH_LISTEN_HOST = 127.0.0.1
SSH_LISTEN_PORT = {ssh_port}
SSH_ROOT_PATH = {folder}/ssh
SSH_SERVER_HOST_KEYS = {folder}/ssh/host
STATIC_ROOT_PATH = {artifact}/static

[database]
DB_TYPE = sqlite3
PATH = {folder}/gitea.db
; Some hundred migrations wait for the disk one by one in the default mode: seconds on a busy machine.
SQLITE_JOURNAL_MODE = WAL

[security]
INSTALL_LOCK = true

[webhook]
; Refused by default, and here the only place to deliver to.
ALLOWED_HOST_LIST = loopback

[queue]
TYPE = channel

[indexer]
ISSUE_INDEXER_TYPE = db

[cron]
ENABLED = false

[log]
MODE = console
LEVEL = Info
"
    )
}

/// Builds the forge, or finds it built, and returns the folder with its program and its static files.
async fn artifact() -> anyhow::Result<PathBuf> {
    let version = go_version(GO_MOD, NAME)?;
    let linker_flags = format!("-s -w -X main.Version={version}");
    let artifact = Artifact {
        name: "gitea",
        version,
        inputs: &[GO_MOD, GO_SUM, &linker_flags, MODULE.tags],
        cost: "from Go modules, about 3 minutes on two cores",
    };
    artifact
        .ensure(async |target| {
            MODULE.build(&linker_flags, target).await?;
            copy_static_files(target).await
        })
        .await
}

/// Copies the templates and translations that Gitea reads at run time, since Go's module cache may be cleaned.
async fn copy_static_files(target: &Path) -> anyhow::Result<()> {
    let mut list = Command::new("go");
    list.args(["list", "-m", "-f", "{{.Dir}}", NAME]).current_dir(MODULE.path()).env("GOWORK", "off");
    let source = PathBuf::from(command::run(&mut list, TOOL_LIMIT).await?.trim());
    let destination = target.join("static");
    fs::create_dir(&destination)?;
    let mut copy = Command::new("cp");
    // Not the mode: Go's cache is read-only, and what is below `target/` must be deletable.
    copy.args(["-R", "--no-preserve=mode"])
        .args(["options", "public", "templates"].map(|folder| source.join(folder)))
        .arg(destination);
    command::run(&mut copy, TOOL_LIMIT).await.map(drop)
}
