//! What clients hear, as JSON: `op`, `status` and `code` of each answer.

use gatewayworker::OutMessage;
use serde_json::{Value, json};

use crate::database::{Class, Stored, Trouble, User};

/// The longest message, in characters. A page of the longest has to fit one answer.
pub const MAX_CONTENT: usize = 2_000;

/// How many threads a connection may be in.
pub const MAX_THREADS: usize = 32;

/// Why a request was not granted. (106 is nobody's.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    UnknownAction,
    NoThread,
    NoClass,
    Incomplete,
    NotMember,
    NoMessage,
    BadContent,
    TooOften,
    Unavailable,
    TooManyThreads,
}

impl Refusal {
    fn code(self) -> u16 {
        match self {
            Self::UnknownAction => 101,
            Self::NoThread => 102,
            Self::NoClass => 103,
            Self::Incomplete => 104,
            Self::NotMember => 107,
            Self::NoMessage => 108,
            Self::BadContent => 109,
            Self::TooOften => 110,
            Self::Unavailable => 111,
            Self::TooManyThreads => 112,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::UnknownAction | Self::Incomplete => "Illegal request",
            Self::NoThread => "Thread does not exist",
            Self::NoClass => "Class does not exist",
            Self::NotMember => "User does not exist or not in the class",
            Self::NoMessage => "Illegal Request",
            Self::BadContent => "Message is empty or too long",
            Self::TooOften => "Too many requests",
            Self::Unavailable => "Service unavailable",
            Self::TooManyThreads => "Too many threads",
        }
    }

    /// The answer. Whatever was asked, its `op` is `send`, but for a message that is
    /// none, where it is `sent`; `action` says what was asked.
    pub(crate) fn answer(self, action: &Value) -> OutMessage {
        let op = if self == Self::NoMessage { "sent" } else { "send" };
        let mut json = json!({"op": op, "status": false, "code": self.code(), "msg": self.text()});
        if let Some(action) = action.as_str().filter(|action| action.len() <= 32) {
            json["action"] = action.into();
        }
        json.into()
    }
}

/// To a client that has come.
pub(crate) fn connected() -> OutMessage {
    json!({"op": "connect", "status": true}).into()
}

/// To one that says it is there.
pub(crate) fn keep() -> OutMessage {
    json!({"op": "keep"}).into()
}

pub(crate) fn directory(classes: &[Class]) -> OutMessage {
    let named = |(id, name): &(i64, String)| json!({"id": id, "name": name});
    let class = |class: &Class| {
        json!({
            "id": class.id,
            "name": class.name,
            "threads": class.threads.iter().map(named).collect::<Vec<_>>(),
            "members": class.members.iter().map(named).collect::<Vec<_>>(),
        })
    };
    json!({"op": "directory", "status": true, "classes": classes.iter().map(class).collect::<Vec<_>>()})
        .into()
}

/// Joined: with the newest page, and who is there.
pub(crate) fn joined(thread: i64, page: &Page, members: Value) -> OutMessage {
    let mut json = json!({"op": "join", "thread": thread, "status": true, "code": 100});
    json["messages"] = page.messages.iter().map(message).collect();
    json["more"] = page.more.into();
    json["members"] = members;
    json.into()
}

pub(crate) fn left(thread: i64) -> OutMessage {
    json!({"op": "leave", "thread": thread, "status": true}).into()
}

pub(crate) fn sent(id: i64) -> OutMessage {
    json!({"op": "send", "status": true, "code": 105, "mes_id": id}).into()
}

/// A page of the history, the oldest message first.
pub(crate) struct Page {
    pub(crate) messages: Vec<Stored>,
    /// There are older ones.
    pub(crate) more: bool,
}

pub(crate) fn history(thread: i64, before: Option<i64>, page: &Page) -> OutMessage {
    let mut json = json!({"op": "history", "thread": thread, "status": true, "before": before});
    json["messages"] = page.messages.iter().map(message).collect();
    json["more"] = page.more.into();
    json.into()
}

/// The members of a class; `online` says whether one is in the thread now.
pub(crate) fn member_list(users: &[User], online: impl Fn(i64) -> bool) -> Value {
    users.iter().map(|(id, name)| json!({"id": id, "name": name, "online": online(*id)})).collect()
}

pub(crate) fn members(thread: i64, members: Value) -> OutMessage {
    json!({"op": "members", "thread": thread, "status": true, "members": members}).into()
}

/// To those who watch: somebody came or went.
pub(crate) fn presence(thread: i64, user: i64, name: &str, online: bool) -> OutMessage {
    json!({"op": "presence", "thread": thread, "user": {"id": user, "name": name, "online": online}}).into()
}

/// To all in the thread: the message as it is stored. It is known by having no `op`.
pub(crate) fn message(stored: &Stored) -> Value {
    json!({
        "id": stored.id,
        "belong_class": stored.class,
        "belong_thread": stored.thread,
        "speaker": stored.speaker,
        "speaker_name": stored.speaker_name,
        "content": stored.content,
        "created_at": stored.created_at,
    })
}

/// Why a request failed: by its own fault, the database's, or the cluster's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("refused")]
    Refused(Refusal),
    #[error(transparent)]
    Database(#[from] Trouble),
    #[error(transparent)]
    Other(gatewayworker::BoxError),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<gatewayworker::Error> for Failure {
    fn from(error: gatewayworker::Error) -> Self {
        Self::Other(error.into())
    }
}

impl From<gatewayworker::SessionError> for Failure {
    fn from(error: gatewayworker::SessionError) -> Self {
        Self::Other(error.into())
    }
}
