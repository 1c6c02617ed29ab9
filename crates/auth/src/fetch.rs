//! Fetches a key set over HTTP: one bounded GET.
//!
//! Redirects are not followed, no proxy is used, and a body over [`MAX_BYTES`] is an error. `authenticator` calls it.

use std::path::Path;
use std::time::Duration;

use gatewayworker_daemon::{ClientTlsError, error_chain, http_client_config, https_client_config};
use reqwest::{Client, Url, redirect};

use crate::keys::Key;

/// The longest key set, in bytes.
const MAX_BYTES: usize = 1024 * 1024;

/// The time limit of a fetch.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why nothing can be fetched from a URL.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchSetupError {
    #[error(transparent)]
    Tls(#[from] ClientTlsError),
    #[error("no HTTP client: {0}")]
    Client(#[from] reqwest::Error),
}

/// Fetches from one URL.
#[derive(Debug, Clone)]
pub(crate) struct Fetcher {
    client: Client,
    url: Url,
}

impl Fetcher {
    /// Fetches from `url`. Where it begins with https, certificates of the system's authorities and of those in `ca_file`
    /// are accepted.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub(crate) fn new(url: Url, ca_file: Option<&Path>) -> Result<Self, FetchSetupError> {
        // A system without authorities has no need of them for http.
        let tls = if url.scheme() == "https" { https_client_config(ca_file)? } else { http_client_config()? };
        let builder = Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .timeout(TIMEOUT)
            .pool_max_idle_per_host(0)
            .user_agent("gatewayworker");
        Ok(Self { client: builder.build()?, url })
    }

    /// Returns the URL.
    pub(crate) fn url(&self) -> &Url {
        &self.url
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
    let why = error_chain(&error.without_url());
    if why.contains("UnknownIssuer") {
        return format!(
            "{why}: its certificate is of no authority that this system knows; where it is one of your own, put its certificate \
             into a file, and set auth.ca_file"
        );
    }
    why
}

#[cfg(test)]
mod tests;
