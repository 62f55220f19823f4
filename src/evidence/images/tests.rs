//! A registry of our own, in process: present, absent, broken, with token and with password.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::extract::Request;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;

use super::*;
use crate::evidence::registry::Credentials;
use crate::evidence::wake::{self, Woken};

const SOON: Duration = Duration::from_secs(20);
const MANIFEST: &str = "{}";

/// How the registry in the test behaves.
#[derive(Default)]
struct Fake {
    address: String,
    tags: Mutex<BTreeMap<String, Option<String>>>,
    /// Asks for this: `Bearer` or `Basic`.
    auth: Option<&'static str>,
    broken: Mutex<bool>,
    asked: AtomicUsize,
    tokens: AtomicUsize,
}

fn digest(nibble: char) -> String {
    format!("sha256:{}", nibble.to_string().repeat(64))
}

fn answer(fake: &Fake, request: &Request) -> Response {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let basic = header("authorization") == "Basic dXNlcjpzZWNyZXQ=";
    if request.uri().path() == "/token" {
        fake.tokens.fetch_add(1, Ordering::SeqCst);
        let query = request.uri().query().unwrap_or("");
        assert!(query.contains("scope=repository%3Ateam%2Fapp%3Apull"), "{query}");
        return if basic {
            r#"{"token":"pull-token","expires_in":300}"#.into_response()
        } else {
            StatusCode::UNAUTHORIZED.into_response()
        };
    }
    fake.asked.fetch_add(1, Ordering::SeqCst);
    if *lock(&fake.broken) {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    let (allowed, challenge) = match fake.auth {
        None => (true, String::new()),
        Some("Basic") => (basic, "Basic realm=\"x\"".to_owned()),
        Some(_) => (
            header("authorization") == "Bearer pull-token",
            format!("Bearer realm=\"http://{}/token\",service=\"fake\"", fake.address),
        ),
    };
    if !allowed {
        return (StatusCode::UNAUTHORIZED, [("www-authenticate", challenge)]).into_response();
    }
    assert!(header("accept").contains("image.index"), "an index is asked for first");
    let tag = request.uri().path().strip_prefix("/v2/team/app/manifests/").map(str::to_owned);
    match tag.and_then(|tag| lock(&fake.tags).get(&tag).cloned()) {
        None => StatusCode::NOT_FOUND.into_response(),
        Some(Some(digest)) => [("docker-content-digest", digest)].into_response(),
        Some(None) if request.method() == Method::GET => MANIFEST.into_response(),
        Some(None) => StatusCode::OK.into_response(),
    }
}

struct World {
    fake: Arc<Fake>,
    images: Images,
    woken: Woken,
    release: ReleaseKey,
    asked: Identity,
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl World {
    async fn new(auth: Option<&'static str>, credentials: bool) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let fake = Arc::new(Fake { address: address.clone(), auth, ..Fake::default() });
        let serving = Arc::clone(&fake);
        let router = Router::new().fallback(move |request: Request| {
            let fake = Arc::clone(&serving);
            async move { answer(&fake, &request) }
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        let known = Credentials { username: "user".into(), password: "secret".into() };
        let options = RegistryOptions {
            insecure: BTreeSet::from([address.clone()]),
            credentials: credentials.then_some((address, known)).into_iter().collect(),
            ..RegistryOptions::default()
        };
        let (waker, woken) = wake::pair();
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        let images = Images::start(options, 1, waker, tracker.clone(), stop.clone()).unwrap();
        Self {
            fake,
            images,
            woken,
            release: "app.test".parse().unwrap(),
            asked: Identity(String::new()),
            stop,
            tracker,
        }
    }

    fn tag(&self, tag: &str, digest: Option<String>) {
        lock(&self.fake.tags).insert(tag.into(), digest);
    }

    fn want(&mut self, identity: &str, tags: &[&str]) {
        let repository = format!("{}/team/app", self.fake.address);
        let tags = tags.iter().map(ToString::to_string).collect();
        let request = ImageRequest { repository, wanted: Wanted::Tags(tags) };
        self.ask(identity, request);
    }

    fn ask(&mut self, identity: &str, request: ImageRequest) {
        self.asked = Identity(identity.into());
        self.images.want(&self.release, &[(self.asked.clone(), request)]);
    }

    fn state(&self) -> ImageState {
        self.images.state_of(&self.release, &self.asked)
    }

    async fn until(&mut self, what: impl Fn(&ImageState) -> bool) -> ImageState {
        let seen = timeout(SOON, async {
            loop {
                let state = self.state();
                if what(&state) {
                    return state;
                }
                self.woken.next().await;
            }
        });
        seen.await.unwrap_or_else(|_| panic!("still {:?}", self.state()))
    }

    async fn resolved(&mut self) -> (Option<String>, String) {
        match self.until(|state| matches!(state, ImageState::Resolved(_))).await {
            ImageState::Resolved(image) => (image.tag, image.digest.to_string()),
            other => panic!("{other:?}"),
        }
    }

    async fn reason(&mut self) -> String {
        let known =
            |state: &ImageState| matches!(state, ImageState::Absent { .. } | ImageState::Unknown { .. });
        match self.until(known).await {
            ImageState::Absent { reason } | ImageState::Unknown { reason } => reason,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn the_first_tag_that_answers_is_pinned_for_its_version() {
    let mut world = World::new(None, false).await;
    world.tag("b", Some(digest('b')));
    world.tag("c", Some(digest('c')));
    world.want("1-x", &["a", "b", "c"]);
    assert_eq!(world.resolved().await, (Some("b".into()), digest('b')));
    let asked = world.fake.asked.load(Ordering::SeqCst);
    // The tag moves and a commit with the same content is added: nothing is asked again.
    world.tag("b", Some(digest('d')));
    world.want("1-x", &["a", "b", "c", "d"]);
    assert_eq!(world.resolved().await.1, digest('b'));
    assert_eq!(world.fake.asked.load(Ordering::SeqCst), asked);
    let other = Identity("1-y".into());
    assert_eq!(world.images.state_of(&world.release, &other), ImageState::Unasked);
    // Another version is asked for anew.
    world.want("1-y", &["b"]);
    assert_eq!(world.resolved().await.1, digest('d'));
    world.images.want(&world.release, &[]);
    assert_eq!(world.state(), ImageState::Unasked);
    world.stop.cancel();
    world.tracker.close();
    timeout(SOON, world.tracker.wait()).await.expect("all tasks end");
}

#[tokio::test]
async fn an_absent_tag_is_waited_for() {
    let mut world = World::new(None, false).await;
    world.want("1-x", &["a"]);
    assert!(world.reason().await.ends_with("/team/app:a is not in the registry"));
    world.tag("a", None);
    // The registry names no digest: it is the hash of the manifest.
    let hash = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    assert_eq!(world.resolved().await.1, hash);
}

#[tokio::test]
async fn what_is_published_is_asked_for_at_once() {
    let mut world = World::new(None, false).await;
    world.want("1-x", &["a"]);
    world.reason().await;
    world.images.published("pkg:oci/other@sha256%3Aab?repository_url=example.com/team/app");
    assert!(matches!(world.state(), ImageState::Absent { .. }), "that is another image");
    world.tag("a", Some(digest('a')));
    world.images.published("pkg:oci/app@sha256%3Aab?repository_url=example.com/team/app");
    assert_eq!(world.state(), ImageState::Unasked, "the question begins anew");
    assert_eq!(world.resolved().await.1, digest('a'));
    world.images.published("pkg:oci/app");
    assert_eq!(world.resolved().await.1, digest('a'), "what is known stays");
    for image in ["example.com:5000/team/app:1.0", "app@sha256:ab", "pkg:oci/app", "team/app?tag=1", "app#x"]
    {
        assert_eq!(name_of(image), "app", "{image}");
    }
    assert_eq!((name_of(""), name_of("@"), name_of("a/")), ("", "", ""));
}

#[tokio::test]
async fn a_broken_registry_is_not_an_absent_image() {
    let mut world = World::new(None, false).await;
    *lock(&world.fake.broken) = true;
    world.want("1-x", &["a", "b"]);
    let reason = world.reason().await;
    assert!(reason.starts_with("cannot resolve ") && reason.ends_with(":a: HTTP 500"), "{reason}");
    assert!(matches!(world.state(), ImageState::Unknown { .. }));
    world.tag("a", Some(digest('a')));
    *lock(&world.fake.broken) = false;
    world.resolved().await;
}

#[tokio::test]
async fn tokens_and_passwords() {
    for auth in ["Bearer", "Basic"] {
        let mut world = World::new(Some(auth), true).await;
        world.tag("a", Some(digest('a')));
        world.want("1-x", &["z", "a"]);
        world.resolved().await;
        let tokens = world.fake.tokens.load(Ordering::SeqCst);
        assert_eq!(tokens, usize::from(auth == "Bearer"), "a token serves until it expires");
        let mut world = World::new(Some(auth), false).await;
        world.want("1-x", &["a"]);
        let reason = world.reason().await;
        assert!(reason.contains("the configuration has none") || reason.contains("HTTP 401"), "{reason}");
    }
    let shown = format!("{:?}", Credentials { username: "user".into(), password: "secret".into() });
    assert!(!shown.contains("secret"));
}

#[tokio::test]
async fn what_names_no_registry_or_is_not_there() {
    let mut world = World::new(None, false).await;
    for (repository, expected) in [
        ("app", "names no registry"),
        ("team/app", "names no registry"),
        ("127.0.0.1:1/app", "cannot resolve"),
    ] {
        let request = ImageRequest { repository: repository.into(), wanted: Wanted::Tags(vec!["a".into()]) };
        world.ask(repository, request);
        let reason = world.reason().await;
        assert!(reason.contains(expected), "{reason}");
    }
    let digest: crate::model::image::Digest = digest('e').parse().unwrap();
    let request = ImageRequest { repository: "app".into(), wanted: Wanted::Digest(digest) };
    world.ask("1", request);
    assert_eq!(world.resolved().await.0, None, "a digest needs nobody's answer");
}
