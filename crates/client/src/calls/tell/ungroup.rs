//! The call `ungroup`: JSON params to [`Gateway::ungroup`].

use serde_json::Value;

use crate::Gateway;
use crate::calls::common::GROUP;
use crate::calls::error::delivery;
use crate::calls::{Answer, Call, CallError, Params};

pub(super) const CALL: Call = Call {
    name: "ungroup",
    original: Some("ungroup"),
    summary: "Remove all members from a group.",
    params: &[GROUP],
    answer: Answer::Delivery,
    run: |gateway, params| Box::pin(run(gateway, params)),
};

async fn run(gateway: &Gateway, mut params: Params) -> Result<Value, CallError> {
    delivery(gateway.ungroup(params.group("group")?).await)
}
