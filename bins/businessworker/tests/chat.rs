//! The chat, run by a worker, with a gateway that is played by the test.

#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../../../crates/client/tests/fake/mod.rs"]
mod fake;

use chat::Chat;
use fake::{FakeGateway, register};
use gatewayworker::businessworker::{CancellationToken, Config, serve};
use gatewayworker_protocol::{Audience, Body, Command, Payload};
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;

struct Room {
    fake: FakeGateway,
    _running: (AbortOnDropHandle<()>, AbortOnDropHandle<()>),
}

/// Whom a message went to: a connection, or everybody.
type Heard = (Option<u32>, Value);

impl Room {
    async fn open() -> Self {
        let mut fake = FakeGateway::start().await;
        let (register, registering) = register(&[fake.address]).await;
        let config = Config { register_address: vec![register], ..Config::default() };
        let serving = async { serve(config, Chat::default(), CancellationToken::new()).await.unwrap() };
        let serving = AbortOnDropHandle::new(tokio::spawn(serving));
        fake.worker().await;
        Self { fake, _running: (registering, serving) }
    }

    /// A client that has connected and heard so.
    async fn enter(&mut self, connection: u32) {
        self.fake.set_session(connection, "");
        self.fake.events([self.fake.connect(connection)]).await;
        let (to, heard) = self.heard().await;
        assert_eq!((to, &heard["message"]), (Some(connection), &json!("连接成功")));
        assert_eq!(heard["client_id"], self.fake.id(connection).to_string());
    }

    async fn say(&self, connection: u32, text: &str) {
        self.fake.events([self.fake.message(connection, text)]).await;
    }

    /// The next message to anybody, without its time.
    async fn heard(&mut self) -> Heard {
        let (to, message) = loop {
            match self.fake.told().await {
                Command::SendToOne { to, message } => break (Some(to), message),
                Command::SendToAll { to: Audience::Everyone, message } => break (None, message),
                Command::SetSession { .. } | Command::Ask(_) => {}
                other => panic!("{other:?}"),
            }
        };
        let Payload { body: Body::Plain(body), .. } = message else { panic!("{message:?}") };
        let mut heard: Value = serde_json::from_slice(&body).unwrap();
        let timestamp = heard.as_object_mut().unwrap().remove("timestamp").unwrap();
        assert!(timestamp.as_i64().unwrap() > 1_700_000_000);
        (to, heard)
    }

    fn id(&self, connection: u32) -> String {
        self.fake.id(connection).to_string()
    }
}

#[tokio::test]
async fn a_ping_is_answered() {
    let mut room = Room::open().await;
    room.enter(1).await;
    room.say(1, r#"{"type":"ping"}"#).await;
    assert_eq!(room.heard().await, (Some(1), json!({"type": "pong"})));
}

#[tokio::test]
async fn who_logs_in_is_announced_welcomed_and_named_from_then_on() {
    let mut room = Room::open().await;
    room.enter(1).await;
    let id = room.id(1);
    room.say(1, r#"{"type":"login","username":"小明"}"#).await;
    let joined =
        json!({"type": "system", "message": "用户 小明 已加入", "client_id": id, "username": "小明"});
    assert_eq!(room.heard().await, (None, joined));
    let welcome = json!({
        "type": "login", "status": "success", "message": "欢迎 小明", "username": "小明", "client_id": id,
    });
    assert_eq!(room.heard().await, (Some(1), welcome));

    room.say(1, r#"{"type":"chat","content":"<b>你好</b>"}"#).await;
    let (to, mut said) = room.heard().await;
    let datetime = said.as_object_mut().unwrap().remove("datetime").unwrap();
    assert_eq!(datetime.as_str().unwrap().len(), "2025-01-01 00:00:00".len());
    let expected = json!({"type": "chat", "client_id": id, "username": "小明", "content": "<b>你好</b>"});
    assert_eq!((to, said), (None, expected));

    room.fake.events([room.fake.close(1, "client-left")]).await;
    let left = json!({"type": "system", "message": "用户 小明 已离开", "client_id": id, "username": "小明"});
    assert_eq!(room.heard().await, (None, left));
}

#[tokio::test]
async fn who_does_not_say_a_name_is_named_after_the_client_id() {
    let mut room = Room::open().await;
    room.enter(1).await;
    let id = room.id(1);
    room.fake.events([room.fake.close(1, "")]).await;
    let left = json!({"type": "system", "message": format!("用户 {id} 已离开"), "client_id": id});
    assert_eq!(room.heard().await, (None, left));

    room.enter(2).await;
    room.say(2, r#"{"type":"login"}"#).await;
    let (_, joined) = room.heard().await;
    assert_eq!(joined["username"], format!("User_{}", room.id(2)));
}

#[tokio::test]
async fn what_is_not_understood_is_answered_to_its_sender_alone() {
    let mut room = Room::open().await;
    room.enter(1).await;
    let deep = "[".repeat(100_000);
    for (said, complaint) in [
        ("not json", "消息格式错误"),
        ("", "消息格式错误"),
        (&*deep, "消息格式错误"),
        (r#"{"type":"chat","content":""}"#, "消息内容不能为空"),
        (r#"{"type":"dance"}"#, "未知消息类型"),
    ] {
        room.say(1, said).await;
        assert_eq!(room.heard().await, (Some(1), json!({"type": "error", "message": complaint})));
    }
}

#[tokio::test]
async fn the_session_says_who_is_there_since_when() {
    let mut room = Room::open().await;
    room.fake.events([room.fake.connect(1)]).await;
    let session = loop {
        if let Command::SetSession { session, .. } = room.fake.told().await {
            break gatewayworker::SessionData::parse(&session).unwrap();
        }
    };
    assert_eq!(session.get::<String>("client_id").unwrap().unwrap(), room.id(1));
    assert!(session.get::<i64>("last_active_time").unwrap().unwrap() > 1_700_000_000);
    assert_eq!(session.get::<String>("connected_at").unwrap().unwrap().len(), 19);
}
