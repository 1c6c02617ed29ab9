//! The chat: one room for all connected clients, in JSON.
//!
//! A client sends `{"type":"ping"}`, `{"type":"login","username":…}` and `{"type":"chat","content":…}`. `message` has the
//! messages that it receives. `room` has the group of all clients, with the last lines for those who come in. A client's name
//! and counters are in its session.

mod message;
mod room;

use gatewayworker::{Client, CloseReason, Events, Gateway, Message, Result};
use serde_json::Value;
use tracing::debug;

use crate::message::{Reply, local_time, now};
use crate::room::Room;

/// The longest user name, in characters.
pub const MAX_USERNAME: usize = 64;

/// The longest chat message, in characters.
pub const MAX_CONTENT: usize = 4096;

/// The longest `id` of a chat message, in bytes.
pub const MAX_ID: usize = 64;

/// How many chat messages and logins a client may send in [`SPOKEN_SECONDS`].
pub const MAX_SPOKEN: u32 = 20;

/// The period in which [`MAX_SPOKEN`] counts, in seconds.
pub const SPOKEN_SECONDS: i64 = 10;

/// The chat's application.
#[derive(Debug, Default)]
pub struct Chat {
    room: Room,
}

/// An error as a client receives it: a code for its program, and a text for its user.
type UserError = (&'static str, &'static str);

const BAD_MESSAGE: UserError = ("bad_message", "消息格式错误");
const UNKNOWN_TYPE: UserError = ("unknown_type", "未知消息类型");
const LONG_NAME: UserError = ("long_name", "用户名过长");
const BAD_NAME: UserError = ("bad_name", "用户名格式错误");
const EMPTY_CONTENT: UserError = ("empty_content", "消息内容不能为空");
const LONG_CONTENT: UserError = ("long_content", "消息内容过长");
const TOO_OFTEN: UserError = ("too_often", "发送过于频繁，请稍后再试");

impl Events for Chat {
    async fn on_worker_start(&self, gateway: &Gateway) -> Result {
        self.room.open(gateway)
    }

    async fn on_connect(&self, client: &Client) -> Result {
        let session = client.session();
        session.insert("last_active_time", now())?;
        session.insert("client_id", client.id())?;
        session.insert("connected_at", local_time())?;
        debug!(client = %client.id(), "connected");
        let lines = self.room.join(client).await?;
        let text = "连接成功".into();
        client.send(Reply::System { message: text, client_id: client.id(), username: None }).await?;
        for line in lines {
            client.send(line).await?;
        }
        Ok(())
    }

    async fn on_message(&self, client: &Client, message: Message) -> Result {
        client.session().insert("last_active_time", now())?;
        let request = match parse(&message) {
            Ok(Request::Login(_) | Request::Chat { .. }) if !count_spoken(client)? => Err(TOO_OFTEN),
            request => request,
        };
        match request {
            Ok(Request::Ping) => {
                client.send(Reply::Pong).await?;
            }
            Ok(Request::Pong) => {}
            Ok(Request::Login(username)) => login(client, username).await?,
            // If the worker dies behind this, another one says it again: pages know it by its id.
            Ok(Request::Chat { content, id }) => {
                let username = username(client);
                let reply = Reply::Chat { client_id: client.id(), username, content, id };
                self.room.say(client.gateway(), reply).await?;
            }
            Err((code, message)) => {
                debug!(client = %client.id(), code, "a message was refused");
                client.send(Reply::Error { code, message }).await?;
            }
        }
        Ok(())
    }

    async fn on_close(&self, client: &Client, reason: CloseReason) -> Result {
        debug!(client = %client.id(), %reason, "a client has left");
        // Nobody needs to hear twice who has left, and a notice that is missing once harms nobody.
        if client.redelivered() && reason != CloseReason::GatewayLost {
            return Ok(());
        }
        let username = username(client);
        let name = username.clone().unwrap_or_else(|| client.id().to_string());
        let message = format!("用户 {name} 已离开").into();
        client.gateway().send_to_all(Reply::System { message, client_id: client.id(), username }).await?;
        Ok(())
    }
}

async fn login(client: &Client, username: Option<String>) -> Result {
    let username = username.unwrap_or_else(|| format!("User_{}", client.id()));
    client.session().insert("username", &username)?;
    debug!(client = %client.id(), username, "logged in");
    let joined = Reply::System {
        message: format!("用户 {username} 已加入").into(),
        client_id: client.id(),
        username: Some(username.clone()),
    };
    client.gateway().send_to_all(joined).await?;
    client.send(Reply::Login { username, client_id: client.id() }).await?;
    Ok(())
}

/// The name that a client has logged in with, if the session has one.
fn username(client: &Client) -> Option<String> {
    client.session().get("username").ok().flatten()
}

