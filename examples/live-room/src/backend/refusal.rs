//! The answer to a refused or failed request: a status, and the same JSON as an error over the socket. All handlers
//! return it.

use axum::Json;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use gatewayworker::{Error, IdError};

use crate::fields::UserError;
use crate::reply::Reply;

/// The status and error of a refused request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refusal(StatusCode, UserError);

pub(super) const NO_GATEWAY: Refusal =
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "no_gateway", "网关暂时不可用，请稍后再试");
pub(super) const NO_VIEWS: Refusal =
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "not_counted", "浏览量暂时无法统计");

impl Refusal {
    pub(super) const fn new(status: StatusCode, code: &'static str, text: &'static str) -> Self {
        Self(status, UserError::new(code, text))
    }

    pub(super) const fn because(status: StatusCode, error: UserError) -> Self {
        Self(status, error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(Reply::Error(self.1).into_json())).into_response()
    }
}

impl From<UserError> for Refusal {
    fn from(error: UserError) -> Self {
        Self(StatusCode::BAD_REQUEST, error)
    }
}

impl From<BytesRejection> for Refusal {
    fn from(rejection: BytesRejection) -> Self {
        Self::new(rejection.status(), "bad_body", "请求内容过长或不完整")
    }
}

/// Handlers check ids before a call, so any other error means that no gateway was reached.
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
