//! The gateway's command line flags and environment variables, one for each key of its file.
//!
//! `gatewayworker_daemon::load` merges them over the file. They are documented here, as `--help`.

use gatewayworker_daemon::{CommonFlags, LinkTlsFlags, take_negative_numbers};
use gatewayworker_protocol::SecretKey;
use serde::Serialize;

use super::{LanIp, PresenceFlags};

/// Holds the clients: their connections, uids, groups, sessions and heartbeats.
#[derive(Debug, clap::Parser)]
#[command(name = "gateway", version = gatewayworker_daemon::VERSION, mut_args(take_negative_numbers))]
pub struct Cli {
    /// The flags of every daemon.
    #[command(flatten)]
    pub common: CommonFlags,
    /// The flags of the gateway.
    #[command(flatten)]
    pub flags: Flags,
}

macro_rules! flags {
    ($($(#[doc = $doc:literal])* [$($arg:tt)*] $name:ident: $type:ty,)*) => {
        /// The gateway's flags. A flag that is not set leaves the key to the file.
        #[derive(Debug, Default, clap::Args, Serialize)]
        #[command(mut_arg("admin_listen", |flag| flag.env("GATEWAYWORKER_GATEWAY_ADMIN_LISTEN")))]
        pub struct Flags {
            $(
                $(#[doc = $doc])*
                #[arg(long, $($arg)*)]
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $name: Option<$type>,
            )*
            /// Presence in rooms.
            #[command(flatten)]
            pub presence: PresenceFlags,
            /// Tokens of clients.
            #[command(flatten)]
            pub auth: gatewayworker_auth::Flags,
            /// A page for operators.
            #[command(flatten)]
            pub admin: gatewayworker_admin::Flags,
            /// TLS between daemons.
            #[command(flatten)]
            pub link_tls: LinkTlsFlags,
        }
    };
}

flags! {
    /// Listen on URL for clients: websocket://, wss://, text://, frame:// or tcp://, as in text://0.0.0.0:8290; may be repeated [default: websocket://127.0.0.1:8289]
    [value_name = "URL", env = "GATEWAYWORKER_GATEWAY_LISTEN", value_delimiter = ','] listen: Vec<String>,
    /// Call this gateway NAME in logs [default: Gateway]
    [value_name = "NAME", env = "GATEWAYWORKER_GATEWAY_NAME"] name: String,
    /// IPv4 address that workers reach this gateway by, part of every client id; auto for the one by which the register is reached [default: 127.0.0.1]
    [value_name = "IP", env = "GATEWAYWORKER_GATEWAY_LAN_IP"] lan_ip: LanIp,
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
    /// Accept links of workers on this host over a Unix socket too, which they prefer to TCP [default: true]
    [value_name = "BOOL", env = "GATEWAYWORKER_UNIX_LINKS", num_args = 0..=1, require_equals = true, default_missing_value = "true"] unix_links: bool,
    /// Ping a client after so many SECONDS of silence; 0 for never [default: 55]
    [value_name = "SECONDS", env = "GATEWAYWORKER_GATEWAY_PING_INTERVAL"] ping_interval: f64,
    /// Close a client after N pings without an answer; 0 for never [default: 1]
    [value_name = "N", env = "GATEWAYWORKER_GATEWAY_PING_NOT_RESPONSE_LIMIT"] ping_not_response_limit: u32,
    /// Send DATA as the ping; empty for none [default: {"type":"ping"}]
    [value_name = "DATA", env = "GATEWAYWORKER_GATEWAY_PING_DATA"] ping_data: String,
    /// Ping with a WebSocket ping frame instead of data [default: false]
    [value_name = "BOOL", env = "GATEWAYWORKER_GATEWAY_PING_FRAME", num_args = 0..=1, require_equals = true, default_missing_value = "true"] ping_frame: bool,
    /// Choose a client's worker by least-connections, random or round-robin [default: least-connections]
    [value_name = "POLICY", env = "GATEWAYWORKER_GATEWAY_ROUTING"] routing: String,
    /// Upgrade only requests for PATH, e.g. /ws; may be repeated [default: any]
    [value_name = "PATH", env = "GATEWAYWORKER_GATEWAY_PATH", value_delimiter = ','] path: Vec<String>,
    /// Answer health checks for PATH with 200 where the gateway can serve and 503 where not, e.g. /healthz [default: none]
    [value_name = "PATH", env = "GATEWAYWORKER_GATEWAY_HEALTH_PATH"] health_path: String,
    /// Let only pages of ORIGIN connect, e.g. `https://example.com` or `https://*.example.com`; may be repeated [default: any]
    [value_name = "ORIGIN", env = "GATEWAYWORKER_GATEWAY_ALLOWED_ORIGINS", value_delimiter = ','] allowed_origins: Vec<String>,
    /// Offer the WebSocket subprotocol NAME; may be repeated, the first that a client offers too is chosen [default: none]
    [value_name = "NAME", env = "GATEWAYWORKER_GATEWAY_SUBPROTOCOLS", value_delimiter = ','] subprotocols: Vec<String>,
    /// Hold at most N clients from one address, or one /64 of IPv6; 0 for no limit [default: 0]
    [value_name = "N", env = "GATEWAYWORKER_GATEWAY_MAX_CONNECTIONS_PER_ADDRESS"] max_connections_per_address: usize,
    /// Let one address, or one /64 of IPv6, connect at most N times a second; 0 for no limit [default: 0]
    [value_name = "N", env = "GATEWAYWORKER_GATEWAY_MAX_CONNECTS_PER_SECOND_PER_ADDRESS"] max_connects_per_second_per_address: u64,
    /// Let an address connect N times at once after it was quiet; 0 for as often as in a second [default: 0]
    [value_name = "N", env = "GATEWAYWORKER_GATEWAY_CONNECT_BURST_PER_ADDRESS"] connect_burst_per_address: u64,
    /// Trust the proxies at ADDRESS, or in that network, to name the address of a client; may be repeated [default: none]
    [value_name = "ADDRESS", env = "GATEWAYWORKER_GATEWAY_TRUSTED_PROXIES", value_delimiter = ','] trusted_proxies: Vec<String>,
    /// The header in which they name it: x-forwarded-for or x-real-ip [default: x-forwarded-for]
    [value_name = "HEADER", env = "GATEWAYWORKER_GATEWAY_REAL_IP_HEADER"] real_ip_header: String,
    /// Accept only connections of trusted proxies that begin with a header of the PROXY protocol [default: false]
    [value_name = "BOOL", env = "GATEWAYWORKER_GATEWAY_PROXY_PROTOCOL", num_args = 0..=1, require_equals = true, default_missing_value = "true"] proxy_protocol: bool,
    /// Send messages as auto, text or binary [default: auto]
    [value_name = "TYPE", env = "GATEWAYWORKER_GATEWAY_WEBSOCKET_TYPE"] websocket_type: String,
    /// Use N threads for clients; 0 for one for every two cores [default: 0]
    [value_name = "N", env = "GATEWAYWORKER_GATEWAY_SHARDS"] shards: usize,
    /// Hold at most N clients [default: 1000000]
    [value_name = "N", env = "GATEWAYWORKER_GATEWAY_MAX_CONNECTIONS"] max_connections: usize,
    /// Hold at most N links of workers and client libraries [default: 10000]
    [value_name = "N", env = "GATEWAYWORKER_GATEWAY_MAX_LINKS"] max_links: usize,
    /// Let a handshake take at most so many milliseconds [default: 10000]
    [value_name = "MS", env = "GATEWAYWORKER_GATEWAY_HANDSHAKE_TIMEOUT_MS"] handshake_timeout_ms: u64,
    /// Accept handshakes of at most so many bytes [default: 16384]
    [value_name = "BYTES", env = "GATEWAYWORKER_GATEWAY_MAX_HEADER_BYTES"] max_header_bytes: usize,
    /// Accept messages of at most so many bytes from clients [default: 8388608]
    [value_name = "BYTES", env = "GATEWAYWORKER_GATEWAY_MAX_MESSAGE_BYTES"] max_message_bytes: usize,
    /// Take at most N messages a second from a client; 0 for no limit [default: 0]
    [value_name = "N", env = "GATEWAYWORKER_GATEWAY_MAX_MESSAGES_PER_SECOND"] max_messages_per_second: u64,
    /// Let a client send N messages at once after it was quiet; 0 for as many as in a second [default: 0]
    [value_name = "N", env = "GATEWAYWORKER_GATEWAY_MESSAGE_BURST"] message_burst: u64,
    /// Take at most so many bytes a second from a client; 0 for no limit [default: 0]
    [value_name = "BYTES", env = "GATEWAYWORKER_GATEWAY_MAX_BYTES_PER_SECOND"] max_bytes_per_second: u64,
    /// Let a client send so many bytes at once after it was quiet; 0 for as many as in a second [default: 0]
    [value_name = "BYTES", env = "GATEWAYWORKER_GATEWAY_BYTE_BURST"] byte_burst: u64,
    /// What to do with a client that sends faster: throttle or close [default: throttle]
    [value_name = "POLICY", env = "GATEWAYWORKER_GATEWAY_RATE_LIMIT_POLICY"] rate_limit_policy: String,
    /// Let a client be in at most N groups; 0 for no limit [default: 0]
    [value_name = "N", env = "GATEWAYWORKER_GATEWAY_MAX_GROUPS_PER_CLIENT"] max_groups_per_client: usize,
    /// Bind at most N clients of this gateway to one uid; 0 for no limit [default: 0]
    [value_name = "N", env = "GATEWAYWORKER_GATEWAY_MAX_CLIENTS_PER_UID"] max_clients_per_uid: usize,
    /// Accept names of groups and uids of at most so many bytes; 0 for no limit [default: 0]
    [value_name = "BYTES", env = "GATEWAYWORKER_GATEWAY_MAX_NAME_BYTES"] max_name_bytes: usize,
    /// Store sessions of at most so many bytes [default: 1048576]
    [value_name = "BYTES", env = "GATEWAYWORKER_GATEWAY_MAX_SESSION_BYTES"] max_session_bytes: usize,
    /// Let so many bytes wait for a client that does not read [default: 1024000]
    [value_name = "BYTES", env = "GATEWAYWORKER_GATEWAY_OUTBOX_BYTES"] outbox_bytes: usize,
    /// Let so many bytes wait for all clients that do not read, together [default: 1073741824]
    [value_name = "BYTES", env = "GATEWAYWORKER_GATEWAY_OUTBOX_BUDGET_BYTES"] outbox_budget_bytes: usize,
    /// What to do with a client beyond --outbox-bytes: close or drop-newest [default: close]
    [value_name = "POLICY", env = "GATEWAYWORKER_GATEWAY_SLOW_CONSUMER"] slow_consumer: String,
    /// Compress messages of clients that offer permessage-deflate, both ways [default: false]
    [value_name = "BOOL", env = "GATEWAYWORKER_GATEWAY_COMPRESSION", num_args = 0..=1, require_equals = true, default_missing_value = "true"] compression: bool,
    /// Compress messages to them of at least so many bytes [default: 512]
    [value_name = "BYTES", env = "GATEWAYWORKER_GATEWAY_COMPRESSION_MIN_BYTES"] compression_min_bytes: usize,
    /// How much work to put into that, from 1, the fastest, to 9, the smallest [default: 1]
    [value_name = "LEVEL", env = "GATEWAYWORKER_GATEWAY_COMPRESSION_LEVEL"] compression_level: u8,
    /// Let clients that speak gw.1 come back after a cut, without a loss [default: false]
    [value_name = "BOOL", env = "GATEWAYWORKER_GATEWAY_RESUME", num_args = 0..=1, require_equals = true, default_missing_value = "true"] resume: bool,
    /// Keep a client for so many milliseconds after a cut [default: 60000]
    [value_name = "MS", env = "GATEWAYWORKER_GATEWAY_RESUME_MS"] resume_ms: u64,
    /// Keep so many bytes for a client until it has acknowledged them [default: 262144]
    [value_name = "BYTES", env = "GATEWAYWORKER_GATEWAY_RESUME_BYTES"] resume_bytes: usize,
    /// Ask a client that may come back for a sign of life after so many milliseconds [default: 25000]
    [value_name = "MS", env = "GATEWAYWORKER_GATEWAY_RESUME_PING_MS"] resume_ping_ms: u64,
    /// Let so many bytes wait for a worker, then stop reading from its clients [default: 10240000]
    [value_name = "BYTES", env = "GATEWAYWORKER_GATEWAY_LINK_OUTBOX_BYTES"] link_outbox_bytes: usize,
    /// Ping each worker of ours after so many milliseconds [default: 2500]
    [value_name = "MS", env = "GATEWAYWORKER_GATEWAY_LINK_PING_INTERVAL_MS"] link_ping_interval_ms: u64,
    /// Take a worker of ours for dead that was not heard for so many milliseconds [default: 9000]
    [value_name = "MS", env = "GATEWAYWORKER_GATEWAY_LINK_TIMEOUT_MS"] link_timeout_ms: u64,
    /// Tell workers of ours which groups and uids this gateway has, so that others are not sent here [default: true]
    [value_name = "BOOL", env = "GATEWAYWORKER_INTEREST", num_args = 0..=1, require_equals = true, default_missing_value = "true"] interest: bool,
    /// Close all clients when no worker was linked and no register connected for so many milliseconds; 0 for never [default: 20000]
    [value_name = "MS", env = "GATEWAYWORKER_GATEWAY_ISOLATED_AFTER_MS"] isolated_after_ms: u64,
    /// Give an event that a worker of ours has not finished to another one, at-least-once, or not, at-most-once [default: at-least-once]
    [value_name = "MODE", env = "GATEWAYWORKER_GATEWAY_DELIVERY"] delivery: String,
    /// Drop an event and close its client when the connections of N workers have ended while they handled it [default: 5]
    [value_name = "N", env = "GATEWAYWORKER_GATEWAY_MAX_DELIVERIES"] max_deliveries: u8,
    /// Let a new client wait so many milliseconds until a worker is linked [default: 10000]
    [value_name = "MS", env = "GATEWAYWORKER_GATEWAY_WORKER_WAIT_MS"] worker_wait_ms: u64,
    /// Let at most N new clients wait for a worker [default: 10000]
    [value_name = "N", env = "GATEWAYWORKER_GATEWAY_MAX_WAITING"] max_waiting: usize,
    /// Let a worker take at most so many milliseconds to admit a WebSocket client [default: 30000]
    [value_name = "MS", env = "GATEWAYWORKER_GATEWAY_ADMISSION_TIMEOUT_MS"] admission_timeout_ms: u64,
    /// Close clients over so many milliseconds when the gateway stops [default: 1000]
    [value_name = "MS", env = "GATEWAYWORKER_GATEWAY_SHUTDOWN_SPREAD_MS"] shutdown_spread_ms: u64,
    /// Then let the workers take at most so many milliseconds to handle the closes [default: 10000]
    [value_name = "MS", env = "GATEWAYWORKER_GATEWAY_SHUTDOWN_TIMEOUT_MS"] shutdown_timeout_ms: u64,
    /// Show metrics and health at ADDRESS, host:port, over HTTP [default: none]
    [value_name = "ADDRESS", env = "GATEWAYWORKER_GATEWAY_METRICS_LISTEN"] metrics_listen: String,
    /// Trace so many of all events, from 0.0 to 1.0, with OpenTelemetry; needs a gateway with the cargo feature otel [default: 0.0]
    [value_name = "PART", env = "GATEWAYWORKER_GATEWAY_TRACE_SAMPLE"] trace_sample: f64,
    /// What to do with a client's own traceparent: ignore, or accept it as the parent of its connect [default: ignore]
    [value_name = "POLICY", env = "GATEWAYWORKER_GATEWAY_TRACE_PARENT"] trace_parent: String,
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    #[test]
    fn every_key_of_the_file_is_a_flag() {
        let flags: Vec<_> = <Cli as clap::CommandFactory>::command()
            .get_arguments()
            .map(|arg| arg.get_id().to_string())
            .collect();
        for key in
            include_str!("../../../../config/gateway.toml").lines().filter_map(|line| line.split_once(" = "))
        {
            // Indented keys belong to a listener.
            let key = key.0.trim_start_matches("# ");
            if key.starts_with(' ') || key.starts_with('#') {
                continue;
            }
            assert!(flags.iter().any(|flag| flag == key), "{key}");
        }
    }

    #[test]
    fn the_shipped_file_has_the_defaults() {
        let file = include_str!("../../../../config/gateway.toml");
        let shipped = Config::default().with_metrics_listen("127.0.0.1:9602");
        assert_eq!(toml::from_str::<Config>(file).unwrap(), shipped);
        let flags = <Cli as clap::CommandFactory>::command();
        for flag in flags.get_arguments().map(|arg| arg.get_id().as_str()) {
            let common = ["config", "log_format", "check_config", "supervised"].contains(&flag);
            let of_table = ["link_tls_", "admin_", "presence_", "auth_"]
                .iter()
                .find_map(|table| flag.strip_prefix(table));
            if let Some(key) = of_table {
                let line = format!("#   {key} = ");
                assert!(file.contains(&line), "{flag} is not in config/gateway.toml");
                continue;
            }
            assert!(common || file.contains(&format!("{flag} = ")), "{flag} is not in config/gateway.toml");
        }
    }
}
