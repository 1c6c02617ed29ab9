//! The call `history_last`: JSON params to the history that is attached to the handle.

use serde_json::Value;

use crate::Gateway;
use crate::calls::common::{GROUP, LIMIT};
use crate::calls::{Answer, Call, CallError, Params};

pub(super) const CALL: Call = Call {
    name: "history_last",
    original: None,
    summary: "The last messages of a group.",
    params: &[GROUP, LIMIT],
    answer: Answer::History,
    run: |gateway, params| Box::pin(run(gateway, params)),
};

async fn run(gateway: &Gateway, mut params: Params) -> Result<Value, CallError> {
    let (group, limit) = (params.group("group")?, params.limit("limit")?);
    let history = gateway.attached_history().ok_or(CallError::NoHistory)?;
    history.last(group, limit).await
}
