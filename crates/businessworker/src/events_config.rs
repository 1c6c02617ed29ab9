//! The settings of events over HTTP: the table `[events]` of the worker's file, and the flags `--events-…`.
//!
//! Reads and checks them. The worker's configuration contains them; `gatewayworker-webhook` follows them, which the
//! stock worker runs where a URL is set. No request is made in here.

use std::path::PathBuf;

use gatewayworker_daemon::one_or_many;
use gatewayworker_protocol::SecretKey;
use http::Uri;
use serde::{Deserialize, Serialize};

use crate::use_mark::UseMark;

/// The shortest secret.
const MIN_SECRET_LEN: usize = 16;

/// The longest time-out, a day: longer ones could be later than the clock can tell.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// The flags, which serialize as the keys of the table `[events]`; what is not set is left to the file.
#[derive(Debug, Default, clap::Args, Serialize)]
// The flags that contain these are called Flags, too, and clap takes each name once.
#[group(skip)]
pub struct EventsFlags {
    /// Send the events of clients to the backend at URL, over HTTP; may be given several times [default: none]
    #[arg(long, value_name = "URL", env = "GATEWAYWORKER_EVENTS_URL", value_delimiter = ',')]
    #[serde(rename = "url", skip_serializing_if = "Option::is_none")]
    pub events_url: Option<Vec<String>>,

    /// Sign the events with KEY, at least 16 characters; better set in the environment, where other users do not see it
    #[arg(long, value_name = "KEY", env = "GATEWAYWORKER_EVENTS_SECRET", hide_env_values = true)]
    #[serde(rename = "secret", skip_serializing_if = "Option::is_none")]
    pub events_secret: Option<SecretKey>,

    /// Sign them with KEY, too, while the key is changed [default: none]
    #[arg(long, value_name = "KEY", env = "GATEWAYWORKER_EVENTS_NEXT_SECRET", hide_env_values = true)]
    #[serde(rename = "next_secret", skip_serializing_if = "Option::is_none")]
    pub events_next_secret: Option<SecretKey>,

    /// Trust the authorities in FILE, PEM, beside those of the system, to certify backends [default: none]
    #[arg(long, value_name = "FILE", env = "GATEWAYWORKER_EVENTS_CA_FILE")]
    #[serde(rename = "ca_file", skip_serializing_if = "Option::is_none")]
    pub events_ca_file: Option<PathBuf>,

    /// Send the events of NAME; may be given several times [default: connect,message,close]
    #[arg(long, value_name = "NAME", env = "GATEWAYWORKER_EVENTS_SEND", value_delimiter = ',', value_enum)]
    #[serde(rename = "send", skip_serializing_if = "Option::is_none")]
    pub events_send: Option<Vec<EventName>>,

    /// Wait at most MS milliseconds for the backend's answer to an event [default: 5000]
    #[arg(long, value_name = "MS", env = "GATEWAYWORKER_EVENTS_TIMEOUT_MS")]
    #[serde(rename = "timeout_ms", skip_serializing_if = "Option::is_none")]
    pub events_timeout_ms: Option<u64>,

    /// Send at most N events at once [default: 64]
    #[arg(long, value_name = "N", env = "GATEWAYWORKER_EVENTS_CONCURRENCY")]
    #[serde(rename = "concurrency", skip_serializing_if = "Option::is_none")]
    pub events_concurrency: Option<usize>,

    /// Send an event at most N times [default: 5]
    #[arg(long, value_name = "N", env = "GATEWAYWORKER_EVENTS_MAX_DELIVERIES")]
    #[serde(rename = "max_deliveries", skip_serializing_if = "Option::is_none")]
    pub events_max_deliveries: Option<u32>,

    /// What to do when an event fails: close its client, or drop the event [default: close]
    #[arg(long, value_name = "POLICY", env = "GATEWAYWORKER_EVENTS_ON_FAILURE", value_enum)]
    #[serde(rename = "on_failure", skip_serializing_if = "Option::is_none")]
    pub events_on_failure: Option<OnFailure>,

