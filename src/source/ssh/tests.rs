//! The source loop over SSH, with a real server in this process.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, EcdsaCurve, PrivateKey};

use super::testing::{Fault, Server, key, write_key};
use crate::source::fixture::{Repo, Running, config};
use crate::source::{SourceReport, Trigger};

struct World {
    repo: Repo,
    server: Server,
    cache: PathBuf,
}

const FIELDS: &str = "credentials: {ssh: {private_key_file: key, known_hosts_file: known}}";

impl World {
    async fn new() -> Self {
        let repo = Repo::new();
        repo.publish(&[(".idp/deploy.yaml", "service: a")]);
        let server = Server::start(repo.dir.path()).await;
        let cache = repo.dir.path().join("cache");
        std::fs::create_dir_all(&cache).unwrap();
        let world = Self { repo, server, cache };
        world.use_key(&key(Algorithm::Ed25519));
        world.know(&world.server.known());
        world
    }

    /// Gives the source a key that the server takes.
    fn use_key(&self, key: &PrivateKey) {
        write_key(&self.cache.join("key"), key);
        self.server.allow(key);
    }

    fn know(&self, lines: &str) {
        std::fs::write(self.cache.join("known"), lines).unwrap();
    }

    fn start(&self, fields: &str) -> Running {
        let path = format!("{}/origin.git", self.repo.dir.path().display());
        Running::start(config(&self.server.url(&path), fields, &self.cache))
    }

    /// Starts with a look that is a success.
    async fn started(&self) -> Running {
        let mut running = self.start(FIELDS);
        let report = running.next().await;
        assert!(report.up, "{:?}", report.heads.problems);
        running
    }
}

async fn look(running: &mut Running, trigger: Trigger) -> SourceReport {
    running.hint.send(trigger);
    running.next().await
}

/// Looks once more; returns what is wrong.
async fn problem(running: &mut Running) -> String {
    let report = look(running, Trigger::Webhook).await;
    assert!(!report.up);
    report.heads.problems[0].message.clone()
}

#[tokio::test]
async fn a_push_is_fetched_and_an_idle_poll_is_one_session_that_fetches_nothing() {
    let world = World::new().await;
    let mut running = world.started().await;
    assert_eq!(running.good("a.production").revision.commit.as_str(), world.repo.head());
    world.server.commands();
    for _ in 0..3 {
        let report = look(&mut running, Trigger::Poll).await;
        assert!(report.up && !report.status_changed);
        assert_eq!((report.stats.requests, report.stats.fetches), (1, 0));
        assert!(report.stats.bytes < 1_000, "{}", report.stats.bytes);
        let commands = world.server.commands();
        assert!(
            commands.len() == 1 && commands[0].starts_with("version=2 git-upload-pack '/"),
            "{commands:?}"
        );
    }
    let second = world.repo.publish(&[("x", "2")]);
    let report = look(&mut running, Trigger::Poll).await;
    assert_eq!(report.commit.unwrap().as_str(), second);
    assert_eq!((report.stats.requests, report.stats.fetches), (1, 1), "the same session");
    let ended = async {
        while world.server.open.load(Ordering::SeqCst) > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), ended).await.expect("no session stays open");
}

#[tokio::test]
async fn a_server_that_speaks_an_older_protocol_is_understood() {
    let world = World::new().await;
    world.server.fail(Some(Fault::OldProtocol));
    let mut running = world.started().await;
    let second = world.repo.publish(&[("x", "2")]);
    running.look_at(&second).await;
}

#[tokio::test]
async fn history_is_deepened_over_ssh() {
    let world = World::new().await;
    for _ in 0..40 {
        world.repo.commit(&[]);
    }
    world.repo.push();
    let first = world.repo.work(&["rev-list", "--max-parents=0", "HEAD"]);
    let running = world.started().await;
    assert_eq!(running.good("a.production").revision.commit.as_str(), first);
}

#[tokio::test]
async fn a_path_is_one_word_of_the_server_s_shell_whatever_is_in_it() {
    let repo = Repo::new();
    repo.publish(&[(".idp/deploy.yaml", "service: a")]);
    let name = "o'r; touch $HOME `touch evil` \"&& !! i.git";
    std::fs::rename(repo.bare(), repo.dir.path().join(name)).unwrap();
    let server = Server::start(repo.dir.path()).await;
    let cache = repo.dir.path().join("cache");
    std::fs::create_dir_all(&cache).unwrap();
    let private = key(Algorithm::Ed25519);
    write_key(&cache.join("key"), &private);
    server.allow(&private);
    std::fs::write(cache.join("known"), server.known()).unwrap();
    let url = server.url(&format!("{}/{name}", repo.dir.path().display())).replace('"', "\\\"");
    let mut running = Running::start(config(&url, FIELDS, &cache));
    let report = running.next().await;
    assert!(report.up, "{:?}", report.heads.problems);
    assert!(!repo.dir.path().join("evil").exists());
    assert_eq!(super::command("/~git/a"), "git-upload-pack '~git/a'");
    assert_eq!(super::command("a'b!c"), "git-upload-pack 'a'\\''b'\\!'c'");
}

