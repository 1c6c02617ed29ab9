//! Commands that no gateway has: the client asks for the ids first.

use gatewayworker_client::{Error, Unreached};
use gatewayworker_protocol::{Audience, Command, Question};

use crate::fake::FakeGateway;
use crate::{handle, nobody, text};

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
