//! Keeping up with the objects of one kind, for those in the sandbox who only look: the load generator and the gateway.

use futures::{StreamExt as _, TryStreamExt as _};
use kube::Resource;
use kube::api::Api;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Hands every object over as it is seen, and once more, with `true`, when it is gone; ends with the watch only.
pub(super) async fn follow<K>(api: Api<K>, config: watcher::Config, mut note: impl FnMut(Value, bool))
where
    K: Resource + Clone + DeserializeOwned + Serialize + std::fmt::Debug + Send + 'static,
    K::DynamicType: Clone,
{
    let mut events = watcher(api, config).default_backoff().boxed();
    loop {
        let (object, gone) = match events.try_next().await {
            Ok(Some(Event::Apply(object) | Event::InitApply(object))) => (object, false),
            Ok(Some(Event::Delete(object))) => (object, true),
            Ok(None) => return,
            // The watcher begins again by itself.
            Ok(Some(_)) | Err(_) => continue,
        };
        if let Ok(object) = serde_json::to_value(&object) {
            note(object, gone);
        }
    }
}
