//! The commits that a service's present content came with, for the times of their way: those of the first-parent history that changed
//! what it watches or its declaration, and below a merge the ones that it brought. What is new since the last look is here, however
//! much it is; of what was there before, only what need not be fetched.

use std::collections::{BTreeSet, VecDeque};

use gix::{ObjectId, Repository};
use jiff::Timestamp;

use super::error::GitError;
use super::history::{History, commit_id, printable};
use super::pull::pull_request;
use super::tree::{self, Budget, diff};
use super::watched::Watched;
use crate::model::change::{CHANGES, Change, Changes, PullRequest};

/// First-parent commits that are looked through where no earlier look did.
const STEPS: usize = 100;
/// Commits that are looked through below one merge.
const MERGED: usize = 50;
/// Characters of a name that are kept.
const NAME: usize = 60;

/// Returns the newest commits of a service; of `fresh` ones alone where it is known how many are new since `prior` was told.
pub(super) fn changes(
    repo: &Repository,
    history: &mut History<'_>,
    (path, watched): (&str, &Watched),
    since: Option<(usize, &Changes)>,
    budget: &mut Budget,
) -> Result<Changes, GitError> {
    let mut newer = Changes::default();
    let steps = since.map_or(STEPS, |(fresh, _)| fresh);
    for index in 0..steps {
        let Some(step) = history.here(index, budget)? else {
            newer.partial = !history.ended();
            break;
        };
        if step.moves(watched) || step.changes(path) {
            let id = step.id;
            add(repo, id, (path, watched), budget, &mut newer.commits)?;
        }
        newer.partial |= since.is_none() && index + 1 == STEPS;
        if newer.commits.len() >= CHANGES {
            newer.partial = true;
            break;
        }
    }
    Ok(since.map_or_else(Changes::default, |(_, prior)| prior.clone()).after(newer))
}

/// Adds a commit and, if it is a merge, the commits that it brought, as far as they are here and are not too many.
fn add(
    repo: &Repository,
    id: ObjectId,
    of: (&str, &Watched),
    budget: &mut Budget,
    commits: &mut Vec<Change>,
) -> Result<(), GitError> {
    let (change, parents) = read(repo, id, None)?;
    let merge = (change.committed_at, change.pull_request.clone());
    commits.push(change);
    let mut parents = parents.into_iter();
    let Some(first) = parents.next() else { return Ok(()) };
    let mut seen = mainline(repo, first)?;
    let mut queue: VecDeque<ObjectId> = parents.collect();
    let mut left = MERGED;
    while let Some(id) = queue.pop_front().filter(|_| left > 0) {
        if !seen.insert(id) || !repo.has_object(id) {
            continue;
        }
        left -= 1;
        let (change, parents) = read(repo, id, Some(&merge))?;
        if touches(repo, id, parents.first().copied(), of, budget)? {
            commits.push(change);
        }
        queue.extend(parents);
    }
    Ok(())
}

/// Returns the first-parent commits from a commit downwards that are here, a bounded number: what they reach was there before a merge.
fn mainline(repo: &Repository, first: ObjectId) -> Result<BTreeSet<ObjectId>, GitError> {
    let (mut seen, mut next) = (BTreeSet::new(), Some(first));
    // Whoever makes objects by hand can make a commit its own ancestor.
    while let Some(id) = next.filter(|id| seen.len() < STEPS && repo.has_object(*id)) {
        if !seen.insert(id) {
            break;
        }
        let commit = tree::commit(repo, id)?;
        next = commit.parent_ids().next().map(gix::Id::detach);
    }
    Ok(seen)
}

fn touches(
    repo: &Repository,
    id: ObjectId,
    parent: Option<ObjectId>,
    (path, watched): (&str, &Watched),
    budget: &mut Budget,
) -> Result<bool, GitError> {
    let Some(parent) = parent.filter(|parent| repo.has_object(*parent)) else { return Ok(true) };
    let tree = |id| {
        let commit = tree::commit(repo, id)?;
        Ok::<_, GitError>(commit.tree_id().map_err(GitError::corrupt)?.detach())
    };
    let mut changed = Vec::new();
    diff(repo, Some(tree(parent)?), Some(tree(id)?), "", budget, &mut changed)?;
    Ok(changed.iter().any(|changed| changed == path || watched.matches(changed)))
}

/// Reads what a commit says of itself, and its parents. `merge` is when and with which pull request it was merged.
fn read(
    repo: &Repository,
    id: ObjectId,
    merge: Option<&(Timestamp, Option<PullRequest>)>,
) -> Result<(Change, Vec<ObjectId>), GitError> {
    let commit = tree::commit(repo, id)?;
    let author =
        commit.author().map_or_else(|_| String::new(), |author| printable(&author.name.to_string(), NAME));
    let committer =
        commit.committer().map_or_else(|_| String::new(), |one| printable(&one.name.to_string(), NAME));
    let seconds = commit.time().map_or(0, |time| time.seconds);
    let own = pull_request(&commit.message_raw_sloppy().to_string());
    let change = Change {
        commit: commit_id(id)?,
        committer: (committer != author).then_some(committer),
        author,
        committed_at: Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH),
        merged_at: merge.map(|(at, _)| *at),
        pull_request: own.or_else(|| merge.and_then(|(_, pull)| pull.clone())),
    };
    Ok((change, commit.parent_ids().map(gix::Id::detach).collect()))
}

#[cfg(test)]
mod tests {
    use crate::model::change::Changes;
    use crate::source::fixture::{Repo, Running, config};
    use crate::source::forge::{Forge, started};

    const PATHS: &str = "paths: [\"*/.idp/deploy.yaml\"]";

    fn local(repo: &Repo) -> Running {
        Running::start(config(&repo.bare().display().to_string(), PATHS, &repo.dir.path().join("cache")))
    }

