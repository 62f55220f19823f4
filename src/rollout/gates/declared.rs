//! What the team declares: gates before, during and after, and the objectives that a rollout waits for. The measuring is the evidence
//! loop's; here it is decided what its counts mean.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::elapsed;
use super::job::{self, Seen};
use crate::model::duration::rough;
use crate::model::gate::{self, Asks, DeclaredGate, Measure, Slo, When};
use crate::model::name::ReleaseKey;
use crate::model::policy::OnUnknown;
use crate::model::rollout::{GateCount, JobRun, Phase, Rollout, StageState, Version};
use crate::model::samples::{Answers, Measured, Question, Samples};
use crate::model::verdict::{Answer, Gate, Numbers, Verdict};
use crate::rollout::people;

/// How often an objective is measured anew, and how long its queries may take.
const SLO_EVERY: Duration = Duration::from_mins(1);
const SLO_TIMEOUT: Duration = Duration::from_secs(30);

/// Returns the gates that the running stage asks; `paused`: it has a pause, so that there is a time to measure in.
pub fn asked(rollout: &Rollout, paused: bool) -> Vec<&DeclaredGate> {
    let gates = rollout.policy.gates.iter();
    let now = |gate: &&DeclaredGate| match (rollout.phase, gate.when) {
        (Phase::Preparing, When::Before) => rollout.candidate.version().is_some(),
        (Phase::Progressing | Phase::Promoting | Phase::Baking, When::During) => paused,
        (Phase::Baking, When::After) => rollout.stage.pause_over,
        _ => false,
    };
    gates.filter(now).collect()
}

/// Returns the objectives that are waited for now.
pub fn waited_for(rollout: &Rollout) -> &[Slo] {
    let waits = rollout.phase == Phase::Preparing && rollout.candidate.version().is_some();
    if waits { &rollout.policy.slo } else { &[] }
}

/// Tells whether, by the verdicts in the record, nothing that is asked before the first pod stands in the way.
pub fn cleared(rollout: &Rollout) -> bool {
    let passed_over = people::on_unknown(rollout) == OnUnknown::Continue;
    let answer = |key: String| rollout.stage.verdicts.get(&key).map(|verdict| verdict.answer);
    let passes = |key: String| match answer(key) {
        Some(Answer::Pass) => true,
        Some(Answer::Unknown) => passed_over,
        Some(Answer::Fail) | None => false,
    };
    let gates = asked(rollout, true).into_iter().filter(|gate| !gate.dry_run);
    gates.map(gate_key).chain(waited_for(rollout).iter().map(slo_key)).all(passes)
}

/// Returns the key of a gate's verdict.
pub fn gate_key(gate: &DeclaredGate) -> String {
    Verdict::pass(Gate::Declared, "").named(&gate.name).key()
}

/// Returns the key of an objective's verdict.
pub fn slo_key(slo: &Slo) -> String {
    Verdict::pass(Gate::Slo, "").named(&slo.name).key()
}

/// Returns what the evidence loop is to measure for them, templates filled in for this candidate.
pub fn questions(rollout: &Rollout, paused: bool, release: &ReleaseKey) -> Vec<Question> {
    let Some(version) = rollout.candidate.version() else { return Vec::new() };
    let gates = asked(rollout, paused).into_iter().filter_map(|gate| {
        Some(Question {
            key: gate_key(gate),
            measure: filled(gate.asks.measure()?, version, release),
            interval: gate.interval,
            initial_delay: gate.initial_delay,
            timeout: gate.timeout,
        })
    });
    let objectives = waited_for(rollout).iter().map(|slo| Question {
        key: slo_key(slo),
        measure: filled(&slo.measure, version, release),
        interval: SLO_EVERY,
        initial_delay: Duration::ZERO,
        timeout: SLO_TIMEOUT,
    });
    gates.chain(objectives).collect()
}