    /// Read answers of at most N bytes [default: 1048576]
    #[arg(long, value_name = "N", env = "GATEWAYWORKER_EVENTS_MAX_RESPONSE_BYTES")]
    #[serde(rename = "max_response_bytes", skip_serializing_if = "Option::is_none")]
    pub events_max_response_bytes: Option<usize>,

    /// Make at most N calls of an answer [default: 100]
    #[arg(long, value_name = "N", env = "GATEWAYWORKER_EVENTS_MAX_CALLS")]
    #[serde(rename = "max_calls", skip_serializing_if = "Option::is_none")]
    pub events_max_calls: Option<usize>,

    /// Wait MS milliseconds before an event is sent a second time, and twice as long before each time after that [default: 200]
    #[arg(long, value_name = "MS", env = "GATEWAYWORKER_EVENTS_RETRY_DELAY_MS")]
    #[serde(rename = "retry_delay_ms", skip_serializing_if = "Option::is_none")]
    pub events_retry_delay_ms: Option<u64>,
}

/// An event that a backend may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum EventName {
    /// A client has connected: [`Events::on_connect`](crate::Events::on_connect), whatever its protocol, and before the
    /// handshake of WebSocket. For protocols without a handshake; not sent by default.
    Open,
    /// A WebSocket client's handshake, whose answer admits or refuses the client.
    Connect,
    /// A client's message.
    Message,
    /// A client is gone.
    Close,
    /// A client is cut off that may come back: [`Events::on_detached`](crate::Events::on_detached); not sent by default.
    Detached,
    /// It has come back: [`Events::on_resumed`](crate::Events::on_resumed); not sent by default.
    Resumed,
}

impl EventName {
    /// Returns the name, as in the settings and in requests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Connect => "connect",
            Self::Message => "message",
            Self::Close => "close",
            Self::Detached => "detached",
            Self::Resumed => "resumed",
        }
    }
}

/// What becomes of the client whose event failed: it was sent as often as it may, or the answer makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// It is closed with 1013, "try again later".
    Close,
    /// It stays, and the event is lost. A client that waits for its admission is refused with 1013 all the same.
    Drop,
}

/// The settings of events over HTTP: the keys of the table `[events]` of a worker's file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct EventsConfig {
    /// Where the backend takes events, one URL or several; none by default: then no event is sent.
    #[serde(deserialize_with = "one_or_many")]
    pub url: Vec<String>,
    /// What requests are signed with.
    pub secret: SecretKey,
    /// What they are signed with in addition, while the key is changed; empty for none, the default.
    pub next_secret: SecretKey,
    /// A file with authorities (PEM) that may certify backends, beside those of the system; none by default. It is read once.
    pub ca_file: Option<PathBuf>,
    /// Which events are sent; [`Connect`](EventName::Connect), [`Message`](EventName::Message) and
    /// [`Close`](EventName::Close) by default.
    pub send: Vec<EventName>,
    /// How long a request and its answer may take, in milliseconds; 5000 by default.
    pub timeout_ms: u64,
    /// How many events are sent at once; 64 by default.
    pub concurrency: usize,
    /// How often an event is sent, the first time included; 5 by default. A time at which the backend is away does not
    /// count.
    pub max_deliveries: u32,
    /// What happens when an event failed.
    pub on_failure: OnFailure,
    /// The longest answer, in bytes; 1 MiB by default.
    pub max_response_bytes: usize,
    /// How many calls an answer may have; 100 by default.
    pub max_calls: usize,
    /// The pause before an event is sent again, in milliseconds; 200 by default. It doubles each time, up to 5 seconds.
    pub retry_delay_ms: u64,
    /// Whether anything sends events as this says.
    #[serde(skip)]
    pub(crate) used: UseMark,
}

