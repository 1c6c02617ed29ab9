//! The call `select`: JSON params to [`Gateway::select`].

use serde_json::Value;

use crate::Gateway;
use crate::calls::error::whole;
use crate::calls::to_json::rows;
use crate::calls::{Answer, Call, CallError, Kind, Param, Params};

pub(super) const CALL: Call = Call {
    name: "select",
    original: Some("select"),
    summary: "The uids, groups and sessions of the clients that meet any of some conditions, or of all clients.",
    params: &[
        Param::optional(
            "fields",
            Kind::Fields,
            "The columns of each client: `uid`, `groups` and `session`, which are the default, and `detached_since`: since when a client that may come back (`gw.1`) is cut off, in seconds since 1970, or null",
        ),
        Param::optional(
            "where",
            Kind::Where,
            "An object of conditions, any of `groups`, `uids` and `client_ids`, each one or a list; no client meets an empty list",
        ),
    ],
    answer: Answer::Rows,
    run: |gateway, params| Box::pin(run(gateway, params)),
};

async fn run(gateway: &Gateway, mut params: Params) -> Result<Value, CallError> {
    let (fields, clients) = (params.fields("fields")?, params.conditions("where")?);
    whole(gateway.select(fields.clone(), clients).await, |found| rows(found, &fields))
}
