//! The chat, through all three daemons.

use gatewayworker_tests::{Application, Cluster, WsClient, eventually};
use serde_json::{Value, json};

async fn chat() -> (Cluster, Application) {
    let cluster = Cluster::builder().workers(0).start().await;
    let chat = cluster.start_application(chat::Chat::default());
    (cluster, chat)
}

/// Connects and takes the greeting; returns the client id.
async fn join(cluster: &Cluster) -> (WsClient, String) {
    let mut client = WsClient::connect(cluster.listener()).await;
    let greeting = client.json().await;
    assert_eq!((&greeting["type"], &greeting["message"]), (&json!("system"), &json!("连接成功")));
    assert!(greeting["timestamp"].is_i64() || greeting["timestamp"].is_u64());
    let id = greeting["client_id"].as_str().expect("a client id").to_owned();
    assert_eq!(id.len(), 20);
    (client, id)
}

async fn log_in(client: &mut WsClient, name: &str) -> (Value, Value) {
    client.send_json(json!({"type": "login", "username": name})).await;
    (client.json().await, client.json().await)
}

#[tokio::test]
async fn a_message_goes_through_all_three_daemons_and_back_to_everybody() {
    let (cluster, _chat) = chat().await;
    let (mut alice, alice_id) = join(&cluster).await;
    let (mut bob, _) = join(&cluster).await;

    let (notice, welcome) = log_in(&mut alice, "爱丽丝").await;
    assert_eq!((&notice["type"], &notice["message"]), (&json!("system"), &json!("用户 爱丽丝 已加入")));
    assert_eq!((&welcome["type"], &welcome["status"]), (&json!("login"), &json!("success")));
    assert_eq!(welcome["client_id"], json!(alice_id));
    assert_eq!(bob.json().await, notice);

    alice.send_json(json!({"type": "chat", "content": "你好 <b>"})).await;
    let heard = bob.json().await;
    assert_eq!((&heard["type"], &heard["content"]), (&json!("chat"), &json!("你好 <b>")));
    assert_eq!((&heard["client_id"], &heard["username"]), (&json!(alice_id), &json!("爱丽丝")));
    assert_eq!(heard["datetime"].as_str().map(str::len), Some("2025-01-01 00:00:00".len()));
    assert_eq!(alice.json().await, heard);
}

#[tokio::test]
async fn a_client_that_comes_later_gets_the_last_fifty_lines_in_order_after_its_greeting() {
    let (cluster, _chat) = chat().await;
    let mut said = Vec::new();
    let mut speakers = Vec::new();
    for speaker in ["A", "B", "C"] {
        let (mut client, _) = join(&cluster).await;
        for _ in 0..said.len().min(50) {
            client.json().await;
        }
        for n in 0..chat::MAX_SPOKEN {
            client.send_json(json!({"type": "chat", "content": format!("{speaker}{n}")})).await;
            said.push(client.json().await);
        }
        speakers.push(client);
    }
    let (mut late, _) = join(&cluster).await;
    for line in &said[said.len() - 50..] {
        assert_eq!(&late.json().await, line);
    }
    late.send_json(json!({"type": "ping"})).await;
    assert_eq!(late.json().await["type"], json!("pong"), "no notice is kept, and no line comes twice");
}

#[tokio::test]
async fn a_user_without_a_name_is_named_after_the_client_id() {
    let (cluster, _chat) = chat().await;
    let (mut client, id) = join(&cluster).await;
    client.send_json(json!({"type": "login"})).await;
    assert_eq!(client.json().await["message"], json!(format!("用户 User_{id} 已加入")));
    assert_eq!(client.json().await["username"], json!(format!("User_{id}")));
}

#[tokio::test]
async fn a_ping_is_answered_with_a_pong() {
    let (cluster, _chat) = chat().await;
    let (mut client, _) = join(&cluster).await;
    client.send_json(json!({"type": "ping"})).await;
    assert_eq!(client.json().await["type"], json!("pong"));
}

