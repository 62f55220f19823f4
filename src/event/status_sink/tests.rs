//! The loop against a forge that runs in the test.

use axum::extract::{Path, State as Shared};
use axum::http::HeaderMap;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::Value;
use tokio::sync::mpsc;

use super::*;
use crate::event::status::State;
use crate::telemetry::metrics::Metrics;

const PATIENCE: Duration = Duration::from_secs(30);

fn status(context: &str, description: &str) -> CommitStatus {
    CommitStatus {
        state: State::Pending,
        context: context.to_owned(),
        description: description.to_owned(),
        target_url: None,
    }
}

#[derive(Debug)]
struct Asked {
    repository: String,
    commit: String,
    authorization: String,
    body: Value,
}

#[derive(Clone)]
struct Answers {
    asked: mpsc::UnboundedSender<Asked>,
    /// What is answered, in turn; 201 when there is none left.
    codes: Arc<Mutex<VecDeque<u16>>>,
}

fn take(answers: &Answers, path: [String; 3], headers: &HeaderMap, body: Value) -> StatusCode {
    let authorization = headers.get(AUTHORIZATION).unwrap().to_str().unwrap().to_owned();
    let [owner, name, commit] = path;
    let repository = format!("{owner}/{name}");
    answers.asked.send(Asked { repository, commit, authorization, body }).unwrap();
    let code = answers.codes.lock().unwrap().pop_front().unwrap_or(201);
    StatusCode::from_u16(code).unwrap()
}

type Parts = Path<(String, String, String, String)>;

fn forge(answers: Answers) -> Router {
    let handler = post(
        |Shared(answers): Shared<Answers>,
         Path((_, owner, name, commit)): Parts,
         headers: HeaderMap,
         body: Json<Value>| async move { take(&answers, [owner, name, commit], &headers, body.0) },
    );
    Router::new().route("/api/{version}/repos/{owner}/{name}/statuses/{commit}", handler).with_state(answers)
}

struct Running {
    sink: StatusSink,
    asked: mpsc::UnboundedReceiver<Asked>,
    _stop: tokio_util::sync::DropGuard,
}

impl Running {
    async fn start(forge: Forge, codes: &[u16]) -> Self {
        let (sender, asked) = mpsc::unbounded_channel();
        let answers = Answers { asked: sender, codes: Arc::new(Mutex::new(codes.iter().copied().collect())) };
        let app = self::forge(answers);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        let repository = Url::parse(&format!("http://{address}/team/hello.git")).unwrap();
        let target = ForgeTarget::new(forge, &repository, None, Token::new(" secret\n")).unwrap();
        let (sink, stop) = (StatusSink::new(), CancellationToken::new());
        tokio::spawn(sink.clone().run(target, Metrics::register().unwrap().events, stop.clone()));
        Self { sink, asked, _stop: stop.drop_guard() }
    }

    async fn next(&mut self) -> Asked {
        tokio::time::timeout(PATIENCE, self.asked.recv()).await.unwrap().unwrap()
    }
}

#[tokio::test]
async fn each_forge_is_asked_as_it_wants_to_be() {
    for (forge, authorization) in [(Forge::Gitea, "token secret"), (Forge::GitHub, "Bearer secret")] {
        let mut running = Running::start(forge, &[]).await;
        running.sink.offer("abc", status("idp/production/hello", "rollout 7: step 2 of 3, 50 %"));
        let asked = running.next().await;
        assert_eq!((asked.repository.as_str(), asked.commit.as_str()), ("team/hello", "abc"));
        assert_eq!(asked.authorization, authorization);
        assert_eq!(
            asked.body,
            serde_json::json!({
                "state": "pending", "context": "idp/production/hello", "description": "rollout 7: step 2 of 3, 50 %",
            })
        );
    }
}

