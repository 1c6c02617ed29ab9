//! The call `send_to_uid`: JSON params to [`Gateway::send_to_uid`].

use serde_json::Value;

use crate::Gateway;
use crate::calls::common::{EXCEPT, MESSAGE, MESSAGE_BASE64, RAW, UID_OR_LIST};
use crate::calls::error::delivery;
use crate::calls::{Answer, Call, CallError, Params};

pub(super) const CALL: Call = Call {
    name: "send_to_uid",
    original: Some("sendToUid"),
    summary: "Send a message to every client that is bound to a uid.",
    params: &[UID_OR_LIST, MESSAGE, MESSAGE_BASE64, RAW, EXCEPT],
    answer: Answer::Delivery,
    run: |gateway, params| Box::pin(run(gateway, params)),
};

async fn run(gateway: &Gateway, mut params: Params) -> Result<Value, CallError> {
    let (uids, message) = (params.uids("uid")?, params.message()?);
    let except = params.client_ids("except")?.unwrap_or_default();
    delivery(gateway.send_to_uid(uids, message).except(except).await)
}
