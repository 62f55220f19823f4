//! Local repositories of every kind are watched: what is moved, swapped or added in their place is seen without a poll.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use super::fixture::{Repo, Running, config};
use super::*;

fn repo() -> Repo {
    let repo = Repo::new();
    repo.publish(&[(".idp/deploy.yaml", "service: a")]);
    repo
}

/// A loop that is polled once a day at most.
fn watching(repo: &Repo, path: &str) -> Running {
    Running::start(config(
        &repo.dir.path().join(path).display().to_string(),
        "",
        &repo.dir.path().join("cache"),
    ))
}

/// Waits until a commit was seen, and asserts that a notification told of it.
async fn told_of(running: &mut Running, commit: &str) {
    let report = running
        .until(|report| report.up && report.commit.as_ref().is_some_and(|id| id.as_str() == commit))
        .await;
    assert_eq!(report.trigger, Trigger::Notify);
}

#[tokio::test]
async fn a_work_tree_that_was_added_shows_the_branches_of_its_repository() {
    let repo = repo();
    repo.work(&["worktree", "add", "-q", "-b", "other", "../tree"]);
    let mut running = watching(&repo, "tree");
    assert_eq!(running.next().await.commit.unwrap().as_str(), repo.head());
    let second = repo.commit(&[("x", "2")]);
    told_of(&mut running, &second).await;
}

#[tokio::test]
async fn packed_refs_are_read_and_what_moves_after_them_is_seen() {
    let repo = repo();
    let mut running = watching(&repo, "origin.git");
    running.next().await;
    repo.git("origin.git", &["pack-refs", "--all", "--prune"]);
    assert!(!repo.bare().join("refs/heads/main").exists());
    let second = repo.publish(&[("x", "2")]);
    told_of(&mut running, &second).await;
    repo.git("origin.git", &["pack-refs", "--all", "--prune"]);
    let mut again = watching(&repo, "origin.git");
    let report = again.next().await;
    assert!(report.up && report.commit.unwrap().as_str() == second, "{:?}", report.heads.problems);
    // Only the file of packed refs moves.
    repo.git("origin.git", &["update-ref", "-d", "refs/heads/main"]);
    let report = again.until(|report| !report.up).await;
    assert_eq!((report.trigger, report.commit.unwrap().as_str()), (Trigger::Notify, &*second));
}

/// Swaps a link by renaming another over it, as the kubelet does.
fn point(link: &Path, target: &str) {
    let new = link.parent().unwrap().join("..data_tmp");
    symlink(target, &new).unwrap();
    std::fs::rename(new, link).unwrap();
}

#[tokio::test]
async fn a_repository_behind_links_that_are_swapped_is_another_one() {
    let repo = repo();
    let first = repo.head();
    let second = repo.commit(&[("x", "2")]);
    for (version, commit) in [("one", &first), ("two", &second)] {
        let bare = format!("..{version}/repo");
        repo.git(".", &["clone", "-q", "--bare", "work", &bare]);
        repo.git(&bare, &["update-ref", "refs/heads/main", commit]);
    }
    point(&repo.dir.path().join("..data"), "..one");
    symlink("..data/repo", repo.dir.path().join("repo")).unwrap();
    let mut running = watching(&repo, "repo");
    assert_eq!(running.next().await.commit.unwrap().as_str(), first);
    point(&repo.dir.path().join("..data"), "..two");
    std::fs::remove_dir_all(repo.dir.path().join("..one")).unwrap();
    told_of(&mut running, &second).await;
    // What is watched now is the new one.
    repo.work(&["push", "-q", "--force", "../..two/repo", &format!("{first}:refs/heads/main")]);
    told_of(&mut running, &first).await;
}

#[tokio::test]
async fn a_repository_that_takes_the_place_of_another_is_seen() {
    let repo = repo();
    let mut running = watching(&repo, "place");
    let report = running.next().await;
    assert!(!report.up && report.status.problems[0].message.contains("no repository"), "{report:?}");
    repo.git(".", &["clone", "-q", "--bare", "work", "new"]);
    std::fs::rename(repo.dir.path().join("new"), repo.dir.path().join("place")).unwrap();
    told_of(&mut running, &repo.head()).await;

    let second = repo.commit(&[("x", "2")]);
    repo.git(".", &["clone", "-q", "--bare", "work", "new"]);
    std::fs::rename(repo.dir.path().join("place"), repo.dir.path().join("old")).unwrap();
    std::fs::rename(repo.dir.path().join("new"), repo.dir.path().join("place")).unwrap();
    told_of(&mut running, &second).await;
}

/// Tells the test that it runs where nothing can be watched.
const ALONE: &str = "IDP_TEST_NOTHING_IS_WATCHED";

#[tokio::test]
async fn at_the_systems_limit_of_watches_a_repository_is_polled_and_that_is_said_once() {
    if std::env::var_os(ALONE).is_some() {
        polled().await;
        return;
    }
    let name =
        "source::local_tests::at_the_systems_limit_of_watches_a_repository_is_polled_and_that_is_said_once";
    for limit in ["max_inotify_watches", "max_inotify_instances"] {
        let script = format!("echo 0 > /proc/sys/user/{limit} && exec \"$@\"");
        let output = Command::new("unshare")
            .args(["--user", "--map-root-user", "sh", "-c", &script, "sh"])
            .arg(std::env::current_exe().unwrap())
            .args([name, "--exact", "--nocapture"])
            .envs([(ALONE, "1")])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        let sysctl = limit.replace("max_inotify_", "fs.inotify.max_user_");
        assert_eq!(said.matches("is polled instead").count(), 1, "{said}");
        assert!(said.contains(&sysctl), "{said}");
    }
}

async fn polled() {
    tracing_subscriber::fmt().with_ansi(false).init();
    let repo = repo();
    let cache = repo.dir.path().join("cache");
    let mut running = Running::start(config(&repo.bare().display().to_string(), "poll: 1s,", &cache));
    running.next().await;
    for text in ["2", "3"] {
        let commit = repo.publish(&[("x", text)]);
        let found = |report: &SourceReport| report.commit.as_ref().is_some_and(|id| id.as_str() == commit);
        assert_eq!(running.until(found).await.trigger, Trigger::Poll);
    }
}
