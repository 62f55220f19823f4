//! When a cron runs: the five fields that Kubernetes takes (robfig/cron, standard parser), and the times that they mean.
//!
//! Minute, hour, day of the month, month, day of the week, each a list of numbers, ranges and steps; months and days of the week also by their first
//! three letters. Where both days are restricted one of them is enough, else both have to hold. A field is restricted unless it begins with
//! `*` or `?` and has no step: so it is there, and so it is here.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, DateTime};

/// Characters that a schedule may have.
const LENGTH: usize = 200;
/// Days that are looked at for the next time: 29 February comes again within eight years.
const DAYS: usize = 8 * 366;

/// A field's name, its lowest and highest number, and the names of its numbers.
struct Field {
    name: &'static str,
    lowest: u32,
    highest: u32,
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { name: "minute", lowest: 0, highest: 59, names: &[] },
    Field { name: "hour", lowest: 0, highest: 23, names: &[] },
    Field { name: "day of the month", lowest: 1, highest: 31, names: &[] },
    Field {
        name: "month",
        lowest: 1,
        highest: 12,
        names: &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"],
    },
    Field {
        name: "day of the week",
        lowest: 0,
        highest: 6,
        names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
    },
];

/// What the words are short for.
const WORDS: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// The numbers of a field, one bit each, and whether it says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Numbers {
    bits: u64,
    any: bool,
}

impl Numbers {
    fn has(self, number: u32) -> bool {
        self.bits & (1 << number) != 0
    }
}

/// A schedule of at least one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    text: String,
    minutes: Numbers,
    hours: Numbers,
    days: Numbers,
    months: Numbers,
    weekdays: Numbers,
}

/// Why a text is no schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// A time zone stands in it, which Kubernetes refuses there.
    #[error("a time zone does not belong into the schedule")]
    Zone,
    /// `@every` counts from when the server was told, and is no time that one can read.
    #[error("{0:?} is no time of the day")]
    Every(String),
    /// Another number of fields.
    #[error("{0} fields, and a schedule has five: minute, hour, day of the month, month, day of the week")]
    Fields(usize),
    /// A part of a field is not one.
    #[error(
        "{part:?} is no {field}: {lowest} to {highest}, a range like {lowest}-{highest}, a step like */{step}"
    )]
    Part {
        /// The part.
        part: String,
        /// The field.
        field: &'static str,
        /// Its lowest number.
        lowest: u32,
        /// Its highest number.
        highest: u32,
        /// A step that would be one.
        step: u32,
    },
    /// No day is ever meant, as with 31 February.
    #[error("no day is ever meant by it")]
    Never,
}

impl FromStr for Schedule {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        if text.starts_with("TZ=") || text.starts_with("CRON_TZ=") {
            return Err(ScheduleError::Zone);
        }
        let shown = || text.chars().take(40).collect::<String>();
        let word = WORDS.iter().find(|(word, _)| *word == text).map(|(_, fields)| *fields);
        if word.is_none() && text.starts_with('@') {
            return Err(ScheduleError::Every(shown()));
        }
        let fields: Vec<&str> = word.unwrap_or(text).split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = *fields.as_slice() else {
            return Err(ScheduleError::Fields(fields.len()));
        };
        if text.chars().count() > LENGTH {
            return Err(ScheduleError::Every(shown()));
        }
        let [minute, hour, day, month, weekday] = &FIELDS;
        let schedule = Self {
            text: text.to_owned(),
            minutes: minute.numbers(minutes)?,
            hours: hour.numbers(hours)?,
            days: day.numbers(days)?,
            months: month.numbers(months)?,
            weekdays: weekday.numbers(weekdays)?,
        };
        let leap = jiff::civil::date(2024, 1, 1).at(0, 0, 0, 0);
        if schedule.next(leap).is_none() { Err(ScheduleError::Never) } else { Ok(schedule) }
    }
}

