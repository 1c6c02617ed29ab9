//! The description of one call by name, and how it is run.
//!
//! The files of `tell` and `ask` define the calls, `schema.rs` describes them to programs.

use std::fmt;
use std::pin::Pin;

use serde::Serialize;
use serde_json::Value;

use super::error::CallError;
use super::param_kind::Param;
use super::params::Params;
use crate::Gateway;

/// One call by name.
#[derive(Clone, Copy)]
pub struct Call {
    /// Its name, which is that of a method of [`Gateway`]; calls of the history are those of `gatewayworker_history`.
    pub name: &'static str,
    /// The name of the original's method, or `None` where the original has none.
    pub original: Option<&'static str>,
    /// What it does, as a sentence.
    pub summary: &'static str,
    /// Its params, in the order in which a command line has them.
    pub params: &'static [Param],
    /// The kind of its answer.
    pub answer: Answer,
    pub(super) run: Run,
}

type Run = for<'a> fn(&'a Gateway, Params) -> Running<'a>;
type Running<'a> = Pin<Box<dyn Future<Output = Result<Value, CallError>> + Send + 'a>>;

/// The kind of answer of a [`Call`]. If it is an object, its keys are the ids that were asked
/// for, or found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Answer {
    /// `{"unreached": [{"gateway": "127.0.0.1:2300", "reason": "not_connected"}]}`:
    /// the gateways that may hold a receiver and were not reached.
    Delivery,
    /// True or false.
    Flag,
    /// A number.
    Count,
    /// A client id.
    ClientId,
    /// A list of client ids.
    ClientIds,
    /// A uid, or null.
    Uid,
    /// A list of uids.
    Uids,
    /// A list of groups.
    Groups,
    /// A session, or null where the client is not connected.
    Session,
    /// True or false for each uid.
    FlagByUid,
    /// A list of client ids for each uid.
    ClientIdsByUid,
    /// A number for each group.
    CountByGroup,
    /// A list of client ids for each group.
    ClientIdsByGroup,
    /// A list of uids for each group.
    UidsByGroup,
    /// A session for each client id; null for one that cannot be read.
    Sessions,
    /// For each client id, an object of the fields that were asked for.
    Rows,
    /// `{"position": "17-5f3a9c0d11223344", "time_ms": 1764218000000, "unreached": []}`: where a message was kept, and the gateways
    /// that were not reached.
    Published,
    /// `{"messages": [{"position": …, "time_ms": …, "message": "hello"}], "whole": true, "more": false, "position": …}`: messages of a group.
    History,
    /// `{"members": [{"uid": "7", "data": {}}], "total": 1}`: the uids of a group.
    Presence,
}

impl Call {
    /// Runs the call. `params` is anything with a JSON form: `json!({…})`, or a
    /// [`RawValue`](serde_json::value::RawValue), of which a message keeps the text byte for
    /// byte.
    ///
    /// # Errors
    /// When a param is missing, unknown or of another type, and when the call
    /// itself fails.
    pub async fn run(&self, gateway: &Gateway, params: impl Serialize) -> Result<Value, CallError> {
        (self.run)(gateway, Params::of(self.params, &params)?).await
    }

    /// Reads the params of the call, and does nothing yet: so that of several calls none is made where one of them is
    /// wrong. `params` is as for [`run`](Self::run).
    ///
    /// # Errors
    /// When a param is missing, unknown or of another type.
    pub fn check(&self, params: impl Serialize) -> Result<CheckedCall, CallError> {
        let params = Params::of(self.params, &params)?;
        params.clone().check(self.params)?;
        Ok(CheckedCall { name: self.name, run: self.run, params })
    }

    /// Returns which method of the original it is, as a sentence without its full stop.
    pub fn origin(&self) -> String {
        match self.original {
            Some(name) => format!("`{name}` of the original"),
            None => "Not in the original".into(),
        }
    }
}

/// A call with params that are right, as [`Call::check`] has found. It is not made yet.
pub struct CheckedCall {
    name: &'static str,
    run: Run,
    params: Params,
}

impl CheckedCall {
    /// Returns the name of the call.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Runs the call.
    ///
    /// # Errors
    /// When the call itself fails, as where a message is longer than a frame may be.
    pub async fn run(self, gateway: &Gateway) -> Result<Value, CallError> {
        (self.run)(gateway, self.params).await
    }
}

impl fmt::Debug for CheckedCall {
    /// Without the params: a message is anybody's data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckedCall").field("name", &self.name).finish_non_exhaustive()
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, params, answer, .. } = self;
        f.debug_struct("Call").field("name", name).field("params", params).field("answer", answer).finish()
    }
}
