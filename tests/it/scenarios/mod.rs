//! One table of scenarios, run with the same daemon on the sandbox and on a genuine API server: a difference between the two ends is a
//! bug of the sandbox.

mod cluster;
mod play;
mod table;

use std::collections::BTreeMap;

use tokio::sync::OnceCell;

use self::cluster::Cluster;
use self::play::{Trace, play};
use self::table::SCENARIOS;
use crate::stack::require;

type Traces = BTreeMap<&'static str, Trace>;

/// Returns how the scenarios ended on the sandbox; they are played once.
async fn on_the_sandbox() -> anyhow::Result<&'static Traces> {
    static TRACES: OnceCell<Result<Traces, String>> = OnceCell::const_new();
    let played = async || Box::pin(play(Cluster::sandbox)).await.map_err(|error| format!("{error:#}"));
    let traces = TRACES.get_or_init(played).await;
    traces.as_ref().map_err(|error| anyhow::anyhow!("on the sandbox: {error}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_scenario_ends_as_written_on_the_sandbox() -> anyhow::Result<()> {
    let traces = on_the_sandbox().await?;
    assert_eq!(traces.len(), SCENARIOS.len());
    for scenario in SCENARIOS {
        let trace = &traces[scenario.service];
        assert_eq!(trace.outcomes, scenario.outcomes(), "{}", scenario.service);
        let canary = trace.there.keys().find(|name| name.contains("-canary"));
        assert_eq!(canary, None, "{}: a candidate is left", scenario.service);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_scenario_ends_on_a_genuine_server_as_on_the_sandbox() -> anyhow::Result<()> {
    if require().is_some() {
        return Ok(());
    }
    let genuine = Box::pin(play(Cluster::genuine)).await?;
    let sandbox = on_the_sandbox().await?;
    for scenario in SCENARIOS {
        let service = scenario.service;
        assert_eq!(genuine[service], sandbox[service], "{service}, on a genuine server and on the sandbox");
    }
    Ok(())
}
