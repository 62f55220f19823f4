//! `idp sources suspend|resume NAME`: written into the cluster with who and why, so that it holds whether a daemon runs or not.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams};
use serde::Serialize;

use super::command::who;
use super::connect::Scope;
use super::output::{clean, cut};
use super::{CliError, Exit, Output, connect};
use crate::cluster::suspensions::{PREFIX, object};
use crate::model::command::WHY;
use crate::model::name::SourceName;
use crate::model::suspension::SuspensionAsked;

#[derive(Serialize)]
struct Said {
    source: SourceName,
    #[serde(flatten)]
    asked: SuspensionAsked,
}

/// Suspends a source, or resumes it.
pub async fn run(
    scope: &Scope,
    output: &Output,
    home: &str,
    source: &SourceName,
    (suspended, why): (bool, &str),
) -> Result<Exit, CliError> {
    let who = who(&scope.client).await?;
    let asked = SuspensionAsked { suspended, who, why: cut(&clean(why), WHY), at: super::now() };
    let api: Api<ConfigMap> = Api::namespaced(scope.client.clone(), home);
    let verb = if suspended { "suspending" } else { "resuming" };
    let params = PatchParams::apply("idp-cli").force();
    let patch = Patch::Apply(object(home, source, &asked));
    let name = format!("{PREFIX}{source}");
    let written = api.patch(&name, &params, &patch);
    connect::call(&format!("{verb} the source {source} in {home}"), written).await?;
    let said = Said { source: source.clone(), asked };
    output.show(&said, |_| text(source, suspended))?;
    Ok(Exit::Good)
}

fn text(source: &SourceName, suspended: bool) -> String {
    if suspended {
        format!(
            "{source} is suspended: it is not looked at, what runs goes on\n  next: idp sources resume {source}, when it is over"
        )
    } else {
        format!(
            "{source} is resumed and looked at once the daemon hears of it\n  next: idp sources shows what was found, or that the configuration suspends it too"
        )
    }
}
