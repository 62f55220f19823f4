//! No secret of a source stands in anything that comes out: every kind of credentials goes through every kind of failure in a process
//! of its own, with every line of every library's log, and what that printed is searched for them in all their forms.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use russh::keys::Algorithm;
use russh::keys::ssh_key::LineEnding;

use super::auth::testing::{APP_TOKEN, AppApi, Proxy, Tls, pems};
use super::fixture::{Repo, Running, config_with};
use super::forge::{Fault, Forge, basic};
use super::ssh::testing::{self as ssh, Server};
use super::{Clients, Trigger};
use crate::config::{self, Config};

/// Where the second process finds its folder.
const FOLDER: &str = "IDP_REDACTION_FOLDER";

/// One secret a kind; the files are named after it.
const SECRETS: [(&str, &str); 9] = [
    ("token", "canary-token-Zq7+/x?9&u=1"),
    ("bearer", "canary-bearer-Kd3_hT5~pW0"),
    ("proxy", "canary-proxy-Vb8 nM2:cX4@"),
    ("phrase", "canary-phrase-Lr6 gF1%yS7"),
    ("registry", "canary-registry-Oj5^aE9!kU3"),
    ("hook", "canary-hook-Ty4*mD8(qI2"),
    ("hook-two", "canary-second-hook-Hn0)wB6{eR1"),
    ("status", "canary-status-Pz1}vC7[fG5"),
    ("kafka", "canary-kafka-Xs9]uA3|dJ6"),
];
/// The one that comes from a variable.
const VARIABLE: (&str, &str) = ("IDP_CANARY_TOKEN", "canary-variable-Ym2<bQ8>oL4");

#[test]
fn no_secret_comes_out_in_any_form() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return everything_fails(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "source::redaction_tests::no_secret_comes_out_in_any_form", "--nocapture"])
        .env(FOLDER, folder.path())
        .env(VARIABLE.0, VARIABLE.1)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text:.10000}");
    // It did what it says, down to the libraries' own logs.
    for wanted in [
        "TRACE",
        "russh",
        "hyper_util",
        "DONE",
        "in between",
        "answers 403",
        "sends us to",
        "the passphrase does not",
    ] {
        assert!(text.contains(wanted), "{wanted} is missing");
    }
    let mut secrets: Vec<Vec<u8>> = SECRETS.iter().map(|(_, secret)| secret.as_bytes().to_vec()).collect();
    secrets.extend([VARIABLE.1.as_bytes().to_vec(), APP_TOKEN.as_bytes().to_vec()]);
    let made = std::fs::read_to_string(folder.path().join("made")).unwrap();
    secrets.extend(made.lines().map(|line| hex::decode(line).unwrap()));
    assert!(secrets.len() > 13, "keys were made");
    for secret in &secrets {
        for form in forms(secret) {
            if let Some(at) = text.find(&form) {
                let around: String = text[..at].chars().rev().take(300).collect();
                let around: String = around.chars().rev().collect();
                panic!("{form:?} of {:?} after {around:?}", String::from_utf8_lossy(secret));
            }
        }
    }
}

/// Returns a secret as it could be printed: raw, escaped, in hexadecimal, percent-encoded, as a list of bytes, and in base64 wherever in a
/// longer text it stands.
fn forms(secret: &[u8]) -> Vec<String> {
    let (mut lower, mut upper, mut percent, mut all_percent) = Default::default();
    for byte in secret {
        write!(&mut lower as &mut String, "{byte:02x}").unwrap();
        write!(&mut upper as &mut String, "{byte:02X}").unwrap();
        write!(&mut all_percent as &mut String, "%{byte:02X}").unwrap();
        if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
            write!(&mut percent as &mut String, "{}", char::from(*byte)).unwrap();
        } else {
            write!(&mut percent as &mut String, "%{byte:02X}").unwrap();
        }
    }
    let bytes = format!("{secret:?}").trim_matches(['[', ']']).to_owned();
    let mut forms = vec![lower, upper, percent, all_percent, bytes];
    if let Ok(text) = std::str::from_utf8(secret) {
        forms.extend([text.to_owned(), format!("{text:?}").trim_matches('"').to_owned()]);
    }
    for before in 0..3_usize {
        let shifted = [vec![0; before], secret.to_vec()].concat();
        for engine in [&STANDARD, &URL_SAFE] {
            // The characters at both ends depend on the neighbours.
            let text = engine.encode(&shifted).trim_end_matches('=').to_owned();
            forms.push(text[before.div_ceil(3) * (before + 1)..text.len() - 1].to_owned());
        }
    }
    forms
}

/// The second process: prints all that there is to print.
fn everything_fails(folder: &Path) {
    tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(std::io::stderr).init();
    for (name, secret) in SECRETS {
        std::fs::write(folder.join(name), format!("{secret}\n")).unwrap();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let repo = Repo::new();
        repo.publish(&[(".idp/deploy.yaml", "service: a")]);
        the_whole_configuration(folder);
        over_http(folder, &repo).await;
        with_files_that_are_wrong(folder, &repo).await;
        over_ssh(folder, &repo).await;
    });
    println!("DONE");
}

