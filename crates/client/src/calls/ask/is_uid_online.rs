//! The call `is_uid_online`: JSON params to [`Gateway::is_uid_online`].

use serde_json::Value;

use crate::Gateway;
use crate::calls::common::UID;
use crate::calls::error::whole;
use crate::calls::{Answer, Call, CallError, Params};

pub(super) const CALL: Call = Call {
    name: "is_uid_online",
    original: Some("isUidOnline"),
    summary: "Whether any client is bound to a uid.",
    params: &[UID],
    answer: Answer::Flag,
    run: |gateway, params| Box::pin(run(gateway, params)),
};

async fn run(gateway: &Gateway, mut params: Params) -> Result<Value, CallError> {
    whole(gateway.is_uid_online(params.uid("uid")?).await, Value::from)
}
