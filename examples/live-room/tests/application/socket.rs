//! The live room over the socket: `join`, `say`, and their errors.

use crate::support::{Site, next, numbers, without_time};
use gatewayworker_tests::{Cluster, WsClient};
use live_room::Settings;
use serde_json::{Value, json};

async fn join(client: &mut WsClient, room: Value, name: &str) -> Value {
    client.send_json(json!({"type": "join", "roomId": room, "userId": 7, "userName": name})).await;
    next(client).await
}

async fn complaint(client: &mut WsClient, message: &str) -> String {
    client.send(message).await;
    let answer = next(client).await;
    assert_eq!(answer["type"], "error", "{message}: {answer}");
    answer["message"].as_str().unwrap().into()
}

/// Asks for something that has an answer: what came before has none left.
async fn nothing_is_waiting(client: &mut WsClient) {
    assert_eq!(complaint(client, r#"{"type":"dance"}"#).await, "未知消息类型");
}

#[tokio::test]
async fn logins_and_messages_reach_the_room_on_all_gateways() {
    let site = Site::with(Cluster::builder().gateways(2), Settings::default()).await;
    let (mut alice, _) = site.connect_to(0).await;
    let (mut bob, _) = site.connect_to(1).await;
    let expected = |name| json!({"type": "join", "roomId": "1", "userName": name, "msg": "enters the Room"});
    assert_eq!(without_time(join(&mut alice, json!("1"), "小明").await, "joinTime"), expected("小明"));
    assert_eq!(without_time(join(&mut bob, json!("1"), "Bob").await, "joinTime"), expected("Bob"));
    assert_eq!(without_time(next(&mut alice).await, "joinTime"), expected("Bob"));

    alice
        .send_json(
            json!({"type": "say", "roomId": "1", "userId": 7, "userName": "小明", "content": "你好 <b>"}),
        )
        .await;
    let say = json!({"type": "say", "roomId": "1", "userName": "小明", "content": "你好 <b>"});
    assert_eq!(without_time(next(&mut alice).await, "commentTime"), say);
    assert_eq!(without_time(next(&mut bob).await, "commentTime"), say);
}

#[tokio::test]
async fn a_newcomer_gets_the_last_comments_and_a_page_that_returns_those_that_it_missed() {
    let site = Site::start().await;
    let (mut alice, _) = site.connect().await;
    join(&mut alice, json!("1"), "A").await;
    let mut said = Vec::new();
    for content in ["one", "two", "three"] {
        alice.send_json(json!({"type": "say", "roomId": "1", "content": content})).await;
        said.push(next(&mut alice).await);
    }
    let (mut bob, _) = site.connect().await;
    assert_eq!(join(&mut bob, json!("1"), "B").await, said[0]);
    assert_eq!((&next(&mut bob).await, &next(&mut bob).await), (&said[1], &said[2]));
    assert_eq!(next(&mut bob).await["type"], "join");

    let (mut back, _) = site.connect().await;
    let position = &said[1]["position"];
    let again = json!({"type": "join", "roomId": "1", "userName": "A", "again": true, "position": position});
    back.send_json(again).await;
    assert_eq!(next(&mut back).await, said[2]);
    assert_eq!(next(&mut back).await["type"], "join");
}

#[tokio::test]
async fn a_room_is_returned_as_number_or_text_as_it_was_sent() {
    let site = Site::start().await;
    let (mut number, _) = site.connect().await;
    let (mut text, _) = site.connect().await;
    assert_eq!(join(&mut number, json!(1), "A").await["roomId"], json!(1));
    assert_eq!(join(&mut text, json!("1"), "B").await["roomId"], json!("1"));
    assert_eq!(next(&mut number).await["userName"], "B", "it is one room");
}

#[tokio::test]
async fn a_message_without_content_gets_the_default_content() {
    let site = Site::start().await;
    let (mut client, _) = site.connect().await;
    join(&mut client, json!("1"), "小明").await;
    client.send_json(json!({"type": "say", "roomId": "1"})).await;
    let say = next(&mut client).await;
    assert_eq!((&say["content"], &say["userName"]), (&json!("default content"), &json!("小明")));
}

#[tokio::test]
async fn a_message_stays_in_its_room_and_a_client_may_be_in_several() {
    let site = Site::start().await;
    let (mut both, _) = site.connect().await;
    let (mut second, _) = site.connect().await;
    join(&mut both, json!("1"), "A").await;
    join(&mut both, json!("2"), "A").await;
    join(&mut second, json!("2"), "B").await;
    assert_eq!(next(&mut both).await["userName"], "B");
    both.send_json(json!({"type": "say", "roomId": "1", "content": "one"})).await;
    both.send_json(json!({"type": "say", "roomId": "2", "content": "two"})).await;
    assert_eq!(next(&mut second).await["content"], "two");
    assert_eq!(
        (&next(&mut both).await["content"], &next(&mut both).await["content"]),
        (&json!("one"), &json!("two"))
    );
}

#[tokio::test]
async fn a_pong_is_ignored_however_many_come() {
    let site = Site::start().await;
    let (mut client, _) = site.connect().await;
    for _ in 0..20 {
        client.send_json(json!({"type": "pong"})).await;
    }
    nothing_is_waiting(&mut client).await;
}

#[tokio::test]
async fn an_invalid_message_is_an_error_to_its_sender_alone() {
    let site = Site::start().await;
    let (mut other, _) = site.connect().await;
    join(&mut other, json!("1"), "小红").await;
    let too_long = json!({"type": "say", "roomId": "1", "content": "字".repeat(501)}).to_string();
    let name_too_long = json!({"type": "join", "roomId": "1", "userName": "名".repeat(33)}).to_string();
    for (message, error) in [
        ("{", "消息格式错误"),
        ("[]", "消息格式错误"),
        (r#"{"type":"dance"}"#, "未知消息类型"),
        (r#"{"roomId":"1"}"#, "未知消息类型"),
        (r#"{"type":"join","userName":"小明"}"#, "缺少直播间编号"),
        (r#"{"type":"join","roomId":"1"}"#, "用户名不能为空"),
        (r#"{"type":"join","roomId":"1","userName":["a"]}"#, "用户名格式错误"),
        (r#"{"type":"join","roomId":"1","userName":"小明","userId":{}}"#, "用户编号格式错误"),
        (r#"{"type":"join","roomId":"9","userName":"小明"}"#, "直播间不存在"),
        (r#"{"type":"join","roomId":[],"userName":"小明"}"#, "直播间编号格式错误"),
        (&name_too_long, "用户名过长"),
        (r#"{"type":"say","content":"x"}"#, "缺少直播间编号"),
        (r#"{"type":"say","roomId":"9","content":"x"}"#, "直播间不存在"),
        (r#"{"type":"say","roomId":"1","content":"x"}"#, "请先进入直播间"),
        (r#"{"type":"say","roomId":"1","userName":"小明","content":"x"}"#, "请先进入直播间"),
        (r#"{"type":"say","roomId":"1","content":" "}"#, "评论内容不能为空"),
        (r#"{"type":"say","roomId":"1","content":7}"#, "评论格式错误"),
        (&too_long, "评论内容过长"),
    ] {
        // Each with a client of its own: nobody may be wrong as often as that.
        let (mut client, _) = site.connect().await;
        assert_eq!(complaint(&mut client, message).await, error, "{message}");
    }
    nothing_is_waiting(&mut other).await;
}

#[tokio::test]
async fn a_client_over_the_rate_gets_an_error() {
    let site = Site::start().await;
    let (mut client, _) = site.connect().await;
    join(&mut client, json!("1"), "小明").await;
    for _ in 0..5 {
        client.send_json(json!({"type": "say", "roomId": "1", "content": "x"})).await;
    }
    for _ in 0..4 {
        assert_eq!(next(&mut client).await["type"], "say");
    }
    assert_eq!(next(&mut client).await["message"], "发送过于频繁，请稍后再试");
}

#[tokio::test]
async fn people_and_views_are_counted_and_sent() {
    let site = Site::start().await;
    let (mut alice, _) = site.connect().await;
    join(&mut alice, json!("1"), "A").await;
    numbers(&mut alice, 1, 1).await;
    let (mut bob, _) = site.connect().await;
    join(&mut bob, json!("1"), "B").await;
    numbers(&mut alice, 2, 2).await;
    // Coming in again is neither news nor a view.
    join(&mut bob, json!("1"), "B").await;
    bob.close().await;
    numbers(&mut alice, 1, 2).await;
    let (mut back, _) = site.connect().await;
    back.send_json(json!({"type": "join", "roomId": "1", "userName": "B", "again": true})).await;
    assert_eq!(next(&mut back).await["type"], "join", "it is answered");
    numbers(&mut alice, 2, 2).await;
    nothing_is_waiting(&mut alice).await;
}

#[tokio::test]
async fn many_logins_at_once_are_sent_as_one_number() {
    let site = Site::start().await;
    let (mut alice, _) = site.connect().await;
    join(&mut alice, json!("1"), "A").await;
    numbers(&mut alice, 1, 1).await;
    let mut crowd = Vec::new();
    for _ in 0..20 {
        let (mut client, _) = site.connect().await;
        join(&mut client, json!("1"), "B").await;
        crowd.push(client);
    }
    let (mut told, mut people) = (0, json!(1));
    while people != 21 {
        let message = alice.json().await;
        if message["type"] == "room" {
            told += 1;
            people = message["people"].clone();
        }
    }
    assert!(told < 10, "{told} times");
}

#[tokio::test]
async fn a_message_on_a_read_only_socket_is_answered_with_the_backends_address() {
    let settings = Settings { one_way: true, ..Settings::default() };
    let site = Site::with(Cluster::builder(), settings).await;
    let (mut client, _) = site.connect().await;
    client.send_json(json!({"type": "pong"})).await;
    for kind in ["join", "say"] {
        let message = json!({"type": kind, "roomId": "1", "userName": "小明"}).to_string();
        assert_eq!(complaint(&mut client, &message).await, "请通过网站发表评论");
    }
}
