//! What is followed beside one branch: the highest tag of a range, a pinned commit, and a mixture of them.

use super::fixture::{Repo, Running, config};
use super::forge::{Forge, started};
use super::*;

const TAGS: &str = "ref: {semver: \">=1 <2\"}";

/// A repository in which each version is a commit of its own.
fn tagged(versions: &[&str]) -> Repo {
    let repo = Repo::new();
    repo.commit(&[(".idp/deploy.yaml", "service: a")]);
    for version in versions {
        tag(&repo, version);
    }
    repo.push();
    repo
}

/// Commits and pushes an annotated tag; returns the commit.
fn tag(repo: &Repo, name: &str) -> String {
    let commit = repo.commit(&[("version", name)]);
    repo.work(&["tag", "-f", "-a", "-m", "a version", name]);
    repo.work(&["push", "-q", "--force", "origin", name]);
    commit
}

fn local(repo: &Repo, fields: &str) -> Running {
    Running::start(config(&repo.bare().display().to_string(), fields, &repo.dir.path().join("cache")))
}

fn content(running: &Running) -> &str {
    running.good("a.production").revision.commit.as_str()
}

async fn look(running: &mut Running) -> SourceReport {
    running.hint.send(Trigger::Webhook);
    running.until(|report| report.trigger == Trigger::Webhook).await
}

/// What a user of tags sees from the first tag to one that is moved; the same for a repository here and one elsewhere.
async fn life_of_tags(repo: &Repo, mut running: Running) {
    let report = running.next().await;
    assert_eq!(report.status.tag.as_deref(), Some("v1.9.0"), "{:?}", report.heads.problems);
    assert_eq!(report.status.branch, "tags * >=1 <2");
    let first = content(&running).to_owned();
    assert_eq!(report.commit.unwrap().as_str(), first);

    repo.publish(&[("x", "untagged")]);
    tag(repo, "v2.0.0");
    tag(repo, "v1.10.0-rc.1");
    let report = look(&mut running).await;
    assert!(report.up && report.heads.releases.is_empty(), "no version of the range");
    let tenth = tag(repo, "v1.10.0");
    look(&mut running).await;
    assert_eq!(content(&running), tenth);
    assert_eq!(running.take_rendered().len(), 2);

    repo.work(&["push", "-q", "origin", ":v1.10.0"]);
    let report = look(&mut running).await;
    let kept = running.kept("a.production").to_owned();
    assert!(kept.contains("the tag v1.10.0 is gone") && kept.contains("\"=1.9.0\""), "{kept}");
    assert!(!report.up && report.commit.unwrap().as_str() == tenth, "nothing older is taken");
    repo.work(&["push", "-q", "origin", "v1.10.0"]);
    assert!(look(&mut running).await.up);
    assert_eq!(content(&running), tenth);

    let moved = tag(repo, "v1.10.0");
    look(&mut running).await;
    let kept = running.kept("a.production");
    let said = format!("the tag v1.10.0 was moved from {} to {}", &tenth[..10], &moved[..10]);
    assert!(kept.contains(&said), "{kept}");
    let eleventh = tag(repo, "v1.11.0");
    assert!(look(&mut running).await.up, "a higher one ends it");
    assert_eq!(content(&running), eleventh);
    assert_eq!(running.take_rendered().len(), 1);
}

#[tokio::test]
async fn the_highest_tag_is_followed_in_a_local_repository() {
    let repo = tagged(&["v1.2.0", "v1.9.0", "v0.1.0"]);
    repo.work(&["tag", "v1.99.0", "HEAD^{tree}"]);
    repo.work(&["push", "-q", "origin", "v1.2.0"]);
    let running = local(&repo, TAGS);
    life_of_tags(&repo, running).await;
}

#[tokio::test]
async fn the_highest_tag_is_followed_over_http_and_nothing_else_is_fetched() {
    let repo = tagged(&["v1.2.0", "v1.9.0", "v0.1.0"]);
    let forge = Forge::start(repo.dir.path()).await;
    let running = started(&forge, &repo, TAGS);
    life_of_tags(&repo, running).await;
    let mirror = repo.dir.path().join("cache/git/a/refs");
    assert!(!mirror.join("tags/v2.0.0").exists() && !mirror.join("tags/v1.2.0").exists());
    assert!(mirror.join("tags/v1.11.0").exists() && !mirror.join("heads/main").exists());
}

#[tokio::test]
async fn an_idle_poll_of_tags_is_one_request_and_a_new_tag_is_two() {
    let repo = tagged(&["v1.0.0"]);
    let forge = Forge::start(repo.dir.path()).await;
    let mut running = started(&forge, &repo, TAGS);
    running.next().await;
    running.hint.send(Trigger::Poll);
    let report = running.next().await;
    assert_eq!((report.stats.requests, report.stats.fetches), (1, 0));
    let second = tag(&repo, "v1.1.0");
    running.hint.send(Trigger::Poll);
    let report = running.next().await;
    assert_eq!((report.stats.requests, report.stats.fetches), (2, 1));
    assert_eq!(content(&running), second);
}

