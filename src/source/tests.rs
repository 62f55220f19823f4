//! The source loop on real local repositories: what a push brings, what it does not, and what stays when something is wrong.

use super::fixture::{Repo, Running, config};
use super::*;
use crate::model::image::Wanted;

const PATHS: &str = "paths: [.idp/deploy.yaml, \"services/*/.idp/deploy.yaml\"]";

fn started(repo: &Repo, fields: &str) -> Running {
    Running::start(config(&repo.bare().display().to_string(), fields, &repo.dir.path().join("cache")))
}

fn tags(running: &Running, release: &str) -> Vec<String> {
    let Wanted::Tags(tags) = &running.good(release).image.wanted else { panic!("tags were asked for") };
    tags.iter().map(|tag| tag.trim_start_matches("v-").to_owned()).collect()
}

#[tokio::test]
async fn a_push_to_a_local_repository_is_reported_without_a_poll() {
    let repo = Repo::new();
    let first = repo.publish(&[(".idp/deploy.yaml", "service: web"), ("src/a", "1")]);
    let mut running = started(&repo, "");
    let report = running.next().await;
    assert_eq!(report.trigger, Trigger::Start);
    assert_eq!(report.commit.as_ref().unwrap().as_str(), first);
    let desired = running.good("web.production");
    assert_eq!(desired.revision.author, "Alice");
    assert_eq!(desired.revision.subject, "Change files");
    let identity = desired.identity.clone();

    let second = repo.publish(&[("src/a", "2")]);
    let report = running.until(|report| report.commit.as_ref().unwrap().as_str() == second).await;
    assert_eq!(report.trigger, Trigger::Notify);
    assert!(report.up && report.heads.problems.is_empty() && report.status_changed);
    assert_eq!(report.status.releases, 1);
    assert_ne!(running.good("web.production").identity, identity);
    assert_eq!(tags(&running, "web.production"), [second]);

    let before = running.good("web.production").identity.clone();
    repo.publish(&[("src/a", "3")]);
    running.look_at(&repo.head()).await;
    assert_ne!(running.good("web.production").identity, before);
    repo.publish(&[("src/a", "2")]);
    running.look_at(&repo.head()).await;
    assert_eq!(running.good("web.production").identity, before, "a revert has the same content");
}

#[tokio::test]
async fn an_unrelated_commit_renders_nothing_and_adds_its_image() {
    let repo = Repo::new();
    repo.commit(&[("services/a/.idp/deploy.yaml", "service: a"), ("services/a/x", "1")]);
    let base = repo.publish(&[("services/b/.idp/deploy.yaml", "service: b"), ("services/b/x", "1")]);
    let mut running = started(&repo, PATHS);
    running.next().await;
    assert_eq!(running.take_rendered(), ["a", "b"]);
    let first = tags(&running, "a.production");
    assert_eq!(first.len(), 2, "the commit of b has the same content of a");

    let second = repo.publish(&[("services/b/x", "2")]);
    let report = running.look_at(&second).await;
    assert_eq!(running.take_rendered(), ["b"]);
    assert_eq!(report.stats.rendered, 1);
    assert_eq!(tags(&running, "a.production"), [&first[..], std::slice::from_ref(&second)].concat());
    assert_eq!(tags(&running, "b.production"), std::slice::from_ref(&second));
    assert_eq!(running.good("a.production").revision.commit.as_str(), first[0]);
    assert_eq!(running.good("b.production").revision.commit.as_str(), second);

    let readme = repo.publish(&[("services/a/README.md", "x"), ("docs/y", "z")]);
    running.look_at(&readme).await;
    assert!(running.take_rendered().is_empty(), "a document is nobody's version");
    for _ in 0..30 {
        repo.commit(&[]);
    }
    repo.push();
    running.look_at(&repo.head()).await;
    assert!(running.take_rendered().is_empty());
    assert_eq!(tags(&running, "a.production").len(), 20);
    assert!(first.contains(&base));

    let mut again = started(&repo, PATHS);
    again.next().await;
    for release in ["a.production", "b.production"] {
        let (old, new) = (running.good(release), again.good(release));
        assert_eq!(old.image, new.image, "a fresh start answers the same");
        assert_eq!(old.revision, new.revision);
    }
}

