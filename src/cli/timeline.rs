//! Two readings of a record → what happened in between, as lines; and the bar of a running rollout. Pure.

use jiff::Timestamp;
use serde::Serialize;

use super::explain::{Explanation, pause};
use super::output::{Tone, clean, paint, wrap};
use super::{Exit, fleet};
use crate::model::duration::rough;
use crate::model::record::Record;
use crate::model::rollout::{Outcome, Phase, Rollout, Summary};
use crate::model::verdict::{Answer, Verdict};

/// One line of the timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// When it was seen.
    pub at: Timestamp,
    /// The rollout's number.
    pub rollout: u64,
    /// One word: `started`, `image`, `phase`, `step`, `ready`, `verdict`, `passed`, `frozen`, `ending` or `ended`.
    pub kind: &'static str,
    /// The sentence.
    pub text: String,
    #[serde(skip)]
    tone: Option<Tone>,
}

/// Returns what happened to rollout `number` between two readings; without an earlier one, where it stands.
pub fn between(before: Option<&Record>, after: &Record, number: u64, at: Timestamp) -> Vec<Line> {
    let of = |record: &Record| record.rollout.clone().filter(|rollout| rollout.number == number);
    let mut lines = Lines { at, rollout: number, all: Vec::new() };
    let earlier = before.and_then(of);
    if let Some(rollout) = of(after) {
        lines.running(earlier.as_ref(), &rollout, before, after);
    }
    let was_there = before.is_some_and(|record| record.history.contains_key(&number));
    if let Some(summary) = after.history.get(&number).filter(|_| !was_there) {
        lines.ended(summary);
    }
    lines.all
}

/// Returns how a rollout ended, once it has.
pub fn end(record: &Record, number: u64) -> Option<&Summary> {
    record.history.get(&number).filter(|_| record.rollout.as_ref().is_none_or(|r| r.number != number))
}

/// Returns the exit code of an outcome.
pub fn exit(outcome: Outcome) -> Exit {
    if matches!(outcome, Outcome::Promoted | Outcome::Undone) { Exit::Good } else { Exit::Bad }
}

/// Returns what a person may want to do after an outcome.
pub fn advice(release: &str, outcome: Outcome, explanation: &Explanation) -> Option<String> {
    match outcome {
        Outcome::Promoted | Outcome::Undone => None,
        Outcome::Superseded => Some(format!("a newer version took over: idp rollout watch {release}")),
        Outcome::RolledBack | Outcome::Aborted | Outcome::Failed => {
            let retry = explanation.commands.iter().find(|command| command.contains(" retry "));
            let retry = retry.map(|command| format!("; a second chance: {command}")).unwrap_or_default();
            Some(format!("why: idp explain {release}{retry}"))
        }
    }
}

struct Lines {
    at: Timestamp,
    rollout: u64,
    all: Vec<Line>,
}

impl Lines {
    fn push(&mut self, kind: &'static str, tone: Option<Tone>, text: String) {
        self.all.push(Line { at: self.at, rollout: self.rollout, kind, text, tone });
    }

    fn running(&mut self, earlier: Option<&Rollout>, now: &Rollout, before: Option<&Record>, after: &Record) {
        if earlier.is_none() {
            let revision = now.candidate.revision();
            let text = format!("{} {:?} by {}", revision.commit.short(), revision.subject, revision.author);
            self.push("started", None, text);
        }
        if earlier.is_some_and(|e| e.candidate.version().is_none())
            && let Some(version) = now.candidate.version()
        {
            self.push("image", Some(Tone::Good), format!("resolved to {}", version.image.digest.short()));
        }
        if earlier.is_some_and(|earlier| earlier.passed != now.passed) {
            self.push("passed", Some(Tone::Good), now.passed.clone());
        }
        if earlier.is_none_or(|earlier| earlier.phase != now.phase) {
            self.push("phase", fleet::tone(now.phase.name()), now.phase.name().to_owned());
        }
        let shares = |record: &Record| (record.weight, record.real_weight);
        let moved = before.map(shares) != Some(shares(after));
        let stepped = earlier.is_none_or(|e| (e.step, e.phase) != (now.step, now.phase));
        if now.phase == Phase::Progressing && (moved || stepped) {
            self.push("step", None, step(now, after));
        }
        let ready = |rollout: &Rollout| rollout.stage.ready_at.map(|_| (rollout.stage.number, rollout.phase));
        if now.ending.is_none() && ready(now).is_some() && earlier.and_then(ready) != ready(now) {
            let pause = pause(now);
            let watched = if pause.is_zero() {
                "its gates are asked once".into()
            } else {
                format!("watched for {}", rough(pause))
            };
            self.push("ready", None, format!("all pods ready, {watched}"));
        }
        self.verdicts(earlier, now);
        if let (Some(_), None) = (now.frozen_since, earlier.and_then(|e| e.frozen_since)) {
            self.push(
                "frozen",
                Some(Tone::Bad),
                "a gate failed and rollback.auto is false: the weight stays".into(),
            );
        }
        if let (Some(ending), None) = (&now.ending, earlier.and_then(|e| e.ending.as_ref())) {
            self.push("ending", Some(Tone::Bad), format!("going back: {}", ending.verdict));
        }
    }

