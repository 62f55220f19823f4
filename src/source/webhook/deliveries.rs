//! What became of the last deliveries of each source. Rows are kept for proven ones only: what is turned away before its proof counts
//! is counted by source and reason, so that nobody without the secret can push a row out. Neither bodies nor proofs come here.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::name::SourceName;

/// Rows that are kept of one source.
const ROWS: usize = 20;
/// Characters of an event's name or a delivery's id that are kept.
const WORD: usize = 80;
/// Characters of a sentence that are kept.
const SENTENCE: usize = 240;

/// A proven delivery and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// When it came.
    pub at: Timestamp,
    /// Whose webhook it was.
    pub source: String,
    /// The forge, as the configuration names it.
    pub forge: String,
    /// The forge's word for what happened.
    pub event: String,
    /// The delivery's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `accepted`, `duplicate`, `irrelevant` or `refused`.
    pub outcome: String,
    /// Why, in one sentence.
    pub why: String,
    /// The branches that are looked at for it.
    pub hinted: Vec<String>,
}

/// Deliveries that were turned away before they were proven.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turned {
    /// Whose webhook they asked for; absent where the path names none that there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The forge, as the configuration names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forge: Option<String>,
    /// The word for the reason, as in the metric.
    pub reason: String,
    /// The reason of the latest, in one sentence.
    pub why: String,
    /// How many since the daemon started.
    pub count: u64,
    /// When the latest came.
    pub latest: Timestamp,
}

/// A part of what is kept, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// Proven deliveries.
    pub deliveries: Vec<Delivery>,
    /// The others, counted.
    pub refused: Vec<Turned>,
}

/// All that is kept.
#[derive(Debug, Default)]
pub(super) struct Deliveries(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    rows: BTreeMap<SourceName, VecDeque<Delivery>>,
    turned: BTreeMap<(Option<SourceName>, &'static str), Turned>,
}

impl Deliveries {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a proven delivery; the oldest of its source goes.
    pub(super) fn note(&self, source: &SourceName, mut delivery: Delivery) {
        delivery.event = tidy(&delivery.event, WORD);
        delivery.id = delivery.id.map(|id| tidy(&id, WORD));
        delivery.why = tidy(&delivery.why, SENTENCE);
        let mut kept = self.kept();
        let rows = kept.rows.entry(source.clone()).or_default();
        if rows.len() >= ROWS {
            rows.pop_front();
        }
        rows.push_back(delivery);
    }

    /// Counts one that was turned away and returns how many that makes. `reason` is a word of a fixed set, `source` a configured one.
    pub(super) fn turn(&self, source: Option<&SourceName>, reason: &'static str, turned: Turned) -> u64 {
        let mut kept = self.kept();
        let before = kept
            .turned
            .entry((source.cloned(), reason))
            .or_insert_with(|| Turned { count: 0, ..turned.clone() });
        *before = Turned { count: before.count.saturating_add(1), ..turned };
        before.count
    }

    /// Returns the newest rows, of one source or of all.
    pub(super) fn log(&self, source: Option<&SourceName>, limit: usize) -> Log {
        let kept = self.kept();
        // One source is found, not filtered out of all: the list of sources asks for each.
        let rows: Vec<_> = match source {
            Some(source) => kept.rows.get(source).into_iter().collect(),
            None => kept.rows.values().collect(),
        };
        let mut rows: Vec<&Delivery> = rows.into_iter().flat_map(|rows| rows.iter().rev()).collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.at));
        let turned = kept.turned.range((source.cloned(), "")..);
        let turned = turned.take_while(|((name, _), _)| source.is_none() || name.as_ref() == source);
        let mut turned: Vec<&Turned> = turned.map(|(_, turned)| turned).collect();
        turned.sort_by_key(|turned| std::cmp::Reverse(turned.latest));
        Log {
            deliveries: rows.into_iter().take(limit).cloned().collect(),
            refused: turned.into_iter().take(limit).cloned().collect(),
        }
    }
}

/// Makes one line of bounded length of what others wrote.
fn tidy(text: &str, limit: usize) -> String {
    let mut tidy: String = text.chars().take(limit).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(limit).is_some() {
        tidy.pop();
        tidy.push('…');
    }
    tidy
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn delivery(source: &str, second: i64) -> Delivery {
        Delivery {
            at: at(second),
            source: source.to_owned(),
            forge: "gitea".to_owned(),
            event: "push\nX".to_owned(),
            id: Some("x".repeat(1000)),
            outcome: "accepted".to_owned(),
            why: "y".repeat(1000),
            hinted: vec!["main".to_owned()],
        }
    }

    fn turned(source: Option<&str>, second: i64) -> Turned {
        Turned {
            source: source.map(str::to_owned),
            forge: None,
            reason: "unproven".to_owned(),
            why: "why".to_owned(),
            count: 1,
            latest: at(second),
        }
    }

    #[test]
    fn the_newest_are_kept_of_each_source_and_strangers_push_nothing_out() {
        let kept = Deliveries::default();
        let (a, b): (SourceName, SourceName) = ("a".parse().unwrap(), "b".parse().unwrap());
        kept.note(&b, delivery("b", 0));
        for second in 1..=100 {
            kept.note(&a, delivery("a", second));
            kept.turn(Some(&b), "unproven", turned(Some("b"), second));
            kept.turn(None, "unknown_source", turned(None, second));
        }
        let log = kept.log(None, 1000);
        let times: Vec<i64> = log.deliveries.iter().map(|row| row.at.as_second()).collect();
        assert_eq!(times, (81..=100).rev().chain([0]).collect::<Vec<_>>());
        assert_eq!(log.refused.len(), 2);
        assert!(log.refused.iter().all(|turned| turned.count == 100 && turned.latest == at(100)));
        let log = kept.log(Some(&b), 1000);
        assert_eq!((log.deliveries.len(), log.refused.len()), (1, 1));
        assert_eq!(kept.log(None, 3).deliveries.len(), 3);
    }

    #[test]
    fn what_others_wrote_is_one_bounded_line() {
        let kept = Deliveries::default();
        kept.note(&"a".parse().unwrap(), delivery("a", 0));
        let row = &kept.log(None, 1).deliveries[0];
        assert_eq!(row.event, "push X");
        assert_eq!(row.id.as_ref().map(|id| id.chars().count()), Some(WORD));
        assert_eq!(row.why.chars().count(), SENTENCE);
    }
}
