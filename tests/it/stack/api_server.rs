//! A genuine Kubernetes control plane: etcd, kube-apiserver, kube-controller-manager. No scheduler and no node: whoever
//! wants pods to run binds them.

mod credentials;

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, ensure};
use kube::config::{KubeConfigOptions, Kubeconfig};
use tempfile::TempDir;

use super::build::{GoModule, go_version};
use super::cache::Artifact;
use super::process::{Process, guarded};
use super::{command, port};
use credentials::Credentials;

const MODULE: GoModule = GoModule { folder: "kubernetes", cgo: false, tags: "" };
const GO_MOD: &str = include_str!("kubernetes/go.mod");
const GO_SUM: &str = include_str!("kubernetes/go.sum");

/// A start takes three seconds on an idle machine.
const START_LIMIT: Duration = Duration::from_secs(90);
const KUBECTL_LIMIT: Duration = Duration::from_mins(1);

/// Those that would act on nodes, which here are the tests' own: they send no heartbeats and belong to no cloud.
const CONTROLLERS: &str = "*,-node-ipam-controller,-node-lifecycle-controller,-taint-eviction-controller,\
                           -cloud-node-lifecycle-controller,-service-lb-controller,-node-route-controller";

/// An API server with the controllers behind it.
#[derive(Debug)]
pub struct ApiServer {
    /// Who may do everything, and the authority to verify the server by.
    pub kubeconfig: PathBuf,
    pub url: String,
    pub token: String,
    /// A kubectl of the server's own version.
    pub kubectl: PathBuf,
    bin: PathBuf,
    ports: Ports,
    running: Option<Running>,
    folder: TempDir,
}

/// Chosen once, so that a server that was stopped comes back where its clients look for it.
#[derive(Debug)]
struct Ports {
    api: u16,
    etcd: u16,
    etcd_peer: u16,
}

/// Fields are dropped in this order: nothing outlives what it talks to.
#[derive(Debug)]
struct Running {
    _manager: Process,
    api: Process,
    _etcd: Process,
}

impl ApiServer {
    /// Starts a control plane of one's own and returns it when it answers and its controllers work.
    pub async fn launch() -> anyhow::Result<Self> {
        let bin = binaries().await?;
        let folder = TempDir::new()?;
        let ports = Ports { api: port::free()?, etcd: port::free()?, etcd_peer: port::free()? };
        let url = format!("https://127.0.0.1:{}", ports.api);
        let Credentials { token, kubeconfig } = credentials::write(folder.path(), &url)?;
        let kubectl = bin.join("kubectl");
        let mut server = Self { kubeconfig, url, token, kubectl, bin, ports, running: None, folder };
        server.start().await?;
        Ok(server)
    }

    /// Ends all of it at once, as a machine does that loses power.
    pub fn stop(&mut self) {
        self.running = None;
    }

