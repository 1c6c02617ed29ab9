//! The call `leave_group`: JSON params to [`Gateway::leave_group`].

use serde_json::Value;

use crate::Gateway;
use crate::calls::common::{CLIENT_ID, GROUP};
use crate::calls::error::delivery;
use crate::calls::{Answer, Call, CallError, Params};

pub(super) const CALL: Call = Call {
    name: "leave_group",
    original: Some("leaveGroup"),
    summary: "Remove a client from a group.",
    params: &[CLIENT_ID, GROUP],
    answer: Answer::Delivery,
    run: |gateway, params| Box::pin(run(gateway, params)),
};

async fn run(gateway: &Gateway, mut params: Params) -> Result<Value, CallError> {
    delivery(gateway.leave_group(params.client_id("client_id")?, params.group("group")?).await)
}