/// Counts a chat message or login of the client. Returns false if it is over the limit.
fn count_spoken(client: &Client) -> Result<bool> {
    let session = client.session();
    let now = now();
    let counted = session.get::<(i64, u32)>("spoken").ok().flatten();
    let (since, times) =
        counted.filter(|(since, _)| (0..SPOKEN_SECONDS).contains(&(now - since))).unwrap_or((now, 0));
    if times >= MAX_SPOKEN {
        return Ok(false);
    }
    session.insert("spoken", (since, times + 1))?;
    Ok(true)
}

/// A message of a client.
#[derive(Debug, PartialEq, Eq)]
enum Request {
    Ping,
    /// The answer to the gateway's heartbeat. It needs no answer.
    Pong,
    Login(Option<String>),
    /// A message, with an id of the client's own, if it has one.
    Chat {
        content: String,
        id: Option<String>,
    },
}

fn parse(message: &Message) -> std::result::Result<Request, UserError> {
    parse_json(message.json().map_err(|_| BAD_MESSAGE)?)
}

fn parse_json(mut message: Value) -> std::result::Result<Request, UserError> {
    let mut field = |name| message.get_mut(name).map(Value::take).unwrap_or_default();
    let kind = field("type");
    match kind.as_str().unwrap_or_default() {
        "ping" => Ok(Request::Ping),
        "pong" => Ok(Request::Pong),
        "login" => match field("username") {
            Value::Null => Ok(Request::Login(None)),
            Value::String(name) => match name.trim() {
                "" => Ok(Request::Login(None)),
                name if name.chars().count() > MAX_USERNAME => Err(LONG_NAME),
                name if name.chars().any(char::is_control) => Err(BAD_NAME),
                name => Ok(Request::Login(Some(name.to_owned()))),
            },
            _ => Err(BAD_NAME),
        },
        "chat" => match field("content") {
            Value::Null => Err(EMPTY_CONTENT),
            Value::String(content) if content.trim().is_empty() => Err(EMPTY_CONTENT),
            Value::String(content) if content.chars().count() > MAX_CONTENT => Err(LONG_CONTENT),
            Value::String(content) => match field("id") {
                Value::Null => Ok(Request::Chat { content, id: None }),
                Value::String(id) if id.len() <= MAX_ID => Ok(Request::Chat { content, id: Some(id) }),
                _ => Err(BAD_MESSAGE),
            },
            _ => Err(BAD_MESSAGE),
        },
        _ => Err(UNKNOWN_TYPE),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_client_may_ping_log_in_and_chat() {
        assert_eq!(parse_json(json!({"type": "ping"})), Ok(Request::Ping));
        assert_eq!(parse_json(json!({"type": "pong"})), Ok(Request::Pong));
        assert_eq!(
            parse_json(json!({"type": "login", "username": "小明"})),
            Ok(Request::Login(Some("小明".into())))
        );
        assert_eq!(
            parse_json(json!({"type": "login", "username": " 小明\n"})),
            Ok(Request::Login(Some("小明".into())))
        );
        assert_eq!(parse_json(json!({"type": "login"})), Ok(Request::Login(None)));
        assert_eq!(parse_json(json!({"type": "login", "username": " "})), Ok(Request::Login(None)));
        let chat = |id: Option<&str>| Ok(Request::Chat { content: "0".into(), id: id.map(str::to_owned) });
        assert_eq!(parse_json(json!({"type": "chat", "content": "0"})), chat(None));
        assert_eq!(parse_json(json!({"type": "chat", "content": "0", "id": "a-1"})), chat(Some("a-1")));
    }

    #[test]
    fn an_invalid_message_is_an_error() {
        for (message, complaint) in [
            (json!({"type": "chat"}), EMPTY_CONTENT),
            (json!({"type": "chat", "content": ""}), EMPTY_CONTENT),
            (json!({"type": "chat", "content": " \n"}), EMPTY_CONTENT),
            (json!({"type": "chat", "content": {"a": 1}}), BAD_MESSAGE),
            (json!({"type": "chat", "content": "a", "id": 1}), BAD_MESSAGE),
            (json!({"type": "chat", "content": "a", "id": "i".repeat(MAX_ID + 1)}), BAD_MESSAGE),
            (json!({"type": "chat", "content": "字".repeat(MAX_CONTENT + 1)}), LONG_CONTENT),
            (json!({"type": "login", "username": ["a"]}), BAD_NAME),
            (json!({"type": "login", "username": "a\nb"}), BAD_NAME),
            (json!({"type": "login", "username": "名".repeat(MAX_USERNAME + 1)}), LONG_NAME),
            (json!({"type": "dance"}), UNKNOWN_TYPE),
            (json!({"type": 7}), UNKNOWN_TYPE),
            (json!({}), UNKNOWN_TYPE),
            (json!([1]), UNKNOWN_TYPE),
            (json!("text"), UNKNOWN_TYPE),
        ] {
            assert_eq!(parse_json(message.clone()), Err(complaint), "{message}");
        }
        assert!(parse_json(json!({"type": "login", "username": "名".repeat(MAX_USERNAME)})).is_ok());
    }
}
