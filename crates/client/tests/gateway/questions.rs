//! Questions: which answer belongs to which asker, and what an incomplete answer is.

use std::time::Duration;

use gatewayworker_client::{AskError, ClientId, Error, Gateway, Unreached, Where};
use gatewayworker_protocol::{Command, MAX_FRAME_LEN, Question};

use crate::fake::{FakeGateway, listed, soon};
use crate::{handle, nobody};

#[tokio::test]
async fn a_question_sees_the_commands_before_it() {
    let mut fake = FakeGateway::start().await;
    let gateway = handle(&[fake.address]);
    gateway.join_group(fake.id(5), "news").await.unwrap();
    assert_eq!(gateway.client_ids_by_group("news").await.unwrap(), [fake.id(5)]);
    assert!(matches!(fake.told().await, Command::JoinGroup { .. }));
    assert!(matches!(fake.told().await, Command::Ask(Question::Select(_))));
}

#[tokio::test]
async fn each_of_many_askers_gets_its_own_answer() {
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
async fn an_incomplete_answer_is_an_error_that_carries_the_partial_answer() {
    let (one, silent, dead) = (FakeGateway::start().await, FakeGateway::start().await, nobody().await);
    one.answer_with(|_| Some(b"i:3;".to_vec()));
    silent.answer_with(|_| None);
    let addresses = listed(&[one.address, silent.address, dead]).1;
    let gateway = Gateway::following(addresses).question_timeout(Duration::from_millis(300)).connect();
    let error = gateway.client_count().await.unwrap_err();
    let AskError::Incomplete { partial: 3, mut missing, .. } = error else { panic!("{error:?}") };
    missing.sort_by_key(|(_, why)| *why == Unreached::NotConnected);
    assert_eq!(missing, [(silent.address, Unreached::TimedOut), (dead, Unreached::NotConnected)]);
}

#[tokio::test]
async fn an_unreadable_answer_counts_as_missing() {
    let fake = FakeGateway::start().await;
    let gateway = handle(&[fake.address]);
    for nonsense in [&b"N"[..], b"b:0", b"a:1:{i:0;O:1:\"A\":0:{}}", b"s:1:\"x\";"] {
        fake.answer_with(move |_| Some(nonsense.to_vec()));
        let error = gateway.client_ids_by_uid("u").await.unwrap_err();
        let AskError::Incomplete { partial, missing, .. } = error else { panic!("{error:?}") };
        assert_eq!((partial, missing), (vec![], vec![(fake.address, Unreached::BadAnswer)]));
    }
}

#[tokio::test]
async fn the_answer_to_a_cancelled_question_goes_to_no_other_asker() {
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
async fn reads_the_answers_of_a_php_gateway() {
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
async fn no_client_meets_a_condition_with_an_empty_list() {
    let mut fake = FakeGateway::start().await;
    let gateway = handle(&[fake.address]);
    assert!(gateway.select([], Where::default().with_uids([])).await.unwrap().is_empty());
    gateway.client_ids_by_group("news").await.unwrap();
    let Command::Ask(Question::Select(Some(select))) = fake.told().await else { panic!("no question") };
    assert_eq!(select.filters.len(), 1, "only the second question was asked");
}

/// A gateway would end the link, and every question in it would be lost.
#[tokio::test]
async fn a_question_that_does_not_fit_a_frame_is_refused_and_not_sent() {
    let mut fake = FakeGateway::start().await;
    let gateway = handle(&[fake.address]);
    let uids = (0..100).map(|n| format!("{n}{}", "x".repeat(MAX_FRAME_LEN / 100)));
    let error = gateway.batch_client_ids_by_uid(uids).await.unwrap_err();
    assert!(matches!(error, AskError::NotAsked(Error::TooLarge { .. })), "{error}");
    gateway.client_ids_by_group("news").await.unwrap();
    assert!(matches!(fake.told().await, Command::Ask(Question::Select(_))));
}
