//! The errors that a caller gets: `{"error": {"code": "body_too_large", "message": "…"}}`.
//!
//! The code is for programs, and each has one status. The message is a sentence for people that
//! says what to do. HTTP push and the admin page make them; nothing is logged here.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use gatewayworker_client::calls::CallError;
use serde_json::{Map, Value, json};

use super::response;

/// A kind of error: its code, its status, and when it occurs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorKind {
    /// For programs.
    pub code: &'static str,
    /// The status of answers with it.
    pub status: StatusCode,
    /// When it occurs, a sentence for the documentation.
    pub when: &'static str,
}

/// Declares the kinds, and [`ERROR_KINDS`] of all of them.
macro_rules! kinds {
    ($($name:ident $code:literal $status:ident $when:literal)*) => {
        $(#[doc = $when] pub const $name: ErrorKind = ErrorKind { code: $code, status: StatusCode::$status, when: $when };)*

        /// All of them, in the order of the guide's table.
        pub(crate) const ERROR_KINDS: &[ErrorKind] = &[$($name),*];
    };
}

kinds! {
    BAD_JSON "bad_json" BAD_REQUEST "The body is not JSON, or not of the shape that the path takes."
    BAD_PARAMS "bad_params" BAD_REQUEST "A param is missing, unknown, or not of its type."
    BATCH_TOO_LONG "batch_too_long" BAD_REQUEST "The batch has more calls than `http.max_batch`."
    UNAUTHORIZED "unauthorized" UNAUTHORIZED "There is no token, or a wrong one."
    ORIGIN_NOT_ALLOWED "origin_not_allowed" FORBIDDEN "A page from an origin that is not in `http.allowed_origins` called."
    NOT_FOUND "not_found" NOT_FOUND "There is no such path."
    UNKNOWN_CALL "unknown_call" NOT_FOUND "There is no call of that name."
    METHOD_NOT_ALLOWED "method_not_allowed" METHOD_NOT_ALLOWED "The path takes another method; calls take POST."
    BODY_TOO_SLOW "body_too_slow" REQUEST_TIMEOUT "The body did not come within `http.read_timeout_ms`."
    BODY_TOO_LARGE "body_too_large" PAYLOAD_TOO_LARGE "The body is longer than `http.max_body_bytes`."
    TOO_LARGE "too_large" PAYLOAD_TOO_LARGE "The message, with the ids that go along with it, does not fit a frame of the inner protocol (10 MiB)."
    UNSUPPORTED_MEDIA_TYPE "unsupported_media_type" UNSUPPORTED_MEDIA_TYPE "The content type is not `application/json`."
    UNSUPPORTED_CONTENT_ENCODING "unsupported_content_encoding" UNSUPPORTED_MEDIA_TYPE "The body is encoded, for example with gzip: `Content-Encoding` must be missing, or `identity`."
    BAD_SESSION "bad_session" UNPROCESSABLE_ENTITY "The client's session cannot be read, or has a value that JSON cannot express."
    TOO_MANY_FAILURES "too_many_failures" TOO_MANY_REQUESTS "The address sent more wrong tokens than `http.max_auth_failures_per_minute`."
    INTERNAL "internal" INTERNAL_SERVER_ERROR "The server is at fault."
    NO_HISTORY "no_history" NOT_IMPLEMENTED "The worker keeps no history of groups: it has no `history.url`."
    INCOMPLETE "incomplete" BAD_GATEWAY "Not all gateways answered: `partial` has the answers that came, `missing` names the other gateways."
    UNREACHED "unreached" BAD_GATEWAY "The one gateway that could have answered did not: `missing` names it, with the reason."
    NOT_SENT "not_sent" BAD_GATEWAY "The message was kept in the history of its group, and not sent."
    BUSY "busy" SERVICE_UNAVAILABLE "`http.concurrency` requests are running, or `http.max_connections` connections are open."
    NO_GATEWAYS "no_gateways" SERVICE_UNAVAILABLE "No gateway is registered, so nobody can be reached."
    HISTORY_UNAVAILABLE "history_unavailable" SERVICE_UNAVAILABLE "The history of groups cannot be read or written now. A message may have been kept; it was not sent."
    TIMED_OUT "timed_out" GATEWAY_TIMEOUT "The request ran for longer than `http.request_timeout_ms`. What it had sent by then is sent."
}

/// One error.
#[derive(Debug)]
pub struct ApiError {
    kind: ErrorKind,
    message: String,
    /// Further keys beside `code` and `message`.
    details: Vec<(&'static str, Value)>,
    /// The header `Retry-After`, in seconds.
    retry_after: Option<u64>,
}

impl ErrorKind {
    /// An error of the kind; `message` says what and what to do, in a sentence.
    pub fn because(self, message: impl Into<String>) -> ApiError {
        ApiError { kind: self, message: message.into(), details: Vec::new(), retry_after: None }
    }
}

impl ApiError {
    /// Returns its kind.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Tells the caller to try again after so many seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// The body, which also stands in a batch's answer.
    pub fn to_json(&self) -> Value {
        let mut error = Map::new();
        error.insert("code".into(), self.kind.code.into());
        error.insert("message".into(), self.message.as_str().into());
        error.extend(self.details.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        json!({ "error": error })
    }
}

/// The header that answers with this status may have more than others.
pub(crate) fn header_of(status: StatusCode) -> Option<&'static str> {
    match status {
        StatusCode::UNAUTHORIZED => Some("www-authenticate"),
        StatusCode::METHOD_NOT_ALLOWED => Some("allow"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Some("accept-encoding"),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Some("retry-after"),
        _ => None,
    }
}

/// The errors of calls have kinds with the same codes.
impl From<CallError> for ApiError {
    fn from(error: CallError) -> Self {
        let kind = ERROR_KINDS.iter().find(|kind| kind.code == error.code()).copied().unwrap_or(INTERNAL);
        let advice = match &error {
            CallError::UnknownCall(_) => ": GET /openapi.json lists all",
            CallError::NoGateways => ": start one that has this worker's register",
            CallError::Unreached { .. } | CallError::Incomplete { .. } => ": try again in a moment",
            _ => "",
        };
        let mut api_error = kind.because(format!("{error}{advice}"));
        let mut all = error.to_json();
        for name in ["partial", "missing", "missing_clusters"] {
            api_error.details.extend(all.get_mut(name).map(|value| (name, value.take())));
        }
        api_error
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = response::json(self.kind.status, &self.to_json());
        let headers = response.headers_mut();
        if self.kind == UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.kind == UNSUPPORTED_CONTENT_ENCODING {
            // RFC 9110, section 15.5.16: the answer names the encoding that is taken.
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
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
    use gatewayworker_client::Unreached;

    use super::*;

    #[test]
    fn each_code_is_there_once_and_says_when() {
        for (n, kind) in ERROR_KINDS.iter().enumerate() {
            assert!(ERROR_KINDS[..n].iter().all(|other| other.code != kind.code), "{}", kind.code);
            assert!(kind.when.ends_with('.'), "{}", kind.code);
            assert!(kind.status.is_client_error() || kind.status.is_server_error(), "{}", kind.code);
        }
    }

    #[test]
    fn the_guide_lists_them_all() {
        let row =
            |kind: &ErrorKind| format!("| {} | `{}` | {} |", kind.status.as_u16(), kind.code, kind.when);
        let rows: Vec<_> = ERROR_KINDS.iter().map(row).collect();
        let guide = include_str!("../../../../docs/guide/http-push.md");
        assert!(guide.contains(&rows.join("\n")), "the table is to be:\n{}", rows.join("\n"));
    }

    #[test]
    fn every_error_of_a_call_has_a_status_and_keeps_what_it_carries() {
        let missing = || vec![("127.0.0.1:2300".parse().unwrap(), Unreached::TimedOut)];
        let errors = [
            (CallError::UnknownCall("x".into()), 404),
            (CallError::BadParams("x".into()), 400),
            (CallError::TooLarge("x".into()), 413),
            (CallError::NoGateways, 503),
            (CallError::Unreached { gateway: missing()[0].0, why: Unreached::Lost }, 502),
            (
                CallError::Incomplete {
                    partial: json!([1]),
                    missing: missing(),
                    missing_clusters: Vec::new(),
                },
                502,
            ),
            (CallError::BadSession("x".into()), 422),
            (CallError::NoHistory, 501),
            (CallError::History("x".into()), 503),
            (CallError::NotSent("x".into()), 502),
        ];
        for (error, status) in errors {
            let (code, is_incomplete) = (error.code(), matches!(error, CallError::Incomplete { .. }));
            let error = ApiError::from(error);
            let json = error.to_json();
            assert_eq!(json["error"]["code"], code);
            assert_eq!(error.into_response().status(), status, "{code}");
            if is_incomplete {
                assert_eq!(json["error"]["partial"], json!([1]));
                let missing = json!([{"gateway": "127.0.0.1:2300", "reason": "timed_out"}]);
                assert_eq!(json["error"]["missing"], missing);
            }
        }
    }
}
