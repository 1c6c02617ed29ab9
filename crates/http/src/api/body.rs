//! Reads the JSON in the body of a request: within a size and a time, and only where its content type says JSON.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::value::RawValue;
use tokio::time::timeout;

use super::error::{
    ApiError, BAD_JSON, BODY_TOO_LARGE, BODY_TOO_SLOW, UNSUPPORTED_CONTENT_ENCODING, UNSUPPORTED_MEDIA_TYPE,
};

/// The limits of a body.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    /// Its size.
    pub max_bytes: usize,
    /// What sets its size, for the error.
    pub max_bytes_key: &'static str,
    /// How long it may take to come.
    pub time: Duration,
    /// What sets that, for the error.
    pub time_key: &'static str,
}

/// Reads the JSON text in the body; an empty body stands for an empty object.
///
/// # Errors
/// When the body is not JSON, or says that it is not; when it is encoded; when it is too long, or comes too slowly.
pub async fn read_json(request: Request, limits: BodyLimits) -> Result<Box<RawValue>, ApiError> {
    if !is_json(request.headers()) {
        let why = "send JSON, and say so: `Content-Type: application/json`";
        return Err(UNSUPPORTED_MEDIA_TYPE.because(why));
    }
    if is_encoded(request.headers()) {
        let why = "send the body as it is: Content-Encoding must be missing, or `identity`";
        return Err(UNSUPPORTED_CONTENT_ENCODING.because(why));
    }
    let (head, body) = request.into_parts();
    let body = read(limits, &head.headers, body).await?;
    let body: &[u8] = if body.is_empty() { b"{}" } else { &body };
    serde_json::from_slice(body).map_err(|error| BAD_JSON.because(format!("the body is not JSON: {error}")))
}

/// Whether the content type is JSON. A form on a page cannot send it without a preflight.
fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next()).unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

/// Whether the body has a content coding (RFC 9110, section 8.4); none is decoded here.
fn is_encoded(headers: &HeaderMap) -> bool {
    let mut codings = headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii);
    codings.any(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity"))
}

async fn read(limits: BodyLimits, headers: &HeaderMap, mut body: Body) -> Result<Bytes, ApiError> {
    let BodyLimits { max_bytes, max_bytes_key, time, time_key } = limits;
    let too_large = || {
        let why = format!("the body is longer than {max_bytes} bytes ({max_bytes_key}): send less at once");
        BODY_TOO_LARGE.because(why)
    };
    let asks_first = headers.contains_key(header::EXPECT);
    if asks_first && body.size_hint().lower() > max_bytes as u64 {
        return Err(too_large());
    }
    let read = async {
        let read = Limited::new(&mut body, max_bytes).collect().await;
        if read.as_ref().is_err_and(|error| error.is::<LengthLimitError>()) {
            pass_over(&mut body, max_bytes).await;
        }
        read
    };
    match timeout(time, read).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(BAD_JSON.because(format!("the body did not come whole: {error}"))),
        Err(_) => {
            let ms = time.as_millis();
            Err(BODY_TOO_SLOW.because(format!("the body did not come within {ms} ms ({time_key})")))
        }
    }
}

/// Reads and drops the rest of a body, up to `limit` bytes more. Many clients read no answer before
/// they have sent everything, and would find the connection reset.
async fn pass_over(body: &mut Body, limit: usize) {
    let mut left = limit;
    while let Some(Ok(frame)) = body.frame().await {
        let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else { return };
        left = rest;
    }
}
