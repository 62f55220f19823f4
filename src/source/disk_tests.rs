//! The mirrors' disk: what many fetches leave, what a killed one leaves, how much all together may take, and a disk that is full,
//! read-only or not there.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use super::fixture::{Repo, Running, config};
use super::forge::{Forge, TOKEN, started};
use super::mirror::{Mirror, Order};
use super::remote::Remote;
use super::*;
use crate::config::Config;

fn configured(name: &str, forge: &Forge, folder: &Path) -> Config {
    let cache = folder.join("cache");
    std::fs::create_dir_all(&cache).unwrap();
    std::fs::write(cache.join("token"), TOKEN).unwrap();
    let mut config = config(&forge.url(), "credentials: {token_file: token},", &cache);
    let mut source = config.sources.pop_first().unwrap().1;
    Arc::make_mut(&mut source).name = name.parse().unwrap();
    config.sources.insert(source.name.clone(), source);
    config
}

fn set_main(bare: &Path, commit: &str) {
    std::fs::write(bare.join("refs/heads/main"), format!("{commit}\n")).unwrap();
}

/// Text that does not compress: an LCG's output.
fn noise(bytes: usize) -> String {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'!' + u8::try_from(state >> 58).unwrap())
    };
    (0..bytes).map(|_| next()).collect()
}

fn files(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let all = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| path.extension().is_some_and(|found| found == extension)).collect()
}

async fn stop(mut running: Running) {
    running.stop.cancel();
    running.task.take().unwrap().await.unwrap().unwrap();
}

fn fsck(mirror: &Path) {
    let output = Command::new("git").args(["fsck", "--strict"]).current_dir(mirror).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn fifty_packs_become_one_without_a_byte_over_the_wire() {
    let repo = Repo::new();
    let mut commits = vec![repo.commit(&[(".idp/deploy.yaml", "service: a"), ("big", &noise(300_000))])];
    commits.extend((0..54).map(|number| repo.commit(&[("docs/x.md", &format!("{number}"))])));
    repo.push();
    set_main(&repo.bare(), &commits[0]);
    let forge = Forge::start(repo.dir.path()).await;
    let mut running = started(&forge, &repo, "");
    running.next().await;
    let packs = repo.dir.path().join("cache/git/a/objects/pack");
    let (fill, more) = commits[1..].split_at(50);
    for (number, commit) in fill.iter().enumerate() {
        // Nothing is put in order yet: each push leaves one more.
        assert_eq!(files(&packs, "pack").len(), number + 1);
        set_main(&repo.bare(), commit);
        let report = running.look_at(commit).await;
        assert!(report.stats.bytes < 20_000, "{} bytes", report.stats.bytes);
    }
    let one = async {
        while files(&packs, "pack").len() > 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), one).await.expect("nobody waits: it is put in order");
    for commit in more {
        set_main(&repo.bare(), commit);
        running.look_at(commit).await;
    }
    assert_eq!(forge.packs(), commits.len());
    assert!(
        files(&packs, "pack").len() <= 6
            && files(&packs, "idx").len() <= 6
            && files(&packs, "keep").is_empty()
    );
    fsck(&repo.dir.path().join("cache/git/a"));
    assert!(running.take_rendered().len() == 1, "nothing that is watched moved");

    // A fresh start on the tidy mirror knows as much: the history that it needs is deepened again.
    let good = running.good("a.production").clone();
    stop(running).await;
    let mut again = started(&forge, &repo, "");
    assert!(again.next().await.up);
    assert_eq!(again.good("a.production").revision, good.revision);
    assert_eq!(again.good("a.production").image, good.image);
}

#[test]
fn many_packs_are_put_into_one_when_nobody_waits_and_very_many_whoever_does() {
    let folder = tempfile::tempdir().unwrap();
    let packs = folder.path().join("git/a/objects/pack");
    std::fs::create_dir_all(&packs).unwrap();
    let config = config("https://git.example.com/a.git", "", folder.path());
    let remote = Remote::of(config.sources.values().next().unwrap()).unwrap();
    let mirror = Mirror::new(remote, folder.path().join("git/a"));
    for number in 1..=101 {
        std::fs::write(packs.join(format!("pack-{number}.pack")), "").unwrap();
        let expected = match number {
            0..=50 => Order::Fine,
            51..=100 => Order::Untidy,
            _ => Order::Overdue,
        };
        assert_eq!(mirror.order(), expected, "{number}");
    }
}

