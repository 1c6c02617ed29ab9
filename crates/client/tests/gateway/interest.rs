//! Sends to groups and uids, and questions about them, leave out a gateway that says that it has none.

use std::time::Duration;

use gatewayworker_client::Gateway;
use gatewayworker_client::worker::{GatewayFeatures, WorkerHandle};
use gatewayworker_protocol::Command;
use gatewayworker_protocol::interest::Name;

use crate::fake::{FakeGateway, listed, soon};

/// A worker whose event link says that the gateway announces its names.
async fn worker(fake: &FakeGateway) -> WorkerHandle {
    let gateway = fake.address;
    let worker = WorkerHandle::builder(listed(&[gateway]).1).connect();
    soon(worker.gateway().connected(gateway)).await;
    worker.set_features(gateway, GatewayFeatures::default().with_interest(true));
    worker
}

/// Whether the gateway is told of a message to this group.
async fn is_told(gateway: &Gateway, fake: &mut FakeGateway, group: &str) -> bool {
    gateway.send_to_group([group], "m").await.unwrap();
    gateway.send_to_all("marker").await.unwrap();
    match fake.told().await {
        Command::SendToAll { .. } => false,
        Command::SendToGroup { .. } => {
            assert!(matches!(fake.told().await, Command::SendToAll { .. }));
            true
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_gateway_without_members_is_left_out_once_its_view_is_trusted() {
    let mut fake = FakeGateway::start().await;
    fake.announce([Name::group(b"here"), Name::uid(b"also here")]);
    let worker = worker(&fake).await;
    assert!(is_told(worker.gateway(), &mut fake, "nobody").await);
    soon(async { while is_told(worker.gateway(), &mut fake, "nobody").await {} }).await;
    assert!(is_told(worker.gateway(), &mut fake, "here").await);

    let gateway = worker.gateway();
    gateway.send_to_uid(["nobody"], "m").await.unwrap();
    gateway.send_to_uid(["also here"], "m").await.unwrap();
    let Command::SendToUid { uids, .. } = fake.told().await else { panic!("it is a send to uids") };
    assert_eq!(uids, ["also here"]);
    assert_eq!(gateway.client_count_by_group("nobody").await.unwrap(), 0);
    assert_eq!(gateway.client_ids_by_group("nobody").await.unwrap(), []);
    assert!(!gateway.is_uid_online("nobody").await.unwrap());
    assert_eq!(fake.told_already(), []);
}

#[tokio::test]
async fn a_join_of_its_own_is_followed_at_once() {
    let mut fake = FakeGateway::start().await;
    fake.announce([]);
    let worker = worker(&fake).await;
    soon(async { while is_told(worker.gateway(), &mut fake, "room").await {} }).await;
    worker.gateway().join_group(fake.id(1), "room").await.unwrap();
    assert!(matches!(fake.told().await, Command::JoinGroup { .. }));
    assert!(is_told(worker.gateway(), &mut fake, "room").await);
    assert!(!is_told(worker.gateway(), &mut fake, "another room").await);
}

#[tokio::test]
async fn a_gateway_that_announces_nothing_any_more_is_told_everything() {
    let mut fake = FakeGateway::start().await;
    fake.announce([]);
    let worker = worker(&fake).await;
    soon(async { while is_told(worker.gateway(), &mut fake, "room").await {} }).await;
    worker.set_features(fake.address, GatewayFeatures::default());
    assert!(is_told(worker.gateway(), &mut fake, "room").await);
}

#[tokio::test]
async fn without_interest_there_is_no_third_link_and_every_gateway_is_told() {
    let mut fake = FakeGateway::start().await;
    fake.announce([]);
    let worker = WorkerHandle::builder(listed(&[fake.address]).1).interest(false).connect();
    soon(worker.gateway().connected(fake.address)).await;
    worker.set_features(fake.address, GatewayFeatures::default().with_interest(true));
    for _ in 0..20 {
        assert!(is_told(worker.gateway(), &mut fake, "nobody").await);
    }
    assert_eq!(fake.links(), 1);
}

#[tokio::test]
async fn a_handle_outside_of_a_worker_asks_each_gateway_itself() {
    let mut fake = FakeGateway::start().await;
    fake.announce([Name::group(b"here")]);
    let gateway = Gateway::following(listed(&[fake.address]).1).connect();
    soon(async { while is_told(&gateway, &mut fake, "nobody").await {} }).await;
    assert!(is_told(&gateway, &mut fake, "here").await);
    assert_eq!(fake.links(), 2);
}

#[tokio::test]
async fn a_gateway_that_does_not_answer_is_told_everything_and_not_asked_again() {
    let mut fake = FakeGateway::start().await;
    let limit = Duration::from_millis(50);
    let gateway = Gateway::following(listed(&[fake.address]).1).question_timeout(limit).connect();
    soon(gateway.connected(fake.address)).await;
    soon(async {
        while fake.links() < 2 {
            assert!(is_told(&gateway, &mut fake, "nobody").await);
        }
    })
    .await;
    // The interest link.
    fake.link_ended().await;
    let asked_until = tokio::time::Instant::now() + Duration::from_secs(1);
    while tokio::time::Instant::now() < asked_until {
        assert!(is_told(&gateway, &mut fake, "nobody").await);
    }
    assert_eq!(fake.links(), 2);
}
