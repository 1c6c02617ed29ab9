//! The call `select`: JSON params to [`Gateway::select`].

use serde_json::{Map, Value};

use crate::Gateway;
use crate::calls::answers::rows;
use crate::calls::error::whole;
use crate::calls::{Answer, Call, CallError, Kind, Param, Params};

pub(super) const CALL: Call = Call {
    name: "select",
    original: Some("select"),
    summary: "What is known of the clients that meet any of some conditions, or of everybody.",
    params: &[
        Param::optional(
            "fields",
            Kind::Fields,
            "What to say of each: `uid`, `groups` and `session`, all three by default",
        ),
        Param::optional(
            "where",
            Kind::Where,
            "An object of conditions, any of `groups`, `uids` and `client_ids`, each one or a list; an empty list is met by nobody",
        ),
    ],
    answer: Answer::Rows,
    run: |gateway, params| Box::pin(run(gateway, params)),
};

async fn run(gateway: &Gateway, mut params: Params) -> Result<Value, CallError> {
    let (fields, clients) = (params.fields("fields")?, params.conditions("where")?);
    match clients {
        Some(clients) => whole(gateway.select(fields.clone(), clients).await, |found| rows(found, &fields)),
        None => Ok(Value::Object(Map::new())),
    }
}
