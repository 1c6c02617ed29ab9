//! The call `close_uid`: JSON params to [`Gateway::close_uid`].

use serde_json::Value;

use crate::Gateway;
use crate::calls::common::{EXCEPT, LAST_MESSAGE, MESSAGE_BASE64, UID_OR_LIST};
use crate::calls::error::delivery;
use crate::calls::{Answer, Call, CallError, Params};

pub(super) const CALL: Call = Call {
    name: "close_uid",
    original: None,
    summary: "Close every client that is bound to a uid, after the messages on their way to it and a last message.",
    params: &[UID_OR_LIST, LAST_MESSAGE, MESSAGE_BASE64, EXCEPT],
    answer: Answer::Delivery,
    run: |gateway, params| Box::pin(run(gateway, params)),
};

async fn run(gateway: &Gateway, mut params: Params) -> Result<Value, CallError> {
    let except = params.client_ids("except")?.unwrap_or_default();
    let closing = gateway.close_uid(params.uids("uid")?).except(except);
    delivery(match params.optional_message()? {
        Some(message) => closing.last_message(message).await,
        None => closing.await,
    })
}
