//! What is answered where something is not done: a status, and the same JSON as an
//! error over the socket.

use axum::Json;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use gatewayworker::{Error, IdError};

use crate::fields::Complaint;
use crate::reply::Reply;

/// An answer that is no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal(StatusCode, Complaint);

pub(super) const NO_GATEWAY: Refusal =
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "no_gateway", "网关暂时不可用，请稍后再试");
pub(super) const NO_VIEWS: Refusal =
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "not_counted", "浏览量暂时无法统计");

impl Refusal {
    pub(super) const fn new(status: StatusCode, code: &'static str, text: &'static str) -> Self {
        Self(status, Complaint::new(code, text))
    }

    pub(super) const fn because(status: StatusCode, complaint: Complaint) -> Self {
        Self(status, complaint)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(Reply::Error(self.1).into_json())).into_response()
    }
}

impl From<Complaint> for Refusal {
    fn from(complaint: Complaint) -> Self {
        Self(StatusCode::BAD_REQUEST, complaint)
    }
}

impl From<BytesRejection> for Refusal {
    fn from(rejection: BytesRejection) -> Self {
        Self::new(rejection.status(), "bad_body", "请求内容过长或不完整")
    }
}

/// Ids are checked before they get here: what is left is that nobody was reached.
impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        tracing::warn!(%error, "the gateways were not reached");
        NO_GATEWAY
    }
}

impl From<IdError> for Refusal {
    fn from(_: IdError) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_user_id", "用户编号格式错误")
    }
}
