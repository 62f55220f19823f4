//! A source that takes signed commits only, on a real repository: what is not signed stays outside, and the reason is told.

use gix::objs::Write as _;

use super::fixture::{Repo, Running, config};
use super::forge::{Forge, started};
use super::signature::testing::Pair;
use super::*;

/// Commits files with a signature and pushes; returns the commit's id.
fn publish(repo: &Repo, pair: &Pair, files: &[(&str, &str)]) -> String {
    repo.commit(files);
    let opened = gix::open(repo.dir.path().join("work")).unwrap();
    let payload = opened.head_commit().unwrap().data.clone();
    let id = opened.objects.write_buf(gix::objs::Kind::Commit, &pair.signed(&payload)).unwrap().to_string();
    repo.work(&["reset", "-q", "--soft", &id]);
    repo.push();
    id
}

#[tokio::test]
async fn only_what_is_signed_by_an_allowed_key_is_taken() {
    let repo = Repo::new();
    let (alice, mallory) = (Pair::ed25519(), Pair::ed25519());
    let keys = repo.dir.path().join("keys");
    std::fs::write(&keys, alice.line("")).unwrap();
    let first = publish(&repo, &alice, &[(".idp/deploy.yaml", "service: web"), ("x", "1")]);
    let fields = format!("signatures: {{allowed: [{}]}}", keys.display());
    let url = repo.bare().display().to_string();
    let mut running = Running::start(config(&url, &fields, &repo.dir.path().join("cache")));
    let report = running.next().await;
    assert!(report.up, "{:?}", report.heads.problems);
    assert_eq!(report.commit.unwrap().as_str(), first);
    let identity = running.good("web.production").identity.clone();

    let unsigned = repo.publish(&[("x", "2")]);
    let report = running.until(|report| !report.up).await;
    assert_eq!(report.commit.unwrap().as_str(), first, "the branch is as it was");
    let problem = &report.heads.problems[0];
    assert_eq!(problem.commit.as_deref(), Some(&*unsigned), "its status says why");
    let reason = running.kept("web.production");
    assert_eq!(reason, problem.message);
    assert!(reason.starts_with(&format!("commit {} is not signed: ", &unsigned[..10])), "{reason}");
    assert_eq!(running.take_rendered().len(), 1, "nothing of it is read");

    publish(&repo, &mallory, &[("x", "3")]);
    running.until(|report| report.heads.problems.iter().any(|p| p.message.contains("an unknown key"))).await;
    assert!(running.kept("web.production").contains("an unknown key SHA256:"));

    let good = publish(&repo, &alice, &[("x", "4")]);
    let report = running.look_at(&good).await;
    assert!(report.up && report.heads.problems.is_empty());
    assert_ne!(running.good("web.production").identity, identity);

    for (text, reason) in [
        (None, "no commit is accepted while the keys in "),
        (Some("nonsense".to_owned()), "cannot be read: line 1: write NAME"),
        (Some(alice.line("valid-before=20260101")), "which expired at 2026-01-01T00:00:00Z"),
        (Some(mallory.line("")), "an unknown key SHA256:"),
    ] {
        match text {
            None => std::fs::remove_file(&keys).unwrap(),
            Some(text) => std::fs::write(&keys, text).unwrap(),
        }
        running.hint.send(Trigger::Webhook);
        let told = |report: &SourceReport| report.heads.problems.iter().any(|p| p.message.contains(reason));
        let report = running.until(told).await;
        assert_eq!(report.commit.unwrap().as_str(), good);
        assert!(!report.up && running.kept("web.production").contains(reason));
    }
    std::fs::write(&keys, alice.line("")).unwrap();
    running.hint.send(Trigger::Webhook);
    running.until(|report| report.up).await;
    running.good("web.production");
}

