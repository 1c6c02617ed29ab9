//! The call `uids_of_all_groups`: JSON params to [`Gateway::uids_of_all_groups`].

use serde_json::Value;

use crate::Gateway;
use crate::calls::error::whole;
use crate::calls::to_json::lists;
use crate::calls::{Answer, Call, CallError, Params};

pub(super) const CALL: Call = Call {
    name: "uids_of_all_groups",
    original: Some("getAllGroupUidList"),
    summary: "Each group's uids, once each.",
    params: &[],
    answer: Answer::UidsByGroup,
    run: |gateway, params| Box::pin(run(gateway, params)),
};

async fn run(gateway: &Gateway, _: Params) -> Result<Value, CallError> {
    whole(gateway.uids_of_all_groups().await, lists)
}
