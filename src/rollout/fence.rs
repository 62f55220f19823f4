//! Whether the record that a pass decides on is the newest. A leader writes its epoch into the record before it writes anything else, so an
//! object with a newer epoch than the record's tells of a record that was not read yet: another leader's.

use super::effects::is_ours;
use super::route;
use super::view::epoch_of;
use crate::model::name::ReleaseKey;
use crate::model::observed::{Known, Observed};
use crate::model::record::Record;

/// Returns the highest epoch that an object of the release was written with, the team's routes that it has split among them; 0 for none.
pub fn newest_epoch(record: &Record, release: &ReleaseKey, observed: &Observed) -> u64 {
    let present = observed.objects.iter().filter_map(|(key, known)| Some((key, known.present()?)));
    let ours = present.filter(|(key, live)| is_ours(record, release, key, live));
    let written = ours.map(|(_, live)| epoch_of(live.object.as_ref()));
    let name = release.to_string();
    let routes = observed.routes.objects.values().filter_map(Known::present);
    let claims = routes.filter_map(|live| route::claim(live.object.as_ref()));
    let claimed = claims.filter(|claim| claim.release == name).map(|claim| claim.epoch);
    written.chain(claimed).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::model::object::ObjectKey;
    use crate::model::observed::Live;
    use crate::model::policy::Strategy;
    use crate::rollout::tests::world::{Behaviour, World};

    fn live(metadata: &Value) -> Known<Live> {
        let object = Arc::new(json!({"metadata": metadata}));
        Known::Present(Live {
            uid: "u".into(),
            resource_version: "1".into(),
            managed: true,
            scaled: true,
            object,
        })
    }

    #[test]
    fn only_what_is_ours_tells_of_a_newer_leader() {
        let mut world = World::new();
        world.merge("v1", Strategy::Rolling, Behaviour::Healthy);
        world.settle(200);
        let record = world.record.clone().unwrap();
        let newest = |observed: &Observed| newest_epoch(&record, &world.release, observed);
        assert_eq!(newest(&Observed::default()), 0, "what is not known tells nothing");
        assert_eq!(newest(&world.observed()), 1);
        let config: ObjectKey = "v1:ConfigMap:shop:web-files".parse().unwrap();
        let route: ObjectKey = "gateway.networking.k8s.io/v1:HTTPRoute:shop:web".parse().unwrap();
        for (of, expected) in [("web.production", 9), ("api.production", 1)] {
            let written = json!({"labels": {"idp.dev/release": of}, "annotations": {"idp.dev/epoch": "9"}});
            let mut observed = world.observed();
            observed.objects.insert(config.clone(), live(&written));
            assert_eq!(newest(&observed), expected, "an object of {of}");
            let claim = json!({"release": of, "epoch": 9}).to_string();
            let mut observed = world.observed();
            observed
                .routes
                .objects
                .insert(route.clone(), live(&json!({"annotations": {"idp.dev/split": claim}})));
            assert_eq!(newest(&observed), expected, "a route that {of} has split");
        }
    }
}
