//! What programs ask of releases over HTTP: proven and allowed by the API server, then written into the `Release` as the command line
//! does.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::pass::Driver;
use crate::cluster::access::{self, Caller};
use crate::cluster::commands;
use crate::cluster::error::ApiError;
use crate::http::releases::{Ask, Denied, Order, Releases};
use crate::model::command::Command;
use crate::model::name::ReleaseKey;

/// Questions under way at one time: each costs the API server up to four calls.
const AT_ONCE: usize = 16;

/// Answers what is asked over HTTP.
pub fn releases(driver: &Arc<Driver>) -> Releases {
    let (driver, places) = (Arc::clone(driver), Arc::new(Semaphore::new(AT_ONCE)));
    Arc::new(move |token, release, ask| {
        let (driver, places) = (Arc::clone(&driver), Arc::clone(&places));
        Box::pin(async move {
            let busy = || Denied::Away(format!("{AT_ONCE} questions are being answered already"));
            let _place = places.try_acquire().map_err(|_| busy())?;
            answer(&driver, &token, &release, ask).await
        })
    })
}

fn away(error: &ApiError) -> Denied {
    Denied::Away(format!("the Kubernetes API did not answer as it should: {error}"))
}

async fn answer(driver: &Driver, token: &str, release: &ReleaseKey, ask: Ask) -> Result<Value, Denied> {
    let calls = driver.cluster.calls();
    let caller = access::caller(calls, token).await.map_err(|error| away(&error))?;
    let caller = caller.ok_or(Denied::Nobody)?;
    let place = driver.cluster.view().releases(release).into_iter().next();
    // Who may not look learns nothing of what there is.
    let namespace = place.map(|seen| seen.namespace);
    let name = release.service.as_str();
    let verb = if matches!(ask, Ask::Give(_)) { "patch" } else { "get" };
    let scope = namespace.as_deref().unwrap_or_default();
    if !access::may(calls, &caller, verb, scope, name).await.map_err(|error| away(&error))? {
        let sentence = format!("{} may not {verb} releases.idp.dev {name} in that namespace", caller.name);
        return Err(Denied::Forbidden(sentence));
    }
    let unknown = || Denied::Unknown(format!("there is no release {release}"));
    let namespace = namespace.ok_or_else(unknown)?;
    if let Ask::Give(order) = ask {
        let given = give(driver, &caller, &namespace, release, order).await;
        return given.map_err(|error| away(&error))?.ok_or_else(unknown);
    }
    let status = commands::status(calls, &namespace, name).await.map_err(|error| away(&error))?;
    let status = status.ok_or_else(unknown)?;
    match ask {
        Ask::Answer(id) => {
            let answer = status.pointer("/commands").and_then(|commands| commands.get(&id)).cloned();
            answer.ok_or_else(|| Denied::Unknown(format!("command {id} has no answer (yet)")))
        }
        _ => Ok(json!({"release": release, "namespace": namespace, "status": status})),
    }
}

async fn give(
    driver: &Driver,
    caller: &Caller,
    namespace: &str,
    release: &ReleaseKey,
    order: Order,
) -> Result<Option<Value>, ApiError> {
    let Order { verb, why, rollout, full, to } = order;
    let rollout = rollout.filter(|_| verb.is_of_rollout());
    let command =
        Command { rollout, full, to, ..Command::new(verb, caller.name.clone(), &why, driver.clock.now()) };
    let id = commands::new_id();
    let name = release.service.as_str();
    let given = commands::give(driver.cluster.calls(), namespace, name, &id, &command).await?;
    Ok(given.map(|()| {
        let answer = format!("/api/v1/releases/{release}/commands/{id}");
        json!({"id": id, "release": release, "verb": verb, "who": caller.name, "answer": answer})
    }))
}