/// Returns what a template stands for, as it is.
fn value_of(name: &str, version: &Version, release: &ReleaseKey) -> Option<String> {
    let digest = || version.image.digest.to_string();
    match name {
        "version" => Some(version.image.tag.clone().unwrap_or_else(digest)),
        "commit.sha" => Some(version.revision.commit.to_string()),
        "env" => Some(release.environment.to_string()),
        "service.name" => Some(release.service.to_string()),
        _ => None,
    }
}

/// Fills in templates where a value stands for itself, as in a word of a command.
pub fn fill_plain(text: &str, version: &Version, release: &ReleaseKey) -> String {
    gate::fill(text, |name| value_of(name, version, release))
}

fn filled(measure: &Measure, version: &Version, release: &ReleaseKey) -> Measure {
    let value = |name: &str| value_of(name, version, release);
    let query = |text: &str| gate::fill(text, |name| value(name).map(|value| gate::in_query(&value)));
    match measure {
        Measure::Metric { query: text, min, max } => {
            Measure::Metric { query: query(text), min: *min, max: *max }
        }
        Measure::Http { url } => {
            Measure::Http { url: gate::fill(url, |name| value(name).map(|value| gate::in_url(&value))) }
        }
        Measure::Budget { good, total, objective, window, min } => Measure::Budget {
            good: query(good),
            total: query(total),
            objective: *objective,
            window: *window,
            min: *min,
        },
    }
}

/// What the gates and objectives of a stage are judged by.
#[derive(Debug, Clone, Copy)]
pub struct Bench<'a> {
    /// What the record keeps of the stage.
    pub state: &'a StageState,
    /// What was measured in it.
    pub samples: Option<&'a Samples>,
    /// What is seen of Jobs, by the key of their gates' verdicts.
    pub jobs: &'a BTreeMap<String, Seen>,
    /// The measuring session of this process.
    pub session: u64,
    /// When measuring began; `None`: it has not.
    pub begun: Option<Timestamp>,
    /// The time of this pass.
    pub now: Timestamp,
}

/// What a gate says.
#[derive(Debug)]
pub struct Judged {
    /// The key of its verdicts.
    pub key: String,
    /// What is to be kept of it.
    pub kept: Kept,
    /// Its verdict. None of a measurement: not measured yet, or the newest one failed and is accepted, so that no time is credited. None
    /// of a Job: it runs.
    pub verdict: Option<Verdict>,
}

/// What is kept of a gate.
#[derive(Debug)]
pub enum Kept {
    /// How its measurements went.
    Count(GateCount),
    /// Its Job; none before the stage's pods stand.
    Job(Option<JobRun>),
}

