//! How sources prove themselves, against real servers on this machine.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::testing::{APP_TOKEN, AppApi, Proxy, Tls};
use crate::source::fixture::{Repo, Running, config, config_with};
use crate::source::forge::{Fault, Forge, TOKEN, basic};
use crate::source::{Clients, Hosts, Trigger};

async fn world() -> (Repo, Forge, PathBuf) {
    let repo = Repo::new();
    repo.publish(&[(".idp/deploy.yaml", "service: a")]);
    let forge = Forge::start(repo.dir.path()).await;
    let cache = repo.dir.path().join("cache");
    std::fs::create_dir_all(&cache).unwrap();
    std::fs::write(cache.join("token"), format!("{TOKEN}\n")).unwrap();
    (repo, forge, cache)
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
}

/// Starts a source whose first look is a success.
async fn started(platform: &str, url: &str, fields: &str, cache: &Path) -> Running {
    let mut running = Running::start(config_with(platform, url, fields, cache));
    let report = running.next().await;
    assert!(report.up, "{:?}", report.heads.problems);
    running
}

/// Looks once more; returns what is wrong.
async fn look(running: &mut Running, trigger: Trigger) -> Option<String> {
    running.hint.send(trigger);
    let report = running.next().await;
    assert!(!format!("{report:?}").contains("canary"), "{report:?}");
    let problem = report.heads.problems.into_iter().next().map(|problem| problem.message);
    assert_eq!(report.up, problem.is_none());
    problem
}

#[tokio::test]
async fn sources_of_one_installation_share_a_token() {
    let (_repo, forge, cache) = world().await;
    let api = AppApi::start(&forge).await;
    let fields = api.credentials(&cache);
    let (clients, hosts) = (Clients::default(), Hosts::default());
    let start = |number: u8| {
        let config = config(&forge.url(), &fields, &cache.join(number.to_string()));
        Running::start_sharing(&clients, &hosts, config)
    };
    let mut all: Vec<Running> = (0..4).map(start).collect();
    for running in &mut all {
        let report = running.next().await;
        assert!(report.up, "{:?}", report.heads.problems);
        running.hint.send(Trigger::Poll);
        assert_eq!(running.next().await.stats.requests, 1, "a token that lasts costs no request");
    }
    assert_eq!(api.asked(), 1);
    let wanted = basic("x-access-token", &format!("{APP_TOKEN}1"));
    assert!(forge.got().into_iter().all(|given| given.as_ref() == Some(&wanted)));
}

#[tokio::test]
async fn a_token_that_is_refused_is_replaced_once_and_one_that_ends_in_time() {
    let (repo, forge, cache) = world().await;
    let api = AppApi::start(&forge).await;
    let mut running = started("{}", &forge.url(), &api.credentials(&cache), &cache).await;
    forge.take("Basic revoked");
    assert_eq!(look(&mut running, Trigger::Poll).await, None, "a poll gets another one");
    assert_eq!(api.asked(), 2);
    forge.take("Basic revoked");
    let second = repo.publish(&[("x", "2")]);
    running.look_at(&second).await;
    assert_eq!(api.asked(), 3, "and gix does");

    forge.got();
    forge.fail(Fault::Status(401, "x-nothing", String::new()));
    let said = look(&mut running, Trigger::Webhook).await.unwrap();
    assert!(said.contains("does not take these credentials"), "{said}");
    assert_eq!((api.asked(), forge.got().len()), (4, 2), "once anew, and no more");
    forge.heal();

    api.lasts.store(4 * 60, Ordering::SeqCst);
    forge.take("Basic revoked");
    assert_eq!(look(&mut running, Trigger::Webhook).await, None);
    let asked = api.asked();
    assert_eq!(look(&mut running, Trigger::Webhook).await, None);
    assert_eq!(api.asked(), asked + 1, "less than five minutes are left");
    api.lasts.store(6 * 60, Ordering::SeqCst);
    assert_eq!(look(&mut running, Trigger::Webhook).await, None);
    assert_eq!(look(&mut running, Trigger::Webhook).await, None);
    assert_eq!(api.asked(), asked + 2);
}

