//! The call `sessions_by_group`: JSON params to [`Gateway::sessions_by_group`].

use serde_json::Value;

use crate::Gateway;
use crate::calls::common::GROUP;
use crate::calls::error::whole;
use crate::calls::to_json::{object, session_or_null};
use crate::calls::{Answer, Call, CallError, Params};

pub(super) const CALL: Call = Call {
    name: "sessions_by_group",
    original: Some("getClientSessionsByGroup"),
    summary: "The sessions of a group's members.",
    params: &[GROUP],
    answer: Answer::Sessions,
    run: |gateway, params| Box::pin(run(gateway, params)),
};

async fn run(gateway: &Gateway, mut params: Params) -> Result<Value, CallError> {
    let sessions = gateway.sessions_by_group(params.group("group")?).await;
    whole(sessions, |sessions| object(sessions, session_or_null))
}
