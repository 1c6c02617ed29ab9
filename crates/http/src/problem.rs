//! What went wrong with a request, as its caller is told.
//!
//! `{"error": {"code": "body_too_large", "message": "…"}}`: the code is for
//! programs, and each has one status; the message is for people, a sentence that says
//! what to do.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::answer;

/// A kind of problem: its code, status, and when it comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) code: &'static str,
    pub(crate) status: StatusCode,
    pub(crate) when: &'static str,
}

/// Declares the kinds, and [`KINDS`] of all of them.
macro_rules! kinds {
    ($($name:ident $code:literal $status:ident $when:literal)*) => {
        $(pub(crate) const $name: Kind = Kind { code: $code, status: StatusCode::$status, when: $when };)*

        /// All of them, in the order of the guide's table.
        pub(crate) const KINDS: &[Kind] = &[$($name),*];
    };
}

kinds! {
    BAD_JSON "bad_json" BAD_REQUEST "The body is not JSON, or not of the shape that the path takes."
    BAD_PARAMS "bad_params" BAD_REQUEST "A param is missing, unknown, or not of its type."
    BATCH_TOO_LONG "batch_too_long" BAD_REQUEST "The batch has more calls than `http_max_batch`."
    UNAUTHORIZED "unauthorized" UNAUTHORIZED "There is no token, or a wrong one."
    ORIGIN_NOT_ALLOWED "origin_not_allowed" FORBIDDEN "A page called whose origin is not in `http_allowed_origins`."
    NOT_FOUND "not_found" NOT_FOUND "There is no such path."
    UNKNOWN_CALL "unknown_call" NOT_FOUND "There is no call of that name."
    METHOD_NOT_ALLOWED "method_not_allowed" METHOD_NOT_ALLOWED "The path takes another method: POST, for calls."
    BODY_TOO_SLOW "body_too_slow" REQUEST_TIMEOUT "The body did not come within `http_read_timeout_ms`."
    BODY_TOO_LARGE "body_too_large" PAYLOAD_TOO_LARGE "The body is longer than `http_max_body_bytes`."
    UNSUPPORTED_MEDIA_TYPE "unsupported_media_type" UNSUPPORTED_MEDIA_TYPE "The content type is not `application/json`."
    TOO_MANY_FAILURES "too_many_failures" TOO_MANY_REQUESTS "There came more wrong tokens from the address than `http_max_auth_failures_per_minute`."
    INTERNAL "internal" INTERNAL_SERVER_ERROR "The server is at fault."
    INCOMPLETE "incomplete" BAD_GATEWAY "Not all gateways answered: `partial` is what did come, `missing` names the others."
    BUSY "busy" SERVICE_UNAVAILABLE "As many requests run as `http_concurrency`, or as many connections stand as `http_max_connections`."
    NO_GATEWAYS "no_gateways" SERVICE_UNAVAILABLE "No gateway is registered, so nobody can be reached."
    TIMED_OUT "timed_out" GATEWAY_TIMEOUT "The request ran for longer than `http_request_timeout_ms`. What it told by then is told."
}

/// One problem.
#[derive(Debug)]
pub(crate) struct Problem {
    kind: Kind,
    message: String,
    /// What stands beside code and message.
    details: Map<String, Value>,
    /// In how many seconds it is worth another try.
    retry_after: Option<u64>,
}

impl Kind {
    /// A problem of the kind; `message` says what and what to do, in a sentence.
    pub(crate) fn because(self, message: impl Into<String>) -> Problem {
        Problem { kind: self, message: message.into(), details: Map::new(), retry_after: None }
    }
}

impl Problem {
    pub(crate) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    pub(crate) fn with(mut self, name: &str, value: Value) -> Self {
        self.details.insert(name.to_owned(), value);
        self
    }

    /// The body, which also stands in a batch's answer.
    pub(crate) fn to_json(&self) -> Value {
        let mut error = Map::new();
        error.insert("code".into(), self.kind.code.into());
        error.insert("message".into(), self.message.as_str().into());
        error.extend(self.details.clone());
        json!({ "error": error })
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = answer::json(self.kind.status, &self.to_json());
        let headers = response.headers_mut();
        if self.kind == UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.kind == BODY_TOO_SLOW {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_is_there_once_and_says_when() {
        for (n, kind) in KINDS.iter().enumerate() {
            assert!(KINDS[..n].iter().all(|other| other.code != kind.code), "{}", kind.code);
            assert!(kind.when.ends_with('.'), "{}", kind.code);
            assert!(kind.status.is_client_error() || kind.status.is_server_error(), "{}", kind.code);
        }
    }

    #[test]
    fn a_problem_is_an_object_with_code_message_and_details() {
        let problem = INCOMPLETE.because("two are missing").with("partial", json!([1]));
        let expected =
            json!({"error": {"code": "incomplete", "message": "two are missing", "partial": [1]}});
        assert_eq!(problem.to_json(), expected);
        assert_eq!(problem.into_response().status(), 502);
    }
}
