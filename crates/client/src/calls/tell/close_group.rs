//! The call `close_group`: JSON params to [`Gateway::close_group`].

use serde_json::Value;

use crate::Gateway;
use crate::calls::common::{EXCEPT, GROUP_OR_LIST, LAST_MESSAGE, MESSAGE_BASE64};
use crate::calls::error::delivery;
use crate::calls::{Answer, Call, CallError, Params};

pub(super) const CALL: Call = Call {
    name: "close_group",
    original: None,
    summary: "Close every member of a group, after the messages on their way to it and a last message.",
    params: &[GROUP_OR_LIST, LAST_MESSAGE, MESSAGE_BASE64, EXCEPT],
    answer: Answer::Delivery,
    run: |gateway, params| Box::pin(run(gateway, params)),
};

async fn run(gateway: &Gateway, mut params: Params) -> Result<Value, CallError> {
    let except = params.client_ids("except")?.unwrap_or_default();
    let closing = gateway.close_group(params.groups("group")?).except(except);
    delivery(match params.optional_message()? {
        Some(message) => closing.last_message(message).await,
        None => closing.await,
    })
}