    /// Starts it again, on the same port and with the same data; does nothing while it runs.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        if self.running.is_some() {
            return Ok(());
        }
        let etcd = self.spawn_etcd()?;
        let mut api = self.spawn_api_server()?;
        api.ready(START_LIMIT, async || self.answers("/readyz").await).await?;
        let mut manager = self.spawn_manager()?;
        // The first thing that the controllers are seen to do; their own health answer is off with their port.
        let account = "/api/v1/namespaces/default/serviceaccounts/default";
        manager.ready(START_LIMIT, async || self.answers(account).await).await?;
        self.running = Some(Running { _manager: manager, api, _etcd: etcd });
        Ok(())
    }

    /// Makes the server accept connections and answer nothing, until [`Self::thaw`].
    pub fn freeze(&mut self) -> anyhow::Result<()> {
        self.running.as_ref().context("freeze a stopped API server")?.api.freeze()
    }

    /// Lets a frozen server go on.
    pub fn thaw(&mut self) -> anyhow::Result<()> {
        self.running.as_ref().context("thaw a stopped API server")?.api.thaw()
    }

    /// Returns a client that may do everything. It belongs to the runtime it is made in: make one a test.
    pub async fn client(&self) -> anyhow::Result<kube::Client> {
        let kubeconfig = Kubeconfig::read_from(&self.kubeconfig)?;
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(kube::Client::try_from(config)?)
    }

    /// Runs kubectl and returns what it did, whether or not it succeeded.
    pub async fn kubectl(&self, args: &[&str]) -> anyhow::Result<Output> {
        command::output(self.kubectl_command().args(args), KUBECTL_LIMIT).await
    }

    /// Applies the objects of a YAML text, server side.
    pub async fn apply(&self, manifest: &str) -> anyhow::Result<()> {
        let file = tempfile::NamedTempFile::new_in(&self.folder)?;
        std::fs::write(&file, manifest)?;
        let mut kubectl = self.kubectl_command();
        kubectl.args(["apply", "--server-side", "-f"]).arg(file.path());
        command::run(&mut kubectl, KUBECTL_LIMIT).await.map(drop)
    }

    fn kubectl_command(&self) -> tokio::process::Command {
        let mut kubectl = tokio::process::Command::new(&self.kubectl);
        kubectl.arg("--kubeconfig").arg(&self.kubeconfig).arg("--cache-dir").arg(self.file("kubectl-cache"));
        kubectl
    }

    async fn answers(&self, path: &str) -> bool {
        // Until the server has written its certificate there is nothing to make a client of.
        let Ok(client) = self.client().await else { return false };
        let Ok(request) = http::Request::get(path).body(Vec::new()) else { return false };
        client.request_text(request).await.is_ok()
    }

    fn spawn_etcd(&self) -> anyhow::Result<Process> {
        let client = self.etcd_url();
        let peer = format!("http://127.0.0.1:{}", self.ports.etcd_peer);
        let mut etcd = guarded(self.bin.join("etcd"));
        etcd.arg("--data-dir")
            .arg(self.file("etcd"))
            // The data need not outlive the machine, and syncing is what makes etcd slow on a busy disk.
            .arg("--unsafe-no-fsync")
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")]);
        Process::spawn("etcd", etcd, &self.file("etcd.log"))
    }

    fn spawn_api_server(&self) -> anyhow::Result<Process> {
        let mut api = guarded(self.bin.join("kube-apiserver"));
        api.arg(format!("--etcd-servers={}", self.etcd_url()))
            .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"])
            .arg(format!("--secure-port={}", self.ports.api))
            // With bind address and folder given it signs a certificate for 127.0.0.1 by itself.
            .arg(flag("cert-dir", &self.file(credentials::CERTIFICATES)))
            .arg(flag("token-auth-file", &self.file(credentials::TOKENS)))
            .arg("--authorization-mode=RBAC")
            .arg(flag("audit-policy-file", &self.file(credentials::AUDIT_POLICY)))
            .arg(flag("audit-log-path", &self.audit()))
            .arg("--service-account-issuer=https://kubernetes.default.svc")
            .arg(flag("service-account-signing-key-file", &self.file(credentials::SIGNING_KEY)))
            .arg(flag("service-account-key-file", &self.file(credentials::SIGNING_KEY)))
            // Pods need no token: they are made by the tests' own node.
            .arg("--disable-admission-plugins=ServiceAccount")
            // A loopback address is no valid endpoint of the `kubernetes` service.
            .arg("--endpoint-reconciler-type=none")
            .arg("--service-cluster-ip-range=10.0.0.0/24");
        Process::spawn("kube-apiserver", api, &self.file("kube-apiserver.log"))
    }

    fn spawn_manager(&self) -> anyhow::Result<Process> {
        let mut manager = guarded(self.bin.join("kube-controller-manager"));
        manager
            .arg(flag("kubeconfig", &self.kubeconfig))
            .args(["--leader-elect=false", "--secure-port=0"])
            .arg(format!("--controllers={CONTROLLERS}"))
            .arg(flag("service-account-private-key-file", &self.file(credentials::SIGNING_KEY)));
        Process::spawn("kube-controller-manager", manager, &self.file("kube-controller-manager.log"))
    }

    /// What service accounts of people asked for, a JSON object a line, with how it was answered.
    pub fn audit(&self) -> PathBuf {
        self.file("audit.log")
    }

    fn etcd_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.etcd)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn flag(name: &str, value: &Path) -> String {
    format!("--{name}={}", value.display())
}

/// Builds the control plane, or finds it built, and returns the folder with its programs.
async fn binaries() -> anyhow::Result<PathBuf> {
    let version = go_version(GO_MOD, "k8s.io/kubernetes")?;
    let linker_flags = linker_flags(version)?;
    let artifact = Artifact {
        name: "kubernetes",
        version,
        inputs: &[GO_MOD, GO_SUM, &linker_flags],
        cost: "with etcd and kubectl, from Go modules, about 5 minutes on two cores",
    };
    let folder = artifact
        .ensure(async |target| {
            MODULE.build(&linker_flags, target).await?;
            // Go names a program after the last part of its import path, and etcd's is go.etcd.io/etcd/server/v3.
            let bin = target.join("bin");
            std::fs::rename(bin.join("server"), bin.join("etcd")).context("rename etcd")
        })
        .await?;
    Ok(folder.join("bin"))
}

/// The release's own build sets the version while linking; without it the server calls itself v0.0.0 and clients that look
/// at the version refuse it.
fn linker_flags(version: &str) -> anyhow::Result<String> {
    let mut parts = version.split('.');
    let (major, minor) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    ensure!(!minor.is_empty(), "{version} is no Kubernetes version");
    let package = "k8s.io/component-base/version";
    Ok(format!(
        "-s -w -X {package}.gitVersion=v{version} -X {package}.gitMajor={major} -X {package}.gitMinor={minor}"
    ))
}
