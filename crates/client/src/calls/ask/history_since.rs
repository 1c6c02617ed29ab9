//! The call `history_since`: JSON params to the history that is attached to the handle.

use serde_json::Value;

use crate::Gateway;
use crate::calls::common::{GROUP, LIMIT};
use crate::calls::{Answer, Call, CallError, Kind, Param, Params};

pub(super) const CALL: Call = Call {
    name: "history_since",
    original: None,
    summary: "The messages of a group after a position, and whether they are all that were missed.",
    params: &[
        GROUP,
        Param::required("position", Kind::Position, "The position of the last message that was seen"),
        LIMIT,
    ],
    answer: Answer::History,
    run: |gateway, params| Box::pin(run(gateway, params)),
};

async fn run(gateway: &Gateway, mut params: Params) -> Result<Value, CallError> {
    let (group, position) = (params.group("group")?, params.position("position")?);
    let limit = params.limit("limit")?;
    let history = gateway.attached_history().ok_or(CallError::NoHistory)?;
    history.since(group, position, limit).await
}
