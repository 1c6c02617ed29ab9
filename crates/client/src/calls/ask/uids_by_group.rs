//! The call `uids_by_group`: JSON params to [`Gateway::uids_by_group`].

use serde_json::Value;

use crate::Gateway;
use crate::calls::common::GROUP;
use crate::calls::error::whole;
use crate::calls::to_json::list;
use crate::calls::{Answer, Call, CallError, Params};

pub(super) const CALL: Call = Call {
    name: "uids_by_group",
    original: Some("getUidListByGroup"),
    summary: "The uids of a group's members, once each.",
    params: &[GROUP],
    answer: Answer::Uids,
    run: |gateway, params| Box::pin(run(gateway, params)),
};

async fn run(gateway: &Gateway, mut params: Params) -> Result<Value, CallError> {
    whole(gateway.uids_by_group(params.group("group")?).await, list)
}
