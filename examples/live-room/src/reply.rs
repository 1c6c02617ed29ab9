//! The messages to clients, as JSON. Worker, backend and `numbers` send them.

use gatewayworker::{ClientId, OutMessage};
use jiff::Zoned;
use serde_json::{Value, json};

use crate::fields::{Room, UserError};

/// The user who joins or comments.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Speaker<'a> {
    pub(crate) name: &'a str,
    /// The user id, if the backend has verified it. Over the socket, a client may take any name.
    pub(crate) id: Option<&'a str>,
}

/// A message to clients.
pub(crate) enum Reply<'a> {
    /// The greeting, with the client id that a page posts to the backend.
    Init { client_id: ClientId },
    /// A user has joined.
    Join { room: &'a Room, speaker: Speaker<'a> },
    /// A comment; with `to`, to this user alone.
    Say { room: &'a Room, speaker: Speaker<'a>, content: &'a str, to: Option<&'a str> },
    /// A room's numbers.
    Room { id: &'a str, numbers: Numbers },
    /// The answer to a request that has failed.
    Error(UserError),
}

/// A room's numbers. An unknown number is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Numbers {
    /// How many clients are in the room.
    pub(crate) people: Option<u64>,
    /// Whether all gateways have counted. If not, `people` is a lower bound.
    pub(crate) exact: bool,
    /// How often clients have joined.
    pub(crate) views: Option<u64>,
}

impl Numbers {
    /// Whether all numbers are known and exact.
    pub(crate) fn is_whole(self) -> bool {
        self.exact && self.people.is_some() && self.views.is_some()
    }
}

impl From<Reply<'_>> for OutMessage {
    fn from(reply: Reply<'_>) -> Self {
        reply.into_json().into()
    }
}

impl Reply<'_> {
    /// Returns the message as JSON.
    pub(crate) fn into_json(self) -> Value {
        match self {
            Self::Init { client_id } => {
                json!({"type": "init", "client_id": client_id, "msg": "connect is success"})
            }
            Self::Join { room, speaker } => {
                let join = json!({
                    "type": "join",
                    "roomId": room,
                    "userName": speaker.name,
                    "msg": "enters the Room",
                    "joinTime": local_time(),
                });
                with(join, "userId", speaker.id)
            }
            Self::Say { room, speaker, content, to } => {
                let mut say = json!({
                    "type": "say",
                    "roomId": room,
                    "userName": speaker.name,
                    "content": content,
                    "commentTime": local_time(),
                });
                // Pages that only receive read a pushed comment from `msg`.
                if speaker.id.is_some() {
                    say["msg"] = content.into();
                }
                with(with(say, "userId", speaker.id), "to", to)
            }
            Self::Room { id, numbers: Numbers { people, exact, views } } => {
                json!({"type": "room", "roomId": id, "people": people, "exact": exact, "pv": views})
            }
            Self::Error(UserError { code, text }) => json!({"type": "error", "code": code, "message": text}),
        }
    }
}

fn with(mut json: Value, field: &str, value: Option<&str>) -> Value {
    if let Some(value) = value {
        json[field] = value.into();
    }
    json
}

/// The local time, as PHP's `date('Y-m-d H:i:s')`.
fn local_time() -> String {
    Zoned::now().strftime("%Y-%m-%d %H:%M:%S").to_string()
}