impl Bench<'_> {
    fn answers(&self, key: &str) -> Option<&Answers> {
        self.samples?.answers.get(key)
    }

    /// Adds what this session measured to what earlier ones stored.
    fn count(&self, key: &str) -> GateCount {
        let mut count = self.state.gates.get(key).copied().unwrap_or_default();
        if count.session != self.session {
            let (passed, failed) = count.totals();
            count = GateCount {
                session: self.session,
                base_passed: passed,
                base_failed: failed,
                ..GateCount::default()
            };
        }
        if let Some(answers) = self.answers(key) {
            (count.last_passed, count.last_failed) = (answers.passed, answers.failed);
        }
        count
    }

    /// Judges one gate. Wherever its answer comes from, this is the one place where it becomes a verdict.
    pub fn judge(&self, gate: &DeclaredGate) -> Judged {
        let key = gate_key(gate);
        let (kept, verdict) = match &gate.asks {
            Asks::Measured(measure) => {
                let count = self.count(&key);
                (Kept::Count(count), self.verdict(gate, measure, &key, count))
            }
            Asks::Run { .. } => self.ran(gate, &key),
        };
        let named = |verdict: Verdict| Verdict { dry_run: gate.dry_run, ..verdict.named(&gate.name) };
        Judged { key, kept, verdict: verdict.map(named) }
    }

    fn ran(&self, gate: &DeclaredGate, key: &str) -> (Kept, Option<Verdict>) {
        if self.begun.is_none() {
            return (Kept::Job(None), None);
        }
        let run = self.state.jobs.get(key).cloned().unwrap_or_else(JobRun::first);
        let seen = self.jobs.get(key).unwrap_or(&Seen::Unknown);
        let (run, verdict) =
            job::judge(Gate::Declared, seen, run, self.state.verdicts.get(key), gate.timeout);
        (Kept::Job(Some(run)), verdict)
    }

    fn verdict(
        &self,
        gate: &DeclaredGate,
        measure: &Measure,
        key: &str,
        count: GateCount,
    ) -> Option<Verdict> {
        let (passed, failed) = count.totals();
        let answers = self.answers(key);
        let numbers = |value: Option<f64>| self.numbers(measure, value, passed.saturating_add(failed));
        if failed > u64::from(gate.failure_limit) {
            let (clause, value) = answers
                .and_then(|answers| answers.last_failure.clone())
                .unwrap_or_else(|| ("measurements failed before a restart".to_owned(), None));
            let of = passed.saturating_add(failed);
            let reason =
                format!("{clause}: {failed} of {of} measurements failed, {} may", gate.failure_limit);
            return Some(Verdict::fail(Gate::Declared, reason).with(numbers(value)));
        }
        match self.newest(answers, gate.interval, gate.timeout, gate.initial_delay) {
            Err(silence) => silence.map(|reason| Verdict::unknown(Gate::Declared, reason)),
            Ok(Measured::Unknown(clause)) => Some(Verdict::unknown(Gate::Declared, clause.clone())),
            Ok(Measured::Fail(..)) => None,
            Ok(Measured::Pass(value)) => {
                Some(Verdict::pass(Gate::Declared, "it is as declared").with(numbers(*value)))
            }
        }
    }

    /// Judges one objective: it passes, or is waited for; too little budget is nobody's failure.
    pub fn budget(&self, slo: &Slo) -> Option<Verdict> {
        let verdict = match self.newest(self.answers(&slo_key(slo)), SLO_EVERY, SLO_TIMEOUT, Duration::ZERO) {
            Err(silence) => Verdict::unknown(Gate::Slo, silence?),
            Ok(Measured::Unknown(clause)) => Verdict::unknown(Gate::Slo, clause.clone()),
            Ok(Measured::Fail(_, value)) => {
                let reason = "too little of the error budget is left: it waits for more";
                Verdict::unknown(Gate::Slo, reason).with(self.numbers(&slo.measure, *value, 1))
            }
            Ok(Measured::Pass(value)) => {
                let reason = "enough of the error budget is left";
                Verdict::pass(Gate::Slo, reason).with(self.numbers(&slo.measure, *value, 1))
            }
        };
        Some(verdict.named(&slo.name))
    }

    /// Returns the newest measurement; where there is none, the reason once it is late.
    fn newest<'s>(
        &self,
        answers: Option<&'s Answers>,
        interval: Duration,
        timeout: Duration,
        delay: Duration,
    ) -> Result<&'s Measured, Option<String>> {
        let late = interval * 3 + timeout * 2;
        let Some(answers) = answers else {
            let waited = self.begun.map_or(Duration::ZERO, |begun| elapsed(begun, self.now));
            let silent = waited >= late.saturating_add(delay);
            return Err(silent.then(|| format!("not measured for {}", rough(waited))));
        };
        let age = elapsed(answers.last_at, self.now);
        if age < late { Ok(&answers.last) } else { Err(Some(format!("not measured for {}", rough(age)))) }
    }

    fn numbers(&self, measure: &Measure, value: Option<f64>, samples: u64) -> Numbers {
        let (min, max) = measure.bounds();
        let broken = value.and_then(|value| max.filter(|max| value > *max));
        let window =
            self.begun.map(|begun| elapsed(begun, self.now).as_secs()).filter(|seconds| *seconds > 0);
        let provider = match measure {
            Measure::Http { url } => url.split('/').nth(2).unwrap_or("its address").to_owned(),
            Measure::Metric { .. } | Measure::Budget { .. } => "Prometheus".to_owned(),
        };
        Numbers {
            value,
            limit: broken.or(min).or(max),
            samples: Some(samples),
            window_seconds: window,
            provider: Some(provider.chars().take(100).collect()),
        }
    }
}