/// Notes a secret that was made here, for the first process.
fn made(folder: &Path, secrets: &[&[u8]]) {
    let mut known = std::fs::read_to_string(folder.join("made")).unwrap_or_default();
    for secret in secrets {
        writeln!(known, "{}", hex::encode(secret)).unwrap();
    }
    std::fs::write(folder.join("made"), known).unwrap();
}

/// The lines of base64 in a file of a key.
fn body(pem: &str) -> Vec<&[u8]> {
    pem.lines().filter(|line| !line.starts_with('-') && line.len() > 30).map(str::as_bytes).collect()
}

fn the_whole_configuration(folder: &Path) {
    let text = "cluster: {in_cluster: true}\nenvironments: [{name: p, namespace: p}]\n\
        platform: {registries: [{host: r, username: u, password_file: registry}], credentials: [{url: \"https://h/\", token_file: token}]}\n\
        sources: [{name: a, url: \"https://h/o/n\", webhook: {forge: github, secret_file: hook, second_secret_file: hook-two}, \
        status: {token_file: status}}]\nkafka: {brokers: [\"k:1\"], secret_properties: {sasl.password: kafka}}\n";
    std::fs::write(folder.join("idpd.yaml"), text).unwrap();
    println!("{:?}", config::load(&folder.join("idpd.yaml")).unwrap());
    for (name, secret) in [("hook", SECRETS[5].1), ("registry", SECRETS[4].1)] {
        std::fs::write(folder.join(name), format!("{secret}\nsecond line")).unwrap();
        let errors = config::load(&folder.join("idpd.yaml")).unwrap_err();
        println!("{errors} {errors:?}");
        std::fs::write(folder.join(name), secret).unwrap();
    }
}

fn start(folder: &Path, platform: &str, url: &str, fields: &str) -> Running {
    let config: Config = config_with(platform, url, fields, folder);
    println!("{config:?}");
    std::fs::remove_dir_all(folder.join("git")).ok();
    Running::start(config)
}

/// Prints what a look says everywhere.
async fn look(running: &mut Running) {
    running.hint.send(Trigger::Asked);
    let report = running.next().await;
    println!("{report:?} {:?} {}", running.heads, serde_json::to_string(&report.status).unwrap());
}

async fn over_http(folder: &Path, repo: &Repo) {
    let forge = Forge::start(repo.dir.path()).await;
    let elsewhere = Forge::start_at("127.0.0.2:0", repo.dir.path()).await;
    let api = AppApi::start(&forge).await;
    let app = api.credentials(folder);
    made(folder, &body(&std::fs::read_to_string(folder.join("app.pem")).unwrap()));
    for (takes, fields) in [
        (basic("idp", SECRETS[0].1), "credentials: {token_file: token}".to_owned()),
        (basic("idp", VARIABLE.1), format!("credentials: {{token_env: {}}}", VARIABLE.0)),
        (format!("Bearer {}", SECRETS[1].1), "credentials: {bearer_token_file: bearer}".to_owned()),
        (String::new(), app),
    ] {
        forge.take(&takes);
        let mut running = start(folder, "{}", &forge.url(), &fields);
        let report = running.next().await;
        assert!(report.up, "{:?}", report.heads.problems);
        for (status, header, value) in [
            (401, "www-authenticate", "Basic".to_owned()),
            (403, "x-nothing", String::new()),
            (404, "x-nothing", String::new()),
            (407, "x-nothing", String::new()),
            (302, "location", elsewhere.url()),
            (500, "x-nothing", String::new()),
        ] {
            forge.fail(Fault::Status(status, header, value));
            look(&mut running).await;
        }
        forge.fail(Fault::Garbage);
        look(&mut running).await;
        forge.heal();
        println!(
            "{:?}",
            Clients::default().pass(&forge.url().parse().unwrap(), &access(folder, &forge, &fields)).await
        );
        let nobody = "http://127.0.0.1:1/origin.git";
        println!("{:?}", start(folder, "{}", nobody, &fields).next().await);
        let proxy = Proxy::to(forge.address).await;
        let password =
            format!("{{proxy: {{url: \"http://{}\", username: me, password_file: proxy}}}}", proxy.address);
        println!(
            "{:?}",
            start(folder, &password, "http://git.invalid/origin.git", &format!("{fields}, insecure: true"))
                .next()
                .await
        );
        proxy.want("me", "another");
        println!(
            "{:?}",
            start(folder, &password, "http://git.invalid/origin.git", &format!("{fields}, insecure: true"))
                .next()
                .await
        );
        println!("{:?}", start(folder, &password, "https://git.invalid/origin.git", &fields).next().await);
        let away = password.replace(&proxy.address.to_string(), "127.0.0.1:1");
        println!("{:?}", start(folder, &away, "https://git.invalid/origin.git", &fields).next().await);
        let tls = Tls::before(forge.address).await;
        println!(
            "{:?}",
            start(folder, "{}", &format!("https://{}/origin.git", tls.address), &fields).next().await
        );
        std::fs::write(folder.join("ca.pem"), &tls.ca).unwrap();
        println!(
            "{:?}",
            start(folder, "{ca_file: ca.pem}", &format!("https://{}/origin.git", tls.address), &fields)
                .next()
                .await
        );
    }
    assert_eq!(elsewhere.requests(), 0);
}

