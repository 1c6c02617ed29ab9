//! The errors of calls by name, and the JSON of deliveries and errors.

use std::net::SocketAddrV4;

use serde_json::{Value, json};

use crate::{AskError, ClusterName, Delivery, Error, SessionError, Unreached};

/// Why a call by name has no answer, or only a part of it.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// There is no call of that name.
    #[error("there is no call {0:?}")]
    UnknownCall(String),
    /// A param is missing, unknown, or has a wrong value.
    #[error("{0}")]
    BadParams(String),
    /// The message, together with the ids that go with it, does not fit a frame.
    #[error("{0}")]
    TooLarge(String),
    /// No gateway is known, so none was told or asked.
    #[error("no gateway is registered")]
    NoGateways,
    /// The one gateway that could have answered has not.
    #[error("gateway {gateway}: {why}")]
    Unreached {
        /// The gateway's address.
        gateway: SocketAddrV4,
        /// The reason.
        why: Unreached,
    },
    /// The call was made through the handle of an event whose link has ended.
    #[error("{0}")]
    Fenced(String),
    /// Not every gateway has answered.
    #[error(
        "the answer is incomplete{}{}",
        missing.iter().map(|(gateway, why)| format!("; gateway {gateway}: {why}")).collect::<String>(),
        missing_clusters.iter().map(|(cluster, why)| format!("; cluster {cluster}: {why}")).collect::<String>()
    )]
    Incomplete {
        /// The answer of the gateways that have answered, in the call's form.
        partial: Value,
        /// The other gateways, with the reasons.
        missing: Vec<(SocketAddrV4, Unreached)>,
        /// The other clusters that have not answered, with the reasons.
        missing_clusters: Vec<(ClusterName, Unreached)>,
    },
    /// The process has no history: `publish`, `history_since` and `history_last` need one.
    #[error("this process keeps no history of groups: make the call at a worker with history.url")]
    NoHistory,
    /// The history cannot be read or written now.
    #[error("{0}")]
    History(String),
    /// The message was kept, and not sent.
    #[error("{0}")]
    NotSent(String),
    /// The client's session cannot be read, or has no JSON form.
    #[error("{0}")]
    BadSession(String),
}

impl CallError {
    /// Returns its kind for programs: `unknown_call`, `bad_params`, `too_large`,
    /// `no_gateways`, `unreached`, `fenced`, `incomplete`, `no_history`, `history_unavailable`, `not_sent` or `bad_session`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownCall(_) => "unknown_call",
            Self::BadParams(_) => "bad_params",
            Self::TooLarge(_) => "too_large",
            Self::NoGateways => "no_gateways",
            Self::Unreached { .. } => "unreached",
            Self::Fenced(_) => "fenced",
            Self::Incomplete { .. } => "incomplete",
            Self::NoHistory => "no_history",
            Self::History(_) => "history_unavailable",
            Self::NotSent(_) => "not_sent",
            Self::BadSession(_) => "bad_session",
        }
    }

    /// Returns the error as JSON: `{"code": …, "error": …}`, where `error` is a sentence.
    /// Where gateways have not answered, it also has `missing`, which names them as
    /// `unreached` does in a delivery; an incomplete answer is in `partial`. Where other clusters have not answered,
    /// `missing_clusters` names them.
    pub fn to_json(&self) -> Value {
        let mut json = json!({"code": self.code(), "error": self.to_string()});
        match self {
            Self::Incomplete { partial, missing, missing_clusters } => {
                json["missing"] = unreached(missing);
                if !missing_clusters.is_empty() {
                    json["missing_clusters"] = unreached_clusters(missing_clusters);
                }
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
            Error::TooLarge { .. } | Error::TooLargeForClusters { .. } => Self::TooLarge(error.to_string()),
            Error::Fenced => Self::Fenced(error.to_string()),
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

/// Writes a delivery as JSON.
pub(super) fn delivery(delivery: Result<Delivery, Error>) -> Result<Value, CallError> {
    Ok(delivery_json(&delivery?))
}

/// Returns the JSON of a delivery: `{"unreached": […]}`.
pub fn delivery_json(delivery: &Delivery) -> Value {
    let mut json = json!({"unreached": unreached(&delivery.unreached)});
    if !delivery.unreached_clusters.is_empty() {
        json["unreached_clusters"] = unreached_clusters(&delivery.unreached_clusters);
    }
    json
}

/// Writes the answer of all gateways as the JSON that `form` makes of it.
pub(super) fn whole<T>(
    answer: Result<T, AskError<T>>,
    form: impl FnOnce(T) -> Value,
) -> Result<Value, CallError> {
    match answer {
        Ok(answer) => Ok(form(answer)),
        Err(AskError::Incomplete { partial, missing, missing_clusters }) => {
            Err(CallError::Incomplete { partial: form(partial), missing, missing_clusters })
        }
        Err(AskError::NotAsked(error)) => Err(error.into()),
    }
}

fn unreached(gateways: &[(SocketAddrV4, Unreached)]) -> Value {
    let one = |(gateway, why): &(SocketAddrV4, Unreached)| json!({"gateway": gateway, "reason": why.code()});
    gateways.iter().map(one).collect()
}

fn unreached_clusters(clusters: &[(ClusterName, Unreached)]) -> Value {
    let one = |(cluster, why): &(ClusterName, Unreached)| json!({"cluster": cluster.as_str(), "reason": why.code()});
    clusters.iter().map(one).collect()
}
