//! `idpd`: arguments → configuration → the daemon → exit code.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use clap::Parser;
use idp::cluster::client::{self, Access};
use idp::config::{self, ClusterAccess, Config, LogFormat};
use idp::reconcile::Daemon;
use idp::telemetry::log::{self, Format};
use idp::telemetry::metrics::Metrics;
use tokio::signal::unix::{SignalKind, signal};

/// The C library's keeps what looks of many threads took and gave back: three times what ten thousand sources need.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Watches Git repositories and webhooks, and takes what they declare to the cluster: with a health-gated canary, and back by itself
#[derive(Debug, Parser)]
#[command(name = "idpd", version, max_term_width = 100)]
struct Arguments {
    /// The configuration file
    #[arg(long, env = "IDPD_CONFIG", default_value = "/etc/idp/idpd.yaml", value_name = "FILE")]
    config: PathBuf,
    /// Check the configuration and exit: 0 if it is right, 1 with every fault and its place if not
    #[arg(long)]
    check: bool,
    /// Which log lines to write, as in info or idp=debug,warn
    #[arg(long, env = "IDPD_LOG", default_value = "info", value_name = "FILTER")]
    log: String,
}

fn main() -> ExitCode {
    // Fails only if a provider is installed already, which is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let arguments = Arguments::parse();
    let config = match config::load(&arguments.config) {
        Ok(config) => config,
        Err(errors) => {
            eprintln!("{errors}");
            return ExitCode::FAILURE;
        }
    };
    if arguments.check {
        let (sources, environments) = (config.sources.len(), config.environments.len());
        let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        let (sources, environments) = (count(sources, "source"), count(environments, "environment"));
        println!("{}: right; {sources}, {environments}", arguments.config.display());
        return ExitCode::SUCCESS;
    }
    match run(&arguments, config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("idpd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments, config: Config) -> Result<()> {
    let format = match config.log {
        LogFormat::Text => Format::Human,
        LogFormat::Json => Format::Json,
    };
    log::init(&arguments.log, format).context("setting up the log")?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(serve(config))
}

async fn serve(config: Config) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let metrics = Arc::new(Metrics::register().context("registering the metrics")?);
    let access = match &config.cluster.access {
        ClusterAccess::InCluster => Access::InCluster,
        ClusterAccess::Kubeconfig { path, context } => {
            Access::Kubeconfig { path: Some(path.clone()), context: context.clone() }
        }
    };
    let client = client::connect(&access, idp::reconcile::count_calls(&metrics))
        .await
        .context("connecting to the cluster")?;
    let mut daemon = Daemon::start(config, client, metrics).await?;
    let died = tokio::select! {
        error = daemon.died() => Err(error.into()),
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    };
    daemon.stop().await;
    died
}