impl Default for EventsConfig {
    fn default() -> Self {
        Self {
            url: Vec::new(),
            secret: SecretKey::default(),
            next_secret: SecretKey::default(),
            ca_file: None,
            send: vec![EventName::Connect, EventName::Message, EventName::Close],
            timeout_ms: 5_000,
            concurrency: 64,
            max_deliveries: 5,
            on_failure: OnFailure::Close,
            max_response_bytes: 1024 * 1024,
            max_calls: 100,
            retry_delay_ms: 200,
            used: UseMark::default(),
        }
    }
}

/// A setting of events over HTTP that cannot work. Each text begins with the key and says what to write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventsConfigError {
    /// An entry of `url` is not a URL of HTTP.
    #[error("events.url: \"{0}\" is no URL of HTTP: write https://host/path")]
    Url(String),
    /// A URL has a user or a password.
    #[error(
        "events.url: a URL with a user or a password is not taken: requests are signed with events.secret instead"
    )]
    UserInfo,
    /// A secret is needed and missing.
    #[error(
        "events.secret: events.url needs one, at least {MIN_SECRET_LEN} characters, by which the backend knows whose \
         requests they are"
    )]
    NoSecret,
    /// A secret is too short.
    #[error("events.{0}: must have at least {MIN_SECRET_LEN} characters")]
    ShortSecret(&'static str),
    /// There is a next secret and none that is valid now.
    #[error("events.next_secret: is of no use without events.secret: set that")]
    OnlyNextSecret,
    /// No event is sent.
    #[error("events.send: must name an event: connect, message, close or open")]
    SendsNothing,
    /// This limit is 0.
    #[error("events.{0}: must be at least 1")]
    Zero(&'static str),
    /// This time is 0 or over a day.
    #[error("events.{0}: must be from 1 to {DAY_MS}, a day")]
    Time(&'static str),
}

impl EventsConfig {
    /// The settings of a worker that sends events to the backend at `url`, signed with `secret`, with the default limits.
    pub fn new(url: impl Into<String>, secret: SecretKey) -> Self {
        Self { url: vec![url.into()], secret, ..Self::default() }
    }

    /// Whether events are sent over HTTP.
    pub fn is_on(&self) -> bool {
        !self.url.is_empty()
    }

    /// Notes that the application sends events as these settings say. A worker warns at its start where a URL is set and
    /// nothing has noted this, for any clone of its settings. `HttpEvents` of `gatewayworker-webhook` does.
    pub fn mark_used(&self) {
        self.used.set();
    }

    /// Checks what the types cannot.
    ///
    /// # Errors
    /// The first value that cannot work, in one line that begins with its key.
    pub fn validate(&self) -> Result<(), EventsConfigError> {
        let backends = self.url.iter().map(|url| Backend::parse(url)).collect::<Result<Vec<_>, _>>()?;
        for (key, secret) in [("secret", &self.secret), ("next_secret", &self.next_secret)] {
            if !secret.is_empty() && secret.expose().chars().count() < MIN_SECRET_LEN {
                return Err(EventsConfigError::ShortSecret(key));
            }
        }
        if self.secret.is_empty() && backends.iter().any(|backend| !backend.is_loopback) {
            return Err(EventsConfigError::NoSecret);
        }
        if self.secret.is_empty() && !self.next_secret.is_empty() {
            return Err(EventsConfigError::OnlyNextSecret);
        }
        if self.send.is_empty() {
            return Err(EventsConfigError::SendsNothing);
        }
        let limits = [
            ("concurrency", self.concurrency),
            ("max_deliveries", self.max_deliveries as usize),
            ("max_response_bytes", self.max_response_bytes),
            ("max_calls", self.max_calls),
        ];
        if let Some((key, _)) = limits.into_iter().find(|(_, limit)| *limit == 0) {
            return Err(EventsConfigError::Zero(key));
        }
        let times = [("timeout_ms", self.timeout_ms), ("retry_delay_ms", self.retry_delay_ms)];
        match times.into_iter().find(|(_, ms)| !(1..=DAY_MS).contains(ms)) {
            Some((key, _)) => Err(EventsConfigError::Time(key)),
            None => Ok(()),
        }
    }

    /// Returns the URLs whose requests others on the network can read: not encrypted, and not on this host.
    pub fn urls_in_the_clear(&self) -> Vec<&str> {
        let in_the_clear =
            |url: &&String| Backend::parse(url).is_ok_and(|backend| !backend.is_tls && !backend.is_loopback);
        self.url.iter().filter(in_the_clear).map(String::as_str).collect()
    }
}

/// What a URL says that matters for its check.
struct Backend {
    is_tls: bool,
    is_loopback: bool,
}

impl Backend {
    fn parse(url: &str) -> Result<Self, EventsConfigError> {
        if url.split('/').nth(2).is_some_and(|authority| authority.contains('@')) {
            return Err(EventsConfigError::UserInfo);
        }
        let invalid = || EventsConfigError::Url(url.chars().take(128).collect());
        let uri: Uri = url.parse().map_err(|_| invalid())?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(invalid()),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(invalid)?;
        let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
        let is_loopback = host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback());
        Ok(Self { is_tls, is_loopback })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef";

    fn config(url: &str) -> EventsConfig {
        EventsConfig::new(url, SecretKey::new(SECRET))
    }

    #[test]
    fn what_cannot_work_is_named_by_its_key() {
        let wrong = |key: &str, change: fn(&mut EventsConfig)| {
            let mut config = config("https://app.example/events");
            change(&mut config);
            let error = config.validate().unwrap_err().to_string();
            assert!(error.starts_with(&format!("events.{key}: ")), "{error}");
        };
        wrong("url", |c| c.url = vec!["app.example/events".into()]);
        wrong("url", |c| c.url = vec!["ftp://app.example/events".into()]);
        wrong("url", |c| c.url = vec!["https://".into()]);
        wrong("url", |c| c.url = vec!["https://me:hunter2@app.example/events".into()]);
        wrong("secret", |c| c.secret = SecretKey::default());
        wrong("secret", |c| c.secret = SecretKey::new("short"));
        wrong("next_secret", |c| c.next_secret = SecretKey::new("short"));
        wrong("next_secret", |c| {
            *c = EventsConfig::new("http://127.0.0.1:1/", SecretKey::default());
            c.next_secret = SecretKey::new(SECRET);
        });
        wrong("send", |c| c.send = Vec::new());
        wrong("timeout_ms", |c| c.timeout_ms = 0);
        wrong("concurrency", |c| c.concurrency = 0);
        wrong("max_deliveries", |c| c.max_deliveries = 0);
        wrong("max_response_bytes", |c| c.max_response_bytes = 0);
        wrong("max_calls", |c| c.max_calls = 0);
        wrong("retry_delay_ms", |c| c.retry_delay_ms = u64::MAX);
        config("https://app.example/events").validate().unwrap();
        EventsConfig::default().validate().unwrap();
    }

    #[test]
    fn a_password_in_a_url_is_not_repeated_in_the_error() {
        let error = config("https://me:hunter2@app.example/").validate().unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_secret_may_be_missing_only_where_all_backends_are_on_this_host() {
        for (url, is_loopback) in [
            ("http://127.0.0.1:8000/events", true),
            ("http://localhost/", true),
            ("http://[::1]:8000/", true),
            ("http://10.0.0.7/", false),
        ] {
            let config = EventsConfig::new(url, SecretKey::default());
            assert_eq!(config.validate().is_ok(), is_loopback, "{url}");
        }
    }

    #[test]
    fn events_in_the_clear_are_told() {
        let mut config = config("https://app.example/");
        config.url.extend(["http://127.0.0.1/".into(), "http://10.0.0.7/".into()]);
        assert_eq!(config.urls_in_the_clear(), ["http://10.0.0.7/"]);
    }

    #[test]
    fn the_secret_does_not_show_itself() {
        assert!(!format!("{:?}", config("https://app.example/")).contains(SECRET));
    }
}
