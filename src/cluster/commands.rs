//! Commands of people in a `Release`: written into `spec.commands`, answered in `status.commands`.

use rand::RngCore as _;
use serde_json::{Map, Value, json};

use super::calls::{Calls, Place};
use super::crd;
use super::error::ApiError;
use crate::model::command::Command;

/// Commands that stay in a `spec` for people to see.
const KEPT: usize = 20;

/// Returns an id that no other command has.
pub fn new_id() -> String {
    let mut bytes = [0u8; 6];
    rand::rng().fill_bytes(&mut bytes);
    hex::encode(bytes)
}

/// The merge patch that adds one command and takes out answered ones, the oldest, so that twenty stay: a `spec` has room for few.
pub fn patch(id: &str, command: &Command, object: &Value) -> Value {
    let mut commands = Map::new();
    let answers = object.pointer("/status/commands").and_then(Value::as_object);
    let answer = |id: &String| answers?.get(id)?.get("at")?.as_str().map(str::to_owned);
    let standing = object.pointer("/spec/commands").and_then(Value::as_object);
    let ids = standing.into_iter().flat_map(Map::keys);
    let mut answered: Vec<(String, &String)> = ids.filter_map(|id| Some((answer(id)?, id))).collect();
    answered.sort();
    for (_, old) in answered.iter().rev().skip(KEPT - 1) {
        commands.insert((*old).clone(), Value::Null);
    }
    commands.insert(id.to_owned(), json!(command));
    json!({"spec": {"commands": commands}})
}

/// Writes a command into a `Release`; `None`: there is no such object.
pub async fn give(
    calls: &Calls,
    namespace: &str,
    name: &str,
    id: &str,
    command: &Command,
) -> Result<Option<()>, ApiError> {
    let resource = crd::resource();
    let place = Place { resource: &resource, namespace, name };
    let Some(object) = calls.get(&place).await? else { return Ok(None) };
    calls.merge(&place, &patch(id, command, object.value())).await.map(|_| Some(()))
}

/// Reads the `status` of a `Release`; `None`: there is no such object.
pub async fn status(calls: &Calls, namespace: &str, name: &str) -> Result<Option<Value>, ApiError> {
    let resource = crd::resource();
    let place = Place { resource: &resource, namespace, name };
    let object = calls.get(&place).await?;
    Ok(object.map(|object| object.value().get("status").cloned().unwrap_or(Value::Null)))
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::model::command::Verb;

    #[test]
    fn a_command_touches_nothing_but_itself() {
        let command = Command::new(Verb::Abort, "ann", "pager", Timestamp::UNIX_EPOCH);
        let patch = patch("0123456789ab", &command, &Value::Null);
        assert_eq!(
            patch.to_string(),
            r#"{"spec":{"commands":{"0123456789ab":{"at":"1970-01-01T00:00:00Z","verb":"abort","who":"ann","why":"pager"}}}}"#
        );
    }

    #[test]
    fn the_oldest_answered_commands_make_room_and_no_other_does() {
        let ids: Vec<String> = (0..25).map(|number| format!("c{number:02}")).collect();
        let standing: Map<String, Value> = ids.iter().map(|id| (id.clone(), json!({}))).collect();
        let answer = |(number, id): (usize, &String)| {
            (id.clone(), json!({"at": format!("2026-01-01T12:{:02}:00Z", 59 - number)}))
        };
        let answers: Map<String, Value> = ids.iter().enumerate().skip(3).map(answer).collect();
        let object = json!({"spec": {"commands": standing}, "status": {"commands": answers}});
        let command = Command::new(Verb::Pause, "ann", "", Timestamp::UNIX_EPOCH);
        let patch = patch("new", &command, &object);
        let gone: Vec<&String> = patch["spec"]["commands"]
            .as_object()
            .unwrap()
            .iter()
            .filter_map(|(id, value)| value.is_null().then_some(id))
            .collect();
        assert_eq!(gone, ["c22", "c23", "c24"]);
    }

    #[test]
    fn ids_are_twelve_hexadecimal_digits_and_differ() {
        let (a, b) = (new_id(), new_id());
        assert!(a.len() == 12 && a.chars().all(|c| c.is_ascii_hexdigit()) && a != b);
    }
}
