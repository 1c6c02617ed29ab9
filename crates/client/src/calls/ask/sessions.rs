//! The call `sessions`: JSON params to [`Gateway::sessions`].

use serde_json::Value;

use crate::Gateway;
use crate::calls::error::whole;
use crate::calls::to_json::{object, session_or_null};
use crate::calls::{Answer, Call, CallError, Params};

pub(super) const CALL: Call = Call {
    name: "sessions",
    original: Some("getAllClientSessions"),
    summary: "The sessions of all clients.",
    params: &[],
    answer: Answer::Sessions,
    run: |gateway, params| Box::pin(run(gateway, params)),
};

async fn run(gateway: &Gateway, _: Params) -> Result<Value, CallError> {
    whole(gateway.sessions().await, |sessions| object(sessions, session_or_null))
}