#[tokio::test]
async fn a_failing_forge_is_asked_again_a_refusing_one_is_not_and_the_newest_wins() {
    let mut running = Running::start(Forge::Gitea, &[503, 429, 201, 422]).await;
    running.sink.offer("a", status("c", "one"));
    assert_eq!(running.next().await.body["description"], "one");
    // It waits to be sent again; the newer takes its place, then or once it was sent.
    running.sink.offer("a", status("c", "two"));
    running.sink.offer("a", status("c", "three"));
    assert_eq!(running.next().await.body["description"], "three");
    assert_eq!(running.next().await.body["description"], "three");
    running.sink.offer("b", status("c", "refused"));
    assert_eq!(running.next().await.body["description"], "refused");
    running.sink.offer("b", status("c", "refused"));
    running.sink.offer("d", status("c", "last"));
    assert_eq!(running.next().await.body["description"], "last");
}

#[test]
fn an_unchanged_status_is_not_sent_again() {
    let mut desk = Desk::default();
    assert!(desk.put("a", status("c", "one")));
    assert!(!desk.put("a", status("c", "one")));
    let (key, sent) = desk.next().unwrap();
    desk.remember(key, sent);
    assert!(!desk.put("a", status("c", "one")));
    assert!(desk.put("a", status("c", "two")));
    assert!(desk.put("a", status("other", "one")));
}

#[test]
fn what_changes_back_while_it_is_on_its_way_is_sent() {
    let mut desk = Desk::default();
    for text in ["one", "two"] {
        desk.put("a", status("c", text));
        let (key, sent) = desk.next().unwrap();
        if text == "one" {
            desk.remember(key, sent);
        }
    }
    // "two" is in flight: the forge will have it, so it is no news and "one" is.
    assert!(!desk.put("a", status("c", "two")));
    assert!(desk.put("a", status("c", "one")));
}

#[test]
fn the_desk_is_bounded() {
    let mut desk = Desk::default();
    for number in 0..WAITING + 10 {
        desk.put(&number.to_string(), status("c", "one"));
    }
    assert_eq!((desk.waiting.len(), desk.order.len()), (WAITING, WAITING));
    assert_eq!(desk.next().unwrap().0.0, "10");
    for number in 0..REMEMBERED + 10 {
        desk.remember((number.to_string(), "c".into()), status("c", "one"));
    }
    assert_eq!((desk.sent.len(), desk.remembered.len()), (REMEMBERED, REMEMBERED));
}

#[test]
fn addresses_follow_from_the_repository() {
    let target = |forge, repository: &str, api: Option<&str>| {
        let api = api.map(|api| Url::parse(api).unwrap());
        ForgeTarget::new(forge, &Url::parse(repository).unwrap(), api.as_ref(), Token::new("t"))
            .map(|target| target.statuses)
            .ok()
    };
    let cases = [
        (Forge::GitHub, "https://github.com/o/n.git", None, "https://api.github.com/repos/o/n/statuses/"),
        (
            Forge::GitHub,
            "https://ghe.example.com/o/n",
            None,
            "https://ghe.example.com/api/v3/repos/o/n/statuses/",
        ),
        (
            Forge::Gitea,
            "http://u:p@g.example.com:3000/o/n.git",
            None,
            "http://g.example.com:3000/api/v1/repos/o/n/statuses/",
        ),
        (
            Forge::Gitea,
            "https://example.com/git/o/n.git/",
            Some("https://example.com/git/api/v1/"),
            "https://example.com/git/api/v1/repos/o/n/statuses/",
        ),
    ];
    for (forge, repository, api, statuses) in cases {
        assert_eq!(target(forge, repository, api).as_deref(), Some(statuses));
    }
    assert_eq!(target(Forge::Gitea, "https://example.com/n", None), None);
}

#[test]
fn a_token_shows_itself_to_nobody() {
    let repository = Url::parse("https://example.com/o/n").unwrap();
    let target = ForgeTarget::new(Forge::Gitea, &repository, None, Token::new("hunter2")).unwrap();
    assert!(!format!("{target:?}").contains("hunter2"));
}
