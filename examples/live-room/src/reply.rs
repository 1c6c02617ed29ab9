//! What clients hear, as JSON.

use gatewayworker::{ClientId, OutMessage};
use jiff::Zoned;
use serde_json::{Value, json};

use crate::fields::{Complaint, Room};

/// Who says something, or comes in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Speaker<'a> {
    pub(crate) name: &'a str,
    /// The id of a user who has logged in, which is what the backend vouches for. Over the
    /// socket anybody may take any name.
    pub(crate) id: Option<&'a str>,
}

/// Something that clients hear.
pub(crate) enum Reply<'a> {
    /// The greeting: what the page posts to the backend.
    Init { client_id: ClientId },
    /// Somebody has come in.
    Join { room: &'a Room, who: Speaker<'a> },
    /// What somebody said; to a user alone, where it says so.
    Say { room: &'a Room, who: Speaker<'a>, content: &'a str, to: Option<&'a str> },
    /// A room's numbers.
    Room { id: &'a str, numbers: Numbers },
    /// What the client did wrong.
    Error(Complaint),
}

/// A room's numbers; what is not known is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Numbers {
    /// How many pages are open in it.
    pub(crate) people: Option<u64>,
    /// Whether all gateways have said theirs; else there are at least so many.
    pub(crate) exact: bool,
    /// How often it was entered.
    pub(crate) views: Option<u64>,
}

impl Numbers {
    /// Whether nothing is missing.
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
    pub(crate) fn into_json(self) -> Value {
        match self {
            Self::Init { client_id } => {
                json!({"type": "init", "client_id": client_id, "msg": "connect is success"})
            }
            Self::Join { room, who } => {
                let join = json!({
                    "type": "join",
                    "roomId": room,
                    "userName": who.name,
                    "msg": "enters the Room",
                    "joinTime": local_time(),
                });
                with(join, "userId", who.id)
            }
            Self::Say { room, who, content, to } => {
                let mut say = json!({
                    "type": "say",
                    "roomId": room,
                    "userName": who.name,
                    "content": content,
                    "commentTime": local_time(),
                });
                // Pages that only listen know what the backend pushes as `msg`.
                if who.id.is_some() {
                    say["msg"] = content.into();
                }
                with(with(say, "userId", who.id), "to", to)
            }
            Self::Room { id, numbers: Numbers { people, exact, views } } => {
                json!({"type": "room", "roomId": id, "people": people, "exact": exact, "pv": views})
            }
            Self::Error(Complaint { code, text }) => json!({"type": "error", "code": code, "message": text}),
        }
    }
}

fn with(mut json: Value, field: &str, value: Option<&str>) -> Value {
    if let Some(value) = value {
        json[field] = value.into();
    }
    json
}

/// The time here and now, as PHP's `date('Y-m-d H:i:s')`.
fn local_time() -> String {
    Zoned::now().strftime("%Y-%m-%d %H:%M:%S").to_string()
}
