//! How what a forge tells becomes what is kept. Deliveries come late, twice and in any order, so each fact has a time of its own, the
//! forge's, and the newest wins:
//!
//! * open, closed or merged: the newest; at the same instant merged wins over closed and closed over open. A merge is for ever. An event
//!   without a time of the forge closes or opens only if that is what it tells of.
//! * who thinks what: the newest of each person; at the same instant the one that approves least.
//! * title, branches, commit and labels: those of the newest event; at the same instant those that came last.

use jiff::{SignedDuration, Timestamp};

use super::bound::{LABELS, PEOPLE, WORD, cut};
use super::{Action, Approval, Pull, PullRequest, PullState, Pulls, Review, Stance};

/// How far ahead of ours a forge's clock is believed.
const AHEAD: SignedDuration = SignedDuration::from_mins(5);

/// Takes into account what a forge tells; `received` is when it came.
#[must_use]
pub fn fold(mut pulls: Pulls, told: &PullRequest, received: Timestamp) -> Pulls {
    let latest = received.checked_add(AHEAD).unwrap_or(Timestamp::MAX);
    let believed = |at: Option<Timestamp>| at.map(|at| at.min(latest));
    let at = believed(told.at).unwrap_or(received);
    if !pulls.pulls.contains_key(&told.number) && pulls.forgotten.is_some_and(|before| at <= before) {
        return pulls;
    }
    let pull = pulls.pulls.entry(told.number).or_insert_with(|| new(told, at));
    if let Some(state) = state(told) {
        note_state(pull, state, at);
    }
    if at >= pull.updated_at {
        note_rest(pull, told, at);
    }
    if let (Some(review), Some(stance)) = (&told.review, stance(told.action)) {
        note_review(pull, told, review, (stance, believed(review.at).unwrap_or(received)));
    }
    let commit = pull.commit.clone();
    for approval in pull.approvals.values_mut() {
        approval.stale = commit.is_some() && approval.commit != commit;
    }
    pulls
}

fn new(told: &PullRequest, at: Timestamp) -> Pull {
    Pull {
        state: told.state.unwrap_or(PullState::Open),
        state_at: at,
        updated_at: at,
        title: None,
        author: None,
        base: String::new(),
        head: None,
        commit: None,
        labels: Vec::new(),
        approvals: std::collections::BTreeMap::new(),
    }
}

fn state(told: &PullRequest) -> Option<PullState> {
    match told.action {
        Action::Closed => Some(PullState::Closed),
        Action::Merged => Some(PullState::Merged),
        Action::Opened | Action::Reopened => Some(PullState::Open),
        _ => told.state.filter(|_| told.at.is_some()),
    }
}

fn note_state(pull: &mut Pull, state: PullState, at: Timestamp) {
    let newer = (at, state) > (pull.state_at, pull.state);
    match (pull.state, state) {
        // The earliest word of it is when it was.
        (PullState::Merged, PullState::Merged) => pull.state_at = pull.state_at.min(at),
        (PullState::Merged, _) => {}
        (_, PullState::Merged) => (pull.state, pull.state_at) = (state, at),
        _ if newer => (pull.state, pull.state_at) = (state, at),
        _ => {}
    }
}

fn note_rest(pull: &mut Pull, told: &PullRequest, at: Timestamp) {
    let known = |new: &Option<String>, old: &mut Option<String>| {
        if let Some(new) = new {
            *old = Some(cut(new, WORD));
        }
    };
    pull.updated_at = at;
    pull.base = cut(&told.base, WORD);
    known(&told.title, &mut pull.title);
    known(&told.author, &mut pull.author);
    known(&told.head, &mut pull.head);
    known(&told.commit, &mut pull.commit);
    pull.labels = told.labels.iter().take(LABELS).map(|label| cut(label, WORD)).collect();
}

fn stance(action: Action) -> Option<Stance> {
    match action {
        Action::Approved => Some(Stance::Approved),
        Action::Unapproved => Some(Stance::Unapproved),
        Action::Rejected => Some(Stance::Rejected),
        _ => None,
    }
}

fn note_review(pull: &mut Pull, told: &PullRequest, review: &Review, (stance, at): (Stance, Timestamp)) {
    let commit = review.commit.as_ref().or(told.commit.as_ref()).or(pull.commit.as_ref());
    let approval = Approval { stance, at, commit: commit.map(|commit| cut(commit, WORD)), stale: false };
    let who = cut(&review.who, WORD);
    match pull.approvals.get_mut(&who) {
        Some(old) if (old.at, old.stance) >= (at, stance) => {}
        Some(old) => *old = approval,
        None => {
            if pull.approvals.len() >= PEOPLE {
                forget_one(pull);
            }
            pull.approvals.insert(who, approval);
        }
    }
}

/// Makes room for one more: who approves of nothing goes first, then the oldest.
fn forget_one(pull: &mut Pull) {
    let least = pull
        .approvals
        .iter()
        .min_by_key(|(_, approval)| (approval.stance == Stance::Approved && !approval.stale, approval.at));
    if let Some(who) = least.map(|(who, _)| who.clone()) {
        pull.approvals.remove(&who);
    }
}