#[tokio::test]
async fn an_answer_to_the_heartbeat_is_not_answered() {
    let (cluster, _chat) = chat().await;
    let (mut client, _) = join(&cluster).await;
    client.send_json(json!({"type": "pong"})).await;
    client.send_json(json!({"type": "ping"})).await;
    assert_eq!(client.json().await["type"], json!("pong"), "what comes next answers the ping");
}

#[tokio::test]
async fn an_invalid_message_is_an_error_to_its_sender_alone() {
    let (cluster, _chat) = chat().await;
    let (mut client, _) = join(&cluster).await;
    let (mut other, _) = join(&cluster).await;
    for (message, code, error) in [
        ("{", "bad_message", "消息格式错误"),
        (r#"{"type":"chat","content":""}"#, "empty_content", "消息内容不能为空"),
        (r#"{"type":"chat"}"#, "empty_content", "消息内容不能为空"),
        (r#"{"type":"dance"}"#, "unknown_type", "未知消息类型"),
    ] {
        client.send(message).await;
        let answer = client.json().await;
        assert_eq!((&answer["type"], &answer["message"]), (&json!("error"), &json!(error)), "{message}");
        assert_eq!(answer["code"], code, "{message}");
    }
    other.send_json(json!({"type": "ping"})).await;
    assert_eq!(other.json().await["type"], json!("pong"), "nobody else hears of errors");
}

#[tokio::test]
async fn a_user_over_the_rate_gets_an_error_and_others_are_served() {
    let (cluster, _chat) = chat().await;
    let (mut alice, _) = join(&cluster).await;
    let (mut bob, _) = join(&cluster).await;
    for n in 0..=chat::MAX_SPOKEN {
        alice.send_json(json!({"type": "chat", "content": n.to_string()})).await;
    }
    for n in 0..chat::MAX_SPOKEN {
        assert_eq!(alice.json().await["content"], json!(n.to_string()));
        assert_eq!(bob.json().await["content"], json!(n.to_string()));
    }
    let refused = alice.json().await;
    assert_eq!(
        (&refused["type"], &refused["message"]),
        (&json!("error"), &json!("发送过于频繁，请稍后再试"))
    );
    alice.send_json(json!({"type": "ping"})).await;
    assert_eq!(alice.json().await["type"], json!("pong"), "a heartbeat is never too often");
    bob.send_json(json!({"type": "chat", "content": "still here"})).await;
    assert_eq!(bob.json().await["content"], json!("still here"));
    assert_eq!(alice.json().await["content"], json!("still here"));
}

#[tokio::test]
async fn the_leave_notice_has_the_name_of_a_user_that_has_one() {
    let (cluster, _chat) = chat().await;
    let (mut stays, _) = join(&cluster).await;
    let (mut named, _) = join(&cluster).await;
    let (nameless, nameless_id) = join(&cluster).await;

    log_in(&mut named, "Bob").await;
    stays.json().await;
    named.close().await;
    assert_eq!(stays.json().await["message"], json!("用户 Bob 已离开"));
    nameless.close().await;
    assert_eq!(stays.json().await["message"], json!(format!("用户 {nameless_id} 已离开")));
}

#[tokio::test]
async fn a_session_holds_the_times_of_connecting_and_last_activity() {
    let (cluster, _chat) = chat().await;
    let registers = [cluster.register.to_string()];
    let api = gatewayworker::Gateway::builder(registers).connect();
    let (_client, id) = join(&cluster).await;
    let id = id.parse().unwrap();
    eventually("the session to be stored", async || {
        let Ok(Some(session)) = api.session(id).await else { return false };
        let connected_at = session.get::<String>("connected_at").unwrap();
        connected_at.is_some_and(|at| at.len() == 19)
            && session.get::<String>("client_id").unwrap() == Some(id.to_string())
            && session.get::<i64>("last_active_time").unwrap().is_some()
    })
    .await;
}
