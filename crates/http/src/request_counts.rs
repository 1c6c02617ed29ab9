//! How many requests were answered, by call and status, for the metrics.
//!
//! `server` counts each answer; the worker reads the counts when it is scraped.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use gatewayworker_client::calls;

/// What a request is for that is no call, and none of the other paths.
const OTHER: &str = "other";

/// The number of requests by call and status. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct RequestCounts(Arc<Mutex<BTreeMap<(&'static str, u16), u64>>>);

impl RequestCounts {
    /// Counts the answer to a request for a call.
    pub(crate) fn count(&self, call: &'static str, status: u16) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((call, status)).or_default() += 1;
    }

    /// Returns each call and status that occurred, with its number. The call is the name of a call of the Gateway
    /// API, or `batch`, `health`, `openapi` or `other`.
    pub fn all(&self) -> Vec<(&'static str, u16, u64)> {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().map(|((call, status), count)| (*call, *status, *count)).collect()
    }

    /// Returns the name of what is at a path. There are only so many: a caller cannot make one up.
    pub(crate) fn call_of(path: &str) -> &'static str {
        match path {
            "/v1/batch" => "batch",
            "/v1/health" => "health",
            "/openapi.json" => "openapi",
            path => path.strip_prefix("/v1/").and_then(calls::find).map_or(OTHER, |call| call.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_cannot_make_up_names() {
        let counts = RequestCounts::default();
        for (path, status) in [
            ("/v1/send_to_all", 200),
            ("/v1/send_to_all", 200),
            ("/v1/send_to_all", 401),
            ("/v1/batch", 200),
            ("/v1/nothing", 404),
            ("/secret", 404),
            ("/openapi.json", 200),
        ] {
            counts.count(RequestCounts::call_of(path), status);
        }
        let expected = [
            ("batch", 200, 1),
            ("openapi", 200, 1),
            ("other", 404, 2),
            ("send_to_all", 200, 2),
            ("send_to_all", 401, 1),
        ];
        assert_eq!(counts.all(), expected);
    }
}
