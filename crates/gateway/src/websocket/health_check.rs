//! Health checks of load balancers: which requests are one, and the answer.
//!
//! `handshake` recognizes them; `client` answers, as it knows whether the gateway can serve.

use super::request::Request;
use super::text_answer::text_answer;
use crate::access::rejections::RejectReason;
use crate::listener::Listener;

/// A request for the state of the gateway: a GET or HEAD of `health_path`, or any OPTIONS, which
/// HAProxy's `option httpchk` sends by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HealthCheck {
    Get,
    Head,
    Options,
}

impl HealthCheck {
    /// Returns the health check that a request is; `None` for any other request.
    pub(super) fn of(request: &Request<'_>, listener: &Listener) -> Option<Self> {
        let is_check = listener.access.is_health_path(request.path()) && !request.asks_for_websocket();
        match request.method {
            "OPTIONS" => Some(Self::Options),
            "GET" if is_check => Some(Self::Get),
            "HEAD" if is_check => Some(Self::Head),
            _ => None,
        }
    }

    /// Returns the HTTP answer: 200 where the gateway can serve, 503 where it cannot.
    pub(crate) fn response(self, can_serve: bool) -> String {
        let (status, body) = match can_serve {
            true => ("200 OK", "ok"),
            false => ("503 Service Unavailable", RejectReason::NoWorker.sentence()),
        };
        let headers = match self {
            Self::Options => "Allow: GET\r\nCache-Control: no-store\r\nConnection: close\r\n",
            Self::Get | Self::Head => "Cache-Control: no-store\r\nConnection: close\r\n",
        };
        text_answer(status, headers, body, self == Self::Head)
    }
}
