//! What can be set: flags, environment, file, defaults.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use gatewayworker_daemon::{CommonFlags, check_address, check_exposure, one_or_many, take_negative_numbers};
use gatewayworker_protocol::{MAX_FRAME_LEN, MAX_LARGE_FRAME_LEN, MAX_MESSAGE_LEN, SecretKey};
use serde::{Deserialize, Serialize};

use crate::core::heartbeat::Heartbeat;
use crate::core::listener_policy::SlowConsumer;
use crate::core::outgoing::WebSocketType;
use crate::core::protocol::Protocols;
use crate::core::worker_table::Routing;
use crate::door;
use crate::entry::{Entry, RealIpHeader};
use crate::listener::{Listener, listeners};

/// The longest time over which clients may be closed when the gateway stops.
const MAX_SHUTDOWN_SPREAD_MS: u64 = 3_600_000;

/// Holds the clients: their connections, uids, groups, sessions and heartbeats.
#[derive(Debug, clap::Parser)]
#[command(name = "gateway", version, mut_args(take_negative_numbers))]
pub struct Cli {
    /// What every daemon has.
    #[command(flatten)]
    pub common: CommonFlags,
    /// What this one has.
    #[command(flatten)]
    pub flags: Flags,
}

macro_rules! flags {
    ($($(#[doc = $doc:literal])* [$($arg:tt)*] $name:ident: $type:ty,)*) => {
        /// The gateway's flags; what is not set here is left to the file.
        #[derive(Debug, Default, clap::Args, Serialize)]
        pub struct Flags {
            $(
                $(#[doc = $doc])*
                #[arg(long, $($arg)*)]
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $name: Option<$type>,
            )*
        }
    };
}

flags! {
    /// Listen on URL for clients: websocket://, wss://, text://, frame:// or tcp://, as in text://0.0.0.0:8290; may be repeated [default: websocket://127.0.0.1:8289]
    [value_name = "URL", env = "GATEWAYWORKER_GATEWAY_LISTEN", value_delimiter = ','] listen: Vec<String>,
    /// Call this gateway NAME in logs [default: Gateway]
    [value_name = "NAME", env = "GATEWAYWORKER_GATEWAY_NAME"] name: String,
    /// IPv4 address that workers reach this gateway by; part of every client id [default: 127.0.0.1]
    [value_name = "IP", env = "GATEWAYWORKER_GATEWAY_LAN_IP"] lan_ip: Ipv4Addr,
    /// Listen on ADDRESS for workers where that is not lan-ip:lan-port (containers, NAT) [default: lan-ip:lan-port]
    [value_name = "ADDRESS", env = "GATEWAYWORKER_GATEWAY_LAN_LISTEN"] lan_listen: String,
    /// Port for workers, 0 for any [default: 2300]
    [value_name = "PORT", env = "GATEWAYWORKER_GATEWAY_LAN_PORT", alias = "start-port"] lan_port: u16,
    /// Announce to the register at ADDRESS; may be repeated [default: 127.0.0.1:1236]
    [value_name = "ADDRESS", env = "GATEWAYWORKER_REGISTER_ADDRESS", value_delimiter = ','] register_address: Vec<String>,
    /// The key that all daemons of a cluster share; better set in the environment, where other users do not see it [default: none]
    [value_name = "KEY", env = "GATEWAYWORKER_SECRET_KEY", hide_env_values = true] secret_key: SecretKey,
    /// Listen for workers on an address that is not loopback even without a secret key [default: false]
    [value_name = "BOOL", env = "GATEWAYWORKER_ALLOW_INSECURE", num_args = 0..=1, require_equals = true, default_missing_value = "true"] allow_insecure: bool,
    /// Ping a client after so many SECONDS of silence; 0 for never [default: 55]
    [value_name = "SECONDS", env = "GATEWAYWORKER_GATEWAY_PING_INTERVAL"] ping_interval: f64,
    /// Close a client after N pings without a word from it; 0 for never [default: 1]
    [value_name = "N", env = "GATEWAYWORKER_GATEWAY_PING_NOT_RESPONSE_LIMIT"] ping_not_response_limit: u32,
    /// Send DATA as the ping; empty for none [default: {"type":"ping"}]
    [value_name = "DATA", env = "GATEWAYWORKER_GATEWAY_PING_DATA"] ping_data: String,
    /// Ping with a WebSocket ping frame instead of data [default: false]
    [value_name = "BOOL", env = "GATEWAYWORKER_GATEWAY_PING_FRAME", num_args = 0..=1, require_equals = true, default_missing_value = "true"] ping_frame: bool,
    /// Choose a client's worker by least-connections, random or round-robin [default: least-connections]
    [value_name = "POLICY", env = "GATEWAYWORKER_GATEWAY_ROUTING"] routing: String,
    /// Upgrade requests for PATH only, e.g. /ws; may be repeated [default: any]
    [value_name = "PATH", env = "GATEWAYWORKER_GATEWAY_PATH", value_delimiter = ','] path: Vec<String>,
    /// Answer requests for PATH, which are not upgraded, with 200 where the gateway can serve and 503 where not, e.g. /healthz [default: none]
    [value_name = "PATH", env = "GATEWAYWORKER_GATEWAY_HEALTH_PATH"] health_path: String,
    /// Let pages of ORIGIN connect only, e.g. `https://example.com` or `https://*.example.com`; may be repeated [default: any]
    [value_name = "ORIGIN", env = "GATEWAYWORKER_GATEWAY_ALLOWED_ORIGINS", value_delimiter = ','] allowed_origins: Vec<String>,
    /// Speak the WebSocket subprotocol NAME with who offers it; may be repeated, the first that is offered is spoken [default: none]
    [value_name = "NAME", env = "GATEWAYWORKER_GATEWAY_SUBPROTOCOLS", value_delimiter = ','] subprotocols: Vec<String>,
    /// Hold at most N clients from one address, or one /64 of IPv6; 0 for as many as there are [default: 0]
    [value_name = "N", env = "GATEWAYWORKER_GATEWAY_MAX_CONNECTIONS_PER_ADDRESS"] max_connections_per_address: usize,
    /// Believe the proxies at ADDRESS, or in that network, where a client comes from; may be repeated [default: none]
    [value_name = "ADDRESS", env = "GATEWAYWORKER_GATEWAY_TRUSTED_PROXIES", value_delimiter = ','] trusted_proxies: Vec<String>,
    /// Where they say so: x-forwarded-for or x-real-ip [default: x-forwarded-for]
    [value_name = "HEADER", env = "GATEWAYWORKER_GATEWAY_REAL_IP_HEADER"] real_ip_header: String,
    /// Take connections of the trusted proxies only, which say in the PROXY protocol whom they bring [default: false]
    [value_name = "BOOL", env = "GATEWAYWORKER_GATEWAY_PROXY_PROTOCOL", num_args = 0..=1, require_equals = true, default_missing_value = "true"] proxy_protocol: bool,
    /// Send messages as auto, text or binary [default: auto]
    [value_name = "TYPE", env = "GATEWAYWORKER_GATEWAY_WEBSOCKET_TYPE"] websocket_type: String,
    /// Use N threads for clients; 0 for one for every two cores [default: 0]
    [value_name = "N", env = "GATEWAYWORKER_GATEWAY_SHARDS"] shards: usize,
    /// Hold at most N clients [default: 1000000]
    [value_name = "N", env = "GATEWAYWORKER_GATEWAY_MAX_CONNECTIONS"] max_connections: usize,
    /// Hold at most N links of workers and client libraries [default: 10000]
    [value_name = "N", env = "GATEWAYWORKER_GATEWAY_MAX_LINKS"] max_links: usize,
    /// Give a handshake so many milliseconds [default: 10000]
    [value_name = "MS", env = "GATEWAYWORKER_GATEWAY_HANDSHAKE_TIMEOUT_MS"] handshake_timeout_ms: u64,
    /// Take handshakes of at most so many bytes [default: 16384]
    [value_name = "BYTES", env = "GATEWAYWORKER_GATEWAY_MAX_HEADER_BYTES"] max_header_bytes: usize,
    /// Take messages of at most so many bytes from clients [default: 8388608]
    [value_name = "BYTES", env = "GATEWAYWORKER_GATEWAY_MAX_MESSAGE_BYTES"] max_message_bytes: usize,
    /// Store sessions of at most so many bytes [default: 1048576]
    [value_name = "BYTES", env = "GATEWAYWORKER_GATEWAY_MAX_SESSION_BYTES"] max_session_bytes: usize,
    /// Let so many bytes wait for a client that does not read [default: 1024000]
    [value_name = "BYTES", env = "GATEWAYWORKER_GATEWAY_OUTBOX_BYTES"] outbox_bytes: usize,
    /// Let so many bytes wait for all clients that do not read, together [default: 1073741824]
    [value_name = "BYTES", env = "GATEWAYWORKER_GATEWAY_OUTBOX_BUDGET_BYTES"] outbox_budget_bytes: usize,
    /// What to do with a client beyond --outbox-bytes: close or drop-newest [default: close]
    [value_name = "POLICY", env = "GATEWAYWORKER_GATEWAY_SLOW_CONSUMER"] slow_consumer: String,
    /// Let so many bytes wait for a worker before its clients are read no more [default: 10240000]
    [value_name = "BYTES", env = "GATEWAYWORKER_GATEWAY_LINK_OUTBOX_BYTES"] link_outbox_bytes: usize,
    /// Let a new client wait so many milliseconds for a worker to be there [default: 10000]
    [value_name = "MS", env = "GATEWAYWORKER_GATEWAY_WORKER_WAIT_MS"] worker_wait_ms: u64,
    /// Let at most N new clients wait for a worker [default: 10000]
    [value_name = "N", env = "GATEWAYWORKER_GATEWAY_MAX_WAITING"] max_waiting: usize,
    /// Give a worker so many milliseconds to say that a WebSocket client may come in [default: 30000]
    [value_name = "MS", env = "GATEWAYWORKER_GATEWAY_ADMISSION_TIMEOUT_MS"] admission_timeout_ms: u64,
    /// Close clients over so many milliseconds when the gateway stops [default: 1000]
    [value_name = "MS", env = "GATEWAYWORKER_GATEWAY_SHUTDOWN_SPREAD_MS"] shutdown_spread_ms: u64,
}

/// The gateway's configuration. The flags of the same names say what each key
/// is; units are in the names, `ping_interval` is in seconds as in the original.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "the flags of the same names are documented")]
pub struct Config {
    #[serde(deserialize_with = "listeners")]
    pub listen: Vec<Listener>,
    pub name: String,
    pub lan_ip: Ipv4Addr,
    pub lan_listen: Option<String>,
    #[serde(alias = "start_port")]
    pub lan_port: u16,
    #[serde(deserialize_with = "one_or_many")]
    pub register_address: Vec<String>,
    pub secret_key: SecretKey,
    pub allow_insecure: bool,
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
    pub max_session_bytes: usize,
    pub outbox_bytes: usize,
    pub outbox_budget_bytes: usize,
    pub slow_consumer: SlowConsumer,
    pub link_outbox_bytes: usize,
    pub worker_wait_ms: u64,
    pub max_waiting: usize,
    pub admission_timeout_ms: u64,
    pub shutdown_spread_ms: u64,
    /// What listeners may speak beside WebSocket; set by the program, not by its users.
    #[serde(skip)]
    pub protocols: Protocols,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![Listener::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 8289)).into())],
            name: "Gateway".into(),
            lan_ip: Ipv4Addr::LOCALHOST,
            lan_listen: None,
            lan_port: 2300,
            register_address: vec!["127.0.0.1:1236".into()],
            secret_key: SecretKey::default(),
            allow_insecure: false,
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
            max_session_bytes: 1024 * 1024,
            outbox_bytes: 1_024_000,
            outbox_budget_bytes: 1024 * 1024 * 1024,
            slow_consumer: SlowConsumer::default(),
            link_outbox_bytes: 10_240_000,
            worker_wait_ms: 10_000,
            max_waiting: 10_000,
            admission_timeout_ms: 30_000,
            shutdown_spread_ms: 1000,
            protocols: Protocols::default(),
        }
    }
}

