//! Many services in one repository: what a commit touches, what it costs, and what becomes of a folder that is moved.

use std::fmt::Write as _;

use super::fixture::{Repo, Running, config};
use super::forge::{Forge, started};
use super::*;

const PATHS: &str = "paths: [\"services/*/.idp/deploy.yaml\"]";

fn local(repo: &Repo) -> Running {
    Running::start(config(&repo.bare().display().to_string(), PATHS, &repo.dir.path().join("cache")))
}

async fn look(running: &mut Running, repo: &Repo) -> SourceReport {
    let head = repo.head();
    running.look_at(&head).await
}

/// Moves a folder and pushes that.
fn shift(repo: &Repo, from: &str, to: &str) {
    repo.work(&["mv", from, to]);
    repo.publish(&[]);
}

#[tokio::test]
async fn a_folder_that_is_moved_keeps_its_service_and_its_version() {
    let repo = Repo::new();
    repo.publish(&[
        ("services/a/.idp/deploy.yaml", "service: a\npaths: base"),
        ("services/a/src/x", "1"),
        ("services/b/.idp/deploy.yaml", "service: b"),
        ("services/b/x", "1"),
        ("base/y", "1"),
    ]);
    let mut running = local(&repo);
    running.next().await;
    running.take_rendered();
    let identity = running.good("a.production").identity.clone();
    shift(&repo, "services/a", "services/renamed");
    let report = look(&mut running, &repo).await;
    assert!(report.heads.problems.is_empty(), "{:?}", report.heads.problems);
    assert_eq!(report.status.releases, 2);
    assert_eq!(running.take_rendered(), ["a"]);
    assert_eq!(running.good("a.production").identity, identity, "the same content at another place");

    repo.publish(&[("base/y", "2")]);
    look(&mut running, &repo).await;
    assert_eq!(running.take_rendered(), ["a"], "it is followed at its new place");
    let moved = running.good("a.production").identity.clone();
    assert_ne!(moved, identity);
    shift(&repo, "services/renamed/src", "services/renamed/source");
    look(&mut running, &repo).await;
    assert_ne!(running.good("a.production").identity, moved, "inside of it a place is content");

    shift(&repo, "services/b", "services/c");
    repo.publish(&[("services/c/x", "2")]);
    look(&mut running, &repo).await;
    assert_eq!(running.good("b.production").revision.commit.as_str(), repo.head());
    let mut again = local(&repo);
    again.next().await;
    for release in ["a.production", "b.production"] {
        assert_eq!(running.good(release), again.good(release), "a fresh start answers the same");
    }
}

#[tokio::test]
async fn a_service_declared_twice_heals_however_it_is_mended() {
    let repo = Repo::new();
    let (a, b) = ("services/a/.idp/deploy.yaml", "services/b/.idp/deploy.yaml");
    repo.publish(&[
        (a, "service: one"),
        (b, "service: two"),
        ("services/c/.idp/deploy.yaml", "service: three"),
    ]);
    let mut running = local(&repo);
    running.next().await;
    for mend in [(b, ""), (a, ""), (b, "service: two"), (a, "service: four")] {
        repo.publish(&[(a, "service: one"), (b, "service: one")]);
        let report = look(&mut running, &repo).await;
        let twice =
            report.heads.problems.iter().filter(|problem| problem.message.contains("declared by")).count();
        assert_eq!(twice, 2, "both are refused: {:?}", report.heads.problems);
        running.kept("one.production");
        repo.publish(&[("unrelated", mend.0)]);
        look(&mut running, &repo).await;
        running.kept("one.production");
        repo.publish(&[mend]);
        look(&mut running, &repo).await;
        running.good("one.production");
        repo.publish(&[(a, "service: one"), (b, "service: two")]);
        look(&mut running, &repo).await;
        running.good("one.production");
        running.good("two.production");
    }
    assert!(!running.take_rendered()[3..].contains(&"three".to_owned()));
}

#[tokio::test]
async fn a_declaration_that_comes_goes_and_breaks_is_met_wherever_it_is() {
    let repo = Repo::new();
    let fields = "paths: [\"**/deploy.yaml\"]";
    repo.publish(&[("a/deploy.yaml", "service: a"), ("a/b/c/deploy.yaml", "service: c"), ("x", "1")]);
    let mut running =
        Running::start(config(&repo.bare().display().to_string(), fields, &repo.dir.path().join("cache")));
    assert_eq!(running.next().await.status.files, 2);
    for (files, count) in [
        (&[("x", "2")][..], 2),
        (&[("a/d/e/f/deploy.yaml", "service: f")], 3),
        (&[("a/b/c/deploy.yaml", ""), ("a/b/y", "1")], 2),
        (&[("a/b/y", ""), ("deploy.yaml", "service: root")], 3),
        (&[("a/b/c/deploy.yaml", "service: c")], 4),
        (&[("a/deploy.yaml", "service: a\nbroken: E_SYNTAX")], 4),
    ] {
        repo.publish(files);
        assert_eq!(look(&mut running, &repo).await.status.files, count, "{files:?}");
    }
    assert!(running.kept("a.production").contains("E_SYNTAX"));
    running.good("c.production");
}

/// A monorepo as they are: 300 services with 20 KB each, and some history.
fn mono() -> Repo {
    let repo = Repo::new();
    let mut files = Vec::new();
    let mut noise = 0_u64;
    for service in 0..300 {
        files.push((format!("services/s{service}/.idp/deploy.yaml"), format!("service: s{service}")));
        for file in 0..4 {
            let mut text = String::new();
            while text.len() < 5_000 {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                writeln!(text, "{noise:x}").unwrap();
            }
            files.push((format!("services/s{service}/src/f{file}"), text));
        }
    }
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    repo.commit(&files);
    for commit in 0..25 {
        repo.commit(&[("docs", &commit.to_string())]);
    }
    repo.push();
    repo
}

#[tokio::test]
async fn one_of_300_services_that_changes_costs_two_requests_five_kilobytes_and_nothing_of_the_others() {
    let repo = mono();
    let forge = Forge::start(repo.dir.path()).await;
    let mut running = started(&forge, &repo, PATHS);
    let report = running.next().await;
    assert_eq!((report.status.releases, report.stats.rendered), (300, 300), "{:?}", report.heads.problems);
    for push in 0..40 {
        let service = format!("services/s{}/src/f0", if push % 2 == 0 { 7 } else { 8 });
        let commit = repo.publish(&[(&service, &format!("{push}"))]);
        let report = running.look_at(&commit).await;
        let stats = report.stats;
        assert_eq!((stats.requests, stats.fetches, stats.rendered), (2, 1, 1), "push {push}");
        assert!(stats.bytes <= 5_000, "push {push}: {} bytes", stats.bytes);
        // The other of the two has one image more that would do; nobody else is told anything.
        assert!(report.heads.releases.len() <= 2, "push {push}: {:?}", report.heads.releases.keys());
    }
}