#[tokio::test]
async fn a_server_whose_key_is_not_pinned_gets_nothing_and_is_named() {
    let world = World::new().await;
    let right = world.server.known();
    let mut running = world.started().await;
    let logins = world.server.logins();
    let line = right.trim().to_owned();
    let mine = world.server.fingerprint();

    world.know("# nobody\n");
    let said = problem(&mut running).await;
    assert!(said.contains(&mine) && said.contains("names none for it") && said.contains(&line), "{said}");
    world.know(&right);
    assert!(look(&mut running, Trigger::Webhook).await.up, "the file is read anew");
    let logins = logins + 1;

    world.server.have(&[&key(Algorithm::Ed25519)]);
    let other = world.server.fingerprint();
    let said = problem(&mut running).await;
    assert!(said.contains(&other) && said.contains("somebody may be in between"), "{said}");
    world.server.have(&[&key(Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 })]);
    let said = problem(&mut running).await;
    assert!(
        said.contains("ecdsa-sha2-nistp256 SHA256:") && said.contains("in between"),
        "another type: {said}"
    );
    world.know(&format!("{}@revoked {}", world.server.known(), world.server.known()));
    assert!(problem(&mut running).await.contains("revokes"));
    world.know(&format!("{right}\nbroken line\n"));
    assert!(problem(&mut running).await.contains("line 3 of"));
    assert_eq!(world.server.logins(), logins, "no key of ours was shown");

    world.know(&world.server.known());
    assert!(look(&mut running, Trigger::Webhook).await.up);
    running.good("a.production");
}

#[tokio::test]
async fn of_several_keys_the_server_shows_the_one_that_is_pinned() {
    let world = World::new().await;
    let ecdsa = key(Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 });
    world.server.have(&[&ecdsa]);
    let pinned = ecdsa.public_key().to_openssh().unwrap();
    world.server.have(&[&key(Algorithm::Ed25519), &ecdsa]);
    let fields = format!("credentials: {{ssh: {{private_key_file: key, host_keys: [\"{pinned}\"]}}}}");
    let report = world.start(&fields).next().await;
    assert!(report.up, "{:?}", report.heads.problems);
}

#[tokio::test]
async fn an_rsa_key_of_a_server_is_known_too() {
    let world = World::new().await;
    let folder = world.repo.dir.path();
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "rsa", "-b", "2048", "-N", "", "-f"])
        .arg(folder.join("rsa"))
        .status()
        .unwrap();
    assert!(made.success());
    let rsa = PrivateKey::read_openssh_file(folder.join("rsa")).unwrap();
    world.server.have(&[&rsa]);
    world.know(&world.server.known());
    world.started().await;
    // As a key of ours it is refused: the one implementation that could sign with it leaks by its timing.
    write_key(&world.cache.join("key"), &rsa);
    let report = world.start(FIELDS).next().await;
    assert!(
        report.heads.problems[0].message.contains("ssh-keygen -t ed25519"),
        "{:?}",
        report.heads.problems
    );
}

#[tokio::test]
async fn our_key_is_read_anew_and_what_is_wrong_with_it_is_said() {
    let world = World::new().await;
    let mut running = world.started().await;
    let stranger = key(Algorithm::Ed25519);
    write_key(&world.cache.join("key"), &stranger);
    let said = problem(&mut running).await;
    let public = stranger.public_key().to_openssh().unwrap();
    assert!(said.contains("does not take the key for git") && said.contains(&public), "{said}");
    world.server.allow(&stranger);
    assert!(look(&mut running, Trigger::Webhook).await.up);

    let locked = stranger.encrypt(&mut russh::keys::key::safe_rng(), "canary-phrase").unwrap();
    let locked = locked.to_openssh(LineEnding::LF).unwrap();
    for (text, part) in [
        (locked.as_str(), "is encrypted"),
        (public.as_str(), "the public half"),
        ("canary", "no private key of OpenSSH"),
        ("", "it is empty"),
    ] {
        std::fs::write(world.cache.join("key"), text).unwrap();
        let said = problem(&mut running).await;
        assert!(said.contains(part) && said.contains("/key") && !said.contains("canary"), "{said}");
    }
    std::fs::write(world.cache.join("key"), locked.as_str()).unwrap();
    let fields = FIELDS.replace("{private", "{passphrase_file: phrase, private");
    std::fs::write(world.cache.join("phrase"), "canary-wrong").unwrap();
    let mut running = world.start(&fields);
    let said = running.next().await.heads.problems[0].message.clone();
    assert!(said.contains("the passphrase does not open it") && !said.contains("canary"), "{said}");
    std::fs::write(world.cache.join("phrase"), "canary-phrase\n").unwrap();
    assert!(look(&mut running, Trigger::Webhook).await.up, "it is read anew");
}

#[tokio::test]
async fn whatever_the_server_does_the_last_good_answer_stays() {
    let world = World::new().await;
    let mut running = world.started().await;
    world.repo.publish(&[("x", &"2".repeat(100_000))]);
    for (fault, part) in [
        (
            Fault::Says("ERROR: Repository not\nfound.\x1b[31m"),
            "gives no repository over SSH: ERROR: Repository not found.",
        ),
        (Fault::NoPrograms, "does not run git-upload-pack"),
        (Fault::Garbage, "fetch from the repository"),
        (Fault::Endless, "more than"),
        (Fault::Cut(600), "fetch from the repository"),
    ] {
        world.server.fail(Some(fault.clone()));
        let said = problem(&mut running).await;
        assert!(said.contains(part) && !said.contains('\x1b'), "{fault:?}: {said}");
        assert!(running.kept("a.production").contains(part));
    }
    world.server.fail(None);
    assert!(look(&mut running, Trigger::Webhook).await.up);
    running.good("a.production");
}

#[tokio::test]
async fn a_look_over_ssh_ends_with_the_daemon_within_a_second() {
    for fault in [Fault::Silence, Fault::SlowPack] {
        let world = World::new().await;
        let mut running = world.started().await;
        world.repo.publish(&[("x", "2")]);
        world.server.fail(Some(fault.clone()));
        world.server.commands();
        running.hint.send(Trigger::Webhook);
        let asked = async {
            while world.server.commands().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), asked).await.unwrap();
        running.stop.cancel();
        let task = running.task.take().unwrap();
        tokio::time::timeout(Duration::from_secs(1), task).await.expect("within a second").unwrap().unwrap();
    }
}