impl Config {
    /// The configuration, if it can work.
    ///
    /// # Errors
    /// When a value is one that no gateway could run with.
    pub fn validated(mut self) -> anyhow::Result<Self> {
        ensure!(!self.listen.is_empty(), "listen is empty: no client could come in");
        ensure!(
            !self.register_address.is_empty(),
            "register_address is empty: no worker could find this gateway"
        );
        ensure!(
            !self.lan_ip.is_unspecified() && !self.lan_ip.is_broadcast(),
            "lan_ip = {}: workers cannot connect to that; put the address they reach here, and what to bind into lan_listen",
            self.lan_ip
        );
        self.validate_for_clients()?;
        for listener in &self.listen {
            door::framing(listener, &self)?;
            let named = || format!("listen = \"{}\"", listener.url);
            listener.tls().with_context(named)?;
            listener.view(&self).validate_for_clients().with_context(named)?;
            ensure!(
                listener.max_connections != Some(0),
                "{}: max_connections = 0: nobody could connect",
                named()
            );
        }
        ensure!(self.admission_timeout_ms > 0, "admission_timeout_ms = 0: nobody could be admitted");
        ensure!(self.max_links > 0, "max_links = 0: no worker could link");
        ensure!(self.link_outbox_bytes > 0, "link_outbox_bytes = 0: no event could reach a worker");
        // A host's name is looked up, and checked, when the gateway starts.
        self.lan_listen.iter().try_for_each(|address| check_address("lan_listen", address))?;
        let inner = match &self.lan_listen {
            Some(address) => address.parse::<SocketAddr>().ok().map(|address| address.ip()),
            None => Some(self.lan_ip.into()),
        };
        if let Some(ip) = inner {
            check_exposure("the gateway's inner port", ip, &self.secret_key, self.allow_insecure)?;
        }
        if self.shards == 0 {
            // The kernel does most of a message's work, on whichever core has time.
            self.shards = std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2));
        }
        ensure!(
            self.shutdown_spread_ms <= MAX_SHUTDOWN_SPREAD_MS,
            "shutdown_spread_ms = {}: at most {MAX_SHUTDOWN_SPREAD_MS} (an hour)",
            self.shutdown_spread_ms
        );
        ensure!(self.shards <= 1024, "shards = {}: at most 1024", self.shards);
        Ok(self)
    }

    /// Lets the paths in it begin where `file` is, out of which it was read.
    #[must_use]
    pub(crate) fn read_from(mut self, file: Option<&Path>) -> Self {
        if let Some(directory) = file.and_then(Path::parent) {
            self.listen.iter_mut().for_each(|listener| listener.settle_in(directory));
        }
        self
    }

    /// The configuration, if the files that it names can be used.
    ///
    /// # Errors
    /// When one of them is missing, or not what it should be.
    pub(crate) fn with_good_files(self) -> anyhow::Result<Self> {
        self.listen.iter().try_for_each(|listener| listener.load_certificate().map(drop))?;
        Ok(self)
    }

    /// Checks what a listener may have of its own.
    fn validate_for_clients(&self) -> anyhow::Result<()> {
        ensure!(
            self.ping_interval.is_finite() && (0.0..=1e6).contains(&self.ping_interval),
            "ping_interval = {}: give seconds, from 0 (none) to 1000000",
            self.ping_interval
        );
        ensure!(
            self.ping_interval == 0.0 || self.ping_interval >= 0.01,
            "ping_interval = {}: at least 0.01 s",
            self.ping_interval
        );
        for (key, is_zero, without) in [
            ("max_connections", self.max_connections == 0, "nobody could connect"),
            ("handshake_timeout_ms", self.handshake_timeout_ms == 0, "nobody could shake hands"),
            ("max_header_bytes", self.max_header_bytes == 0, "nobody could shake hands"),
            ("max_message_bytes", self.max_message_bytes == 0, "nobody could say anything"),
        ] {
            ensure!(!is_zero, "{key} = 0: {without}");
        }
        Entry::of(self)?;
        let Self { max_message_bytes, max_session_bytes, outbox_budget_bytes, .. } = self;
        ensure!(
            *max_message_bytes <= MAX_MESSAGE_LEN,
            "max_message_bytes = {max_message_bytes}: at most {MAX_MESSAGE_LEN}"
        );
        ensure!(
            *max_session_bytes <= MAX_FRAME_LEN - 1024,
            "max_session_bytes = {max_session_bytes}: a session is written in one frame, which may have {MAX_FRAME_LEN} bytes"
        );
        if *max_message_bytes <= MAX_FRAME_LEN {
            ensure!(
                max_message_bytes + max_session_bytes <= MAX_FRAME_LEN - 1024,
                "max_message_bytes = {max_message_bytes} and max_session_bytes = {max_session_bytes} together: a message \
                 and its client's session go to the worker in one frame, which may have {MAX_FRAME_LEN} bytes for any \
                 worker; more than that as max_message_bytes lets workers of ours take larger frames"
            );
        } else {
            ensure!(
                max_message_bytes <= outbox_budget_bytes,
                "max_message_bytes = {max_message_bytes} is more than outbox_budget_bytes = {outbox_budget_bytes}: one \
                 client that does not read its echo would take more than all such clients may"
            );
        }
        Ok(())
    }

    /// The rules of the heartbeat, if there is one.
    pub(crate) fn heartbeat(&self) -> Option<Heartbeat> {
        let interval = Duration::try_from_secs_f64(self.ping_interval).unwrap_or_default();
        let pings = self.ping_frame || !self.ping_data.is_empty();
        Heartbeat::new(interval, self.ping_not_response_limit, pings)
    }

    /// The longest frame that is taken from a worker, in bytes: longer than the original's where
    /// a listener takes longer messages, as a worker may send back what it got.
    pub(crate) fn max_frame_len(&self) -> usize {
        let longest = self.listen.iter().map(|listener| listener.view(self).max_message_bytes).max();
        if longest > Some(MAX_FRAME_LEN) { MAX_LARGE_FRAME_LEN } else { MAX_FRAME_LEN }
    }

    /// How often to look for the silent, if any listener asks for that.
    pub(crate) fn heartbeat_tick(&self) -> Option<Duration> {
        let heartbeats = self.listen.iter().filter_map(|listener| listener.view(self).heartbeat());
        heartbeats.map(|heartbeat| heartbeat.tick()).min()
    }

    /// Bytes that may wait for slow clients on one shard.
    pub(crate) fn outbox_budget(&self) -> usize {
        self.outbox_budget_bytes / self.shards.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_the_file_is_a_flag() {
        let flags: Vec<_> = <Cli as clap::CommandFactory>::command()
            .get_arguments()
            .map(|arg| arg.get_id().to_string())
            .collect();
        for key in
            include_str!("../../../config/gateway.toml").lines().filter_map(|line| line.split_once(" = "))
        {
            // Indented ones belong to a listener.
            let key = key.0.trim_start_matches("# ");
            if key.starts_with(' ') || key.starts_with('#') {
                continue;
            }
            assert!(flags.iter().any(|flag| flag == key), "{key}");
        }
    }

    #[test]
    fn the_file_that_is_shipped_says_the_defaults() {
        let file = include_str!("../../../config/gateway.toml");
        assert_eq!(toml::from_str::<Config>(file).unwrap(), Config::default());
        let flags = <Cli as clap::CommandFactory>::command();
        for flag in flags.get_arguments().map(|arg| arg.get_id().as_str()) {
            let common = ["config", "log_format", "check_config", "supervised"].contains(&flag);
            assert!(common || file.contains(&format!("{flag} = ")), "{flag} is not in config/gateway.toml");
        }
    }

    #[test]
    fn the_file_that_is_shipped_shows_every_key_of_a_listener() {
        let file = include_str!("../../../config/gateway.toml");
        let example: String =
            file.lines().filter_map(|line| line.strip_prefix("#   ")).flat_map(|line| [line, "\n"]).collect();
        let config: Config = toml::from_str(&example).unwrap();
        let shown = format!("{:?}", config.listen[0]);
        assert!(!shown.contains("None"), "{shown}");
        config.validated().unwrap();
    }

    #[test]
    fn a_listener_may_be_appended_to_the_file_that_is_shipped() {
        let file = include_str!("../../../config/gateway.toml");
        let config: Config = toml::from_str(&format!("{file}\n[[listen]]\nurl = 'text://a:1'\n")).unwrap();
        assert_eq!(config.listen[0].url.to_string(), "text://a:1");
    }

    #[test]
    fn a_ping_interval_that_no_client_could_have_is_refused() {
        for (arguments, says) in [
            (&["--ping-interval", "-5"], "ping_interval = -5: give seconds, from 0 (none) to 1000000"),
            (&["--ping-interval", "NaN"], "ping_interval = NaN: give seconds"),
            (&["--ping-interval", "1e9"], "ping_interval = 1000000000: give seconds"),
            (&["--ping-interval", "0.001"], "ping_interval = 0.001: at least 0.01 s"),
        ] {
            let flags =
                <Cli as clap::Parser>::try_parse_from([&["gateway"][..], arguments].concat()).unwrap();
            let config: Config = gatewayworker_daemon::load(&flags.common, &flags.flags).unwrap();
            let error = config.validated().unwrap_err().to_string();
            assert!(error.starts_with(says), "{error}");
        }
        let error = <Cli as clap::Parser>::try_parse_from(["gateway", "--max-links", "-1"]).unwrap_err();
        assert!(error.to_string().contains("invalid value '-1' for '--max-links <N>'"), "{error}");
    }

    #[test]
    fn what_a_listener_has_of_its_own_has_to_work_too() {
        for (own, says) in [
            ("max_message_bytes = 0", "max_message_bytes = 0"),
            ("max_message_bytes = 10000000", "max_session_bytes"),
            ("ping_interval = -1.0", "ping_interval = -1"),
            ("max_connections = 0", "max_connections = 0"),
        ] {
            let config: Config = toml::from_str(&format!("[[listen]]\nurl = 'text://a:1'\n{own}")).unwrap();
            let error = format!("{:#}", config.validated().unwrap_err());
            assert!(error.starts_with("listen = \"text://a:1\": ") && error.contains(says), "{error}");
        }
        let config: Config = toml::from_str("listen = 'udp://a:1'").unwrap();
        assert!(config.validated().unwrap_err().to_string().contains("websocket, frame, tcp, text"));
    }

    #[test]
    fn a_message_and_a_session_have_to_fit_into_a_frame() {
        let config = Config { max_session_bytes: 3 << 20, ..Config::default() };
        assert!(config.validated().unwrap_err().to_string().contains("max_session_bytes"));
        let config = Config { max_session_bytes: usize::MAX, ..Config::default() };
        assert!(config.validated().is_err());
    }

    #[test]
    fn messages_beyond_a_frame_of_the_originals_may_be_asked_for() {
        let with = |toml: &str| toml::from_str::<Config>(toml).unwrap().validated();
        let large = with("max_message_bytes = 67108864").unwrap();
        assert_eq!(large.max_frame_len(), MAX_LARGE_FRAME_LEN);
        let one =
            with("[[listen]]\nurl = 'a:1'\n[[listen]]\nurl = 'a:2'\nmax_message_bytes = 16777216").unwrap();
        assert_eq!(one.max_frame_len(), MAX_LARGE_FRAME_LEN);
        assert_eq!(Config::default().max_frame_len(), MAX_FRAME_LEN);
        for (toml, says) in [
            ("max_message_bytes = 67108865", "max_message_bytes = 67108865: at most 67108864"),
            ("max_message_bytes = 16777216\nmax_session_bytes = 16777216", "max_session_bytes = 16777216: "),
            ("max_message_bytes = 16777216\noutbox_budget_bytes = 8000000", "outbox_budget_bytes = 8000000"),
            ("max_message_bytes = 10485760", "max_session_bytes = 1048576 together"),
        ] {
            let error = with(toml).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn a_limit_of_nothing_that_would_let_nobody_in_is_refused() {
        for key in [
            "max_connections",
            "max_links",
            "handshake_timeout_ms",
            "max_header_bytes",
            "max_message_bytes",
            "link_outbox_bytes",
        ] {
            let config: Config = toml::from_str(&format!("{key} = 0")).unwrap();
            let error = config.validated().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{key} = 0: ")), "{error}");
        }
    }

    #[test]
    fn nobody_can_connect_to_every_address() {
        let config = Config { lan_ip: Ipv4Addr::UNSPECIFIED, ..Config::default() };
        assert!(config.validated().unwrap_err().to_string().contains("lan_listen"));
    }

    #[test]
    fn the_originals_name_of_the_port_and_a_single_register_are_taken() {
        assert_eq!(toml::from_str::<Config>("start_port = 2900").unwrap().lan_port, 2900);
        let one: Config = toml::from_str("register_address = '10.0.0.1:1236'").unwrap();
        assert_eq!(one.register_address, ["10.0.0.1:1236"]);
    }
}
