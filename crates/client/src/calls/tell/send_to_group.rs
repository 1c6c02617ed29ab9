//! The call `send_to_group`: JSON params to [`Gateway::send_to_group`].

use serde_json::Value;

use crate::Gateway;
use crate::calls::common::{EXCEPT, GROUP_OR_LIST, MESSAGE, MESSAGE_BASE64, RAW};
use crate::calls::error::delivery;
use crate::calls::{Answer, Call, CallError, Params};

pub(super) const CALL: Call = Call {
    name: "send_to_group",
    original: Some("sendToGroup"),
    summary: "Send a message to every member of a group.",
    params: &[GROUP_OR_LIST, MESSAGE, MESSAGE_BASE64, RAW, EXCEPT],
    answer: Answer::Delivery,
    run: |gateway, params| Box::pin(run(gateway, params)),
};

async fn run(gateway: &Gateway, mut params: Params) -> Result<Value, CallError> {
    let (groups, message) = (params.groups("group")?, params.message()?);
    let except = params.client_ids("except")?.unwrap_or_default();
    delivery(gateway.send_to_group(groups, message).except(except).await)
}
