//! The error of a request: refused, or failed in the database or between worker and gateway.
//!
//! All steps of a request return it to `GroupChat::on_message`, which answers the client.

use crate::database::DatabaseError;
use crate::refusal::Refusal;

/// The reason why a request was not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// The request is wrong, or not allowed.
    #[error("the request is refused: {}", .0.text())]
    Refused(Refusal),
    /// The database cannot be reached, or has answered with an error.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// A gateway cannot be reached, or the session cannot be read.
    #[error(transparent)]
    Other(gatewayworker::BoxError),
}

impl From<Refusal> for RequestError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<gatewayworker::Error> for RequestError {
    fn from(error: gatewayworker::Error) -> Self {
        Self::Other(error.into())
    }
}

impl From<gatewayworker::SessionError> for RequestError {
    fn from(error: gatewayworker::SessionError) -> Self {
        Self::Other(error.into())
    }
}