#[tokio::test]
async fn a_declaration_that_changes_is_rendered_at_the_commit_that_changed_it() {
    let repo = Repo::new();
    let code = repo.commit(&[(".idp/deploy.yaml", "service: a"), ("x", "1"), ("lib/y", "1")]);
    let declared = repo.commit(&[(".idp/deploy.yaml", "service: a\nignore: lib/**")]);
    let empty = repo.publish(&[("README.md", "x")]);
    let mut running = started(&repo, "");
    running.next().await;
    assert_eq!(running.good("a.production").revision.commit.as_str(), declared);
    assert_eq!(tags(&running, "a.production"), [code, declared.clone(), empty]);
    repo.publish(&[("lib/y", "2")]);
    running.look_at(&repo.head()).await;
    assert_eq!(running.take_rendered().len(), 1, "only the first look rendered");
}

#[tokio::test]
async fn fifty_hints_are_at_most_two_looks() {
    let repo = Repo::new();
    repo.publish(&[(".idp/deploy.yaml", "service: web")]);
    let mut running = started(&repo, "");
    running.next().await;
    for _ in 0..50 {
        running.hint.send(Trigger::Webhook);
    }
    // A change that comes after the burst is seen by a look of its own, so counting can stop there.
    running.next().await;
    let marker = repo.commit(&[("x", "1")]);
    let mut looks = 1;
    repo.push();
    loop {
        let report = running.next().await;
        if report.commit.as_ref().unwrap().as_str() == marker {
            break;
        }
        looks += usize::from(report.trigger == Trigger::Webhook);
    }
    assert!(looks <= 2, "{looks} looks");
}

#[tokio::test]
async fn what_is_wrong_with_one_file_keeps_its_last_answer_and_hurts_no_other() {
    let repo = Repo::new();
    repo.publish(&[
        ("services/a/.idp/deploy.yaml", "service: a"),
        ("services/b/.idp/deploy.yaml", "service: b"),
    ]);
    let mut running = started(&repo, &format!("{PATHS}, services: [a, b, c]"));
    running.next().await;
    for (text, reason) in [
        ("service: a\nbroken: E_SYNTAX at 3:1", "services/a/.idp/deploy.yaml: E_SYNTAX at 3:1"),
        ("nonsense", "services/a/.idp/deploy.yaml: no service"),
        ("service: a\nunrenderable: no image", "services/a/.idp/deploy.yaml: no image"),
        ("service: other", "may not declare the service other: it may declare a, b, c"),
        ("service: b", "declared by services/a/.idp/deploy.yaml and services/b/.idp/deploy.yaml"),
    ] {
        repo.publish(&[("services/a/.idp/deploy.yaml", text), ("services/b/x", text)]);
        let report = running.look_at(&repo.head()).await;
        assert!(running.kept("a.production").contains(reason), "{}", running.kept("a.production"));
        assert!(report.up, "the source itself is well");
        assert!(report.heads.problems.iter().any(|problem| {
            problem.message.contains(reason.trim_start_matches("services/a/.idp/deploy.yaml: "))
        }));
        if !text.ends_with('b') {
            running.good("b.production");
        }
        repo.publish(&[("services/a/.idp/deploy.yaml", "service: a")]);
        let report = running.look_at(&repo.head()).await;
        assert!(report.heads.problems.is_empty());
        running.good("a.production");
    }
    assert_eq!(running.heads.len(), 2);
}

#[tokio::test]
async fn a_vanished_declaration_is_kept_and_comes_back() {
    let repo = Repo::new();
    repo.publish(&[
        ("services/a/.idp/deploy.yaml", "service: a"),
        ("services/b/.idp/deploy.yaml", "service: b"),
    ]);
    let mut running = started(&repo, PATHS);
    running.next().await;
    repo.publish(&[("services/a/.idp/deploy.yaml", "")]);
    let report = running.look_at(&repo.head()).await;
    assert!(running.kept("a.production").contains("no longer declares a.production"));
    assert_eq!(report.heads.problems.len(), 1);
    repo.publish(&[("x", "1")]);
    let report = running.look_at(&repo.head()).await;
    assert_eq!(report.heads.problems.len(), 1, "it is still said");
    assert!(!report.heads.releases.contains_key(&"a.production".parse().unwrap()), "and not told twice");
    repo.publish(&[("other/.idp/deploy.yaml", "x"), ("services/c/.idp/deploy.yaml", "service: a")]);
    running.look_at(&repo.head()).await;
    running.good("a.production");
}

