//! The call `are_uids_online`: JSON params to [`Gateway::are_uids_online`].

use serde_json::Value;

use crate::Gateway;
use crate::calls::common::UIDS;
use crate::calls::error::whole;
use crate::calls::to_json::object;
use crate::calls::{Answer, Call, CallError, Params};

pub(super) const CALL: Call = Call {
    name: "are_uids_online",
    original: Some("isUidsOnline"),
    summary: "Whether any client is bound to each of these uids.",
    params: &[UIDS],
    answer: Answer::FlagByUid,
    run: |gateway, params| Box::pin(run(gateway, params)),
};

async fn run(gateway: &Gateway, mut params: Params) -> Result<Value, CallError> {
    whole(gateway.are_uids_online(params.uids("uids")?).await, |online| object(online, Value::from))
}
