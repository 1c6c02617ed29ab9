//! The module `Live`: a room that users talk in and walls look on.

pub(crate) mod room;
pub(crate) mod user;

use gatewayworker::router::{self, Failure};
use gatewayworker::{GroupId, SessionError};

use crate::store::Keys;
use crate::{State, Visitor, words};

/// The controller that hears of users' leaving.
pub(crate) const USER: &str = "Live.User";

/// The group of all who are in a room.
fn group(code: &str) -> router::Result<GroupId> {
    Ok(GroupId::try_from(format!("room:{code}"))?)
}

/// Whether the visitor has joined.
fn is_in(visitor: &Visitor) -> Result<bool, SessionError> {
    Ok(router::controllers(&visitor.client)?.iter().any(|controller| controller == USER))
}

fn must_be_in(visitor: &Visitor) -> router::Result {
    if is_in(visitor)? { Ok(()) } else { Err(Failure::new(403, "请先加入房间")) }
}

/// Tells everybody in the visitor's room but the visitor.
async fn tell_others(visitor: &Visitor, event: &str, info: &str, param: serde_json::Value) -> router::Result {
    let news = words::news(event, info, param);
    let gateway = visitor.client.gateway();
    gateway.send_to_group([group(&visitor.user.code)?], news).except([visitor.client.id()]).await?;
    Ok(())
}

/// How many there are, for news that are told even where nobody can say.
async fn counts(state: &State, visitor: &Visitor) -> serde_json::Value {
    let counts = state.store.counts(&Keys::of(&visitor.user.code)).await.ok();
    serde_json::json!(counts)
}