#[tokio::test]
async fn links_large_blobs_and_foreign_environments_are_refused() {
    let repo = Repo::new();
    repo.publish(&[("services/a/.idp/deploy.yaml", "service: a")]);
    let mut running = started(&repo, PATHS);
    running.next().await;
    let path = repo.dir.path().join("work/services/a/.idp");
    std::fs::remove_dir_all(&path).unwrap();
    std::os::unix::fs::symlink("/etc", &path).unwrap();
    let large = format!("service: b\n{}", "x".repeat(1 << 20));
    repo.publish(&[("services/b/.idp/deploy.yaml", &large)]);
    let report = running.look_at(&repo.head()).await;
    let text = report.heads.problems.iter().map(|p| p.message.as_str()).collect::<Vec<_>>().join("\n");
    assert!(text.contains("services/a/.idp is a symbolic link"), "{text}");
    assert!(text.contains("services/b/.idp/deploy.yaml has 1048587 bytes"), "{text}");
    running.kept("a.production");
    repo.publish(&[("services/c/.idp/deploy.yaml", "service: c\nenvironments: production staging")]);
    running.look_at(&repo.head()).await;
    running.good("c.production");
    assert!(running.kept("c.staging").contains("may not deploy to staging"));
}

#[tokio::test]
async fn an_environment_can_follow_its_own_branch() {
    let repo = Repo::new();
    repo.publish(&[(".idp/deploy.yaml", "service: a"), ("x", "1")]);
    let mut running = started(&repo, "environments: [production, staging]");
    let report = running.next().await;
    assert!(!report.up);
    assert!(report.heads.problems[0].message.contains("there is no branch develop"));
    assert_eq!(running.heads.keys().collect::<Vec<_>>(), ["a.production"]);
    repo.work(&["checkout", "-q", "-b", "develop"]);
    let develop = repo.publish(&[("x", "2")]);
    running.until(|report| report.up).await;
    assert_eq!(tags(&running, "a.staging"), [develop]);
    assert_eq!(running.take_rendered().len(), 2);
    repo.work(&["push", "-q", "origin", ":develop"]);
    running.until(|report| !report.up).await;
    assert!(running.kept("a.staging").contains("there is no branch develop"));
    running.good("a.production");
}

#[tokio::test]
async fn a_rewritten_branch_and_a_lost_repository_lose_nothing() {
    let repo = Repo::new();
    repo.commit(&[(".idp/deploy.yaml", "service: a"), ("x", "1")]);
    repo.publish(&[("x", "2")]);
    let mut running = started(&repo, "");
    running.next().await;
    repo.work(&["reset", "-q", "--hard", "HEAD~1"]);
    let rewritten = repo.publish(&[("x", "3")]);
    running.look_at(&rewritten).await;
    assert_eq!(tags(&running, "a.production"), std::slice::from_ref(&rewritten));

    let away = repo.dir.path().join("away.git");
    std::fs::rename(repo.bare(), &away).unwrap();
    running.hint.send(Trigger::Webhook);
    let report = running.until(|report| !report.up).await;
    assert_eq!(report.commit.unwrap().as_str(), rewritten, "the last good commit is still told");
    assert!(running.kept("a.production").contains("there is no repository"));
    std::fs::rename(&away, repo.bare()).unwrap();
    running.hint.send(Trigger::Webhook);
    running.until(|report| report.up).await;
    running.good("a.production");
    assert_eq!(running.take_rendered().len(), 2, "coming back is no change");

    std::fs::remove_dir_all(repo.bare().join("objects")).unwrap();
    std::fs::create_dir(repo.bare().join("objects")).unwrap();
    std::fs::write(repo.bare().join("refs/heads/main"), format!("{}\n", "1".repeat(40))).unwrap();
    running.hint.send(Trigger::Webhook);
    running.until(|report| !report.up).await;
    assert!(running.kept("a.production").contains("cannot be read"));
}