#[tokio::test]
async fn an_app_s_key_is_read_anew_and_what_is_wrong_is_said() {
    let (_repo, forge, cache) = world().await;
    let api = AppApi::start(&forge).await;
    let fields = api.credentials(&cache);
    let mut running = started("{}", &forge.url(), &fields, &cache).await;
    api.lasts.store(0, Ordering::SeqCst);
    forge.take("Basic revoked");
    assert_eq!(look(&mut running, Trigger::Webhook).await, None);
    api.rotate();
    let said = look(&mut running, Trigger::Webhook).await.unwrap();
    assert!(
        said.contains("GitHub App 12 (installation 34)") && said.contains("not a key of this App"),
        "{said}"
    );
    api.credentials(&cache);
    assert_eq!(look(&mut running, Trigger::Webhook).await, None, "the new key is in the file");
    for (status, part) in [
        (403, "suspended"),
        (404, "no such installation"),
        (422, "no repositories"),
        (429, "left alone for a while"),
        (500, "answers 500"),
        (200, "check api_url"),
    ] {
        api.status.store(status, Ordering::SeqCst);
        let said = if status == 429 { continue } else { look(&mut running, Trigger::Webhook).await };
        assert!(said.as_ref().is_some_and(|said| said.contains(part)), "{status}: {said:?}");
    }
    api.status.store(201, Ordering::SeqCst);
    for (pem, part) in [("canary", "no private key in PEM"), ("", "it is empty")] {
        write(&cache, "app.pem", pem);
        let said = look(&mut running, Trigger::Webhook).await.unwrap();
        assert!(said.contains("app.pem") && said.contains(part), "{said}");
    }
    std::fs::remove_file(cache.join("app.pem")).unwrap();
    assert!(look(&mut running, Trigger::Webhook).await.unwrap().contains("cannot read"));
    api.credentials(&cache);
    assert_eq!(look(&mut running, Trigger::Webhook).await, None);
}

#[tokio::test]
async fn a_token_alone_is_sent_as_bearer() {
    let (_repo, forge, cache) = world().await;
    forge.take(&format!("Bearer {TOKEN}"));
    started("{}", &forge.url(), "credentials: {bearer_token_file: token}", &cache).await;
}

#[tokio::test]
async fn credentials_of_an_address_reach_no_other_host_not_even_by_a_redirect() {
    let (repo, forge, cache) = world().await;
    let elsewhere = Forge::start_at("127.0.0.2:0", repo.dir.path()).await;
    let platform = format!("{{credentials: [{{url: \"http://{}/\", token_file: token}}]}}", forge.address);
    let mut running = started(&platform, &forge.url(), "", &cache).await;
    assert!(forge.got().iter().all(Option::is_some));
    for trigger in [Trigger::Poll, Trigger::Webhook] {
        for status in [301, 302, 307, 308] {
            forge.fail(Fault::Status(status, "location", format!("{}/info/refs", elsewhere.url())));
            let said = look(&mut running, trigger).await.unwrap();
            assert!(said.contains("sends us to"), "{said}");
            forge.heal();
            assert_eq!(look(&mut running, Trigger::Webhook).await, None);
            assert_eq!(look(&mut running, Trigger::Poll).await, None);
        }
    }
    assert_eq!(elsewhere.requests(), 0, "no redirect is followed");

    // A source there asks as anybody, whatever the platform knows of others.
    let other = repo.dir.path().join("other");
    std::fs::create_dir_all(&other).unwrap();
    write(&other, "token", TOKEN);
    let mut running = Running::start(config_with(&platform, &elsewhere.url(), "", &other));
    let said = running.next().await.heads.problems[0].message.clone();
    assert!(said.contains("it wants credentials"), "{said}");
    let got = elsewhere.got();
    assert!(!got.is_empty() && got.iter().all(Option::is_none), "{got:?}");
}

#[tokio::test]
async fn a_request_elsewhere_is_not_signed() {
    let (repo, forge, cache) = world().await;
    let elsewhere = Forge::start_at("127.0.0.2:0", repo.dir.path()).await;
    let access = config(&forge.url(), "credentials: {token_file: token}", &cache);
    let access = access.sources.into_values().next().unwrap().access.clone();
    let pass = Clients::default().pass(&forge.url().parse().unwrap(), &access).await.unwrap();
    let origin = format!("http://{}", forge.address);
    for url in [elsewhere.url(), format!("{origin}/origin.git.evil"), format!("{origin}/"), forge.url()] {
        pass.send(reqwest::Request::new(reqwest::Method::GET, url.parse().unwrap())).await.unwrap();
    }
    assert!(elsewhere.got().iter().all(Option::is_none));
    assert_eq!(forge.got().iter().map(Option::is_some).collect::<Vec<_>>(), [false, false, true]);
}

