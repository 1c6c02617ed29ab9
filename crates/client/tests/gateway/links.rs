//! Links: how they begin, what waits for them, and how they end.

use std::net::SocketAddrV4;
use std::time::Duration;

use bytes::Bytes;
use gatewayworker_client::{AskError, Error, Gateway, Liveness, SecretKey, Unreached};
use gatewayworker_protocol::{Audience, Command, MAX_FRAME_LEN, Question};
use tokio::net::TcpListener;

use crate::fake::{self, FakeGateway, listed, register, soon};
use crate::{handle, text};

#[tokio::test]
async fn the_first_use_waits_for_the_register_and_the_gateways() {
    let mut fake = FakeGateway::start().await;
    let (register, _running) = register(&[fake.address]).await;
    let gateway = Gateway::builder([register]).connect();
    let delivery = gateway.send_to_client(fake.id(7), "hello").await.unwrap();
    assert!(delivery.is_complete());
    assert_eq!(fake.told().await, Command::SendToOne { to: 7, message: text("hello") });
}

#[tokio::test]
async fn a_link_begins_with_the_key_if_there_is_one() {
    let mut fake = FakeGateway::start().await;
    let key = SecretKey::new("k");
    let keyed = Gateway::following(listed(&[fake.address]).1).secret_key(key.clone()).connect();
    keyed.send_to_client(fake.id(1), "a").await.unwrap();
    let Command::ClientConnect(hello) = fake.told().await else { panic!("no hello") };
    assert_eq!((hello.secret_key, hello.features), (Some(key), None));
    assert_eq!(fake.told().await, Command::SendToOne { to: 1, message: text("a") });

    handle(&[fake.address]).send_to_client(fake.id(2), "b").await.unwrap();
    assert_eq!(fake.told().await, Command::SendToOne { to: 2, message: text("b") });
}

/// An address that takes no connection and does not refuse one either: a host that is
/// gone, as long as what is returned is held.
#[cfg(target_os = "linux")]
async fn silence() -> (SocketAddrV4, impl Sized) {
    let listener = gatewayworker_net::listen("127.0.0.1:0".parse().unwrap(), false, 0).unwrap();
    let address = listener.local_addr().unwrap();
    let mut waiting = Vec::new();
    let patience = Duration::from_millis(100);
    while let Ok(stream) = tokio::time::timeout(patience, tokio::net::TcpStream::connect(address)).await {
        waiting.push(stream.unwrap());
    }
    (address.to_string().parse().unwrap(), (listener, waiting))
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_gateway_whose_host_is_gone_does_not_delay_a_send() {
    let (mut fake, (gone, _held)) = (FakeGateway::start().await, silence().await);
    let addresses = listed(&[fake.address, gone]).1;
    let gateway = Gateway::following(addresses).question_timeout(fake::PATIENCE * 10).connect();
    let sent = tokio::time::timeout(Duration::from_secs(3), gateway.send_to_all("m").into_future()).await;
    let delivery = sent.expect("it does not wait for the connection attempt to end").unwrap();
    assert_eq!(delivery.unreached, [(gone, Unreached::NotConnected)]);
    assert_eq!(fake.told().await, Command::SendToAll { to: Audience::Everyone, message: text("m") });
}

#[tokio::test]
async fn a_gateway_that_never_reads_delays_no_other_and_is_named_once_its_outbox_is_full() {
    let (mut fake, deaf) = (FakeGateway::start().await, TcpListener::bind("127.0.0.1:0").await.unwrap());
    let deaf_address = deaf.local_addr().unwrap().to_string().parse().unwrap();
    let gateway = handle(&[fake.address, deaf_address]);
    let body = Bytes::from(vec![b'x'; MAX_FRAME_LEN / 4]);
    let mut unreached = Vec::new();
    while unreached.is_empty() {
        unreached = gateway.send_to_all(body.clone()).await.unwrap().unreached;
        assert!(matches!(soon(fake.told()).await, Command::SendToAll { .. }));
    }
    assert_eq!(unreached, [(deaf_address, Unreached::Overloaded)]);
    fake.answer_with(|_| Some(b"i:3;".to_vec()));
    let error = soon(gateway.client_count()).await.unwrap_err();
    let AskError::Incomplete { partial: 3, missing, .. } = error else { panic!("{error:?}") };
    assert_eq!(missing, [(deaf_address, Unreached::Overloaded)]);
    // Nor does it go unsaid that what was handed to its link never left.
    let delivery = gateway.finish(Duration::from_millis(100)).await;
    assert_eq!(delivery.unreached, [(deaf_address, Unreached::Overloaded)]);
}

#[tokio::test]
async fn all_clones_share_one_link_to_a_gateway() {
    let fake = FakeGateway::start().await;
    fake.answer_with(|_| Some(b"i:3;".to_vec()));
    let gateway = handle(&[fake.address]);
    let mut calling = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let gateway = gateway.clone();
        calling.spawn(async move {
            assert!(gateway.send_to_all("m").await.unwrap().is_complete());
            assert_eq!(gateway.client_count().await.unwrap(), 3);
        });
    }
    soon(calling.join_all()).await;
    assert_eq!(fake.links(), 1);
}