#[tokio::test]
async fn what_a_killed_fetch_left_and_mirrors_of_nobody_are_gone_after_a_start() {
    let repo = Repo::new();
    repo.publish(&[(".idp/deploy.yaml", "service: a")]);
    let forge = Forge::start(repo.dir.path()).await;
    let mut running = started(&forge, &repo, "");
    running.next().await;
    stop(running).await;
    let git = repo.dir.path().join("cache/git");
    let left = [
        "a/shallow.lock",
        "a/refs/heads/main.lock",
        "a/objects/pack/.tmpQ3xZ1a",
        "a/objects/pack/pack-1111111111111111111111111111111111111111.pack",
        "a/objects/pack/pack-2222222222222222222222222222222222222222.idx",
        "gone/objects/pack/x.pack",
        "stray",
    ];
    std::fs::create_dir_all(git.join("gone/objects/pack")).unwrap();
    for path in left {
        std::fs::write(git.join(path), "x").unwrap();
    }
    let second = repo.publish(&[("x", "2")]);
    let mut running = started(&forge, &repo, "");
    let report = running.next().await;
    assert!(report.up, "{:?}", report.heads.problems);
    assert_eq!(report.commit.unwrap().as_str(), second);
    for path in left.iter().chain(&["gone"]) {
        assert!(!git.join(path).exists(), "{path}");
    }
    assert_eq!(forge.packs(), 2, "what was good was kept");

    // The folder is this loop's: another process would delete nothing.
    std::fs::write(git.join("stray"), "x").unwrap();
    drop(Cache::open(&repo.dir.path().join("cache"), 1, []));
    assert!(git.join("stray").exists() && git.join("a").exists());
}

