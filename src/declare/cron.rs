//! Reads when a service of type `cron` runs.

use super::diagnostic::Code;
use super::section::{Complaint, Section, cut};
use crate::model::declaration::{Concurrency, Cron};
use crate::model::schedule::{Schedule, ScheduleError};

/// Characters of a time zone's name.
const ZONE: usize = 64;

/// Reads the times; `None` where they are missing or wrong, which is said.
pub(super) fn cron(workload: &Section<'_>) -> Option<Cron> {
    if workload.entry("schedule").is_none() {
        workload.missing("schedule", "write for example schedule: \"15 2 * * *\", every day at 2:15");
    }
    let known =
        [("forbid", Concurrency::Forbid), ("allow", Concurrency::Allow), ("replace", Concurrency::Replace)];
    let concurrency = workload.choice("concurrency", &known, &[]).unwrap_or_default();
    let timezone = workload.parsed("timezone", zone).map(|found| found.value);
    let schedule = workload.parsed("schedule", schedule)?.value;
    Some(Cron { schedule, timezone, concurrency })
}

fn schedule(text: &str) -> Result<Schedule, Complaint> {
    text.parse().map_err(|error: ScheduleError| {
        let fix = match &error {
            ScheduleError::Zone => "write it as workload.timezone",
            ScheduleError::Every(_) => {
                "write five fields, or one of @hourly, @daily, @weekly, @monthly, @yearly"
            }
            ScheduleError::Fields(_) => "write for example \"15 2 * * *\", in quotes",
            ScheduleError::Part { .. } => "write numbers, ranges a-b, lists a,b and steps */n",
            ScheduleError::Never => "write a day that the month has",
        };
        Complaint(Code::Value, error.to_string(), fix.to_owned())
    })
}

/// Takes what looks like a name of the IANA database. Which of them exist the cluster knows: another one is refused there, and said.
fn zone(text: &str) -> Result<String, Complaint> {
    let word = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "_+-".contains(c))
    };
    let local = text.eq_ignore_ascii_case("local");
    if !local && text.len() <= ZONE && text.split('/').count() <= 3 && text.split('/').all(word) {
        return Ok(text.to_owned());
    }
    let what = format!("{:?} is no time zone", cut(text));
    Err(Complaint(Code::Value, what, "write for example Europe/Berlin or Etc/UTC".to_owned()))
}
