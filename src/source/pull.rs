//! Which pull request a commit's message names: the forms that the forges give merge and squash commits by default. Whatever else
//! stands in a message is nobody's pull request.

use crate::model::change::PullRequest;

/// Longest title that is kept, in characters.
const TITLE: usize = 100;

/// Returns the pull request that a commit's message names; others say merge request.
pub(super) fn pull_request(message: &str) -> Option<PullRequest> {
    let mut lines = message.lines().map(str::trim).filter(|line| !line.is_empty());
    let subject = lines.next()?;
    let first = lines.next().unwrap_or_default();
    github_or_gitea(subject, first)
        .or_else(|| bitbucket(subject, first))
        .or_else(|| gitlab(subject, first, message))
        .or_else(|| squashed(subject))
}

fn found(number: &str, title: &str) -> Option<PullRequest> {
    let plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let number = number.parse().ok().filter(|number| plain && *number > 0)?;
    Some(PullRequest { number, title: super::history::printable(title, TITLE) })
}

/// Splits the digits at the begin off.
fn digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

/// `Merge pull request #7 from owner/branch` with the title below (GitHub), `Merge pull request 'Title' (#7) from branch into main`
/// (Gitea, Forgejo), `Merge pull request #7 in PROJECT/name from branch to main` (Bitbucket Data Center before 7).
fn github_or_gitea(subject: &str, first: &str) -> Option<PullRequest> {
    let rest = subject.strip_prefix("Merge pull request ")?;
    if let Some(rest) = rest.strip_prefix('#') {
        let (number, rest) = digits(rest);
        let title = if rest.starts_with(" from ") { first } else { "" };
        return found(number, title);
    }
    let (title, rest) = rest.strip_prefix('\'')?.rsplit_once("' (#")?;
    found(digits(rest).0, title)
}

/// `Merged in branch (pull request #7)` with the title below (Cloud); `Pull request #7: Title` (Data Center).
fn bitbucket(subject: &str, first: &str) -> Option<PullRequest> {
    if let Some(rest) = subject.strip_prefix("Pull request #") {
        let (number, title) = rest.split_once(": ")?;
        return found(number, title);
    }
    let (_, rest) = subject.strip_prefix("Merged in ")?.rsplit_once(" (pull request #")?;
    found(rest.strip_suffix(')')?, first)
}

/// `Merge branch 'x' into 'main'`, the title below, and at the end `See merge request group/name!7`, which squashed commits have too.
fn gitlab(subject: &str, first: &str, message: &str) -> Option<PullRequest> {
    let see = message.lines().rev().find_map(|line| line.trim().strip_prefix("See merge request "))?;
    let (_, number) = see.rsplit_once('!')?;
    let title = if subject.starts_with("Merge branch '") { first } else { subject };
    let title = if title.starts_with("See merge request ") { "" } else { title };
    found(number, title)
}

/// `Title (#7)`: what GitHub, Gitea and Forgejo make of a squashed pull request.
fn squashed(subject: &str) -> Option<PullRequest> {
    let (title, number) = subject.strip_suffix(')')?.rsplit_once(" (#")?;
    found(number, title)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_the_forges_are_known_and_nothing_else() {
        for (message, expected) in [
            ("Merge pull request #123 from octo/topic\n\nAnswer faster", Some((123, "Answer faster"))),
            ("Merge pull request #123 from octo/topic", Some((123, ""))),
            ("Answer faster (#123)\n\n* one\n\n* two", Some((123, "Answer faster"))),
            ("Revert \"Answer faster (#1)\" (#2)", Some((2, "Revert \"Answer faster (#1)\""))),
            (
                "Merge pull request 'Answer faster' (#7) from topic into main\n\nReviewed-on: x",
                Some((7, "Answer faster")),
            ),
            ("Merge pull request 'It's (#1)' (#7) from topic into main", Some((7, "It's (#1)"))),
            (
                "Merge branch 'topic' into 'main'\n\nAnswer faster\n\nSee merge request shop/web!45",
                Some((45, "Answer faster")),
            ),
            ("Merge branch 'topic' into 'main'\n\nSee merge request shop/web!45", Some((45, ""))),
            ("Answer faster\n\nSee merge request shop/team/web!45\n", Some((45, "Answer faster"))),
            ("Merged in topic (pull request #9)\n\nAnswer faster\n\n* one", Some((9, "Answer faster"))),
            (
                "Pull request #12: Answer faster\n\nMerge in SHOP/web from topic to main",
                Some((12, "Answer faster")),
            ),
            (
                "Merge pull request #12 in SHOP/web from topic to main\n\n* commit '1b':\n  Answer",
                Some((12, "")),
            ),
            ("Answer faster", None),
            ("Answer faster, see #12", None),
            ("Merge branch 'topic'", None),
            ("Merge pull request from octo/topic", None),
            ("Fix (#)", None),
            ("Fix (#0)", None),
            ("Fix (#-1)", None),
            ("Fix (#12a)", None),
            ("Fix (#99999999999999999999999)", None),
            ("Fix (#12) again", None),
            ("See merge request !x", None),
            ("", None),
            ("\n\n", None),
        ] {
            let seen = pull_request(message).map(|pull| (pull.number, pull.title));
            assert_eq!(
                seen.as_ref().map(|(number, title)| (*number, title.as_str())),
                expected,
                "{message:?}"
            );
        }
        let long = format!("{}\u{202e}\u{1b} (#5)", "x".repeat(1_000));
        assert_eq!(pull_request(&long).unwrap().title.chars().count(), TITLE);
    }
}
