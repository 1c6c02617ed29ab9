//! The call `session`: JSON params to [`Gateway::session`].

use serde_json::Value;

use crate::Gateway;
use crate::calls::common::CLIENT_ID;
use crate::calls::to_json::session;
use crate::calls::{Answer, Call, CallError, Params};

pub(super) const CALL: Call = Call {
    name: "session",
    original: Some("getSession"),
    summary: "A client's session, or null if it is not connected.",
    params: &[CLIENT_ID],
    answer: Answer::Session,
    run: |gateway, params| Box::pin(run(gateway, params)),
};

async fn run(gateway: &Gateway, mut params: Params) -> Result<Value, CallError> {
    match gateway.session(params.client_id("client_id")?).await? {
        None => Ok(Value::Null),
        Some(data) => {
            let unreadable = || CallError::BadSession("the session is not UTF-8".into());
            session(data).ok_or_else(unreadable)
        }
    }
}