impl Field {
    fn numbers(&self, text: &str) -> Result<Numbers, ScheduleError> {
        let mut all = Numbers { bits: 0, any: false };
        for part in text.split(',') {
            let (first, last, step, any) = self.part(part).ok_or_else(|| ScheduleError::Part {
                part: part.chars().take(40).collect(),
                field: self.name,
                lowest: self.lowest,
                highest: self.highest,
                step: (self.highest / 4).max(2),
            })?;
            for number in (first..=last).step_by(usize::try_from(step).unwrap_or(usize::MAX)) {
                all.bits |= 1 << number;
            }
            all.any |= any;
        }
        Ok(all)
    }

    /// First, last, step, and whether it says nothing.
    fn part(&self, part: &str) -> Option<(u32, u32, u32, bool)> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(digits(step).filter(|step| *step > 0)?)),
            None => (part, None),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" || range == "?" => (self.lowest, self.highest),
            Some((first, last)) => (self.number(first)?, self.number(last)?),
            // With a step: from there on.
            None => (self.number(range)?, if step.is_some() { self.highest } else { self.number(range)? }),
        };
        let any = matches!(range, "*" | "?") && step.is_none_or(|step| step == 1);
        (first <= last).then_some((first, last, step.unwrap_or(1), any))
    }

    fn number(&self, text: &str) -> Option<u32> {
        let named = self.names.iter().position(|name| text.eq_ignore_ascii_case(name));
        let named = named.and_then(|at| u32::try_from(at).ok()).map(|at| at + self.lowest);
        named.or_else(|| digits(text)).filter(|number| (self.lowest..=self.highest).contains(number))
    }
}

