//! The gateway's configuration, from flags, environment, file and defaults. It opens nothing.
//!
//! - `flags`: the command line and the environment,
//! - `listener`, `listen_url`: the settings of one listener,
//! - `presence`: the settings of presence,
//! - `real_ip_header`: a setting of both,
//! - `trace_parent`: a setting of OpenTelemetry,
//! - `lan_ip`: the address for workers, and how it is found out,
//! - `error`: why a configuration cannot work,
//! - `validate`: the checks before a gateway runs with it.

mod error;
mod flags;
mod lan_ip;
mod listen_url;
mod listener;
mod presence;
mod real_ip_header;
mod trace_parent;
mod validate;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use gatewayworker_daemon::one_or_many;
use gatewayworker_net::LinkTlsConfig;
use gatewayworker_protocol::{MAX_FRAME_LEN, MAX_LARGE_FRAME_LEN, SecretKey};
use serde::Deserialize;

pub use error::ConfigError;
pub use flags::{Cli, Flags};
pub use lan_ip::{LanIp, LanIpError, NoLanIp};
pub use listen_url::{ListenUrl, ListenUrlError};
pub use listener::ListenerConfig;
use listener::listeners;
pub use presence::{PresenceConfig, PresenceFlags};
pub use real_ip_header::RealIpHeader;
pub use trace_parent::TraceParent;

use crate::core::delivery_settings::{DeliveryMode, DeliverySettings};
use crate::core::heartbeat::Heartbeat;
use crate::core::listener_policy::SlowConsumer;
use crate::core::liveness::LinkTiming;
use crate::core::membership_limits::MembershipLimits;
use crate::core::outgoing::WebSocketType;
use crate::core::protocol::Protocols;
use crate::core::rate_limits::{RateLimitPolicy, RateLimits};
use crate::core::resumption::ResumePolicy;
use crate::core::token_bucket::Rate;
use crate::core::websocket::compression::CompressionPolicy;
use crate::core::worker_table::Routing;

