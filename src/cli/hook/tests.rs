//! A forge of each kind, in this process: what it is asked, word for word, and what its refusals mean.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use serde_json::json;

use super::*;

const ADDRESS: &str = "https://idp.example.com/hooks/web";
const SECRET: &str = "open sesame";
const TOKEN: &str = "t0ken";

/// A forge that keeps the one hook that it is given, and answers `status` to all if that is no success.
#[derive(Clone, Default)]
struct Server {
    asked: Arc<Mutex<Vec<String>>>,
    hooks: Arc<Mutex<Vec<Value>>>,
    status: Arc<Mutex<Option<(u16, &'static str)>>>,
}

impl Server {
    async fn start(&self) -> Url {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let server = self.clone();
        let answer = move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
            let server = server.clone();
            async move { server.answer(&method, &uri, &headers, &body) }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
        url.parse().unwrap()
    }

    fn answer(&self, method: &Method, uri: &Uri, headers: &HeaderMap, body: &Bytes) -> (StatusCode, String) {
        let token = headers.get("authorization").or(headers.get("private-token")).unwrap().to_str().unwrap();
        let text = String::from_utf8_lossy(body);
        self.asked.lock().unwrap().push(format!("{method} {uri} [{token}] {text}").trim().to_owned());
        if let Some((status, text)) = *self.status.lock().unwrap() {
            return (StatusCode::from_u16(status).unwrap(), text.to_owned());
        }
        let mut hooks = self.hooks.lock().unwrap();
        if *method == Method::GET {
            let list = Value::from(hooks.clone());
            let paged = uri.path().contains("/2.0/") || uri.path().contains("/rest/");
            return (StatusCode::OK, if paged { json!({"values": list}) } else { list }.to_string());
        }
        let mut hook: Value = serde_json::from_slice(body).unwrap();
        hook["id"] = json!(7);
        hook["uuid"] = json!("{a-b}");
        // As the genuine one lists it.
        if hook["type"] == "gitea" {
            hook["events"] = json!(["push", "pull_request", "pull_request_label", "pull_request_sync"]);
        }
        *hooks = vec![hook];
        (StatusCode::CREATED, "{}".to_owned())
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn caller(forge: Forge, root: &Url, path: &str) -> Caller {
    let shape = Shape::new(forge, &root.join(path).unwrap()).unwrap();
    Caller::new(shape, Secret::new(TOKEN), Secret::new(SECRET)).unwrap()
}

#[tokio::test]
async fn each_forge_is_asked_in_its_own_words_and_only_as_often_as_needed() {
    let mut told = Vec::new();
    for (forge, path) in [
        (Forge::GitHub, "shop/web.git"),
        (Forge::GitLab, "group/sub/web.git"),
        (Forge::Gitea, "git/shop/web"),
        (Forge::BitbucketCloud, "shop/web.git"),
        (Forge::BitbucketDataCenter, "ctx/scm/SHOP/web.git"),
    ] {
        let server = Server::default();
        let caller = caller(forge, &server.start().await, path);
        assert_eq!(caller.ensure(ADDRESS, false).await.unwrap(), Done::Created, "{forge:?}");
        told.extend(server.asked());
        assert_eq!(caller.ensure(ADDRESS, false).await.unwrap(), Done::Unchanged, "{forge:?}");
        assert_eq!(server.asked().len(), 1, "it only looks");
        assert_eq!(caller.ensure(ADDRESS, true).await.unwrap(), Done::Changed, "{forge:?}");
        told.push(server.asked().remove(1));
        let hook = server.hooks.lock().unwrap()[0].clone();
        let worn = |name: &str, value: Value| {
            let mut hook = hook.clone();
            hook[name] = value;
            vec![hook]
        };
        let worn = if forge == Forge::GitLab {
            worn("merge_requests_events", json!(false))
        } else {
            worn("events", json!(["push"]))
        };
        *server.hooks.lock().unwrap() = worn;
        assert_eq!(caller.ensure(ADDRESS, false).await.unwrap(), Done::Changed, "{forge:?}");
        assert_eq!(caller.ensure("https://other.example.com/hooks/web", false).await.unwrap(), Done::Created);
    }
    insta::assert_snapshot!(told.join("\n"));
}

#[tokio::test]
async fn refusals_say_what_to_do_and_repeat_no_secret() {
    let server = Server::default();
    let root = server.start().await;
    let caller = caller(Forge::GitHub, &root, "shop/web");
    for (status, text, part) in [
        (401, "", "does not take this token"),
        (403, "", "admin:repo_hook"),
        (404, "", "shows this token no repository shop/web"),
        (422, r#"{"message":"url is bad","secret":"open sesame t0ken"}"#, "url is bad"),
        (302, "", "sends us elsewhere"),
        (500, "oops\u{1b}[2J", "answers 500: oops"),
    ] {
        *server.status.lock().unwrap() = Some((status, text));
        let report = caller.ensure(ADDRESS, false).await.unwrap_err().report();
        assert!(report.contains(part), "{status}: {report}");
        assert!(![SECRET, TOKEN, "\u{1b}"].iter().any(|word| report.contains(word)), "{report}");
    }
}

#[test]
fn what_is_sent_is_not_for_everyone() {
    let source = "web".parse().unwrap();
    let of = |url: &str| address(&url.parse().unwrap(), &source);
    assert_eq!(of("https://idp.example.com/x/").unwrap(), "https://idp.example.com/x/hooks/web");
    assert_eq!(of("http://127.0.0.1:8080").unwrap(), "http://127.0.0.1:8080/hooks/web");
    assert!(of("http://idp.example.com").is_err());
}

#[test]
fn the_public_forges_have_their_api_elsewhere() {
    for (forge, url, hooks) in [
        (Forge::GitHub, "https://github.com/a/b.git", "https://api.github.com/repos/a/b/hooks"),
        (
            Forge::BitbucketCloud,
            "https://bitbucket.org/a/b",
            "https://api.bitbucket.org/2.0/repositories/a/b/hooks",
        ),
        (Forge::GitLab, "https://gitlab.com/a/b/c.git", "https://gitlab.com/api/v4/projects/a%2Fb%2Fc/hooks"),
        (
            Forge::BitbucketDataCenter,
            "https://git.example.com/scm/A/b.git",
            "https://git.example.com/rest/api/1.0/projects/A/repos/b/webhooks",
        ),
    ] {
        assert_eq!(Shape::new(forge, &url.parse().unwrap()).unwrap().hooks, hooks);
    }
    assert_eq!(Shape::new(Forge::Generic, &"https://a.example.com/a/b".parse().unwrap()), None);
}
