//! The registry before a genuine client.

use oci_client::{
    Reference,
    client::{Client, ClientConfig, ClientProtocol},
    secrets::RegistryAuth,
};

use super::*;

fn client() -> Client {
    Client::new(ClientConfig { protocol: ClientProtocol::Http, ..ClientConfig::default() })
}

fn reference(registry: &Registry, tag: &str) -> Reference {
    registry.image("shop/web", tag).parse().unwrap()
}

#[tokio::test]
async fn a_genuine_client_reads_the_digest() {
    let registry = Registry::start().await.unwrap();
    let digest = registry.push("shop/web", "v1");
    assert_eq!(registry.push("shop/web", "v1"), digest, "the same push gives the same digest");
    let anonymous = RegistryAuth::Anonymous;
    let found = client().fetch_manifest_digest(&reference(&registry, "v1"), &anonymous).await.unwrap();
    assert_eq!(found, digest);
    assert!(client().fetch_manifest_digest(&reference(&registry, "v2"), &anonymous).await.is_err());
    let (_, pulled) = client().pull_manifest(&reference(&registry, "v1"), &anonymous).await.unwrap();
    assert_eq!(pulled, digest);
    assert!(registry.requests().iter().any(|line| line.ends_with("/v2/shop/web/manifests/v1")));
    registry.stop().await;
}

#[tokio::test]
async fn tokens_and_passwords_are_asked_for() {
    let registry = Registry::start().await.unwrap();
    let digest = registry.push("shop/web", "v1");
    let right = RegistryAuth::Basic("ci".into(), "secret".into());
    let wrong = RegistryAuth::Basic("ci".into(), "guess".into());
    let (user, password) = ("ci".to_owned(), "secret".to_owned());
    for access in
        [Access::Token { user: user.clone(), password: password.clone() }, Access::Basic { user, password }]
    {
        registry.set_access(access);
        let found = client().fetch_manifest_digest(&reference(&registry, "v1"), &right).await.unwrap();
        assert_eq!(found, digest);
        assert!(client().fetch_manifest_digest(&reference(&registry, "v1"), &wrong).await.is_err());
    }
    registry.set_access(Access::AnonymousToken);
    let anonymous = RegistryAuth::Anonymous;
    let found = client().fetch_manifest_digest(&reference(&registry, "v1"), &anonymous).await.unwrap();
    assert_eq!(found, digest);
}

#[tokio::test]
async fn a_moved_tag_and_a_digest_give_the_behaviour() {
    let registry = Registry::start().await.unwrap();
    let good = registry.push_as("shop/web", "latest", "v1");
    let bad = registry.push_as("shop/web", "latest", "crash");
    assert_ne!(good, bad);
    let resolve = registry.resolver();
    let pinned = |digest: &str| resolve(&format!("{}/shop/web@{digest}", registry.address()));
    assert_eq!(pinned(&good).behaviour, Behaviour::parse("v1"));
    assert_eq!(pinned(&bad).behaviour, Behaviour::parse("crash"));
    assert_eq!(resolve(&registry.image("shop/web", "gone")).behaviour, Behaviour::parse("pull-error"));
    let id = resolve(&registry.image("shop/web", "latest")).image_id.unwrap();
    assert!(id.ends_with(&format!("shop/web@{bad}")));
}

#[tokio::test]
async fn faults_reach_the_caller() {
    let registry = Registry::start().await.unwrap();
    registry.push("shop/web", "v1");
    registry.set_fault(Some(RegistryFault::Status(500)));
    let anonymous = RegistryAuth::Anonymous;
    assert!(client().fetch_manifest_digest(&reference(&registry, "v1"), &anonymous).await.is_err());
    registry.set_fault(Some(RegistryFault::Hang));
    let image = reference(&registry, "v1");
    let client = client();
    let asked = client.fetch_manifest_digest(&image, &anonymous);
    assert!(tokio::time::timeout(Duration::from_millis(50), asked).await.is_err());
    registry.stop().await;
}
