//! What comes of a request, and how it looks to the client.

use std::borrow::Cow;

use gatewayworker_businessworker::{BoxError, OutMessage};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// What a handler returns.
pub type Result<T = ()> = std::result::Result<T, Failure>;

/// What a handler has to say: any value that can be JSON, or one with words to it.
#[derive(Debug)]
pub struct Reply {
    /// The value. `Err` where it has no JSON form.
    pub(crate) param: serde_json::Result<Value>,
    pub(crate) info: Option<Cow<'static, str>>,
    pub(crate) event: Option<Cow<'static, str>>,
}

impl Reply {
    /// A value without words.
    pub fn new(param: impl Serialize) -> Self {
        Self { param: serde_json::to_value(param), info: None, event: None }
    }

    /// With a sentence for people.
    #[must_use]
    pub fn info(self, info: impl Into<Cow<'static, str>>) -> Self {
        Self { info: Some(info.into()), ..self }
    }

    /// With the name of what has happened, in place of the method's.
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

/// Why a handler did not do what it was asked.
///
/// What is made with [`new`](Self::new) and [`parameter`](Self::parameter) is for the client.
/// Any other error (`?` turns every [`std::error::Error`] into one) is the
/// application's own trouble: it is logged, and the client hears that there is some, but
/// not what. An application's error type that has statuses of its own implements
/// `Into<Failure>` and not `std::error::Error`.
#[derive(Debug)]
pub struct Failure(pub(crate) Fault);

impl Failure {
    /// A status and a sentence that the client is told.
    pub fn new(status: u16, info: impl Into<Cow<'static, str>>) -> Self {
        Self(Fault::Refused { status, info: info.into() })
    }

    /// A parameter that has the right type and still cannot be: too long, say.
    pub fn parameter(field: impl Into<String>, what: impl Into<String>) -> Self {
        Self(Fault::Parameter { field: field.into(), problem: Problem::Wrong(what.into()) })
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(Fault::Internal(error.into()))
    }
}

/// Everything that can be wrong with a request. The texts are for those who write
/// clients.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// It is no JSON object.
    #[error("a request is a JSON object")]
    NotJson,
    /// It has no text under the method key.
    #[error("a request names its method")]
    NoMethod,
    /// Nothing answers to its method.
    #[error("there is no such method")]
    UnknownMethod,
    /// A parameter is not there, or not what it should be.
    #[error("parameter {field}: {problem}")]
    Parameter {
        /// Which one: `code`, `user.name`, `list[2]`. Empty for all of them together.
        field: String,
        /// What is wrong with it.
        problem: Problem,
    },
    /// The handler said no.
    #[error("{info}")]
    Refused {
        /// Its status.
        status: u16,
        /// Its sentence.
        info: Cow<'static, str>,
    },
    /// Something went wrong that is none of the client's business. It was logged.
    #[error("something went wrong")]
    Internal(BoxError),
}

/// What is wrong with a parameter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// It has to be there.
    #[error("is missing")]
    Missing,
    /// There is none of this name, where unknown ones are refused
    /// (`#[serde(deny_unknown_fields)]`).
    #[error("is not known")]
    Unknown,
    /// Its type or value.
    #[error("{0}")]
    Wrong(String),
}

impl Fault {
    /// The status, HTTP's numbers: the handler's own where it refused; otherwise 400, for
    /// an unknown method 404, for an internal error 500.
    pub fn status(&self) -> u16 {
        match self {
            Self::NotJson | Self::NoMethod | Self::Parameter { .. } => 400,
            Self::UnknownMethod => 404,
            Self::Refused { status, .. } => *status,
            Self::Internal(_) => 500,
        }
    }
}

/// What came of a request.
#[derive(Debug)]
#[non_exhaustive]
pub struct Answer {
    /// The method, as the client wrote it, where there was one.
    pub method: Option<String>,
    /// The rest of the request: where clients number their requests, the number is here.
    pub request: Map<String, Value>,
    /// The sentence for people that the handler had with its reply.
    pub info: Option<Cow<'static, str>>,
    /// What has happened, where the handler called it something else than the method.
    pub event: Option<Cow<'static, str>>,
    /// The handler's reply, or what went wrong.
    pub outcome: std::result::Result<Value, Fault>,
}

impl Answer {
    /// 200, or the fault's.
    pub fn status(&self) -> u16 {
        self.outcome.as_ref().map_or_else(Fault::status, |_| 200)
    }

    /// The handler's name for what has happened, or else the method, or else `error`.
    pub fn event(&self) -> &str {
        self.event.as_deref().or(self.method.as_deref()).unwrap_or("error")
    }

    pub(crate) fn new(
        method: Option<String>,
        request: Map<String, Value>,
        outcome: std::result::Result<Reply, Fault>,
    ) -> Self {
        let (info, event, outcome) = match outcome {
            Ok(Reply { param: Ok(value), info, event }) => (info, event, Ok(value)),
            Ok(Reply { param: Err(error), .. }) => (None, None, Err(Fault::Internal(error.into()))),
            Err(fault) => (None, None, Err(fault)),
        };
        Self { method, request, info, event, outcome }
    }
}

/// The usual form of an answer: `{"status":200, "info":…, "param":…, "event":…}`.
///
/// `info` is the handler's sentence, `success`, or the fault's text; `param` is the reply, or
/// of a wrong parameter its name; `event` is [`Answer::event`].
pub fn envelope(answer: &Answer) -> OutMessage {
    let (info, param) = match &answer.outcome {
        Ok(value) => (answer.info.clone().unwrap_or("success".into()), value.clone()),
        Err(fault @ Fault::Parameter { field, .. }) => (fault.to_string().into(), json!({ "field": field })),
        Err(fault) => (fault.to_string().into(), Value::Null),
    };
    json!({ "status": answer.status(), "info": info, "param": param, "event": answer.event() }).into()
}
