//! The call `client_count_by_group`: JSON params to [`Gateway::client_count_by_group`].

use serde_json::Value;

use crate::Gateway;
use crate::calls::common::GROUP;
use crate::calls::error::whole;
use crate::calls::{Answer, Call, CallError, Params};

pub(super) const CALL: Call = Call {
    name: "client_count_by_group",
    original: Some("getClientIdCountByGroup"),
    summary: "How many clients a group has.",
    params: &[GROUP],
    answer: Answer::Count,
    run: |gateway, params| Box::pin(run(gateway, params)),
};

async fn run(gateway: &Gateway, mut params: Params) -> Result<Value, CallError> {
    whole(gateway.client_count_by_group(params.group("group")?).await, Value::from)
}
