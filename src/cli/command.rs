//! `idp rollout abort|retry|promote|pause|resume|approve|undo RELEASE`: a command is written into the Release with who and why, and answered by the daemon there.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde::Serialize;
use serde_json::Value;

use super::connect::Scope;
use super::fleet::ReleaseView;
use super::output::{Tone, clean, paint};
use super::{CliError, Exit, Output, connect};
use crate::cluster::commands;
use crate::model::command::{Command, CommandResult, Verb};

/// How long the daemon may take to answer.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Time between two looks for the answer.
const LOOK: Duration = Duration::from_millis(300);

/// The answer, as it is printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answered {
    /// The release.
    pub release: String,
    /// The command's id.
    pub id: String,
    /// What was asked.
    pub verb: Verb,
    /// The daemon's answer.
    #[serde(flatten)]
    pub result: CommandResult,
}

/// What is asked of a release.
#[derive(Debug, Clone)]
pub struct Ask {
    /// The verb.
    pub verb: Verb,
    /// Why, in the person's words.
    pub why: String,
    /// `promote`: no further pause either.
    pub full: bool,
    /// `undo`: the rollout that brought the version to go back to.
    pub to: Option<u64>,
}

impl Ask {
    /// Asks without conditions.
    pub fn new(verb: Verb, why: &str) -> Self {
        Self { verb, why: why.to_owned(), full: false, to: None }
    }
}

/// Gives a command, waits for its answer and prints it.
pub async fn run(scope: &Scope, output: &Output, asked: &str, ask: &Ask) -> Result<Exit, CliError> {
    let answered = give(scope, asked, ask, PATIENCE).await?;
    output.show(&answered, |output| text(&answered, output.colour))?;
    Ok(if answered.result.accepted { Exit::Good } else { Exit::Bad })
}

/// Gives a command and waits for its answer, at most `patience`.
pub async fn give(scope: &Scope, asked: &str, ask: &Ask, patience: Duration) -> Result<Answered, CliError> {
    let view = connect::find(scope, asked).await?;
    let who = who(&scope.client).await?;
    let id = commands::new_id();
    let Ask { verb, full, to, .. } = *ask;
    // What the person looks at now: if another rollout runs by the time it is answered, it was not meant.
    let running = view.record().and_then(|record| record.rollout.as_ref()).map(|rollout| rollout.number);
    let rollout = running.filter(|_| verb.is_of_rollout());
    let command = Command { rollout, full, to, ..Command::new(verb, who, &ask.why, super::now()) };
    write(&scope.client, &view, &id, &command).await?;
    let answer = async {
        loop {
            if let Some(result) = look(&scope.client, &view, &id).await? {
                return Ok::<_, CliError>(result);
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let result = tokio::time::timeout(patience, answer).await.map_err(|_| CliError::NoDaemon {
        command: format!("{} {id}", verb.name()),
        release: view.release.clone(),
        after: patience,
    })??;
    Ok(Answered { release: view.release, id, verb, result })
}

/// Asks the API server who is calling: a name that the caller cannot choose.
pub(super) async fn who(client: &Client) -> Result<String, CliError> {
    let api: Api<SelfSubjectReview> = Api::all(client.clone());
    let asked = SelfSubjectReview::default();
    let review =
        connect::call("asking the API server who is calling", api.create(&PostParams::default(), &asked))
            .await?;
    let user = review.status.and_then(|status| status.user_info).and_then(|info| info.username);
    user.filter(|name| !name.is_empty()).ok_or(CliError::Nobody)
}

async fn write(client: &Client, view: &ReleaseView, id: &str, command: &Command) -> Result<(), CliError> {
    let api = connect::releases_in(client, &view.namespace);
    let params = PatchParams { field_manager: Some("idp-cli".to_owned()), ..PatchParams::default() };
    let what = format!("writing the command into {}", view.release);
    let object = connect::call(&what, api.get(&view.name)).await?;
    let patch = commands::patch(id, command, &object.data);
    connect::call(&what, api.patch(&view.name, &params, &Patch::Merge(&patch))).await.map(|_| ())
}

async fn look(client: &Client, view: &ReleaseView, id: &str) -> Result<Option<CommandResult>, CliError> {
    let api = connect::releases_in(client, &view.namespace);
    let what = format!("waiting for the answer in {}", view.release);
    let object = connect::call(&what, api.get(&view.name)).await?;
    Ok(answer_in(object.data.pointer("/status/commands").unwrap_or(&Value::Null), id))
}

/// Finds the answer to a command in `status.commands`. An answer in a form that is not known here counts by `accepted` alone.
pub fn answer_in(commands: &Value, id: &str) -> Option<CommandResult> {
    let answer = commands.get(id)?;
    let read = serde_json::from_value(answer.clone()).ok();
    read.or_else(|| {
        Some(CommandResult {
            accepted: answer.get("accepted")?.as_bool()?,
            message: answer.get("message").and_then(Value::as_str).unwrap_or_default().to_owned(),
            who: String::new(),
            at: Timestamp::UNIX_EPOCH,
        })
    })
}

/// Renders the answer for people, with what to do next.
pub fn text(answered: &Answered, colour: bool) -> String {
    let Answered { release, verb, result, .. } = answered;
    let (word, tone) = if result.accepted { ("accepted", Tone::Good) } else { ("refused", Tone::Bad) };
    let next = match (result.accepted, verb) {
        (true, Verb::Pause) => format!("idp rollout resume {release}"),
        (true, _) => format!("idp rollout watch {release}"),
        (false, _) => format!("idp explain {release}"),
    };
    format!(
        "{} {}: {}\n  next: {next}",
        verb.name(),
        paint(word, tone, colour),
        clean(if result.message.is_empty() { "no reason was given" } else { &result.message })
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answered(accepted: bool, message: &str) -> Answered {
        let result =
            CommandResult { accepted, message: message.into(), who: "ann".into(), at: Timestamp::UNIX_EPOCH };
        Answered { release: "hello.production".into(), id: "0123456789ab".into(), verb: Verb::Retry, result }
    }

    #[test]
    fn the_answer_is_found_by_its_id() {
        let commands = json!({
            "a": {"accepted": true, "message": "aborting", "who": "ann", "at": "2026-01-01T12:00:00Z"},
            "b": {"accepted": false, "message": "nothing is held", "future": 1}, "c": 7
        });
        assert!(answer_in(&commands, "a").unwrap().accepted);
        assert_eq!(answer_in(&commands, "b").unwrap().message, "nothing is held");
        assert_eq!((answer_in(&commands, "c"), answer_in(&commands, "d")), (None, None));
    }

    #[test]
    fn the_answer_says_what_to_do_next() {
        assert_eq!(
            text(&answered(true, "rollout 8 begins"), false),
            "retry accepted: rollout 8 begins\n  next: idp rollout watch hello.production"
        );
        assert_eq!(
            text(&answered(false, "nothing is held\u{1b}"), false),
            "retry refused: nothing is held \n  next: idp explain hello.production"
        );
    }
}
