//! Releases: the record says it.

use serde_json::Value;

use super::Assessment;
use super::read::{message, text};
use crate::model::record::Health;

pub(super) fn assess(object: &Value) -> Assessment {
    let Some(word) = object.pointer("/status/health") else {
        return Assessment::new(Health::Unknown, "has no record yet");
    };
    match serde_json::from_value::<Health>(word.clone()) {
        Ok(health) => Assessment::new(health, message(text(object, "/status/message"))),
        Err(_) => {
            Assessment::new(Health::Unknown, "its record says a health that this program does not know")
        }
    }
}
