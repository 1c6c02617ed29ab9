//! Sends: which gateway gets which frames.

use bytes::Bytes;
use gatewayworker_client::{AskError, ClientId, Error, Unreached};
use gatewayworker_protocol::{Audience, Command, MAX_FRAME_LEN, Payload};

use crate::fake::FakeGateway;
use crate::{handle, nobody, text};

#[tokio::test]
async fn each_gateway_is_told_of_its_own_clients_only() {
    let (mut one, mut two) = (FakeGateway::start().await, FakeGateway::start().await);
    let gateway = handle(&[one.address, two.address]);
    gateway.send_to_all("m").except([one.id(3), one.id(4)]).await.unwrap();
    let except = |to| Command::SendToAll { to, message: text("m") };
    assert_eq!(one.told().await, except(Audience::Except(vec![3, 4])));
    assert_eq!(two.told().await, except(Audience::Everyone));

    gateway.send_to_all("m").only([two.id(5), two.id(6)]).except([two.id(6)]).await.unwrap();
    assert_eq!(two.told().await, except(Audience::Only(vec![5])));
    gateway.send_to_all("m").only([]).await.unwrap();

    gateway.send_to_group(["a", "7"], "m").except([two.id(8)]).binary().await.unwrap();
    let groups = vec![Bytes::from("a"), Bytes::from("7")];
    let message = Payload { binary: true, ..text("m") };
    let group = |except| Command::SendToGroup { groups: groups.clone(), except, message: message.clone() };
    assert_eq!(one.told().await, group(vec![]));
    assert_eq!(two.told().await, group(vec![8]));

    gateway.send_to_uid([7], "m").raw().await.unwrap();
    let uid = Command::SendToUid { uids: vec!["7".into()], message: Payload { raw: true, ..text("m") } };
    assert_eq!(one.told().await, uid);
    assert_eq!(two.told().await, uid);
}

#[tokio::test]
async fn a_dead_gateway_delays_no_other_and_is_named() {
    let (mut fake, dead) = (FakeGateway::start().await, nobody().await);
    let gateway = handle(&[fake.address, dead]);
    let delivery = gateway.send_to_all("m").await.unwrap();
    assert_eq!(delivery.unreached, [(dead, Unreached::NotConnected)]);
    assert_eq!(fake.told().await, Command::SendToAll { to: Audience::Everyone, message: text("m") });

    let stranger: ClientId = "0a00000108fc00000001".parse().unwrap();
    let delivery = gateway.send_to_client(stranger, "m").await.unwrap();
    assert_eq!(delivery.unreached, [(stranger.gateway(), Unreached::NotKnown)]);
}

#[tokio::test]
async fn a_message_that_does_not_fit_a_frame_is_refused_and_nothing_is_sent() {
    let mut fake = FakeGateway::start().await;
    let gateway = handle(&[fake.address]);
    let error = gateway.send_to_all(vec![b'x'; MAX_FRAME_LEN]).await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { limit: MAX_FRAME_LEN, .. }), "{error}");
    gateway.send_to_all("after").await.unwrap();
    assert_eq!(fake.told().await, Command::SendToAll { to: Audience::Everyone, message: text("after") });
}

#[tokio::test]
async fn a_long_list_is_split_over_frames_that_a_php_gateway_takes() {
    let mut fake = FakeGateway::start().await;
    let gateway = handle(&[fake.address]);
    let body = Bytes::from(vec![b'x'; MAX_FRAME_LEN - 100_000]);
    let ids: Vec<_> = (1..=5_000).map(|n| fake.id(u32::MAX - n)).collect();
    assert!(gateway.send_to_all(body).only(ids.clone()).await.unwrap().is_complete());
    let mut reached = Vec::new();
    let mut frames = 0;
    while reached.len() < ids.len() {
        let Command::SendToAll { to: Audience::Only(part), .. } = fake.told().await else { panic!() };
        reached.extend(part.into_iter().map(|connection| fake.id(connection)));
        frames += 1;
    }
    assert_eq!(reached, ids);
    assert!(frames > 1);
}

#[tokio::test]
async fn an_empty_uid_or_group_is_refused() {
    let fake = FakeGateway::start().await;
    let gateway = handle(&[fake.address]);
    assert!(matches!(gateway.join_group(fake.id(1), "0").await, Err(Error::Id(_))));
    assert!(matches!(gateway.send_to_uid([""], "m").await, Err(Error::Id(_))));
    assert!(matches!(gateway.client_count_by_group("").await, Err(AskError::NotAsked(Error::Id(_)))));
}
