//! Reads what must be there before a rollout starts or goes on: approvals, an environment that comes first, services that come first.

use std::time::Duration;

use super::diagnostic::Code;
use super::section::{Complaint, Section};
use crate::model::name::TeamName;
use crate::model::policy::Approval;

const DAY: Duration = Duration::from_hours(24);
/// Teams that an approval may name.
const TEAMS: usize = 20;

/// Reads who must agree.
pub(super) fn approval(section: &Section<'_>) -> Approval {
    let count = section.number("count", 1..=20).and_then(|found| u32::try_from(found.value).ok());
    let timeout = section.duration("timeout", Duration::from_mins(1)..=30 * DAY);
    Approval {
        teams: teams(section),
        count: count.unwrap_or(1),
        timeout: timeout.map_or(DAY, |found| found.value),
    }
}

fn teams(section: &Section<'_>) -> Vec<TeamName> {
    let named = section.text_list("teams").unwrap_or_default();
    if let Some(one_more) = named.get(TEAMS) {
        let what = format!("`{}` names more than {TEAMS} teams", section.full("teams"));
        section.error(Code::Limit, one_more.at, what, "name the teams that decide");
    }
    let team = |text: &str| {
        let fix = "write for example [sre, payments]".to_owned();
        text.parse::<TeamName>().map_err(|error| Complaint(Code::Name, error.to_string(), fix))
    };
    let path = section.full("teams");
    named
        .into_iter()
        .take(TEAMS)
        .filter_map(|found| section.accept(&path, found.at, team(found.value)))
        .collect()
}
