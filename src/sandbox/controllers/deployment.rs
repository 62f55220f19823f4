//! A Deployment: from its template to replica sets, by its strategy.

use serde_json::Value;

use super::{
    super::{api::ApiError, json},
    Outcome, conditions,
    hands::{Hands, claim, controller_of, is_going},
    pods,
    revision::Rollout,
};

/// Brings one Deployment a step nearer to what it asks for.
pub(super) fn sync(hands: &Hands, namespace: &str, name: &str) -> Outcome {
    let Some(deployment) = hands.deployment(namespace, name) else {
        return Outcome::Done;
    };
    let sets = claim(&deployment, "Deployment", hands.replica_sets(namespace), |set| {
        hands.update_replica_set(set, "")
    });
    let rollout = Rollout::new(hands, deployment, sets);
    run(rollout).unwrap_or(Outcome::Failed)
}

fn run(mut rollout: Rollout<'_>) -> Result<Outcome, ApiError> {
    if is_going(&rollout.deployment) {
        return rollout.report_counts();
    }
    note_pause(&mut rollout)?;
    let paused = json::flag(&rollout.deployment, &["spec", "paused"]);
    if paused || rollout.is_resized() {
        rollout.sync_revision(false)?;
        rollout.rescale()?;
        if paused {
            rollout.clean_up()?;
        }
        return rollout.report_counts();
    }
    if json::text(&rollout.deployment, &["spec", "strategy", "type"]) == "Recreate" {
        return recreate(rollout);
    }
    rollout.sync_revision(true)?;
    if !rollout.roll()? {
        clean_up_if_complete(&mut rollout)?;
    }
    rollout.report()
}

fn clean_up_if_complete(rollout: &mut Rollout<'_>) -> Result<(), ApiError> {
    let status = rollout.deployment.get("status").cloned().unwrap_or_default();
    if rollout.is_complete(&status) {
        rollout.clean_up()?;
    }
    Ok(())
}

/// All old pods go before the first new one comes.
fn recreate(mut rollout: Rollout<'_>) -> Result<Outcome, ApiError> {
    rollout.sync_revision(false)?;
    if rollout.empty_old()? || old_pods_run(&rollout) {
        return rollout.report();
    }
    if rollout.new.is_none() {
        rollout.sync_revision(true)?;
    }
    rollout.fill_new()?;
    clean_up_if_complete(&mut rollout)?;
    rollout.report()
}

fn old_pods_run(rollout: &Rollout<'_>) -> bool {
    let uid = |object: &Value| json::text(object, &["metadata", "uid"]).to_owned();
    let old: Vec<String> = rollout.old.iter().map(|set| uid(set)).collect();
    let namespace = json::text(&rollout.deployment, &["metadata", "namespace"]);
    rollout.hands.pods(namespace).iter().any(|pod| {
        !pods::has_ended(pod)
            && controller_of(pod)
                .is_some_and(|owner| old.iter().any(|uid| uid == json::text(owner, &["uid"])))
    })
}

/// A pause and its end are conditions, so that the time between them is not counted as lack of progress.
fn note_pause(rollout: &mut Rollout<'_>) -> Result<(), ApiError> {
    if json::int(&rollout.deployment, &["spec", "progressDeadlineSeconds"]).is_none() {
        return Ok(());
    }
    let paused = json::flag(&rollout.deployment, &["spec", "paused"]);
    let Some(status) = rollout.deployment.get("status") else { return Ok(()) };
    let (status, reason, message) = match (paused, conditions::reason(status, "Progressing")) {
        (_, "ProgressDeadlineExceeded") | (true, "DeploymentPaused") => return Ok(()),
        (true, _) => (status, "DeploymentPaused", "Deployment is paused"),
        (false, "DeploymentPaused") => (status, "DeploymentResumed", "Deployment is resumed"),
        (false, _) => return Ok(()),
    };
    let mut status = status.clone();
    let now = rollout.hands.now_text();
    conditions::set(&mut status, conditions::new("Progressing", "Unknown", reason, message, &now));
    rollout.store_status(status)
}
