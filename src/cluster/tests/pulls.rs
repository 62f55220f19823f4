//! Pull requests are kept before anybody is told so, in few writes, whatever the server does.

use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use serde_json::json;
use tokio::time::Instant;

use super::*;
use crate::cluster::pulls::{ENTRY, KeepError, PullKeeper};
use crate::model::name::SourceName;
use crate::model::pull::{Action, PullRequest, PullState, Pulls};
use crate::sandbox::Fault;

fn told(number: u64, action: Action) -> PullRequest {
    PullRequest {
        number,
        action,
        at: Timestamp::from_second(1_000).ok(),
        state: None,
        title: None,
        author: None,
        base: "main".to_owned(),
        head: None,
        commit: None,
        labels: Vec::new(),
        review: None,
    }
}

fn now() -> Timestamp {
    Timestamp::from_second(1_000).unwrap()
}

struct Desk {
    server: ApiServer,
    keeper: PullKeeper,
    source: SourceName,
    /// Writes of ConfigMaps that came to the server.
    writes: Arc<AtomicUsize>,
}

impl Desk {
    fn new() -> Self {
        let server = ApiServer::new(ApiOptions::default());
        let writes = Arc::new(AtomicUsize::new(0));
        let desk = Self { keeper: keeper(&server), server, source: "web".parse().unwrap(), writes };
        desk.fault(|_| None);
        desk
    }

    /// Counts the writes, and lets faults happen to the calls of ConfigMaps; `choose` gets a write's number, nothing for a read.
    fn fault(&self, choose: impl Fn(Option<usize>) -> Option<Fault> + Send + Sync + 'static) {
        self.server.clear_faults();
        let writes = self.writes.clone();
        self.server.inject(move |request| {
            if request.kind != "ConfigMap" {
                return None;
            }
            choose(request.verb.is_mutating().then(|| writes.fetch_add(1, Ordering::SeqCst) + 1))
        });
    }

    fn writes(&self) -> usize {
        self.writes.swap(0, Ordering::SeqCst)
    }

    async fn keep(&self, told: PullRequest) -> Result<(), KeepError> {
        self.keeper.keep(&self.source, told, now()).await
    }

    fn maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.server.client(), "shop")
    }

    /// What the cluster has, read past the keeper.
    async fn kept(&self) -> Pulls {
        keeper(&self.server).read(&self.source).await.unwrap()
    }
}

fn keeper(server: &ApiServer) -> PullKeeper {
    PullKeeper::new(Calls::new(server.client()), "shop".parse().unwrap())
}

async fn desk() -> Desk {
    let desk = Desk::new();
    let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}});
    let api: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(desk.server.client());
    api.create(&kube::api::PostParams::default(), &serde_json::from_value(namespace).unwrap()).await.unwrap();
    desk
}

#[tokio::test]
async fn many_at_once_are_few_writes_and_each_is_there_when_it_is_answered() {
    let desk = desk().await;
    let all = (1..=200).map(|number| desk.keep(told(number, Action::Closed)));
    for kept in futures::future::join_all(all).await {
        kept.unwrap();
    }
    let pulls = desk.kept().await.pulls;
    assert!(pulls.len() == 200 && pulls.values().all(|pull| pull.state == PullState::Closed));
    let writes = desk.writes();
    assert!(writes <= 3, "{writes} writes for 200 deliveries");

    desk.keep(told(7, Action::Labeled)).await.unwrap();
    desk.keep(told(7, Action::Closed)).await.unwrap();
    assert_eq!(desk.writes(), 0, "what is known already is written no more");
    desk.keep(told(7, Action::Merged)).await.unwrap();
    assert_eq!(desk.writes(), 1);
}

#[tokio::test]
async fn two_daemons_lose_nothing_of_each_other() {
    let desk = desk().await;
    let other = keeper(&desk.server);
    for number in 1..=20 {
        let (ours, theirs) = tokio::join!(
            desk.keep(told(number, Action::Closed)),
            other.keep(&desk.source, told(100 + number, Action::Merged), now())
        );
        ours.and(theirs).unwrap();
    }
    assert_eq!(desk.kept().await.pulls.len(), 40);
}

