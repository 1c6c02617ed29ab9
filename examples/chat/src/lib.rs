//! The chat: one room for everybody who is connected, in JSON.
//!
//! A client may say `{"type":"ping"}`, `{"type":"login","username":…}` and
//! `{"type":"chat","content":…}`. What it hears is `message`'s business, what the
//! chat knows of it is in its session.

mod message;

use gatewayworker::{Client, CloseReason, Events, Message, Result};
use serde_json::Value;
use tracing::debug;

use crate::message::{Reply, local_time, now};

/// The longest user name, in characters.
pub const MAX_USERNAME: usize = 64;

/// The longest chat message, in characters.
pub const MAX_CONTENT: usize = 4096;

/// How many times a client may speak to everybody in [`SPOKEN_SECONDS`]; a login is one.
pub const MAX_SPOKEN: u32 = 20;

/// After how many seconds counting [`MAX_SPOKEN`] starts anew.
pub const SPOKEN_SECONDS: i64 = 10;

/// The chat.
#[derive(Debug, Clone, Copy, Default)]
pub struct Chat {}

/// What a client did wrong: a code for its program, and a text for its user.
type Complaint = (&'static str, &'static str);

const BAD_MESSAGE: Complaint = ("bad_message", "消息格式错误");
const UNKNOWN_TYPE: Complaint = ("unknown_type", "未知消息类型");
const LONG_NAME: Complaint = ("long_name", "用户名过长");
const BAD_NAME: Complaint = ("bad_name", "用户名格式错误");
const EMPTY_CONTENT: Complaint = ("empty_content", "消息内容不能为空");
const LONG_CONTENT: Complaint = ("long_content", "消息内容过长");
const TOO_OFTEN: Complaint = ("too_often", "发送过于频繁，请稍后再试");

impl Events for Chat {
    async fn on_connect(&self, client: &Client) -> Result {
        let session = client.session();
        session.insert("last_active_time", now())?;
        session.insert("client_id", client.id())?;
        session.insert("connected_at", local_time())?;
        debug!(client = %client.id(), "connected");
        let text = "连接成功".into();
        client.send(Reply::System { message: text, client_id: client.id(), username: None }).await?;
        Ok(())
    }

    async fn on_message(&self, client: &Client, message: Message) -> Result {
        client.session().insert("last_active_time", now())?;
        let said = match understand(&message) {
            Ok(Said::Login(_) | Said::Chat(_)) if !may_speak(client)? => Err(TOO_OFTEN),
            said => said,
        };
        match said {
            Ok(Said::Ping) => {
                client.send(Reply::Pong).await?;
            }
            Ok(Said::Pong) => {}
            Ok(Said::Login(username)) => login(client, username).await?,
            Ok(Said::Chat(content)) => {
                let username = username(client);
                let reply = Reply::Chat { client_id: client.id(), username, content };
                client.gateway().send_to_all(reply).await?;
            }
            Err((code, message)) => {
                debug!(client = %client.id(), code, "complained");
                client.send(Reply::Error { code, message }).await?;
            }
        }
        Ok(())
    }

    async fn on_close(&self, client: &Client, reason: CloseReason) -> Result {
        debug!(client = %client.id(), %reason, "gone");
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

/// The name that a client logged in with. One that is no text is none.
fn username(client: &Client) -> Option<String> {
    client.session().get("username").ok().flatten()
}

/// Whether a client may speak to everybody once more; if so, that is counted.
fn may_speak(client: &Client) -> Result<bool> {
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

/// What a client may say.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Ping,
    /// The answer to the gateway's heartbeat. That it came is all that matters.
    Pong,
    Login(Option<String>),
    Chat(String),
}

fn understand(message: &Message) -> std::result::Result<Said, Complaint> {
    said(message.json().map_err(|_| BAD_MESSAGE)?)
}

fn said(mut message: Value) -> std::result::Result<Said, Complaint> {
    let mut field = |name| message.get_mut(name).map(Value::take).unwrap_or_default();
    let kind = field("type");
    match kind.as_str().unwrap_or_default() {
        "ping" => Ok(Said::Ping),
        "pong" => Ok(Said::Pong),
        "login" => match field("username") {
            Value::Null => Ok(Said::Login(None)),
            Value::String(name) => match name.trim() {
                "" => Ok(Said::Login(None)),
                name if name.chars().count() > MAX_USERNAME => Err(LONG_NAME),
                name if name.chars().any(char::is_control) => Err(BAD_NAME),
                name => Ok(Said::Login(Some(name.to_owned()))),
            },
            _ => Err(BAD_NAME),
        },
        "chat" => match field("content") {
            Value::Null => Err(EMPTY_CONTENT),
            Value::String(content) if content.trim().is_empty() => Err(EMPTY_CONTENT),
            Value::String(content) if content.chars().count() > MAX_CONTENT => Err(LONG_CONTENT),
            Value::String(content) => Ok(Said::Chat(content)),
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
        assert_eq!(said(json!({"type": "ping"})), Ok(Said::Ping));
        assert_eq!(said(json!({"type": "pong"})), Ok(Said::Pong));
        assert_eq!(said(json!({"type": "login", "username": "小明"})), Ok(Said::Login(Some("小明".into()))));
        assert_eq!(
            said(json!({"type": "login", "username": " 小明\n"})),
            Ok(Said::Login(Some("小明".into())))
        );
        assert_eq!(said(json!({"type": "login"})), Ok(Said::Login(None)));
        assert_eq!(said(json!({"type": "login", "username": " "})), Ok(Said::Login(None)));
        assert_eq!(said(json!({"type": "chat", "content": "0"})), Ok(Said::Chat("0".into())));
    }

    #[test]
    fn an_invalid_message_is_an_error() {
        for (message, complaint) in [
            (json!({"type": "chat"}), EMPTY_CONTENT),
            (json!({"type": "chat", "content": ""}), EMPTY_CONTENT),
            (json!({"type": "chat", "content": " \n"}), EMPTY_CONTENT),
            (json!({"type": "chat", "content": {"a": 1}}), BAD_MESSAGE),
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
            assert_eq!(said(message.clone()), Err(complaint), "{message}");
        }
        assert!(said(json!({"type": "login", "username": "名".repeat(MAX_USERNAME)})).is_ok());
    }
}