/// A handle that waits briefly for answers, and no longer for signs of life.
fn impatient(gateways: &[SocketAddrV4]) -> Gateway {
    let liveness = Liveness::new(Duration::from_millis(100), Duration::from_millis(200));
    let limit = Duration::from_millis(200);
    Gateway::following(listed(gateways).1).question_timeout(limit).liveness(liveness).connect()
}

/// An answer has no id, so what comes after a time-out could belong to anybody.
#[tokio::test]
async fn a_missing_answer_ends_the_link_and_the_next_link_works() {
    let mut fake = FakeGateway::start().await;
    let mut silent = true;
    fake.answer_with(move |_| if std::mem::take(&mut silent) { None } else { Some(b"i:1;".to_vec()) });
    let gateway = impatient(&[fake.address]);
    let error = gateway.is_online(fake.id(1)).await.unwrap_err();
    assert!(matches!(error, Error::Unreached { why: Unreached::TimedOut, .. }), "{error}");
    fake.link_ended().await;
    soon(gateway.connected(fake.address)).await;
    assert!(gateway.is_online(fake.id(1)).await.unwrap());
}

#[tokio::test]
async fn a_silent_gateway_is_noticed_though_its_asker_is_gone() {
    let mut fake = FakeGateway::start().await;
    fake.answer_with(|_| None);
    let gateway = impatient(&[fake.address]);
    let asking = tokio::spawn({
        let (gateway, id) = (gateway.clone(), fake.id(1));
        async move { gateway.is_online(id).await }
    });
    assert_eq!(fake.told().await, Command::Ask(Question::IsOnline(1)));
    asking.abort();
    fake.link_ended().await;
}

#[tokio::test]
async fn without_a_gateway_sends_and_questions_fail() {
    let addresses = listed(&[]).1;
    let gateway = Gateway::following(addresses).question_timeout(Duration::from_millis(50)).connect();
    assert!(matches!(gateway.send_to_all("m").await, Err(Error::NoGateways)));
    assert!(matches!(gateway.client_count().await, Err(AskError::NotAsked(Error::NoGateways))));
}

#[tokio::test]
async fn a_register_that_lists_no_gateway_for_a_moment_ends_no_link() {
    let mut fake = FakeGateway::start().await;
    let (list, addresses) = listed(&[fake.address]);
    let gateway = Gateway::following(addresses).connect();
    gateway.send_to_all("1").await.unwrap();
    list.send_replace(vec![]);
    tokio::task::yield_now().await;
    assert!(gateway.send_to_all("2").await.unwrap().is_complete());
    for expected in ["1", "2"] {
        assert_eq!(fake.told().await, Command::SendToAll { to: Audience::Everyone, message: text(expected) });
    }
}

#[tokio::test]
async fn finish_writes_every_frame() {
    let mut fake = FakeGateway::start().await;
    let gateway = Gateway::following(listed(&[fake.address]).1).gather_writes().connect();
    for _ in 0..100 {
        gateway.send_to_all("m").await.unwrap();
    }
    gateway.finish(fake::PATIENCE).await;
    fake.link_ended().await;
    assert_eq!(fake.told_already().len(), 100);
    let delivery = gateway.send_to_all("late").await.unwrap();
    assert_eq!(delivery.unreached, [(fake.address, Unreached::NotConnected)]);
}