fn access(folder: &Path, forge: &Forge, fields: &str) -> config::Access {
    let config = config_with("{}", &forge.url(), fields, folder);
    config.sources.into_values().next().unwrap().access.clone()
}

/// Files with something else in them than should be, and secrets among it.
async fn with_files_that_are_wrong(folder: &Path, repo: &Repo) {
    let forge = Forge::start(repo.dir.path()).await;
    let api = AppApi::start(&forge).await;
    let fields = api.credentials(folder);
    let [pkcs8, _] = pems(&KeyPair::generate(KeySize::Rsa2048).unwrap());
    made(folder, &body(&pkcs8));
    let secret = SECRETS[0].1;
    let encoded = STANDARD.encode(secret);
    let wrong = [
        pkcs8.clone(),
        secret.to_owned(),
        pkcs8.replace("-----END", "\n!!!-----END"),
        pkcs8[..pkcs8.len() / 2].to_owned(),
        pkcs8.replace("PRIVATE", "EC PRIVATE"),
        format!("-----BEGIN PRIVATE KEY-----\n{encoded}\n-----END PRIVATE KEY-----\n"),
        format!("-----BEGIN CERTIFICATE-----\n{encoded}\n-----END CERTIFICATE-----\n"),
        format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{encoded}\n-----END OPENSSH PRIVATE KEY-----\n"),
    ];
    std::fs::write(folder.join("known"), format!("127.0.0.1 {secret}\n")).unwrap();
    for text in wrong {
        for name in ["app.pem", "ca.pem", "key"] {
            std::fs::write(folder.join(name), &text).unwrap();
        }
        println!("{:?}", start(folder, "{}", &forge.url(), &fields).next().await);
        println!(
            "{:?}",
            start(folder, "{ca_file: ca.pem}", "https://127.0.0.1:1/a", "credentials: {token_file: token}")
                .next()
                .await
        );
        for known in [
            "known_hosts_file: known",
            "host_keys: [\"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ\"]",
        ] {
            let fields =
                format!("credentials: {{ssh: {{private_key_file: key, passphrase_file: phrase, {known}}}}}");
            println!("{:?}", start(folder, "{}", "ssh://git@127.0.0.1:1/a", &fields).next().await);
        }
    }
}

async fn over_ssh(folder: &Path, repo: &Repo) {
    let server = Server::start(repo.dir.path()).await;
    let (plain, stranger) = (ssh::key(Algorithm::Ed25519), ssh::key(Algorithm::Ed25519));
    for key in [&plain, &stranger] {
        let seed = key.key_data().ed25519().unwrap().private.to_bytes();
        let text = key.to_openssh(LineEnding::LF).unwrap();
        // The first line is of the public half and of what is the same in all.
        made(folder, &[[&seed[..]].as_slice(), &body(&text)[1..]].concat());
    }
    let locked = plain.encrypt(&mut russh::keys::key::safe_rng(), SECRETS[3].1).unwrap();
    let fields = |phrase: &str| {
        format!("credentials: {{ssh: {{private_key_file: key, {phrase}known_hosts_file: known}}}}")
    };
    let url = server.url(&repo.bare().display().to_string());
    server.allow(&plain);
    std::fs::write(folder.join("known"), server.known()).unwrap();
    for (key, phrase, up) in [
        (&plain, "", true),
        (&locked, "passphrase_file: phrase, ", true),
        (&locked, "", false),
        (&locked, "passphrase_file: token, ", false),
        (&stranger, "", false),
    ] {
        ssh::write_key(&folder.join("key"), key);
        let mut running = start(folder, "{}", &url, &fields(phrase));
        let report = running.next().await;
        assert_eq!(report.up, up, "{:?}", report.heads.problems);
        println!("{report:?}");
        for fault in [ssh::Fault::Says("no such repository"), ssh::Fault::NoPrograms, ssh::Fault::Garbage] {
            server.fail(Some(fault));
            look(&mut running).await;
        }
        server.fail(None);
    }
    ssh::write_key(&folder.join("key"), &plain);
    server.have(&[&ssh::key(Algorithm::Ed25519)]);
    println!("{:?}", start(folder, "{}", &url, &fields("")).next().await);
    println!("{:?}", start(folder, "{}", "ssh://git@127.0.0.1:1/a", &fields("")).next().await);
}