#[tokio::test]
async fn over_the_limit_the_mirror_that_changed_least_recently_goes_and_nothing_else_is_lost() {
    let (one, two) = (Repo::new(), Repo::new());
    let folder = tempfile::tempdir().unwrap();
    for repo in [&one, &two] {
        repo.publish(&[(".idp/deploy.yaml", "service: a"), ("big", &noise(400_000))]);
    }
    let forges = [Forge::start(one.dir.path()).await, Forge::start(two.dir.path()).await];
    let names = ["one", "two"].map(|name| name.parse().unwrap());
    let cache = Cache::open(&folder.path().join("cache"), 600_000, names);
    let run = |name, forge| {
        Running::start_in(
            cache.clone(),
            &Clients::default(),
            &Hosts::default(),
            configured(name, forge, folder.path()),
        )
    };
    let sizes = || cache.bytes().into_iter().map(|(_, bytes)| bytes).collect::<Vec<_>>();
    assert_eq!(sizes(), [0, 0]);
    let mut first = run("one", &forges[0]);
    let commit = first.next().await.commit;
    assert!(sizes()[0] > 300_000 && sizes()[1] == 0, "{:?}", sizes());
    let mut second = run("two", &forges[1]);
    assert!(second.next().await.up);
    assert!(sizes()[0] == 0 && sizes()[1] > 300_000, "{:?}", sizes());
    assert!(!folder.path().join("cache/git/one").exists());

    first.hint.send(Trigger::Poll);
    let report = first.next().await;
    assert!(report.up && report.commit == commit && report.stats.fetches == 0, "an idle poll needs none");
    first.good("a.production");
    let pushed = one.publish(&[("x", "2")]);
    first.look_at(&pushed).await;
    assert_eq!(first.good("a.production").revision.commit.as_str(), pushed);
    assert!(sizes()[0] > 300_000 && sizes()[1] == 0, "now the other one: {:?}", sizes());
    second.good("a.production");
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_an_error_that_heals() {
    let repo = Repo::new();
    let first = repo.publish(&[(".idp/deploy.yaml", "service: a")]);
    let forge = Forge::start(repo.dir.path()).await;
    let git = repo.dir.path().join("cache/git");
    std::fs::create_dir_all(repo.dir.path().join("cache")).unwrap();
    std::fs::write(&git, "a file").unwrap();
    let mut running = started(&forge, &repo, "");
    let report = running.next().await;
    let message = &report.heads.problems[0].message;
    assert!(
        !report.up && message.contains("cannot keep the mirror in") && message.contains("cache_dir"),
        "{message}"
    );
    std::fs::remove_file(&git).unwrap();
    running.look_at(&first).await;
    running.good("a.production");

    // A file where the mirror belongs is in nobody's way.
    std::fs::remove_dir_all(git.join("a")).unwrap();
    std::fs::write(git.join("a"), "a file").unwrap();
    let second = repo.publish(&[("x", "2")]);
    running.look_at(&second).await;
}

/// Runs a test of this file again, in a process of its own after a shell's commands. It finds the folder in the variable.
fn apart(shell: &[&str], test: &str, folder: &Path) -> Output {
    let program = std::env::current_exe().unwrap();
    let (first, rest) = shell.split_first().unwrap();
    let mut command = Command::new(first);
    command.args(rest).arg(program).args(["--exact", "--nocapture", "--test-threads=1", test]);
    command.env(FOLDER, folder).output().unwrap()
}

const FOLDER: &str = "IDP_TEST_DISK";

/// A repository whose `main` is small, and beside it a large commit and another small one; their ids are in `ids`.
fn prepared() -> Repo {
    let repo = Repo::new();
    let first = repo.commit(&[(".idp/deploy.yaml", "service: a")]);
    let large = repo.commit(&[("big", &noise(3_000_000))]);
    repo.work(&["push", "-q", "origin", "HEAD:refs/heads/large"]);
    repo.work(&["reset", "-q", "--hard", &first]);
    let small = repo.commit(&[("x", "2")]);
    repo.work(&["push", "-q", "origin", "HEAD:refs/heads/small"]);
    set_main(&repo.bare(), &first);
    std::fs::create_dir_all(repo.dir.path().join("cache")).unwrap();
    std::fs::write(repo.dir.path().join("ids"), [first, large, small].join(" ")).unwrap();
    repo
}

fn passed(output: &Output) {
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
fn a_file_that_may_not_grow_is_an_error_that_heals() {
    let repo = prepared();
    // The kernel's own refusal in the midst of a pack, without any rights: the signal ignored, the write fails.
    let limited = "trap '' XFSZ; ulimit -f 512; exec \"$0\" \"$@\"";
    passed(&apart(&["sh", "-c", limited], "source::disk_tests::apart_room_runs_out", repo.dir.path()));
}

#[test]
fn a_full_disk_and_a_read_only_one_are_errors_that_heal() {
    let works = Command::new("unshare").args(["-rm", "mount", "-t", "tmpfs", "none", "/mnt"]).output();
    if works.is_ok_and(|output| output.status.success()) {
        for test in ["apart_room_runs_out", "apart_a_disk_becomes_read_only"] {
            let repo = prepared();
            let cache = repo.dir.path().join("cache");
            let mounted =
                format!("mount -t tmpfs -o size=2m none '{}' && exec \"$0\" \"$@\"", cache.display());
            let test = format!("source::disk_tests::{test}");
            passed(&apart(&["unshare", "-rm", "sh", "-c", &mounted], &test, repo.dir.path()));
        }
    } else {
        eprintln!("SKIPPED: this machine allows no mounts of one's own (unshare -rm)");
    }
}

struct Apart {
    running: Running,
    bare: PathBuf,
    ids: Vec<String>,
    folder: PathBuf,
}

/// Begins a test that [`apart`] runs; `None` where nobody does.
async fn begin() -> Option<Apart> {
    let folder = PathBuf::from(std::env::var_os(FOLDER)?);
    let forge = Forge::start(&folder).await;
    let config = configured("a", &forge, &folder);
    let ids = std::fs::read_to_string(folder.join("ids")).unwrap();
    let ids: Vec<String> = ids.split(' ').map(str::to_owned).collect();
    let mut running = Running::start(config);
    let report = running.next().await;
    assert!(report.up, "{:?}", report.heads.problems);
    assert_eq!(report.commit.unwrap().as_str(), ids[0]);
    Some(Apart { running, bare: folder.join("origin.git"), ids, folder })
}

impl Apart {
    /// Has a head looked at that cannot be kept; returns why.
    async fn refused(&mut self, head: usize) -> String {
        set_main(&self.bare, &self.ids[head]);
        self.running.hint.send(Trigger::Webhook);
        let report = self.running.until(|report| !report.up).await;
        assert_eq!(report.commit.unwrap().as_str(), self.ids[0], "the last good one");
        let packs = self.folder.join("cache/git/a/objects/pack");
        assert_eq!(std::fs::read_dir(packs).unwrap().count(), 2, "nothing half is left");
        self.running.kept("a.production").to_owned()
    }
}

#[tokio::test]
async fn apart_room_runs_out() {
    let Some(mut apart) = begin().await else { return };
    for _ in 0..4 {
        let why = apart.refused(1).await;
        assert!(why.contains("cannot keep the mirror in") && why.contains("make room there"), "{why}");
    }
    set_main(&apart.bare, &apart.ids[2]);
    let small = apart.ids[2].clone();
    apart.running.look_at(&small).await;
    apart.running.good("a.production");
}

#[tokio::test]
async fn apart_a_disk_becomes_read_only() {
    let Some(mut apart) = begin().await else { return };
    let remount = |how: &str| {
        let options = format!("remount,{how}");
        let done = Command::new("mount").args(["-o", &options]).arg(apart.folder.join("cache")).status();
        assert!(done.unwrap().success());
    };
    remount("ro");
    set_main(&apart.bare, &apart.ids[2]);
    let mut why = String::new();
    for _ in 0..4 {
        apart.running.hint.send(Trigger::Webhook);
        let report = apart.running.until(|report| !report.up).await;
        assert_eq!(report.commit.unwrap().as_str(), apart.ids[0]);
        why = apart.running.kept("a.production").to_owned();
    }
    assert!(why.contains("mount it so that it can be written"), "{why}");
    remount("rw");
    let small = apart.ids[2].clone();
    apart.running.look_at(&small).await;
    apart.running.good("a.production");
}