#[tokio::test]
async fn a_write_that_stumbles_is_tried_again_and_one_whose_answer_is_lost_is_there() {
    let desk = desk().await;
    desk.keep(told(1, Action::Opened)).await.unwrap();
    desk.writes();
    for (fault, number) in
        [(Fault::status(409), 2), (Fault::status(500), 3), (Fault::ApplyThenDrop, 4), (Fault::status(429), 5)]
    {
        desk.fault(move |write| (write == Some(1)).then(|| fault.clone()));
        let answered = desk.keep(told(number, Action::Closed)).await;
        answered.unwrap_or_else(|error| panic!("{number}: {error}"));
        assert_eq!(desk.kept().await.pulls[&number].state, PullState::Closed);
        desk.writes();
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_away_is_said_in_time_and_what_was_told_is_written_when_it_is_back() {
    let desk = desk().await;
    for (fault, expected) in
        [(Fault::status(503), "not available"), (Fault::status(403), "403"), (Fault::Hang, "")]
    {
        desk.fault(move |_| Some(fault.clone()));
        let begun = Instant::now();
        let error = desk.keep(told(1, Action::Closed)).await.unwrap_err();
        assert!(begun.elapsed() <= Duration::from_secs(4), "{error} after {:?}", begun.elapsed());
        assert!(error.to_string().contains(expected) || expected == "403", "{error}");
    }
    desk.fault(|_| None);
    let back = Instant::now();
    while desk.kept().await.pulls.is_empty() {
        assert!(back.elapsed() < Duration::from_mins(2), "never written");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(desk.kept().await.pulls[&1].state, PullState::Closed, "although nobody came again");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_ours_to_read_is_not_written_over() {
    let desk = desk().await;
    desk.keep(told(1, Action::Closed)).await.unwrap();
    let name = "idp-pulls-web";
    for (text, expected) in [("no JSON", "remove that entry"), (r#"{"schema":2,"pulls":{}}"#, "newer idpd")] {
        let patch = Patch::Merge(json!({"data": {ENTRY: text}}));
        desk.maps().patch(name, &PatchParams::default(), &patch).await.unwrap();
        let error = desk.keep(told(2, Action::Closed)).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        let kept = desk.maps().get(name).await.unwrap().data.unwrap();
        assert_eq!(kept[ENTRY], text);
    }
    desk.maps().delete(name, &DeleteParams::default()).await.unwrap();
    desk.keep(told(3, Action::Closed)).await.unwrap();
    assert!(desk.kept().await.pulls.contains_key(&3), "begun anew");
}

#[tokio::test]
async fn a_suspension_is_heard_at_the_start_and_at_each_change() {
    use crate::cluster::suspensions::{self, Heard};
    use crate::model::suspension::SuspensionAsked;
    let desk = desk().await;
    let asked = |suspended, who: &str| SuspensionAsked {
        suspended,
        who: who.to_owned(),
        why: "audit".to_owned(),
        at: now(),
    };
    let apply = async |source: &str, asked: &SuspensionAsked| {
        let source = source.parse().unwrap();
        let object = suspensions::object("shop", &source, asked);
        let name = format!("{}{source}", suspensions::PREFIX);
        desk.maps()
            .patch(&name, &PatchParams::apply("idp-cli").force(), &Patch::Apply(object))
            .await
            .unwrap();
    };
    apply("web", &asked(true, "ann")).await;
    let (sender, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let tell: Heard = Arc::new(move |source, asked| {
        sender.send((source.to_string(), asked.cloned())).unwrap();
    });
    let (listed, tasks, shutdown) = (CancellationToken::new(), TaskTracker::new(), CancellationToken::new());
    let calls = Calls::new(desk.server.client());
    suspensions::watch(&calls, &"shop".parse().unwrap(), tell, listed.clone(), (&tasks, &shutdown));
    tokio::time::timeout(PATIENCE, listed.cancelled()).await.unwrap();
    let mut next = async || tokio::time::timeout(PATIENCE, heard.recv()).await.unwrap().unwrap();
    assert_eq!(next().await, ("web".to_owned(), Some(asked(true, "ann"))));
    apply("api", &asked(true, "bob")).await;
    assert_eq!(next().await, ("api".to_owned(), Some(asked(true, "bob"))));
    apply("web", &asked(false, "bob")).await;
    assert_eq!(next().await, ("web".to_owned(), Some(asked(false, "bob"))));
    desk.maps().delete("idp-suspension-api", &DeleteParams::default()).await.unwrap();
    assert_eq!(next().await, ("api".to_owned(), None));
    shutdown.cancel();
}
