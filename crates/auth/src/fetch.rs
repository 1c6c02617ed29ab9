//! Fetches a key set over HTTP: one bounded GET.
//!
//! Redirects are not followed, no proxy is used, and a body over [`MAX_BYTES`] is an error. `authenticator` calls it.

use std::time::Duration;

use gatewayworker_daemon::error_chain;
use reqwest::{Client, Url, redirect};

use crate::keys::Key;

/// The longest key set, in bytes.
const MAX_BYTES: usize = 1024 * 1024;

/// The time limit of a fetch.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Fetches from one URL.
#[derive(Debug, Clone)]
pub(crate) struct Fetcher {
    client: Client,
    url: Url,
}

impl Fetcher {
    /// Fetches from `url`, with the authorities of the system where it begins with https.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub(crate) fn new(url: Url) -> Result<Self, reqwest::Error> {
        // A program may have chosen one before, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .timeout(TIMEOUT)
            .pool_max_idle_per_host(0)
            .user_agent("gatewayworker");
        if url.scheme() == "http" {
            // A system without authorities has no need of them.
            builder = builder.tls_certs_only([]);
        }
        Ok(Self { client: builder.build()?, url })
    }

    /// Fetches the keys.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// A sentence that says why there are none. It has no part of what was fetched.
    pub(crate) async fn fetch(&self) -> Result<Vec<Key>, String> {
        let mut response = self.client.get(self.url.clone()).send().await.map_err(cause)?;
        if response.status() != 200 {
            return Err(format!("it answers {}", response.status()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(cause)? {
            if body.len() + chunk.len() > MAX_BYTES {
                return Err(format!("it answers with more than {MAX_BYTES} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        Key::of_key_set(&body).map_err(|problem| problem.to_string())
    }
}

/// Returns an error with its causes, without the URL.
fn cause(error: reqwest::Error) -> String {
    error_chain(&error.without_url())
}
