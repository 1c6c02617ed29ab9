//! The call `close_client`: JSON params to [`Gateway::close_client`].

use serde_json::Value;

use crate::Gateway;
use crate::calls::common::{CLIENT_ID, LAST_MESSAGE, MESSAGE_BASE64};
use crate::calls::error::delivery;
use crate::calls::{Answer, Call, CallError, Params};

pub(super) const CALL: Call = Call {
    name: "close_client",
    original: Some("closeClient"),
    summary: "Close a client's connection after the messages on their way to it and a last message.",
    params: &[CLIENT_ID, LAST_MESSAGE, MESSAGE_BASE64],
    answer: Answer::Delivery,
    run: |gateway, params| Box::pin(run(gateway, params)),
};

async fn run(gateway: &Gateway, mut params: Params) -> Result<Value, CallError> {
    let id = params.client_id("client_id")?;
    delivery(match params.optional_message()? {
        Some(message) => gateway.close_client(id).last_message(message).await,
        None => gateway.close_client(id).await,
    })
}
