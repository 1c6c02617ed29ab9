//! The call `publish`: JSON params to the history that is attached to the handle.

use serde_json::Value;

use crate::Gateway;
use crate::calls::common::{GROUP, MESSAGE, MESSAGE_BASE64};
use crate::calls::{Answer, Call, CallError, Kind, Param, Params};

pub(super) const CALL: Call = Call {
    name: "publish",
    original: None,
    summary: "Keep a message in the history of a group, and send it to every member.",
    params: &[
        GROUP,
        MESSAGE,
        MESSAGE_BASE64,
        Param::optional(
            "with_position",
            Kind::Flag,
            "Members get a JSON object with the message and its position, instead of the message alone",
        ),
    ],
    answer: Answer::Published,
    run: |gateway, params| Box::pin(run(gateway, params)),
};

async fn run(gateway: &Gateway, mut params: Params) -> Result<Value, CallError> {
    let (group, message) = (params.group("group")?, params.message()?);
    let with_position = params.flag("with_position")?;
    let history = gateway.attached_history().ok_or(CallError::NoHistory)?;
    history.publish(gateway.clone(), group, message, with_position).await
}