fn digits(text: &str) -> Option<u32> {
    let plain = !text.is_empty() && text.len() <= 4 && text.chars().all(|c| c.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}

impl Schedule {
    /// Returns the first time after `after`, on the clock of the zone that it is meant in; none within eight years.
    pub fn next(&self, after: DateTime) -> Option<DateTime> {
        let mut first =
            u32::from(after.hour().unsigned_abs()) * 60 + u32::from(after.minute().unsigned_abs()) + 1;
        let mut day = after.date();
        for _ in 0..DAYS {
            if self.is_day(day) {
                let minute = (first..24 * 60).find(|at| self.hours.has(at / 60) && self.minutes.has(at % 60));
                if let Some(at) = minute {
                    let part = |number: u32| i8::try_from(number).ok();
                    return Some(day.at(part(at / 60)?, part(at % 60)?, 0, 0));
                }
            }
            first = 0;
            day = day.tomorrow().ok()?;
        }
        None
    }

    fn is_day(&self, day: Date) -> bool {
        let of_month = self.days.has(u32::from(day.day().unsigned_abs()));
        let of_week = self.weekdays.has(u32::from(day.weekday().to_sunday_zero_offset().unsigned_abs()));
        let either = self.days.any || self.weekdays.any;
        self.months.has(u32::from(day.month().unsigned_abs()))
            && if either { of_month && of_week } else { of_month || of_week }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    fn next(text: &str, after: DateTime) -> String {
        let schedule: Schedule = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
        schedule.next(after).unwrap().to_string()
    }

    #[test]
    fn the_next_time_is_the_one_that_the_fields_mean() {
        let new_year = date(2026, 1, 1).at(0, 0, 0, 0);
        for (text, expected) in [
            ("* * * * *", "2026-01-01T00:01:00"),
            ("15 2 * * *", "2026-01-01T02:15:00"),
            ("0 0 * * *", "2026-01-02T00:00:00"),
            ("*/20 8-9 * * *", "2026-01-01T08:00:00"),
            ("5/20 * * * *", "2026-01-01T00:05:00"),
            ("0 12 * * MON-FRI", "2026-01-01T12:00:00"),
            ("0 12 * * sun", "2026-01-04T12:00:00"),
            ("0 0 29 2 ?", "2028-02-29T00:00:00"),
            ("0 0 13 * 5", "2026-01-02T00:00:00"),
            ("0 0 13 * *", "2026-01-13T00:00:00"),
            ("0 0 */2 * mon", "2026-01-03T00:00:00"),
            ("0 0 1 jul,Dec *", "2026-07-01T00:00:00"),
            ("@hourly", "2026-01-01T01:00:00"),
            ("@weekly", "2026-01-04T00:00:00"),
            ("@yearly", "2027-01-01T00:00:00"),
        ] {
            assert_eq!(next(text, new_year), expected, "{text}");
        }
        assert_eq!(next("30 23 31 12 *", date(2026, 12, 31).at(23, 30, 0, 0)), "2027-12-31T23:30:00");
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_the_reason() {
        for (text, says) in [
            ("TZ=Europe/Berlin 0 0 * * *", "time zone"),
            ("CRON_TZ=UTC 0 0 * * *", "time zone"),
            ("@every 5m", "no time of the day"),
            ("@noon", "no time of the day"),
            ("", "0 fields"),
            ("0 0 * *", "4 fields"),
            ("0 0 0 * * *", "6 fields"),
            ("60 * * * *", "\"60\" is no minute: 0 to 59"),
            ("* 24 * * *", "is no hour"),
            ("* * 0 * *", "is no day of the month"),
            ("* * * 13 *", "is no month"),
            ("* * * * 7", "is no day of the week"),
            ("* * * foo *", "is no month"),
            ("5-1 * * * *", "is no minute"),
            ("*/0 * * * *", "is no minute"),
            ("1,,2 * * * *", "is no minute"),
            ("-5 * * * *", "is no minute"),
            ("+5 * * * *", "is no minute"),
            ("1-2-3 * * * *", "is no minute"),
            ("0 0 31 2 *", "no day is ever meant"),
        ] {
            let error = text.parse::<Schedule>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    /// One field as a test may write it, with the numbers that it means, and whether it is a star.
    fn field(lowest: u32, highest: u32) -> impl Strategy<Value = (String, Vec<u32>, bool)> {
        let star = Just(("*".to_owned(), (lowest..=highest).collect(), true));
        let one = (lowest..=highest).prop_map(|n| (n.to_string(), vec![n], false));
        let range = (lowest..=highest, lowest..=highest).prop_map(|(a, b)| {
            let (a, b) = (a.min(b), a.max(b));
            (format!("{a}-{b}"), (a..=b).collect(), false)
        });
        let step = (lowest..=highest, 2..8u32).prop_map(move |(a, by)| {
            let numbers = (a..=highest).filter(|n| (n - a) % by == 0).collect();
            (format!("{a}/{by}"), numbers, false)
        });
        let list =
            (lowest..=highest, lowest..=highest).prop_map(|(a, b)| (format!("{a},{b}"), vec![a, b], false));
        prop_oneof![star, one, range, step, list]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn the_next_time_is_the_first_minute_that_a_plain_matcher_finds(
            minute in field(0, 59), hour in field(0, 23), day in field(1, 31), month in field(1, 12), weekday in field(0, 6),
            start in 0..500_000i64,
        ) {
            let text = format!("{} {} {} {} {}", minute.0, hour.0, day.0, month.0, weekday.0);
            let schedule = text.parse::<Schedule>();
            let begin = date(2026, 1, 1).at(0, 0, 0, 0) + jiff::SignedDuration::from_mins(start);
            let holds = |at: DateTime| {
                let has = |numbers: &[u32], number: i8| numbers.contains(&u32::from(number.unsigned_abs()));
                let of_month = has(&day.1, at.day());
                let of_week = has(&weekday.1, at.weekday().to_sunday_zero_offset());
                let days = if day.2 || weekday.2 { of_month && of_week } else { of_month || of_week };
                days && has(&month.1, at.month()) && has(&hour.1, at.hour()) && has(&minute.1, at.minute())
            };
            let mut at = begin;
            let mut found = None;
            for _ in 0..60 * 24 * 400 {
                at += jiff::SignedDuration::from_mins(1);
                if holds(at) {
                    found = Some(at);
                    break;
                }
            }
            match (schedule, found) {
                (Ok(schedule), Some(found)) => prop_assert_eq!(schedule.next(begin), Some(found), "{}", text),
                // 29 February may be further away than a plain matcher looks.
                (Ok(_), None) => {}
                (Err(error), found) => prop_assert!(found.is_none() && matches!(error, ScheduleError::Never), "{text}: {error}"),
            }
        }
    }
}
