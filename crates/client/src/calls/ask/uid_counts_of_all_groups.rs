//! The call `uid_counts_of_all_groups`: JSON params to [`Gateway::uid_counts_of_all_groups`].

use serde_json::Value;

use crate::Gateway;
use crate::calls::error::whole;
use crate::calls::to_json::object;
use crate::calls::{Answer, Call, CallError, Params};

pub(super) const CALL: Call = Call {
    name: "uid_counts_of_all_groups",
    original: Some("getAllGroupUidCount"),
    summary: "How many uids each group has.",
    params: &[],
    answer: Answer::CountByGroup,
    run: |gateway, params| Box::pin(run(gateway, params)),
};

async fn run(gateway: &Gateway, _: Params) -> Result<Value, CallError> {
    whole(gateway.uid_counts_of_all_groups().await, |counts| object(counts, Value::from))
}