    fn verdicts(&mut self, earlier: Option<&Rollout>, now: &Rollout) {
        for (gate, verdict) in &now.stage.verdicts {
            let former = earlier.filter(|e| e.stage.number == now.stage.number);
            let former = former.and_then(|e| e.stage.verdicts.get(gate));
            // Numbers move with every sample; the answer is the news, once it rests on something. What ends a step was just said.
            let news = former.and_then(answer) != answer(verdict) && answer(verdict).is_some();
            if news && !now.passed.ends_with(&verdict.to_string()) {
                let tone = match verdict.answer {
                    Answer::Pass => Tone::Good,
                    Answer::Unknown => Tone::Busy,
                    Answer::Fail => Tone::Bad,
                };
                self.push("verdict", Some(tone), verdict.to_string());
            }
        }
    }

    fn ended(&mut self, summary: &Summary) {
        let took = summary.ended_at.duration_since(summary.started_at).unsigned_abs();
        let why = if summary.verdict.is_empty() { String::new() } else { format!(": {}", summary.verdict) };
        let name = summary.outcome.name();
        self.push("ended", fleet::tone(name), format!("{name} after {}{why}", rough(took)));
    }
}

/// What a gate says; a pass without a sample says nothing yet.
fn answer(verdict: &Verdict) -> Option<Answer> {
    let empty = verdict.answer == Answer::Pass && verdict.numbers.samples == Some(0);
    (!empty).then_some(verdict.answer)
}

fn step(rollout: &Rollout, record: &Record) -> String {
    format!(
        "{} of {}: asked {} %, real {} %",
        rollout.step.saturating_add(1),
        rollout.policy.steps.len(),
        record.weight,
        record.real_weight
    )
}

/// Renders a line for people.
pub fn text(line: &Line, colour: bool) -> String {
    format!("{}  {}", line.at.strftime("%H:%M:%S"), told(line, usize::MAX, colour).join(""))
}

/// Renders what a line says without its time, wrapped to `width`: later lines begin under the sentence.
pub fn told(line: &Line, width: usize, colour: bool) -> Vec<String> {
    let head = format!("#{} {:<8} ", line.rollout, line.kind);
    let indent = head.chars().count();
    let said = wrap(&clean(&line.text), width.saturating_sub(indent));
    let lines = said.iter().enumerate().map(|(index, part)| {
        let part = line.tone.map_or_else(|| part.clone(), |tone| paint(part, tone, colour));
        if index == 0 { format!("{head}{part}") } else { format!("{}{part}", " ".repeat(indent)) }
    });
    lines.collect()
}

/// The bar of a running rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bar {
    /// How far, in thousandths of the way.
    pub position: u64,
    /// What it waits for, short.
    pub message: String,
}