/// The gateway's configuration. The flags of the same names document each key ([`Flags`]). Names end
/// with their unit; `ping_interval` is in seconds, as in the original.
///
/// Made with [`Config::default`] and the `with_…` methods or by setting fields, or read from a file.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the flags of the same names are documented")]
pub struct Config {
    #[serde(deserialize_with = "listeners")]
    pub listen: Vec<ListenerConfig>,
    pub name: String,
    pub lan_ip: LanIp,
    pub lan_listen: Option<String>,
    #[serde(alias = "start_port")]
    pub lan_port: u16,
    #[serde(deserialize_with = "one_or_many")]
    pub register_address: Vec<String>,
    pub secret_key: SecretKey,
    pub allow_insecure: bool,
    pub unix_links: bool,
    pub ping_interval: f64,
    pub ping_not_response_limit: u32,
    pub ping_data: String,
    pub ping_frame: bool,
    pub routing: Routing,
    #[serde(deserialize_with = "one_or_many")]
    pub path: Vec<String>,
    pub health_path: String,
    #[serde(deserialize_with = "one_or_many")]
    pub allowed_origins: Vec<String>,
    #[serde(deserialize_with = "one_or_many")]
    pub subprotocols: Vec<String>,
    pub max_connections_per_address: usize,
    pub max_connects_per_second_per_address: u64,
    pub connect_burst_per_address: u64,
    #[serde(deserialize_with = "one_or_many")]
    pub trusted_proxies: Vec<String>,
    pub real_ip_header: RealIpHeader,
    pub proxy_protocol: bool,
    pub websocket_type: WebSocketType,
    pub shards: usize,
    pub max_connections: usize,
    pub max_links: usize,
    pub handshake_timeout_ms: u64,
    pub max_header_bytes: usize,
    pub max_message_bytes: usize,
    pub max_messages_per_second: u64,
    pub message_burst: u64,
    pub max_bytes_per_second: u64,
    pub byte_burst: u64,
    pub rate_limit_policy: RateLimitPolicy,
    pub max_groups_per_client: usize,
    pub max_clients_per_uid: usize,
    pub max_name_bytes: usize,
    pub max_session_bytes: usize,
    pub outbox_bytes: usize,
    pub outbox_budget_bytes: usize,
    pub slow_consumer: SlowConsumer,
    pub compression: bool,
    pub compression_min_bytes: usize,
    pub compression_level: u8,
    pub resume: bool,
    pub resume_ms: u64,
    pub resume_bytes: usize,
    pub resume_ping_ms: u64,
    pub link_outbox_bytes: usize,
    pub link_ping_interval_ms: u64,
    pub link_timeout_ms: u64,
    pub interest: bool,
    pub isolated_after_ms: u64,
    pub delivery: DeliveryMode,
    pub max_deliveries: u8,
    pub worker_wait_ms: u64,
    pub max_waiting: usize,
    pub admission_timeout_ms: u64,
    pub shutdown_spread_ms: u64,
    pub shutdown_timeout_ms: u64,
    pub metrics_listen: Option<String>,
    pub trace_sample: f64,
    pub trace_parent: TraceParent,
    pub link_tls: LinkTlsConfig,
    pub presence: PresenceConfig,
    /// Clients are admitted by tokens; off by default.
    pub auth: gatewayworker_auth::Config,
    /// A page for operators; off by default. [`run`](crate::run) serves it; a program that calls
    /// [`serve`](crate::serve) does so by itself.
    pub admin: gatewayworker_admin::Config,
    /// The protocols of listeners beside WebSocket. The program sets it, not the file.
    #[serde(skip)]
    pub protocols: Protocols,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![ListenerConfig::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 8289)).into())],
            name: "Gateway".into(),
            lan_ip: LanIp::Address(Ipv4Addr::LOCALHOST),
            lan_listen: None,
            lan_port: 2300,
            register_address: vec!["127.0.0.1:1236".into()],
            secret_key: SecretKey::default(),
            allow_insecure: false,
            unix_links: true,
            ping_interval: 55.0,
            ping_not_response_limit: 1,
            ping_data: r#"{"type":"ping"}"#.into(),
            ping_frame: false,
            routing: Routing::default(),
            path: Vec::new(),
            health_path: String::new(),
            allowed_origins: Vec::new(),
            subprotocols: Vec::new(),
            max_connections_per_address: 0,
            max_connects_per_second_per_address: 0,
            connect_burst_per_address: 0,
            trusted_proxies: Vec::new(),
            real_ip_header: RealIpHeader::default(),
            proxy_protocol: false,
            websocket_type: WebSocketType::default(),
            shards: 0,
            max_connections: 1_000_000,
            max_links: 10_000,
            handshake_timeout_ms: 10_000,
            max_header_bytes: 16 * 1024,
            max_message_bytes: 8 * 1024 * 1024,
            max_messages_per_second: 0,
            message_burst: 0,
            max_bytes_per_second: 0,
            byte_burst: 0,
            rate_limit_policy: RateLimitPolicy::default(),
            max_groups_per_client: 0,
            max_clients_per_uid: 0,
            max_name_bytes: 0,
            max_session_bytes: 1024 * 1024,
            outbox_bytes: 1_024_000,
            outbox_budget_bytes: 1024 * 1024 * 1024,
            slow_consumer: SlowConsumer::default(),
            compression: false,
            compression_min_bytes: 512,
            compression_level: 1,
            resume: false,
            resume_ms: 60_000,
            resume_bytes: 256 * 1024,
            resume_ping_ms: 25_000,
            link_outbox_bytes: 10_240_000,
            link_ping_interval_ms: 2500,
            link_timeout_ms: 9_000,
            interest: true,
            isolated_after_ms: 20_000,
            delivery: DeliveryMode::default(),
            max_deliveries: 5,
            worker_wait_ms: 10_000,
            max_waiting: 10_000,
            admission_timeout_ms: 30_000,
            shutdown_spread_ms: 1000,
            shutdown_timeout_ms: 10_000,
            metrics_listen: None,
            trace_sample: 0.0,
            trace_parent: TraceParent::default(),
            link_tls: LinkTlsConfig::default(),
            presence: PresenceConfig::default(),
            auth: gatewayworker_auth::Config::default(),
            admin: gatewayworker_admin::Config::default(),
            protocols: Protocols::default(),
        }
    }
}

impl Config {
    /// Sets the listeners for clients.
    #[must_use]
    pub fn with_listen(mut self, listeners: impl IntoIterator<Item = ListenerConfig>) -> Self {
        self.listen = listeners.into_iter().collect();
        self
    }

