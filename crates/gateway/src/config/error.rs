//! The errors of a configuration that no gateway can run with.
//!
//! `validate`, `listener` and `access` return them. Each is one line: the key, its value, and what to
//! write. None shows what is in a file.

use std::net::Ipv4Addr;

use gatewayworker_daemon::{AddressError, ExposureError};
use gatewayworker_net::LinkTlsError;
use gatewayworker_protocol::{MAX_FRAME_LEN, MAX_MESSAGE_LEN};

use super::listen_url::{ListenUrl, WEBSOCKET};

/// A configuration that no gateway can run with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A list is empty that has to have an entry: `listen` or `register_address`.
    #[error("{key} is empty: {consequence}")]
    Empty {
        /// The key.
        key: &'static str,
        /// What would be impossible.
        consequence: &'static str,
    },
    /// `admin` cannot work.
    #[error(transparent)]
    Admin(#[from] gatewayworker_admin::ConfigError),
    /// `auth` cannot work.
    #[error(transparent)]
    Auth(#[from] gatewayworker_auth::ConfigError),
    /// Clients of a listener would have to show a token, and cannot.
    #[error(
        "its clients, which speak {0}, cannot show the token that [auth] requires: give it a [[listen]] table with \
         auth = false, which lets them in without one"
    )]
    NoTokens(String),
    /// A token is taken from a cookie, which the pages of others send, too.
    #[error(
        "auth.cookie = \"{0}\" without allowed_origins: a browser sends a cookie for the pages of others, too, which would \
         connect as your users: list the origins of your pages in allowed_origins"
    )]
    CookieForAnyPage(String),
    /// `link_tls` cannot work.
    #[error(transparent)]
    LinkTls(#[from] LinkTlsError),
    /// A number is 0 that has to be more.
    #[error("{key} = 0: {consequence}")]
    Zero {
        /// The key.
        key: &'static str,
        /// What would be impossible.
        consequence: &'static str,
    },
    /// A number is over its limit.
    #[error("{key} = {value}: at most {limit}{note}")]
    TooLarge {
        /// The key.
        key: &'static str,
        /// Its value.
        value: u64,
        /// The largest value.
        limit: u64,
        /// The limit in other words, or empty.
        note: &'static str,
    },
    /// A burst is set, and the rate that it belongs to is not.
    #[error("{burst} is set without {rate}: set both, or none")]
    BurstWithoutRate {
        /// The key of the burst.
        burst: &'static str,
        /// The key of the rate.
        rate: &'static str,
    },
    /// `ping_interval` is not a time in seconds from 0 to 1000000.
    #[error("ping_interval = {0}: give seconds, from 0 (none) to 1000000")]
    PingInterval(f64),
    /// `ping_interval` is shorter than 0.01 s.
    #[error("ping_interval = {0}: at least 0.01 s")]
    PingIntervalTooShort(f64),
    /// A worker would be given up after a single late heartbeat.
    #[error("link_timeout_ms = {timeout}: at least twice link_ping_interval_ms, which is {interval}")]
    LinkTimeoutTooShort {
        /// `link_timeout_ms`.
        timeout: u64,
        /// `link_ping_interval_ms`.
        interval: u64,
    },
    /// `lan_ip` is an address that nobody can connect to.
    #[error(
        "lan_ip = {0}: workers cannot connect to that; put the address they reach here, and what to bind into lan_listen"
    )]
    LanIp(Ipv4Addr),
    /// `trace_sample` is not a part from 0.0 to 1.0.
    #[error("trace_sample = {0}: give a part of all events, from 0.0 (none) to 1.0 (all)")]
    TraceSample(f64),
    /// A pattern of `presence.groups` is empty.
    #[error("presence.groups: an empty pattern matches no group; write room-*, or * for all")]
    EmptyPresenceGroup,
    /// A message of presence would be no JSON. The text says why.
    #[error(
        "presence.{key}: this is no JSON when {{group}}, {{uid}} and {{data}} stand for JSON values, without quotes of their \
         own: {error}"
    )]
    PresenceMessage {
        /// The key, `join` or `leave`.
        key: &'static str,
        /// What is wrong.
        error: String,
    },
    /// Events are to be traced, and the gateway was built without that.
    #[error(
        "trace_sample and trace_parent need a gateway that is built for OpenTelemetry: build it with `cargo build --release \
         -p gateway --features otel` (or `-p gatewayworker-ctl --features otel`), or remove both"
    )]
    NotBuiltForOtel,
    /// `compression_level` is none.
    #[error("compression_level = {0}: from 1 (fastest) to 9 (smallest)")]
    CompressionLevel(u8),
    /// The table of a listener asks for compression, which its protocol does not have.
    #[error("compression = true: its clients, which speak {0}, cannot compress; only those of WebSocket can")]
    NoCompression(String),
    /// A session would not fit a frame.
    #[error(
        "max_session_bytes = {0}: a session is written in one frame, which may have {MAX_FRAME_LEN} bytes"
    )]
    SessionTooLong(usize),
    /// A message and a session together would not fit a frame.
    #[error(
        "max_message_bytes = {message} and max_session_bytes = {session} together: a message \
         and its client's session go to the worker in one frame, which may have {MAX_FRAME_LEN} bytes for any \
         worker; more than that as max_message_bytes lets workers of ours take larger frames"
    )]
    MessageWithSessionTooLong {
        /// `max_message_bytes`.
        message: usize,
        /// `max_session_bytes`.
        session: usize,
    },
    /// One message would take more than the budget of all outboxes.
    #[error(
        "max_message_bytes = {message} is more than outbox_budget_bytes = {budget}: one \
         client that does not read its echo would take more than all such clients may"
    )]
    MessageOverBudget {
        /// `max_message_bytes`.
        message: usize,
        /// `outbox_budget_bytes`.
        budget: usize,
    },
    /// `path` or `health_path` is no path.
    #[error("{key} = \"{path}\": write it as {example}, without a query")]
    Path {
        /// The key.
        key: &'static str,
        /// Its value.
        path: String,
        /// How to write one.
        example: &'static str,
    },
    /// A name in `subprotocols` is no token of HTTP.
    #[error("subprotocols: \"{0}\" is no name that a header can carry")]
    Subprotocol(String),
    /// An entry of `allowed_origins` matches no page. The text says why.
    #[error("allowed_origins: {0}")]
    AllowedOrigin(String),
    /// An entry of `trusted_proxies` is no address and no network. The text says what to write.
    #[error("trusted_proxies: {0}")]
    TrustedProxy(String),
    /// `proxy_protocol` is set, and no proxy is trusted.
    #[error("proxy_protocol = true without trusted_proxies: nobody could connect")]
    NoTrustedProxies,
    /// The gateway does not know a listener's protocol.
    #[error("listen = \"{url}\": this gateway speaks {WEBSOCKET}, {known}")]
    UnknownProtocol {
        /// The listener's URL.
        url: ListenUrl,
        /// The schemes that it knows beside WebSocket, with commas between them.
        known: String,
    },
    /// A listener speaks TLS, and has no certificate.
    #[error(
        "TLS needs tls_certificate and tls_key: give this listener a [[listen]] table with both in the configuration file"
    )]
    NoCertificate,
    /// A setting of TLS lacks another one.
    #[error("{0}")]
    IncompleteTls(&'static str),
    /// A file of TLS is missing or invalid. The text names the key and the file.
    #[error("{0}")]
    TlsFile(String),
    /// A setting of one listener is wrong.
    #[error("listen = \"{url}\": {error}")]
    Listener {
        /// The listener's URL.
        url: ListenUrl,
        /// What is wrong with it.
        error: Box<ConfigError>,
    },
    /// `lan_listen` or `metrics_listen` is not an address with a port.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The inner port would be open to everybody: there is no `secret_key`.
    #[error(transparent)]
    Exposed(#[from] ExposureError),
}

impl ConfigError {
    /// Adds the listener whose setting is wrong.
    pub(crate) fn of_listener(self, url: &ListenUrl) -> Self {
        Self::Listener { url: url.clone(), error: Box::new(self) }
    }

    /// Returns an error where `value` is more than `limit`.
    pub(super) fn check_limit(
        key: &'static str,
        value: u64,
        limit: u64,
        note: &'static str,
    ) -> Result<(), Self> {
        if value > limit { Err(Self::TooLarge { key, value, limit, note }) } else { Ok(()) }
    }

    /// Returns an error where `max_message_bytes` is more than any frame can carry.
    pub(super) fn check_message_limit(value: usize) -> Result<(), Self> {
        Self::check_limit("max_message_bytes", value as u64, MAX_MESSAGE_LEN as u64, "")
    }

    /// Returns an error where `value` is 0.
    pub(super) fn check_not_zero(
        key: &'static str,
        is_zero: bool,
        consequence: &'static str,
    ) -> Result<(), Self> {
        if is_zero { Err(Self::Zero { key, consequence }) } else { Ok(()) }
    }
}
