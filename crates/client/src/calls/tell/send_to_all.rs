//! The call `send_to_all`: JSON params to [`Gateway::send_to_all`].

use serde_json::Value;

use crate::Gateway;
use crate::calls::common::{EXCEPT, MESSAGE, MESSAGE_BASE64, RAW};
use crate::calls::error::delivery;
use crate::calls::{Answer, Call, CallError, Kind, Param, Params};

pub(super) const CALL: Call = Call {
    name: "send_to_all",
    original: Some("sendToAll"),
    summary: "Send a message to every client.",
    params: &[
        MESSAGE,
        MESSAGE_BASE64,
        RAW,
        Param::optional("only", Kind::ClientIds, "Only these clients, one or a list"),
        EXCEPT,
    ],
    answer: Answer::Delivery,
    run: |gateway, params| Box::pin(run(gateway, params)),
};

async fn run(gateway: &Gateway, mut params: Params) -> Result<Value, CallError> {
    let message = params.message()?;
    let (only, except) = (params.client_ids("only")?, params.client_ids("except")?);
    let sending = gateway.send_to_all(message).except(except.unwrap_or_default());
    delivery(match only {
        Some(only) => sending.only(only).await,
        None => sending.await,
    })
}