    /// Sets the registers, `host:port` each.
    #[must_use]
    pub fn with_register_address<R: Into<String>>(mut self, registers: impl IntoIterator<Item = R>) -> Self {
        self.register_address = registers.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the port for workers; 0 for any.
    #[must_use]
    pub fn with_lan_port(mut self, port: u16) -> Self {
        self.lan_port = port;
        self
    }

    /// Sets the cluster's key; an empty one stands for none.
    #[must_use]
    pub fn with_secret_key(mut self, key: SecretKey) -> Self {
        self.secret_key = key;
        self
    }

    /// Sets the number of shards; 0 for one for every two cores.
    #[must_use]
    pub fn with_shards(mut self, shards: usize) -> Self {
        self.shards = shards;
        self
    }

    /// Sets where metrics and health are shown over HTTP, `host:port`.
    #[must_use]
    pub fn with_metrics_listen(mut self, address: impl Into<String>) -> Self {
        self.metrics_listen = Some(address.into());
        self
    }

    /// Sets the part of the events that is traced, from 0.0 to 1.0. Needs the cargo feature `otel`.
    #[must_use]
    pub fn with_trace_sample(mut self, part: f64) -> Self {
        self.trace_sample = part;
        self
    }

    /// Sets what a client's own `traceparent` is worth. Needs the cargo feature `otel`.
    #[must_use]
    pub fn with_trace_parent(mut self, trace_parent: TraceParent) -> Self {
        self.trace_parent = trace_parent;
        self
    }

    /// Sets TLS with workers, client libraries and registers.
    #[must_use]
    pub fn with_link_tls(mut self, tls: LinkTlsConfig) -> Self {
        self.link_tls = tls;
        self
    }

    /// Sets whether links of this host are accepted over a Unix socket too; they are by default.
    #[must_use]
    pub fn with_unix_links(mut self, unix_links: bool) -> Self {
        self.unix_links = unix_links;
        self
    }

    /// Sets the protocols of listeners beside WebSocket.
    #[must_use]
    pub fn with_protocols(mut self, protocols: Protocols) -> Self {
        self.protocols = protocols;
        self
    }

    /// Makes relative paths in it relative to the folder of `file`, from which it was read.
    #[must_use]
    pub(crate) fn with_paths_relative_to(mut self, file: Option<&Path>) -> Self {
        if let Some(directory) = file.and_then(Path::parent) {
            self.listen.iter_mut().for_each(|listener| listener.resolve_paths(directory));
        }
        self.link_tls = self.link_tls.with_paths_relative_to(file);
        self.auth = self.auth.with_paths_relative_to(file);
        self.admin = self.admin.with_paths_relative_to(file);
        self
    }

    /// Checks the files that the configuration names, and returns it.
    ///
    /// # Errors
    /// When one of them is missing or invalid.
    pub(crate) fn with_checked_files(self) -> Result<Self, ConfigError> {
        self.listen.iter().try_for_each(|listener| listener.load_certificate().map(drop))?;
        self.link_tls.load_for_both()?;
        if self.auth.is_on() {
            self.auth.check_files(self.token_limits())?;
        }
        Ok(self)
    }

    /// Returns the settings of the heartbeat; `None` where there is none.
    pub(crate) fn heartbeat(&self) -> Option<Heartbeat> {
        let interval = Duration::try_from_secs_f64(self.ping_interval).unwrap_or_default();
        let pings = self.ping_frame || !self.ping_data.is_empty();
        Heartbeat::new(interval, self.ping_not_response_limit, pings)
    }

    /// Returns the longest frame that the gateway accepts from a worker, in bytes. It is longer than
    /// the original's where a listener accepts longer messages, as a worker may send them back.
    pub(crate) fn max_frame_len(&self) -> usize {
        let longest = self.listen.iter().map(|listener| listener.view(self).max_message_bytes).max();
        if longest > Some(MAX_FRAME_LEN) { MAX_LARGE_FRAME_LEN } else { MAX_FRAME_LEN }
    }

    /// Returns how often to look for silent clients; `None` where no listener has a heartbeat.
    pub(crate) fn heartbeat_tick(&self) -> Option<Duration> {
        let heartbeats = self.listen.iter().filter_map(|listener| listener.view(self).heartbeat());
        heartbeats.map(|heartbeat| heartbeat.tick()).min()
    }

    /// Returns how fast a client may send; `None` where that is not limited.
    pub(crate) fn rate_limits(&self) -> Option<RateLimits> {
        let messages = rate(self.max_messages_per_second, self.message_burst);
        let bytes = rate(self.max_bytes_per_second, self.byte_burst);
        let policy = self.rate_limit_policy;
        (messages.is_some() || bytes.is_some()).then_some(RateLimits { messages, bytes, policy })
    }

    /// Returns how messages to clients are compressed; `None` where they are not.
    pub(crate) fn compression_policy(&self) -> Option<CompressionPolicy> {
        let (min_bytes, level) = (self.compression_min_bytes, self.compression_level);
        self.compression.then_some(CompressionPolicy { min_bytes, level })
    }

    /// Returns how often an address may connect; `None` where that is not limited.
    pub(crate) fn connect_rate(&self) -> Option<Rate> {
        rate(self.max_connects_per_second_per_address, self.connect_burst_per_address)
    }

    /// Returns how many groups and uids clients may have. The shards share it.
    pub(crate) fn membership_limits(&self) -> MembershipLimits {
        let unless_zero = |limit| if limit == 0 { usize::MAX } else { limit };
        MembershipLimits::new(
            unless_zero(self.max_groups_per_client),
            unless_zero(self.max_clients_per_uid),
            unless_zero(self.max_name_bytes),
        )
    }

    /// Returns how much a client's token may ask for.
    pub fn token_limits(&self) -> gatewayworker_auth::Limits {
        let limits = self.membership_limits();
        gatewayworker_auth::Limits {
            max_groups: limits.max_groups_per_client,
            max_name_bytes: limits.max_name_bytes,
            max_session_bytes: self.max_session_bytes,
        }
    }

    /// Returns how often links are pinged, and how long a silent one counts as alive.
    pub(crate) fn link_timing(&self) -> LinkTiming {
        LinkTiming { ping_interval_ms: self.link_ping_interval_ms, timeout_ms: self.link_timeout_ms }
    }

    /// Returns how events are given to workers that acknowledge them.
    /// Returns how clients may come back after a cut; `None` where they may not.
    pub(crate) fn resume_policy(&self) -> Option<ResumePolicy> {
        let Self { resume, resume_ms, resume_bytes, resume_ping_ms: ping_ms, .. } = *self;
        resume.then_some(ResumePolicy { resume_ms, resume_bytes, ping_ms })
    }

    pub(crate) fn delivery_settings(&self) -> DeliverySettings {
        let (mode, max_deliveries) = (self.delivery, self.max_deliveries);
        DeliverySettings { mode, max_deliveries, ..DeliverySettings::default() }
    }

    /// Returns how many bytes may wait for slow clients on one shard.
    pub(crate) fn outbox_budget(&self) -> usize {
        self.outbox_budget_bytes / self.shards.max(1)
    }
}

/// Returns the rate of a limit, `None` for 0. A burst of 0 stands for that of one second.
fn rate(per_second: u64, burst: u64) -> Option<Rate> {
    let burst = if burst == 0 { per_second } else { burst };
    (per_second > 0).then(|| Rate::new(per_second, burst))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_file_shows_every_key_of_a_listener() {
        let file = include_str!("../../../../config/gateway.toml");
        let example: String = file
            .lines()
            .filter_map(|line| line.strip_prefix("#   "))
            .skip_while(|line| *line != "[[listen]]")
            .flat_map(|line| [line, "\n"])
            .collect();
        let config: Config = toml::from_str(&example).unwrap();
        let shown = format!("{:?}", config.listen[0]);
        assert!(!shown.contains("None"), "{shown}");
        config.validated().unwrap();
    }

    #[test]
    fn a_listener_may_be_appended_to_the_shipped_file() {
        let file = include_str!("../../../../config/gateway.toml");
        let config: Config = toml::from_str(&format!("{file}\n[[listen]]\nurl = 'text://a:1'\n")).unwrap();
        assert_eq!(config.listen[0].url.to_string(), "text://a:1");
    }

    #[test]
    fn the_originals_name_of_the_port_and_a_single_register_are_accepted() {
        assert_eq!(toml::from_str::<Config>("start_port = 2900").unwrap().lan_port, 2900);
        let one: Config = toml::from_str("register_address = '10.0.0.1:1236'").unwrap();
        assert_eq!(one.register_address, ["10.0.0.1:1236"]);
    }
}
