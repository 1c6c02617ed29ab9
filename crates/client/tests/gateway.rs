//! The handle against gateways that are played by the test.

#![allow(missing_docs, clippy::unwrap_used)]

mod fake;

use std::net::SocketAddrV4;
use std::time::Duration;

use bytes::Bytes;
use fake::{FakeGateway, listed, register, soon};
use gatewayworker_client::{AskError, ClientId, Error, Gateway, SecretKey, Unreached, Where};
use gatewayworker_protocol::{Audience, Command, MAX_FRAME_LEN, Payload, Question};
use tokio::net::TcpListener;

/// An address where nobody listens.
async fn nobody() -> SocketAddrV4 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap().to_string().parse().unwrap()
}

fn handle(gateways: &[SocketAddrV4]) -> Gateway {
    Gateway::following(listed(gateways).1).question_timeout(Duration::from_secs(3)).connect()
}

fn text(text: &'static str) -> Payload {
    Payload::plain(text)
}

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
async fn a_link_begins_with_the_key_if_there_is_one_and_with_nothing_otherwise() {
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
async fn one_dead_gateway_stops_nobody_and_is_named() {
    let (mut fake, dead) = (FakeGateway::start().await, nobody().await);
    let gateway = handle(&[fake.address, dead]);
    let delivery = gateway.send_to_all("m").await.unwrap();
    assert_eq!(delivery.unreached, [(dead, Unreached::NotConnected)]);
    assert_eq!(fake.told().await, Command::SendToAll { to: Audience::Everyone, message: text("m") });

    let stranger: ClientId = "0a00000108fc00000001".parse().unwrap();
    let delivery = gateway.send_to_client(stranger, "m").await.unwrap();
    assert_eq!(delivery.unreached, [(stranger.gateway(), Unreached::NotKnown)]);
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
async fn a_gateway_whose_host_is_gone_keeps_nobody_waiting() {
    let (mut fake, (gone, _held)) = (FakeGateway::start().await, silence().await);
    let addresses = listed(&[fake.address, gone]).1;
    let gateway = Gateway::following(addresses).question_timeout(fake::PATIENCE * 10).connect();
    let sent = tokio::time::timeout(Duration::from_secs(3), gateway.send_to_all("m").into_future()).await;
    let delivery = sent.expect("it does not wait for the connection attempt to end").unwrap();
    assert_eq!(delivery.unreached, [(gone, Unreached::NotConnected)]);
    assert_eq!(fake.told().await, Command::SendToAll { to: Audience::Everyone, message: text("m") });
}

#[tokio::test]
async fn a_gateway_that_never_reads_delays_nobody_and_is_named_when_it_is_full() {
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
    let AskError::Incomplete { partial: 3, missing } = error else { panic!("{error:?}") };
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

#[tokio::test]
async fn a_question_sees_what_was_said_before_it() {
    let mut fake = FakeGateway::start().await;
    let gateway = handle(&[fake.address]);
    gateway.join_group(fake.id(5), "news").await.unwrap();
    assert_eq!(gateway.client_ids_by_group("news").await.unwrap(), [fake.id(5)]);
    assert!(matches!(fake.told().await, Command::JoinGroup { .. }));
    assert!(matches!(fake.told().await, Command::Ask(Question::Select(_))));
}

#[tokio::test]
async fn answers_go_to_those_who_asked_however_many_ask_at_once() {
    let fake = FakeGateway::start().await;
    for connection in 0..50 {
        fake.set_session(connection, format!("a:1:{{i:0;i:{connection};}}"));
    }
    let gateway = handle(&[fake.address]);
    let mut asking = tokio::task::JoinSet::new();
    for connection in 0..50_u32 {
        let (gateway, id) = (gateway.clone(), fake.id(connection));
        asking.spawn(async move {
            let session = gateway.session(id).await.unwrap().unwrap();
            assert_eq!(session.get::<u32>("0").unwrap(), Some(connection));
        });
    }
    soon(asking.join_all()).await;
}

#[tokio::test]
async fn an_incomplete_answer_is_an_error_that_holds_what_came() {
    let (one, silent, dead) = (FakeGateway::start().await, FakeGateway::start().await, nobody().await);
    one.answer_with(|_| Some(b"i:3;".to_vec()));
    silent.answer_with(|_| None);
    let addresses = listed(&[one.address, silent.address, dead]).1;
    let gateway = Gateway::following(addresses).question_timeout(Duration::from_millis(300)).connect();
    let error = gateway.client_count().await.unwrap_err();
    let AskError::Incomplete { partial: 3, mut missing } = error else { panic!("{error:?}") };
    missing.sort_by_key(|(_, why)| *why == Unreached::NotConnected);
    assert_eq!(missing, [(silent.address, Unreached::TimedOut), (dead, Unreached::NotConnected)]);
}

#[tokio::test]
async fn what_is_no_answer_is_a_missing_one() {
    let fake = FakeGateway::start().await;
    let gateway = handle(&[fake.address]);
    for nonsense in [&b"N"[..], b"b:0", b"a:1:{i:0;O:1:\"A\":0:{}}", b"s:1:\"x\";"] {
        fake.answer_with(move |_| Some(nonsense.to_vec()));
        let error = gateway.client_ids_by_uid("u").await.unwrap_err();
        let AskError::Incomplete { partial, missing } = error else { panic!("{error:?}") };
        assert_eq!((partial, missing), (vec![], vec![(fake.address, Unreached::BadAnswer)]));
    }
}

/// An answer has no id, so what comes after a time-out could belong to anybody.
#[tokio::test]
async fn an_answer_that_does_not_come_ends_the_link_and_the_next_one_starts_clean() {
    let mut fake = FakeGateway::start().await;
    let mut silent = true;
    fake.answer_with(move |_| if std::mem::take(&mut silent) { None } else { Some(b"i:1;".to_vec()) });
    let addresses = listed(&[fake.address]).1;
    let gateway = Gateway::following(addresses).question_timeout(Duration::from_millis(200)).connect();
    let error = gateway.is_online(fake.id(1)).await.unwrap_err();
    assert!(matches!(error, Error::Unreached { why: Unreached::TimedOut, .. }), "{error}");
    fake.link_ended().await;
    soon(gateway.connected(fake.address)).await;
    assert!(gateway.is_online(fake.id(1)).await.unwrap());
}

#[tokio::test]
async fn an_answer_that_nobody_waits_for_any_more_goes_to_nobody_else() {
    let mut fake = FakeGateway::start().await;
    let mut first = true;
    fake.answer_with(move |_| if std::mem::take(&mut first) { None } else { Some(b"i:0;".to_vec()) });
    let gateway = handle(&[fake.address]);
    let address = fake.address;
    let ask = |connection| {
        let (gateway, id) = (gateway.clone(), ClientId::new(address, connection));
        tokio::spawn(async move { gateway.is_online(id).await })
    };
    let given_up = ask(1);
    assert_eq!(fake.told().await, Command::Ask(Question::IsOnline(1)));
    let patient = ask(2);
    given_up.abort();
    assert!(given_up.await.unwrap_err().is_cancelled());
    fake.answer_late(b"i:1;").await;
    assert!(!soon(patient).await.unwrap().unwrap());
}

#[tokio::test]
async fn a_silent_gateway_is_noticed_though_its_asker_is_gone() {
    let mut fake = FakeGateway::start().await;
    fake.answer_with(|_| None);
    let addresses = listed(&[fake.address]).1;
    let gateway = Gateway::following(addresses).question_timeout(Duration::from_millis(200)).connect();
    let asking = tokio::spawn({
        let (gateway, id) = (gateway.clone(), fake.id(1));
        async move { gateway.is_online(id).await }
    });
    assert_eq!(fake.told().await, Command::Ask(Question::IsOnline(1)));
    asking.abort();
    fake.link_ended().await;
}

/// Answers the question for the clients of uid "u" so, and no other.
fn uid_is_bound_to(fake: &FakeGateway, answer: &'static str) {
    fake.answer_with(move |question| {
        let asked = Question::BatchConnectionsByUid(vec!["u".into()]);
        (*question == asked).then(|| answer.as_bytes().to_vec())
    });
}

fn kick(connection_id: u32) -> Command {
    Command::Kick { connection_id, message: None }
}

fn send_to(ids: Vec<u32>, body: &'static str) -> Command {
    Command::SendToAll { to: Audience::Only(ids), message: text(body) }
}

#[tokio::test]
async fn a_send_to_a_uid_spares_some_of_its_clients_on_every_gateway() {
    let (mut one, mut two) = (FakeGateway::start().await, FakeGateway::start().await);
    uid_is_bound_to(&one, r#"a:1:{s:1:"u";a:2:{i:0;i:3;i:1;i:4;}}"#);
    uid_is_bound_to(&two, r#"a:1:{s:1:"u";a:1:{i:0;i:5;}}"#);
    let gateway = handle(&[one.address, two.address]);
    let delivery = gateway.send_to_uid(["u"], "m").except([one.id(3), two.id(5)]).await.unwrap();
    assert!(delivery.is_complete());
    let question = Command::Ask(Question::BatchConnectionsByUid(vec!["u".into()]));
    assert_eq!(one.told().await, question);
    assert_eq!(two.told().await, question);
    assert_eq!(one.told().await, send_to(vec![4], "m"));
    gateway.send_to_client(two.id(9), "next").await.unwrap();
    assert_eq!(two.told().await, Command::SendToOne { to: 9, message: text("next") });
}

#[tokio::test]
async fn closing_a_uid_closes_its_clients_after_a_last_message() {
    let mut fake = FakeGateway::start().await;
    uid_is_bound_to(&fake, r#"a:1:{s:1:"u";a:3:{i:0;i:3;i:1;i:4;i:2;i:5;}}"#);
    let gateway = handle(&[fake.address]);
    gateway.close_uid(["u"]).except([fake.id(4)]).last_message("bye").await.unwrap();
    assert!(matches!(fake.told().await, Command::Ask(_)));
    for expected in [send_to(vec![3, 5], "bye"), kick(3), kick(5)] {
        assert_eq!(fake.told().await, expected);
    }
    assert!(matches!(gateway.close_uid(["0"]).await, Err(Error::Id(_))));
}

#[tokio::test]
async fn closing_a_group_closes_its_members_and_names_a_gateway_that_does_not_answer() {
    let (mut fake, dead) = (FakeGateway::start().await, nobody().await);
    let gateway = handle(&[fake.address, dead]);
    for connection in [7, 8] {
        gateway.join_group(fake.id(connection), "news").await.unwrap();
    }
    let delivery = gateway.close_group(["news"]).await.unwrap();
    assert_eq!(delivery.unreached, [(dead, Unreached::NotConnected)]);
    let told: Vec<_> = [fake.told().await, fake.told().await, fake.told().await].into();
    assert!(matches!(told[2], Command::Ask(Question::Select(_))));
    assert_eq!([fake.told().await, fake.told().await], [kick(7), kick(8)]);

    // No group is nobody, not everybody.
    assert!(gateway.close_group(Vec::<String>::new()).await.unwrap().is_complete());
    gateway.send_to_client(fake.id(9), "next").await.unwrap();
    assert_eq!(fake.told().await, Command::SendToOne { to: 9, message: text("next") });
}

#[tokio::test]
async fn what_does_not_fit_a_frame_is_refused_before_anything_is_sent() {
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
async fn without_any_gateway_nobody_is_reached_and_that_is_an_error() {
    let addresses = listed(&[]).1;
    let gateway = Gateway::following(addresses).question_timeout(Duration::from_millis(50)).connect();
    assert!(matches!(gateway.send_to_all("m").await, Err(Error::NoGateways)));
    assert!(matches!(gateway.client_count().await, Err(AskError::NotAsked(Error::NoGateways))));
}

#[tokio::test]
async fn a_register_that_lists_nobody_for_a_moment_costs_no_link() {
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
async fn empty_names_are_refused_as_php_does() {
    let fake = FakeGateway::start().await;
    let gateway = handle(&[fake.address]);
    assert!(matches!(gateway.join_group(fake.id(1), "0").await, Err(Error::Id(_))));
    assert!(matches!(gateway.send_to_uid([""], "m").await, Err(Error::Id(_))));
    assert!(matches!(gateway.client_count_by_group("").await, Err(AskError::NotAsked(Error::Id(_)))));
}

#[tokio::test]
async fn the_answers_of_a_php_gateway_are_read() {
    let fake = FakeGateway::start().await;
    let gateway = handle(&[fake.address]);
    let answer = |bytes: &'static str| fake.answer_with(move |_| Some(bytes.as_bytes().to_vec()));

    answer(r#"a:2:{i:0;i:7;i:1;s:1:"a";}"#);
    let groups = gateway.group_ids().await.unwrap();
    assert_eq!(groups.iter().map(ToString::to_string).collect::<Vec<_>>(), ["7", "a"]);

    let rows = r#"a:3:{i:1;a:2:{s:3:"uid";N;s:6:"groups";N;}i:2;a:2:{s:3:"uid";s:1:"u";s:6:"groups";a:2:{s:1:"g";s:1:"g";i:7;s:1:"7";}}i:3;a:2:{s:3:"uid";s:1:"u";s:6:"groups";a:1:{s:1:"g";s:1:"g";}}}"#;
    answer(rows);
    let uids = gateway.uids_of_all_groups().await.unwrap();
    assert_eq!(format!("{uids:?}"), r#"{"g": ["u"], "7": ["u"]}"#);
    assert_eq!(
        gateway.client_counts_of_all_groups().await.unwrap().values().copied().collect::<Vec<_>>(),
        [2, 1]
    );
    assert_eq!(gateway.client_ids().await.unwrap(), [fake.id(1), fake.id(2), fake.id(3)]);
    assert_eq!(gateway.uid_by_client_id(fake.id(1)).await.unwrap(), None);
    let everyone = gateway.select([], Where::default()).await.unwrap();
    assert_eq!(everyone[&fake.id(3)].uid.as_ref().unwrap().to_string(), "u");

    answer(r#"a:2:{i:1;s:24:"a:1:{s:1:"n";s:3:"Ann";}";i:2;s:0:"";}"#);
    let sessions = gateway.sessions().await.unwrap();
    assert_eq!(sessions[&fake.id(1)].as_ref().unwrap().get::<String>("n").unwrap().unwrap(), "Ann");
    assert!(sessions[&fake.id(2)].as_ref().unwrap().is_empty());

    answer(r#"a:1:{i:7;a:1:{i:0;i:9;}}"#);
    let online = gateway.are_uids_online([7, 8]).await.unwrap();
    assert_eq!(online.values().copied().collect::<Vec<_>>(), [true, false]);

    answer("N;");
    assert_eq!(gateway.session(fake.id(1)).await.unwrap(), None);
}

#[tokio::test]
async fn a_handle_that_finishes_has_written_everything() {
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