#[tokio::test]
async fn an_authority_is_trusted_as_long_as_its_file_says_and_connections_are_kept() {
    let (_repo, forge, cache) = world().await;
    let (tls, other) = (Tls::before(forge.address).await, Tls::before(forge.address).await);
    let url = format!("https://{}/origin.git", tls.address);
    write(&cache, "ca.pem", &other.ca);
    let fields = "credentials: {token_file: token}, ca_file: ca.pem";
    let mut running = Running::start(config(&url, fields, &cache));
    let said = running.next().await.heads.problems[0].message.clone();
    assert!(said.contains("cannot reach the repository") && said.contains("certificate"), "{said}");
    assert_eq!(forge.requests(), 0, "nothing is sent to who is not trusted");

    write(&cache, "ca.pem", &format!("{}{}", other.ca, tls.ca));
    assert_eq!(look(&mut running, Trigger::Webhook).await, None, "without a restart");
    for _ in 0..5 {
        assert_eq!(look(&mut running, Trigger::Poll).await, None);
    }
    // A look that follows at once may find the connection not given back yet.
    let connections = tls.connections.load(Ordering::SeqCst);
    assert!(connections < 4, "{connections} connections for {} requests", forge.requests());

    for (pem, part) in [("canary", "no certificates in PEM"), ("", "it is empty")] {
        write(&cache, "ca.pem", pem);
        let said = look(&mut running, Trigger::Webhook).await.unwrap();
        assert!(said.contains("ca.pem") && said.contains(part), "{said}");
    }
    write(&cache, "ca.pem", &other.ca);
    let said = look(&mut running, Trigger::Webhook).await.unwrap();
    assert!(said.contains("certificate"), "it is not trusted any more: {said}");
}

#[tokio::test]
async fn a_proxy_is_asked_with_its_password_read_anew_and_not_for_what_is_near() {
    let (_repo, forge, cache) = world().await;
    let proxy = Proxy::to(forge.address).await;
    proxy.want("me", "canary-one");
    write(&cache, "password", "canary-one\n");
    let near = "git.internal, 127.0.0.0/8";
    let platform = format!(
        "{{proxy: {{url: \"http://{}\", username: me, password_file: password, no_proxy: [{near}]}}}}",
        proxy.address
    );
    let fields = "credentials: {token_file: token}, insecure: true";
    // Nobody but the proxy knows this name.
    let mut running = started(&platform, "http://git.invalid/origin.git", fields, &cache).await;
    let seen = proxy.seen();
    assert!(!seen.is_empty());
    for (line, given) in seen {
        assert!(line.contains("http://git.invalid/origin.git/"), "{line}");
        assert_eq!(given, Some(basic("me", "canary-one")));
    }
    proxy.want("me", "canary-two");
    // The connection that is open was let in; another password is another client.
    write(&cache, "password", "canary-three");
    assert!(look(&mut running, Trigger::Webhook).await.is_some());
    assert!(
        running.kept("a.production").contains("the proxy does not take"),
        "{}",
        running.kept("a.production")
    );
    write(&cache, "password", "canary-two");
    assert_eq!(look(&mut running, Trigger::Webhook).await, None, "without a restart");
    proxy.seen();

    let direct = repo_folder(&cache, "direct");
    started(&platform, &forge.url(), "credentials: {token_file: token}", &direct).await;
    assert!(proxy.seen().is_empty(), "no_proxy");
}

#[tokio::test]
async fn https_goes_through_a_proxy_that_sees_neither_credentials_nor_words() {
    let (_repo, forge, cache) = world().await;
    let tls = Tls::before(forge.address).await;
    let proxy = Proxy::to(tls.address).await;
    write(&cache, "ca.pem", &tls.ca);
    let fields = format!(
        "credentials: {{token_file: token}}, ca_file: ca.pem, proxy: {{url: \"http://{}\"}}",
        proxy.address
    );
    started("{}", "https://git.internal/origin.git", &fields, &cache).await;
    let seen = proxy.seen();
    let wanted = ("CONNECT git.internal:443 HTTP/1.1".to_owned(), None);
    assert!(!seen.is_empty() && seen.iter().all(|seen| *seen == wanted), "{seen:?}");
}

/// Makes another folder for a source, with the files of the first.
fn repo_folder(cache: &Path, name: &str) -> PathBuf {
    let folder = cache.join(name);
    std::fs::create_dir_all(&folder).unwrap();
    for file in ["token", "password"] {
        std::fs::copy(cache.join(file), folder.join(file)).unwrap();
    }
    folder
}
