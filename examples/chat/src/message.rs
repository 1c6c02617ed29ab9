//! All messages of the chat to its clients, as JSON.

use std::borrow::Cow;

use gatewayworker::{ClientId, OutMessage};
use jiff::{Timestamp, Zoned};
use serde_json::{Value, json};

/// A message to clients. Each one has the time, in seconds since 1970.
pub(crate) enum Reply {
    /// A user has connected, logged in or left.
    System { message: Cow<'static, str>, client_id: ClientId, username: Option<String> },
    /// The answer to a ping.
    Pong,
    /// The answer to a login.
    Login { username: String, client_id: ClientId },
    /// A chat message; `id` is what its sender has given it.
    Chat { client_id: ClientId, username: Option<String>, content: String, id: Option<String> },
    /// The answer to an invalid message.
    Error { code: &'static str, message: &'static str },
}

impl From<Reply> for OutMessage {
    fn from(reply: Reply) -> Self {
        reply.into_json(now()).into()
    }
}

impl Reply {
    fn into_json(self, timestamp: i64) -> Value {
        let mut json = match self {
            Self::System { message, client_id, username } => {
                with_name(json!({"type": "system", "message": message, "client_id": client_id}), username)
            }
            Self::Pong => json!({"type": "pong"}),
            Self::Login { username, client_id } => json!({
                "type": "login",
                "status": "success",
                "message": format!("欢迎 {username}"),
                "username": username,
                "client_id": client_id,
            }),
            Self::Chat { client_id, username, content, id } => {
                let mut chat = json!({"type": "chat", "client_id": client_id, "content": content, "datetime": local_time()});
                if let Some(id) = id {
                    chat["id"] = id.into();
                }
                with_name(chat, username)
            }
            Self::Error { code, message } => json!({"type": "error", "code": code, "message": message}),
        };
        json["timestamp"] = timestamp.into();
        json
    }
}

/// Adds the name, if the client has logged in.
fn with_name(mut json: Value, username: Option<String>) -> Value {
    if let Some(username) = username {
        json["username"] = username.into();
    }
    json
}

/// Returns the seconds since 1970.
pub(crate) fn now() -> i64 {
    Timestamp::now().as_second()
}

/// Returns the local time, as PHP's `date('Y-m-d H:i:s')`.
pub(crate) fn local_time() -> String {
    Zoned::now().strftime("%Y-%m-%d %H:%M:%S").to_string()
}
