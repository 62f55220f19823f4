//! Reads what must be there before a rollout starts or goes on: approvals, an environment that comes first, services that come first.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::diagnostic::{Code, Diagnostic, Place};
use super::section::{Complaint, Section};
use crate::model::declaration::Declaration;
use crate::model::name::{EnvironmentName, GroupName, ServiceName, TeamName};
use crate::model::policy::{Approval, Predecessor};

const DAY: Duration = Duration::from_hours(24);
/// Teams that an approval may name.
const TEAMS: usize = 20;
/// Services that one may come after.
const SERVICES: usize = 50;

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

/// Reads `environments.X.after`: the environment in which a commit must be proven first.
pub(super) fn predecessor(section: &Section<'_>, own: &str, named: &[&str]) -> Option<Predecessor> {
    let soak =
        section.duration("soak", Duration::ZERO..=30 * DAY).map_or(Duration::ZERO, |found| found.value);
    if section.entry("env").is_none() {
        section.missing("env", "write for example after: {env: staging, soak: 30m}");
        return None;
    }
    let known = |text: &str| {
        let name = text.parse::<EnvironmentName>();
        let fix = format!("write one of {}", named.join(", "));
        let name = name.map_err(|error| Complaint(Code::Name, error.to_string(), fix.clone()))?;
        if text == own {
            return Err(Complaint(Code::Conflict, format!("{own} cannot come after itself"), fix));
        }
        if !named.contains(&text) {
            let what = format!("the file does not run in {text}, so nothing would ever be proven there");
            return Err(Complaint(Code::Environment, what, fix));
        }
        Ok(name)
    };
    let environment = section.parsed("env", known)?.value;
    Some(Predecessor { environment, soak })
}

/// Reads `deploy.after`: services whose declared version must be stable first, with the place of the key.
pub(super) fn services(deploy: &Section<'_>) -> (Vec<ServiceName>, Option<Place>) {
    let Some(named) = deploy.text_list("after") else { return (Vec::new(), None) };
    if let Some(one_more) = named.get(SERVICES) {
        let what = format!("`{}` names more than {SERVICES} services", deploy.full("after"));
        deploy.error(Code::Limit, one_more.at, what, "name the services that must go first");
    }
    let service = |text: &str| {
        let fix = "write for example [users-api]".to_owned();
        text.parse::<ServiceName>().map_err(|error| Complaint(Code::Name, error.to_string(), fix))
    };
    let path = deploy.full("after");
    let found = named.into_iter().take(SERVICES);
    let services: BTreeSet<ServiceName> =
        found.filter_map(|found| deploy.accept(&path, found.at, service(found.value))).collect();
    (services.into_iter().collect(), deploy.entry("after").map(|entry| entry.at))
}

/// Reads `deploy.group`.
pub(super) fn group(deploy: &Section<'_>) -> Option<GroupName> {
    let name = |text: &str| {
        let fix = "write for example checkout".to_owned();
        text.parse::<GroupName>().map_err(|error| Complaint(Code::Name, error.to_string(), fix))
    };
    Some(deploy.parsed("group", name)?.value)
}

/// Finds services whose order leads back to `start`; `after` says what each comes after. Looks at a thousand services at most.
pub fn cycle(start: &ServiceName, after: impl Fn(&ServiceName) -> Vec<ServiceName>) -> Vec<ServiceName> {
    let mut way: Vec<(ServiceName, Vec<ServiceName>)> = vec![(start.clone(), after(start))];
    let mut seen = BTreeSet::new();
    while let Some((_, rest)) = way.last_mut() {
        let Some(next) = rest.pop() else {
            way.pop();
            continue;
        };
        if next == *start {
            return way.into_iter().map(|(service, _)| service).collect();
        }
        if seen.len() < 1_000 && seen.insert(next.clone()) {
            let more = after(&next);
            way.push((next, more));
        }
    }
    Vec::new()
}

/// Says that a service's order leads back to it.
pub(super) fn circle(
    service: &ServiceName,
    declared: &BTreeMap<ServiceName, Declaration>,
    at: Place,
) -> Option<Diagnostic> {
    let after = |service: &ServiceName| {
        declared.get(service).map(|declared| declared.policy.order.services.clone()).unwrap_or_default()
    };
    let way = cycle(service, after);
    let names: Vec<&str> = way.iter().chain([way.first()?]).map(ServiceName::as_str).collect();
    let what = format!("`deploy.after` leads round in a circle: {}", names.join(", "));
    let said = Diagnostic::error(Code::Conflict, at, what);
    Some(
        said.why("each would wait for the others, and none would ever start")
            .fix("remove one of them from `deploy.after`"),
    )
}

/// Says that a service comes after one that it goes together with.
pub(super) fn one_after_its_mate(
    service: &ServiceName,
    declared: &BTreeMap<ServiceName, Declaration>,
    at: Place,
) -> Option<Diagnostic> {
    let own = declared.get(service)?;
    let group = own.policy.order.group.as_ref()?;
    let mate = own.policy.order.services.iter().find(|other| {
        declared.get(*other).is_some_and(|other| {
            other.policy.order.group.as_ref() == Some(group) && other.service.team == own.service.team
        })
    })?;
    let what = format!("`deploy.after` names {mate}, which is of the same group {group}");
    let said = Diagnostic::error(Code::Conflict, at, what);
    Some(
        said.why("services of a group go together: one that waited for another would never start")
            .fix("remove it from `deploy.after`, or the service from the group"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ServiceName {
        text.parse().unwrap()
    }

    #[test]
    fn an_order_that_leads_back_is_found_and_another_is_not() {
        let after = |service: &ServiceName| -> Vec<ServiceName> {
            let names: &[&str] = match service.as_str() {
                "a" => &["b", "c"],
                "b" => &["d"],
                "c" => &["d", "e"],
                "e" | "f" => &["a"],
                _ => &[],
            };
            names.iter().copied().map(name).collect()
        };
        assert_eq!(cycle(&name("a"), after), ["a", "c", "e"].map(name));
        assert_eq!(cycle(&name("f"), after), [], "it waits for a circle and is none of it");
        assert_eq!(cycle(&name("b"), after), []);
        assert_eq!(cycle(&name("x"), |_| vec![name("x")]), [name("x")]);
    }
}
