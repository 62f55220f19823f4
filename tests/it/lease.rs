//! The lease of a daemon that was killed.

use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

/// The namespace of a daemon's own objects.
pub const HOME: &str = "idp-system";

/// Lets the lease of a cluster's daemon run out, if there is one: the next one need not wait for it.
pub async fn end(client: Client, cluster: &str) -> kube::Result<()> {
    let (leases, name): (Api<Lease>, _) = (Api::namespaced(client, HOME), format!("idpd-{cluster}"));
    if leases.get_opt(&name).await?.is_some() {
        let nobodys = json!({"spec": {"holderIdentity": ""}});
        leases.patch(&name, &PatchParams::default(), &Patch::Merge(nobodys)).await?;
    }
    Ok(())
}