#[tokio::test]
async fn a_source_whose_first_commit_is_not_signed_declares_nothing() {
    let repo = Repo::new();
    let keys = repo.dir.path().join("keys");
    std::fs::write(&keys, Pair::ed25519().line("")).unwrap();
    let unsigned = repo.publish(&[(".idp/deploy.yaml", "service: web")]);
    let fields = format!("signatures: {{allowed: [{}]}}", keys.display());
    let url = repo.bare().display().to_string();
    let mut running = Running::start(config(&url, &fields, &repo.dir.path().join("cache")));
    let report = running.next().await;
    assert!(!report.up && report.commit.is_none() && running.heads.is_empty());
    assert_eq!(report.heads.problems[0].commit.as_deref(), Some(&*unsigned));
    assert_eq!(report.status.problem_count, 1);
    assert!(running.take_rendered().is_empty());
}

#[tokio::test]
async fn keys_are_asked_anew_where_a_poll_finds_nothing_new() {
    let repo = Repo::new();
    let alice = Pair::ed25519();
    let keys = repo.dir.path().join("keys");
    std::fs::write(&keys, alice.line("")).unwrap();
    let commit = publish(&repo, &alice, &[(".idp/deploy.yaml", "service: web")]);
    let forge = Forge::start(repo.dir.path()).await;
    let mut running = started(&forge, &repo, &format!("signatures: {{allowed: [{}]}}", keys.display()));
    assert!(running.next().await.up);
    running.hint.send(Trigger::Poll);
    running.next().await;
    for (line, reason) in [
        (alice.line("valid-after=29990101"), Some("valid only from 2999-01-01T00:00:00Z")),
        (alice.line(""), None),
        (String::new(), Some("there is no key in it")),
        (alice.line(""), None),
    ] {
        std::fs::write(&keys, line).unwrap();
        running.hint.send(Trigger::Poll);
        let report = running.until(|report| report.up == reason.is_none()).await;
        assert_eq!((report.stats.requests, report.stats.fetches), (1, 0), "an idle poll stays one request");
        match reason {
            Some(reason) => {
                let problem = &report.heads.problems[0];
                assert_eq!(problem.commit.as_deref(), Some(&*commit));
                assert!(problem.message.contains(reason), "{}", problem.message);
                assert!(running.kept("web.production").contains(reason));
            }
            None => assert!(running.good("web.production").revision.commit.as_str() == commit),
        }
    }
}

#[tokio::test]
async fn what_git_signs_is_taken_and_git_takes_what_is_signed_here() {
    let repo = Repo::new();
    let path = |name: &str| repo.dir.path().join(name).display().to_string();
    let key = path("key");
    let made =
        std::process::Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &key]).status();
    if !made.is_ok_and(|status| status.success()) {
        eprintln!(
            "SKIPPED what_git_signs_is_taken_and_git_takes_what_is_signed_here: there is no ssh-keygen"
        );
        return;
    }
    let alice = Pair::ed25519();
    let public = std::fs::read_to_string(path("key.pub")).unwrap();
    std::fs::write(path("keys"), format!("{}alice@example.com {public}", alice.line(""))).unwrap();
    let ours = publish(&repo, &alice, &[(".idp/deploy.yaml", "service: web"), ("x", "1")]);
    repo.work(&["-c", &format!("gpg.ssh.allowedSignersFile={}", path("keys")), "verify-commit", &ours]);

    let fields = format!("signatures: {{allowed: [{}]}}", path("keys"));
    let url = repo.bare().display().to_string();
    let mut running = Running::start(config(&url, &fields, &repo.dir.path().join("cache")));
    assert!(running.next().await.up);
    repo.commit(&[("x", "2")]);
    let signer = format!("user.signingkey={key}");
    let how = ["-c", "gpg.format=ssh", "-c", &signer, "commit", "-q", "--amend", "--no-edit", "-S"];
    repo.work(&how);
    repo.push();
    let report = running.look_at(&repo.head()).await;
    assert!(report.up, "{:?}", report.heads.problems);
}
