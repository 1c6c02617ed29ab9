//! The call `batch_client_count_by_group`: JSON params to [`Gateway::batch_client_count_by_group`].

use serde_json::Value;

use crate::Gateway;
use crate::calls::common::GROUPS;
use crate::calls::error::whole;
use crate::calls::to_json::object;
use crate::calls::{Answer, Call, CallError, Params};

pub(super) const CALL: Call = Call {
    name: "batch_client_count_by_group",
    original: Some("batchGetClientIdCountByGroup"),
    summary: "How many clients each of these groups has.",
    params: &[GROUPS],
    answer: Answer::CountByGroup,
    run: |gateway, params| Box::pin(run(gateway, params)),
};

async fn run(gateway: &Gateway, mut params: Params) -> Result<Value, CallError> {
    let counts = gateway.batch_client_count_by_group(params.groups("groups")?).await;
    whole(counts, |counts| object(counts, Value::from))
}
