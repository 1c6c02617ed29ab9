//! All messages of the chat to its clients, as JSON.
//!
//! An answer has an `op`, a `status` and, where the protocol has one, a `code`. Only a chat message
//! has no `op`. Nothing here decides; the application and `presence` send what these functions make.

use gatewayworker::OutMessage;
use serde_json::{Value, json};

use crate::database::{Class, Page, StoredMessage, User};
use crate::refusal::Refusal;

/// The answer to a refused request. `action` is the request's, and is returned to the client.
///
/// The `op` is `send`, whatever the action, and `sent` where a message was not found.
pub(crate) fn refused(refusal: Refusal, action: &Value) -> OutMessage {
    let op = if refusal == Refusal::NoMessage { "sent" } else { "send" };
    let mut json = json!({"op": op, "status": false, "code": refusal.code(), "msg": refusal.text()});
    if let Some(action) = action.as_str().filter(|action| action.len() <= 32) {
        json["action"] = action.into();
    }
    json.into()
}

/// The greeting of a new client.
pub(crate) fn connected() -> OutMessage {
    json!({"op": "connect", "status": true}).into()
}

/// The answer to `keep`.
pub(crate) fn keep() -> OutMessage {
    json!({"op": "keep"}).into()
}

/// The answer to `directory`: all classes with their threads and members.
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

/// The answer to `join`: the newest page of the history, and the members.
pub(crate) fn joined(thread: i64, page: &Page, members: Value) -> OutMessage {
    let mut json = json!({"op": "join", "thread": thread, "status": true, "code": 100});
    json["messages"] = page.messages.iter().map(message).collect();
    json["more"] = page.more.into();
    json["members"] = members;
    json.into()
}

/// The answer to `leave`.
pub(crate) fn left(thread: i64) -> OutMessage {
    json!({"op": "leave", "thread": thread, "status": true}).into()
}

/// The answer to `send`, with the id of the stored message.
pub(crate) fn sent(id: i64) -> OutMessage {
    json!({"op": "send", "status": true, "code": 105, "mes_id": id}).into()
}

/// The answer to `history`: the page before the message `before`.
pub(crate) fn history(thread: i64, before: Option<i64>, page: &Page) -> OutMessage {
    let mut json = json!({"op": "history", "thread": thread, "status": true, "before": before});
    json["messages"] = page.messages.iter().map(message).collect();
    json["more"] = page.more.into();
    json.into()
}

/// The list in the answers to `join` and `members`. `online` says whether a user is in the thread.
pub(crate) fn member_list(users: &[User], online: impl Fn(i64) -> bool) -> Value {
    users.iter().map(|(id, name)| json!({"id": id, "name": name, "online": online(*id)})).collect()
}

/// The answer to `members`.
pub(crate) fn members(thread: i64, members: Value) -> OutMessage {
    json!({"op": "members", "thread": thread, "status": true, "members": members}).into()
}

/// The notice to the watchers of a thread: a user has come online or gone offline.
pub(crate) fn presence(thread: i64, user: i64, name: &str, online: bool) -> OutMessage {
    json!({"op": "presence", "thread": thread, "user": {"id": user, "name": name, "online": online}}).into()
}

/// A chat message, as it is stored. It has no `op`.
pub(crate) fn message(stored: &StoredMessage) -> Value {
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
