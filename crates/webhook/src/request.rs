//! One request to a backend: sends the event, and reads the answer within its bounds.
//!
//! `delivery` calls [`Requests::send`]; what came of it is judged in `tries`. The only file here that knows of sockets.

use std::error::Error;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use gatewayworker_businessworker::EventsConfig;
use gatewayworker_daemon::{error_chain, http_client_config, https_client_config};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use tokio::time::{Instant, timeout_at};

use crate::tries::Received;
use crate::{SetupError, retry_after};

const SIGNATURE: HeaderName = HeaderName::from_static("gatewayworker-signature");
const EVENT_ID: HeaderName = HeaderName::from_static("gatewayworker-event-id");

/// How long a connection is kept that nothing is sent on. Node ends such connections after 5 seconds; a request that
/// crosses that end would be lost.
const KEPT: Duration = Duration::from_secs(4);

/// How long a connection may take to be made at most. A host that swallows packets is away, as one that refuses is; so
/// that has to be found out before the time limit of the request.
const CONNECT: Duration = Duration::from_secs(2);

/// How often a connection of HTTP/2 is asked for a sign of life while requests run, and how long that may take. HTTP/1
/// closes a connection with each request that is given up.
const ALIVE: Duration = Duration::from_secs(2);

/// Sends requests, over connections that are kept.
#[derive(Debug)]
pub(crate) struct Requests {
    client: Client,
    timeout: Duration,
    max_response_bytes: usize,
}

impl Requests {
    pub(crate) fn new(config: &EventsConfig, urls: &[Url]) -> Result<Self, SetupError> {
        let timeout = Duration::from_millis(config.timeout_ms);
        let mut client = Client::builder()
            .user_agent(concat!("gatewayworker/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT.min(timeout / 2))
            .http2_keep_alive_interval(ALIVE)
            .http2_keep_alive_timeout(ALIVE)
            .tcp_nodelay(true)
            .pool_max_idle_per_host(config.concurrency)
            .pool_idle_timeout(KEPT);
        // A host without certificates, as an empty container is, has to be able to use HTTP.
        client = client.tls_backend_preconfigured(if urls.iter().any(|url| url.scheme() == "https") {
            https_client_config(config.ca_file.as_deref())?
        } else {
            http_client_config()?
        });
        let client = client.build().map_err(SetupError::Client)?;
        Ok(Self { client, timeout, max_response_bytes: config.max_response_bytes })
    }

    /// Sends an event, and returns what came. An answer that is not whole within `events.timeout_ms` is none.
    ///
    /// Cancel safe: the request is given up then, and the backend may have handled the event.
    pub(crate) async fn send(&self, url: &Url, id: &str, signature: Option<&str>, body: Bytes) -> Received {
        let deadline = Instant::now() + self.timeout;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // Both are ASCII.
        for (name, value) in [(EVENT_ID, Some(id)), (SIGNATURE, signature)] {
            if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
                headers.insert(name, value);
            }
        }
        let request = self.client.post(url.clone()).headers(headers).body(body);
        let received = timeout_at(deadline, async {
            match request.send().await {
                Ok(response) => self.read(response).await,
                Err(error) => not_answered(error),
            }
        });
        let received = received.await.unwrap_or(Received::TimedOut);
        // A process that was stopped meanwhile finds an answer that it has read too late.
        if Instant::now() > deadline { Received::TimedOut } else { received }
    }

    async fn read(&self, mut response: Response) -> Received {
        let status = response.status().as_u16();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after =
            retry_after.map_or(Duration::ZERO, |text| retry_after::read(text, SystemTime::now()));
        let max = self.max_response_bytes;
        if response.content_length().is_some_and(|len| len > max as u64) {
            return Received::TooLarge;
        }
        let mut body = BytesMut::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > max => return Received::TooLarge,
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => return Received::Answer { status, retry_after, body: body.freeze() },
                Err(error) => return Received::Cut(error_chain(&error.without_url())),
            }
        }
    }
}

/// Returns what a request without an answer has come to.
fn not_answered(error: reqwest::Error) -> Received {
    let error = error.without_url();
    let why = error_chain(&error);
    if error.is_connect() {
        return Received::Unreachable(why);
    }
    let mut source = error.source();
    while let Some(error) = source {
        if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
            return Received::NotHttp(why);
        }
        source = error.source();
    }
    Received::Reset(why)
}
