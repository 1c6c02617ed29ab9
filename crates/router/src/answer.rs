//! Answers, errors, and their encoding for the client.
//!
//! `router` makes an [`Answer`] of what a handler returned, and sends it as [`envelope`] encodes it.

use std::borrow::Cow;

use gatewayworker_businessworker::{BoxError, OutMessage};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// What a handler returns.
pub type Result<T = ()> = std::result::Result<T, Failure>;

/// The reply of a handler: any value that can be JSON, perhaps with a text and an event name.
#[derive(Debug)]
pub struct Reply {
    /// The value; `Err` if it cannot be JSON.
    pub(crate) param: serde_json::Result<Value>,
    pub(crate) info: Option<Cow<'static, str>>,
    pub(crate) event: Option<Cow<'static, str>>,
}

impl Reply {
    /// A reply with a value alone.
    pub fn new(param: impl Serialize) -> Self {
        Self { param: serde_json::to_value(param), info: None, event: None }
    }

    /// Adds a text for people.
    #[must_use]
    pub fn info(self, info: impl Into<Cow<'static, str>>) -> Self {
        Self { info: Some(info.into()), ..self }
    }

    /// Sets the event name, which is the method otherwise.
    #[must_use]
    pub fn event(self, event: impl Into<Cow<'static, str>>) -> Self {
        Self { event: Some(event.into()), ..self }
    }
}

impl<T: Serialize> From<T> for Reply {
    fn from(param: T) -> Self {
        Self::new(param)
    }
}

/// The error of a handler.
///
/// The client gets the texts of [`new`](Self::new) and [`parameter`](Self::parameter). Any other
/// error (`?` turns every [`std::error::Error`] into one) is internal: it is logged, and the client
/// gets status 500 without the text. An error type of an application that has its own statuses
/// implements `Into<Failure>` and not `std::error::Error`.
#[derive(Debug)]
pub struct Failure(pub(crate) Fault);

impl Failure {
    /// A failure with a status and a text for the client.
    pub fn new(status: u16, info: impl Into<Cow<'static, str>>) -> Self {
        Self(Fault::Refused { status, info: info.into() })
    }

    /// A failure of a parameter that has the right type but a wrong value, for example a too long one.
    pub fn parameter(field: impl Into<String>, what: impl Into<String>) -> Self {
        Self(Fault::Parameter { field: field.into(), problem: Problem::Wrong(what.into()) })
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(Fault::Internal(error.into()))
    }
}

/// What can be wrong with a request. The texts are for the authors of clients.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// The request is not a JSON object.
    #[error("a request is a JSON object")]
    NotJson,
    /// The request has no text under the method key.
    #[error("a request names its method")]
    NoMethod,
    /// No handler has the method.
    #[error("there is no such method")]
    UnknownMethod,
    /// A parameter is missing or wrong.
    #[error("parameter {field}: {problem}")]
    Parameter {
        /// The path of the parameter: `code`, `user.name`, `list[2]`. Empty for all of them together.
        field: String,
        /// What is wrong with it.
        problem: Problem,
    },
    /// The handler refused the request.
    #[error("{info}")]
    Refused {
        /// The handler's status.
        status: u16,
        /// The handler's text.
        info: Cow<'static, str>,
    },
    /// An internal error, which is logged and not shown to the client.
    #[error("something went wrong")]
    Internal(BoxError),
}

/// What is wrong with a parameter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// It is required.
    #[error("is missing")]
    Missing,
    /// No parameter has this name, and unknown ones are errors (`#[serde(deny_unknown_fields)]`).
    #[error("is not known")]
    Unknown,
    /// Its type or value is wrong.
    #[error("{0}")]
    Wrong(String),
}

impl Fault {
    /// The status, numbered as HTTP's: the handler's if it refused; 404 for an unknown method, 500 for
    /// an internal error, 400 otherwise.
    pub fn status(&self) -> u16 {
        match self {
            Self::NotJson | Self::NoMethod | Self::Parameter { .. } => 400,
            Self::UnknownMethod => 404,
            Self::Refused { status, .. } => *status,
            Self::Internal(_) => 500,
        }
    }
}

/// The answer to a request.
#[derive(Debug)]
#[non_exhaustive]
pub struct Answer {
    /// The method as the client wrote it; `None` if the request has none.
    pub method: Option<String>,
    /// The key and the value of the request's id, if it has one: see [`Router::id_key`](crate::Router::id_key).
    pub id: Option<(String, Value)>,
    /// The rest of the request, for example a request number of the client's.
    pub request: Map<String, Value>,
    /// The text of the handler's reply.
    pub info: Option<Cow<'static, str>>,
    /// The event name of the handler's reply, if it is not the method.
    pub event: Option<Cow<'static, str>>,
    /// The value of the handler's reply, or the error.
    pub outcome: std::result::Result<Value, Fault>,
}

impl Answer {
    /// 200, or the status of the error.
    pub fn status(&self) -> u16 {
        self.outcome.as_ref().map_or_else(Fault::status, |_| 200)
    }

    /// The event name: the handler's, or else the method, or else `error`.
    pub fn event(&self) -> &str {
        self.event.as_deref().or(self.method.as_deref()).unwrap_or("error")
    }

    pub(crate) fn new(
        method: Option<String>,
        id: Option<(String, Value)>,
        request: Map<String, Value>,
        outcome: std::result::Result<Reply, Fault>,
    ) -> Self {
        let (info, event, outcome) = match outcome {
            Ok(Reply { param: Ok(value), info, event }) => (info, event, Ok(value)),
            Ok(Reply { param: Err(error), .. }) => (None, None, Err(Fault::Internal(error.into()))),
            Err(fault) => (None, None, Err(fault)),
        };
        Self { method, id, request, info, event, outcome }
    }
}

/// Encodes an answer as `{"status":200, "info":…, "param":…, "event":…}`.
///
/// `info` is the handler's text, `success`, or the text of the error; `param` is the value of the
/// reply, or `{"field":…}` for a wrong parameter; `event` is [`Answer::event`]. The id of the request is
/// under its own key.
pub fn envelope(answer: &Answer) -> OutMessage {
    let (info, param) = match &answer.outcome {
        Ok(value) => (answer.info.clone().unwrap_or("success".into()), value.clone()),
        Err(fault @ Fault::Parameter { field, .. }) => (fault.to_string().into(), json!({ "field": field })),
        Err(fault) => (fault.to_string().into(), Value::Null),
    };
    let mut encoded =
        json!({ "status": answer.status(), "info": info, "param": param, "event": answer.event() });
    if let Some((key, id)) = &answer.id {
        encoded[key] = id.clone();
    }
    encoded.into()
}