    fn commit(repo: &Repo, path: &str, message: &str) -> String {
        repo.commit(&[(path, message)]);
        repo.work(&["commit", "-q", "--amend", "-m", message, "--author", "Bob <bob@example.com>"]);
        repo.head()
    }

    fn ids(changes: &Changes) -> Vec<&str> {
        changes.commits.iter().map(|change| change.commit.as_str()).collect()
    }

    #[tokio::test]
    async fn a_service_tells_the_commits_that_changed_it_and_those_that_its_merges_brought() {
        let repo = Repo::new();
        let first =
            repo.publish(&[("a/.idp/deploy.yaml", "service: a"), ("b/.idp/deploy.yaml", "service: b")]);
        let mut running = local(&repo);
        running.next().await;
        let second = commit(&repo, "a/x", "straight");
        commit(&repo, "b/x", "nothing of a");
        repo.work(&["checkout", "-q", "-b", "topic"]);
        let one = commit(&repo, "a/x", "one");
        commit(&repo, "b/x", "nothing of a again");
        let two = commit(&repo, "a/y", "two");
        repo.work(&["checkout", "-q", "main"]);
        commit(&repo, "README.md", "a document");
        let message = "Merge pull request #7 from shop/topic\n\nAnswer faster";
        repo.work(&["merge", "-q", "--no-ff", "-m", message, "topic"]);
        let merge = repo.head();
        repo.push();
        running.look_at(&merge).await;
        let squashed = commit(&repo, "a/x", "Answer at all (#8)");
        repo.push();
        running.look_at(&squashed).await;

        let changes = running.good("a.production").changes.clone();
        let expected = [&squashed, &merge, &two, &one, &second, &first].map(String::as_str);
        assert_eq!(ids(&changes), expected);
        assert!(!changes.partial, "down to the first commit of all");
        let [last, merged, inside, ..] = &changes.commits[..] else { panic!("six") };
        assert_eq!((last.author.as_str(), last.committer.as_deref()), ("Bob", Some("Alice")));
        let pull = |change: &crate::model::change::Change| {
            change.pull_request.clone().map(|pull| (pull.number, pull.title))
        };
        assert_eq!(pull(last), Some((8, "Answer at all".to_owned())));
        assert_eq!((pull(merged), merged.merged_at), (Some((7, "Answer faster".to_owned())), None));
        assert_eq!((pull(inside), inside.merged_at), (pull(merged), Some(merged.committed_at)));
        assert!(inside.committed_at < merged.committed_at);
        assert_eq!(pull(&changes.commits[4]), None);
        assert_eq!(ids(&changes.since(Some(&changes.commits[4].commit))), expected[..4]);

        let mut again = local(&repo);
        again.next().await;
        assert_eq!(again.good("a.production").changes, changes, "a fresh start tells the same");
        assert_eq!(ids(&again.good("b.production").changes).len(), 4, "its own and those of the merge");
    }

    #[tokio::test]
    async fn all_that_is_pushed_at_once_is_told() {
        let repo = Repo::new();
        repo.publish(&[("a/.idp/deploy.yaml", "service: a"), ("a/x", "0")]);
        let forge = Forge::start(repo.dir.path()).await;
        let mut running = started(&forge, &repo, PATHS);
        running.next().await;
        for number in 1..=40 {
            repo.commit(&[("a/x", &number.to_string())]);
        }
        repo.push();
        running.look_at(&repo.head()).await;
        let changes = &running.good("a.production").changes;
        assert_eq!((changes.commits.len(), changes.partial), (41, false));
        assert_eq!(forge.packs(), 3, "the first, 32 of the 40, and as many again");
    }

    #[tokio::test]
    async fn a_rewritten_branch_fetches_no_history_that_is_older_than_what_it_left() {
        const OLD: [&str; 2] = ["--date", "2020-01-01T00:00:00Z"];
        let repo = Repo::new();
        repo.commit(&[("a/.idp/deploy.yaml", "service: a")]);
        for _ in 0..40 {
            repo.work(&[&["commit", "-q", "--allow-empty", "-m", "old"], &OLD[..]].concat());
        }
        repo.commit(&[("a/x", "1")]);
        repo.work(&[&["commit", "-q", "--amend", "--no-edit"], &OLD[..]].concat());
        repo.work(&["rebase", "-q", "--root", "--committer-date-is-author-date"]);
        repo.push();
        let forge = Forge::start(repo.dir.path()).await;
        let mut running = started(&forge, &repo, PATHS);
        running.next().await;
        let left = repo.publish(&[("a/x", "2")]);
        running.look_at(&left).await;
        repo.work(&["reset", "-q", "--hard", "HEAD~1"]);
        let rewritten = repo.commit(&[("a/x", "3")]);
        repo.work(&["push", "-q", "--force", "origin", "HEAD:main"]);
        running.look_at(&rewritten).await;
        assert_eq!(forge.packs(), 3, "each head alone");
    }

    #[tokio::test]
    async fn where_the_history_at_hand_ends_more_may_be_below() {
        let repo = Repo::new();
        repo.commit(&[("a/.idp/deploy.yaml", "service: a"), ("a/x", "0")]);
        for number in 1..60 {
            repo.commit(&[("a/x", &number.to_string())]);
        }
        repo.push();
        let forge = Forge::start(repo.dir.path()).await;
        let mut running = started(&forge, &repo, PATHS);
        running.next().await;
        let changes = &running.good("a.production").changes;
        assert_eq!((changes.commits.len(), changes.partial, forge.packs()), (31, true, 1));
        let mut here = local(&repo);
        here.next().await;
        let changes = &here.good("a.production").changes;
        assert_eq!((changes.commits.len(), changes.partial), (50, true));
    }
}
