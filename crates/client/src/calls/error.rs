//! Why a call by name has no answer, or not the whole of it.

use std::net::SocketAddrV4;

use serde_json::{Value, json};

use crate::{AskError, Delivery, Error, SessionError, Unreached};

/// Why a call by name has no answer, or not the whole of it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// There is no call of that name.
    #[error("there is no call {0:?}")]
    UnknownCall(String),
    /// A param is missing, unknown, or not what it has to be.
    #[error("{0}")]
    BadParams(String),
    /// The message, with the ids that go along with it, does not fit a frame.
    #[error("{0}")]
    TooLarge(String),
    /// No gateway is known, so nobody was told or asked.
    #[error("no gateway is registered")]
    NoGateways,
    /// The one gateway that could have answered did not.
    #[error("gateway {gateway}: {why}")]
    Unreached {
        /// The gateway's address.
        gateway: SocketAddrV4,
        /// The reason.
        why: Unreached,
    },
    /// Not every gateway answered.
    #[error("the answer is incomplete{}", missing.iter().map(|(gateway, why)| format!("; gateway {gateway}: {why}")).collect::<String>())]
    Incomplete {
        /// The answer that those gateways make that did answer, in the call's form.
        partial: Value,
        /// The others, with the reason.
        missing: Vec<(SocketAddrV4, Unreached)>,
    },
    /// The client's session cannot be read, or holds what JSON has no form for.
    #[error("{0}")]
    BadSession(String),
}

impl CallError {
    /// Its kind, for programs: `unknown_call`, `bad_params`, `too_large`,
    /// `no_gateways`, `unreached`, `incomplete` or `bad_session`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownCall(_) => "unknown_call",
            Self::BadParams(_) => "bad_params",
            Self::TooLarge(_) => "too_large",
            Self::NoGateways => "no_gateways",
            Self::Unreached { .. } => "unreached",
            Self::Incomplete { .. } => "incomplete",
            Self::BadSession(_) => "bad_session",
        }
    }

    /// `{"code": …, "error": …}`, the second a sentence; with `missing` (as
    /// `unreached` in a delivery) where gateways did not answer, and `partial`, what
    /// did come.
    pub fn to_json(&self) -> Value {
        let mut json = json!({"code": self.code(), "error": self.to_string()});
        match self {
            Self::Incomplete { partial, missing } => {
                json["missing"] = unreached(missing);
                json["partial"] = partial.clone();
            }
            Self::Unreached { gateway, why } => json["missing"] = unreached(&[(*gateway, *why)]),
            _ => {}
        }
        json
    }

    pub(super) fn bad_param(name: &str, why: impl std::fmt::Display) -> Self {
        Self::BadParams(format!("param `{name}`: {why}"))
    }
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        match error {
            Error::NoGateways => Self::NoGateways,
            Error::Unreached { gateway, why } => Self::Unreached { gateway, why },
            Error::TooLarge { .. } => Self::TooLarge(error.to_string()),
            Error::Id(_) => Self::BadParams(error.to_string()),
            Error::Session(error) => error.into(),
        }
    }
}

impl From<SessionError> for CallError {
    fn from(error: SessionError) -> Self {
        Self::BadSession(error.to_string())
    }
}

/// The delivery as JSON.
pub(super) fn delivery(delivery: Result<Delivery, Error>) -> Result<Value, CallError> {
    Ok(json!({"unreached": unreached(&delivery?.unreached)}))
}

/// The answer of all gateways as the JSON that `form` makes of it.
pub(super) fn whole<T>(
    answer: Result<T, AskError<T>>,
    form: impl FnOnce(T) -> Value,
) -> Result<Value, CallError> {
    match answer {
        Ok(answer) => Ok(form(answer)),
        Err(AskError::Incomplete { partial, missing }) => {
            Err(CallError::Incomplete { partial: form(partial), missing })
        }
        Err(AskError::NotAsked(error)) => Err(error.into()),
    }
}

fn unreached(gateways: &[(SocketAddrV4, Unreached)]) -> Value {
    let one = |(gateway, why): &(SocketAddrV4, Unreached)| json!({"gateway": gateway, "reason": why.code()});
    gateways.iter().map(one).collect()
}