#[tokio::test]
async fn an_older_server_lists_its_tags_to_gix() {
    let repo = tagged(&["v1.0.0"]);
    let forge = Forge::start(repo.dir.path()).await;
    forge.old.store(true, std::sync::atomic::Ordering::SeqCst);
    let mut running = started(&forge, &repo, TAGS);
    assert!(running.next().await.up);
    let second = tag(&repo, "v1.1.0");
    look(&mut running).await;
    assert_eq!(content(&running), second);
}

#[tokio::test]
async fn more_tags_than_are_looked_through_say_how_to_narrow_them() {
    let repo = tagged(&["v1.0.0", "pay/v1.5.0"]);
    let id = repo.head();
    let refs = (0..10_001).map(|number| format!("{id} refs/tags/x/v1.0.{number}"));
    let packed = std::iter::once("# pack-refs with: peeled fully-peeled sorted ".to_owned()).chain(refs);
    std::fs::write(repo.bare().join("packed-refs"), packed.collect::<Vec<_>>().join("\n") + "\n").unwrap();
    let forge = Forge::start(repo.dir.path()).await;
    for url in [forge.url(), repo.bare().display().to_string()] {
        let mut running =
            if url.starts_with("http") { started(&forge, &repo, TAGS) } else { local(&repo, TAGS) };
        let report = running.next().await;
        let problem = &report.heads.problems[0].message;
        assert!(problem.contains("more than 10000 tags *: narrow them down"), "{problem}");
    }
    let mut running = started(&forge, &repo, "ref: {semver: \"*\", tags: \"pay/v*\"}");
    assert_eq!(running.next().await.status.tag.as_deref(), Some("pay/v1.5.0"));
}

#[tokio::test]
async fn a_source_without_a_tag_of_its_range_says_so_and_takes_the_first() {
    let repo = tagged(&["v2.0.0"]);
    let mut running = local(&repo, TAGS);
    let report = running.next().await;
    assert!(!report.up);
    assert!(report.heads.problems[0].message.contains("no tags * >=1 <2 names a commit"), "{report:?}");
    let first = tag(&repo, "1.0.0");
    running.until(|report| report.up).await;
    assert_eq!(content(&running), first);
}

#[tokio::test]
async fn staging_follows_a_branch_and_production_tags() {
    let repo = Repo::new();
    repo.commit(&[(".idp/deploy.yaml", "service: a")]);
    let first = tag(&repo, "v1.0.0");
    let main = repo.publish(&[("x", "1")]);
    repo.work(&["push", "-q", "origin", "HEAD:develop"]);
    let forge = Forge::start(repo.dir.path()).await;
    let mut running = started(&forge, &repo, "environments: [staging, production], ref: {semver: \"1.x\"}");
    assert!(running.next().await.up);
    assert_eq!(running.good("a.staging").revision.commit.as_str(), main);
    assert_eq!(running.good("a.production").revision.commit.as_str(), first);
    repo.publish(&[("x", "2")]);
    repo.work(&["push", "-q", "origin", "HEAD:develop"]);
    let second = tag(&repo, "v1.0.1");
    look(&mut running).await;
    assert_eq!(running.good("a.production").revision.commit.as_str(), second);
    let image = |release: &str| format!("{:?}", running.good(release).image.wanted);
    assert!(image("a.production").contains(&second) && !image("a.staging").contains(&second));
}

#[tokio::test]
async fn a_pinned_commit_is_fetched_by_its_id_and_never_asked_about_again() {
    let repo = Repo::new();
    let pinned = repo.commit(&[(".idp/deploy.yaml", "service: a"), ("x", "1")]);
    repo.publish(&[("x", "2")]);
    let forge = Forge::start(repo.dir.path()).await;
    for remote in [true, false] {
        let fields = format!("ref: {{commit: {pinned}}}");
        let mut running = if remote { started(&forge, &repo, &fields) } else { local(&repo, &fields) };
        let report = running.next().await;
        assert!(report.up, "{:?}", report.heads.problems);
        assert_eq!(report.status.branch, format!("commit {pinned}"));
        assert_eq!(content(&running), pinned);
        repo.publish(&[("x", "3")]);
        let before = forge.requests();
        let report = look(&mut running).await;
        assert!(report.up && report.stats.requests == 0 && forge.requests() == before);
    }
    let missing = "ab".repeat(20);
    let mut running = started(&forge, &repo, &format!("ref: {{commit: {missing}}}"));
    let report = running.next().await;
    let problem = &report.heads.problems[0].message;
    assert!(!report.up && problem.contains("gives no commit by its id alone. Push a tag"), "{problem}");
}
