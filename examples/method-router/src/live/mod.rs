//! The module `Live`: a room in which users talk and walls watch. Its controllers are `user` and `room`.

pub(crate) mod room;
pub(crate) mod user;

use gatewayworker::router::{self, Failure};
use gatewayworker::{GroupId, SessionError};

use crate::messages;
use crate::state::{State, Visitor};
use crate::store::Keys;

/// The controller that is called when a user leaves.
pub(crate) const USER: &str = "Live.User";

/// The group of a room's clients.
fn group(code: &str) -> router::Result<GroupId> {
    Ok(GroupId::try_from(format!("room:{code}"))?)
}

/// Whether the visitor has joined.
fn has_joined(visitor: &Visitor) -> Result<bool, SessionError> {
    Ok(router::controllers(&visitor.client)?.iter().any(|controller| controller == USER))
}

fn require_joined(visitor: &Visitor) -> router::Result {
    if has_joined(visitor)? { Ok(()) } else { Err(Failure::new(403, "请先加入房间")) }
}

/// Sends a notice to all others in the visitor's room.
async fn notify_others(
    visitor: &Visitor,
    event: &str,
    info: &str,
    param: serde_json::Value,
) -> router::Result {
    let notice = messages::notice(event, info, param);
    let gateway = visitor.client.gateway();
    gateway.send_to_group([group(&visitor.user.code)?], notice).except([visitor.client.id()]).await?;
    Ok(())
}

/// The counts of the visitor's room; null if the store does not answer, for notices that are sent all the same.
async fn counts(state: &State, visitor: &Visitor) -> serde_json::Value {
    let counts = state.store.counts(&Keys::of(&visitor.user.code)).await.ok();
    serde_json::json!(counts)
}