/// The parts of the way: preparing, every step, promoting, baking; in each, the pause as far as it is credited.
pub fn bar(record: &Record, rollout: &Rollout) -> Bar {
    let steps = if rollout.first { 0 } else { u64::try_from(rollout.policy.steps.len()).unwrap_or(0) };
    let below = steps.saturating_sub(1);
    let (part, message) = match rollout.phase {
        Phase::Preparing if rollout.candidate.version().is_none() => (0, "waits for its image".to_owned()),
        Phase::Preparing => (0, "waits to start".to_owned()),
        Phase::Progressing => (1 + u64::from(rollout.step), format!("step {}", step(rollout, record))),
        Phase::Promoting => (1 + below, "taking over stable's pods".to_owned()),
        Phase::Baking => (2 + below, "watched at 100 %".to_owned()),
        Phase::RollingBack => (0, "going back to stable".to_owned()),
    };
    let parts = 3 + below;
    let pause = pause(rollout).as_millis().max(1);
    let credited = rollout.stage.credited.as_millis().min(pause) * 1000 / pause;
    let within = if rollout.stage.ready_at.is_some() { u64::try_from(credited).unwrap_or(0) } else { 0 };
    Bar { position: ((part * 1000 + within) / parts).min(1000), message }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::explain::explain;
    use super::super::fixtures::{self as at, noon, record};
    use super::*;

    #[test]
    fn a_bad_canary_from_begin_to_end() {
        let mut at_ready = at::watched();
        at_ready["rollout"]["stage"]["verdicts"]["pod_state"]["numbers"] = json!({"value": 1.0});
        let mut second = at::watched();
        second["rollout"]["step"] = json!(1);
        second["rollout"]["stage"] = json!({"number": 2, "verdicts": {}});
        (second["weight"], second["real_weight"]) = (json!(50), json!(50));
        let story = [
            at::waiting_for_image(),
            at::rolling("Preparing"),
            at::rolling("Progressing"),
            at::watched(),
            at_ready,
            at::unknown_gate(),
            second,
            at::going_back(),
            at::not_again("held", 1, None),
            at::not_again("held", 1, None),
        ];
        let mut lines = Vec::new();
        let mut before = None;
        for status in &story {
            let after = record(status);
            lines.extend(between(before.as_ref(), &after, 7, noon()).iter().map(|line| text(line, false)));
            before = Some(after);
        }
        insta::assert_snapshot!(lines.join("\n"), @r#"
    12:00:00  #7 started  bbbbbbbbbb "new" by Ann
    12:00:00  #7 phase    Preparing
    12:00:00  #7 verdict  image unknown: the registry has none of the tags bbbbbbb
    12:00:00  #7 image    resolved to sha256:bbbbbbbbbbbb
    12:00:00  #7 phase    Progressing
    12:00:00  #7 step     1 of 3: asked 10 %, real 25 %
    12:00:00  #7 ready    all pods ready, watched for 5m
    12:00:00  #7 verdict  error_rate pass: few requests fail (value 0.10 %, limit 1.00 %, 1000 samples, over 2m)
    12:00:00  #7 verdict  pod_state pass: no restarts
    12:00:00  #7 verdict  error_rate unknown: not scraped
    12:00:00  #7 step     2 of 3: asked 50 %, real 50 %
    12:00:00  #7 phase    RollingBack
    12:00:00  #7 ending   going back: error_rate fail: too many requests fail (value 5.10 %, limit 1.00 %, 1234 samples, over 2m)
    12:00:00  #7 ended    RolledBack after 8m: error_rate fail: too many requests fail
"#);
    }

    #[test]
    fn the_end_is_the_exit_code() {
        let ended = record(&at::not_again("held", 1, None));
        let outcome = end(&ended, 7).unwrap().outcome;
        assert_eq!((outcome, exit(outcome)), (Outcome::RolledBack, Exit::Bad));
        assert_eq!(exit(end(&ended, 6).unwrap().outcome), Exit::Good);
        assert_eq!(end(&record(&at::watched()), 7), None);
        let explanation = explain("hello.production", &ended, noon());
        assert_eq!(
            advice("hello.production", outcome, &explanation).unwrap(),
            "why: idp explain hello.production; a second chance: idp rollout retry hello.production"
        );
        assert_eq!(advice("hello.production", Outcome::Promoted, &explanation), None);
    }

    #[test]
    fn the_bar_goes_one_way() {
        let mut late = at::watched();
        late["rollout"]["step"] = json!(1);
        let mut baking = at::watched();
        baking["rollout"]["phase"] = json!("Baking");
        let story = [
            at::waiting_for_image(),
            at::rolling("Progressing"),
            at::watched(),
            late,
            at::rolling("Promoting"),
            baking,
        ];
        let bars: Vec<u64> = story
            .iter()
            .map(|status| {
                let record = record(status);
                bar(&record, record.rollout.as_ref().unwrap()).position
            })
            .collect();
        assert_eq!(bars, [0, 200, 320, 460, 600, 1000]);
        let back = record(&at::going_back());
        assert_eq!(bar(&back, back.rollout.as_ref().unwrap()).message, "going back to stable");
    }
}
