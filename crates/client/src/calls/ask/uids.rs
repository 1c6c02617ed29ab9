//! The call `uids`: JSON params to [`Gateway::uids`].

use serde_json::Value;

use crate::Gateway;
use crate::calls::error::whole;
use crate::calls::to_json::list;
use crate::calls::{Answer, Call, CallError, Params};

pub(super) const CALL: Call = Call {
    name: "uids",
    original: Some("getAllUidList"),
    summary: "All uids that any client is bound to, once each.",
    params: &[],
    answer: Answer::Uids,
    run: |gateway, params| Box::pin(run(gateway, params)),
};

async fn run(gateway: &Gateway, _: Params) -> Result<Value, CallError> {
    whole(gateway.uids().await, list)
}
