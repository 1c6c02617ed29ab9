//! The checks of a configuration before a gateway runs with it.
//!
//! Each error names the key, its value, and what to write. `serve` and `--check-config` call it. Files
//! and sockets are checked elsewhere.

use std::net::{SocketAddr, SocketAddrV4};

use gatewayworker_daemon::{check_address, check_exposure};
use gatewayworker_protocol::{ClientId, MAX_FRAME_LEN};

use super::{Config, ConfigError, LanIp, ListenerConfig, TraceParent};
use crate::access::AccessPolicy;
use crate::core::token_bucket::Rate;
use crate::core::websocket::compression::MAX_LEVEL;

/// The longest time limit that workers, or clients that are closed, may be given, in milliseconds.
const MAX_TIMEOUT_MS: u64 = 3_600_000;

/// The most shards.
const MAX_SHARDS: usize = 1024;

impl Config {
    /// Checks the configuration, and returns it with `shards` = 0 replaced by a number.
    ///
    /// # Errors
    /// When no gateway could run with a value.
    pub fn validated(mut self) -> Result<Self, ConfigError> {
        if self.listen.is_empty() {
            return Err(ConfigError::Empty { key: "listen", consequence: "no client could come in" });
        }
        if self.register_address.is_empty() {
            let consequence = "no worker could find this gateway";
            return Err(ConfigError::Empty { key: "register_address", consequence });
        }
        // An id with an address of 240.0.0.0/4 would be taken for a qualified one. Broadcast is there, too.
        if let LanIp::Address(address) = self.lan_ip
            && (address.is_unspecified() || ClientId::is_alias(SocketAddrV4::new(address, 0)))
        {
            return Err(ConfigError::LanIp(address));
        }
        self.auth.validate()?;
        self.validate_for_clients()?;
        for listener in &self.listen {
            listener.framing(&self)?;
            self.validate_listener(listener).map_err(|error| error.of_listener(&listener.url))?;
        }
        for (key, is_zero, consequence) in [
            ("admission_timeout_ms", self.admission_timeout_ms == 0, "nobody could be admitted"),
            ("max_links", self.max_links == 0, "no worker could link"),
            ("link_outbox_bytes", self.link_outbox_bytes == 0, "no event could reach a worker"),
            ("max_deliveries", self.max_deliveries == 0, "no event could reach a worker"),
            ("link_ping_interval_ms", self.link_ping_interval_ms == 0, "no heartbeat would ever rest"),
        ] {
            ConfigError::check_not_zero(key, is_zero, consequence)?;
        }
        let (interval, timeout) = (self.link_ping_interval_ms, self.link_timeout_ms);
        if timeout / 2 < interval {
            return Err(ConfigError::LinkTimeoutTooShort { timeout, interval });
        }
        ConfigError::check_limit("link_timeout_ms", timeout, MAX_TIMEOUT_MS, " (an hour)")?;
        // A host name, and the address of "auto", are looked up and checked when the gateway binds.
        self.lan_listen.iter().try_for_each(|address| check_address("lan_listen", address))?;
        gatewayworker_metrics::check(self.metrics_listen.as_deref())?;
        self.validate_tracing()?;
        self.presence.validate()?;
        self.admin.validate(&self.secret_key)?;
        let inner = match (&self.lan_listen, self.lan_ip) {
            (Some(address), _) => address.parse::<SocketAddr>().ok().map(|address| address.ip()),
            (None, LanIp::Address(address)) => Some(address.into()),
            (None, LanIp::Auto) => None,
        };
        if let Some(ip) = inner {
            check_exposure("the gateway's inner port", ip, &self.secret_key, self.allow_insecure)?;
        }
        if self.shards == 0 {
            // The kernel does most of the work of a message, on the cores that are left.
            self.shards = std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2));
        }
        let spread = self.shutdown_spread_ms;
        ConfigError::check_limit("shutdown_spread_ms", spread, MAX_TIMEOUT_MS, " (an hour)")?;
        let timeout = self.shutdown_timeout_ms;
        ConfigError::check_limit("shutdown_timeout_ms", timeout, MAX_TIMEOUT_MS, " (an hour)")?;
        let isolated = self.isolated_after_ms;
        ConfigError::check_limit("isolated_after_ms", isolated, MAX_TIMEOUT_MS, " (an hour)")?;
        ConfigError::check_limit("shards", self.shards as u64, MAX_SHARDS as u64, "")?;
        Ok(self)
    }

    /// Checks the settings of OpenTelemetry.
    fn validate_tracing(&self) -> Result<(), ConfigError> {
        let part = self.trace_sample;
        if !(0.0..=1.0).contains(&part) {
            return Err(ConfigError::TraceSample(part));
        }
        let is_off = part == 0.0 && self.trace_parent == TraceParent::Ignore;
        if !cfg!(feature = "otel") && !is_off {
            return Err(ConfigError::NotBuiltForOtel);
        }
        Ok(())
    }

    /// Checks the settings of one listener's table.
    fn validate_listener(&self, listener: &ListenerConfig) -> Result<(), ConfigError> {
        listener.tls()?;
        let view = listener.view(self);
        view.validate_for_clients()?;
        listener.validate_auth(&view)?;
        listener.validate_compression()?;
        let is_zero = listener.max_connections == Some(0);
        ConfigError::check_not_zero("max_connections", is_zero, "nobody could connect")
    }

    /// Checks the settings that a listener may have of its own.
    fn validate_for_clients(&self) -> Result<(), ConfigError> {
        let interval = self.ping_interval;
        if !(interval.is_finite() && (0.0..=1e6).contains(&interval)) {
            return Err(ConfigError::PingInterval(interval));
        }
        if interval != 0.0 && interval < 0.01 {
            return Err(ConfigError::PingIntervalTooShort(interval));
        }
        for (key, is_zero, consequence) in [
            ("max_connections", self.max_connections == 0, "nobody could connect"),
            ("handshake_timeout_ms", self.handshake_timeout_ms == 0, "nobody could shake hands"),
            ("max_header_bytes", self.max_header_bytes == 0, "nobody could shake hands"),
            ("max_message_bytes", self.max_message_bytes == 0, "nobody could say anything"),
            ("resume_ms", self.resume && self.resume_ms == 0, "nobody could come back"),
            ("resume_bytes", self.resume && self.resume_bytes == 0, "nobody could come back"),
            ("resume_ping_ms", self.resume && self.resume_ping_ms == 0, "no heartbeat would ever rest"),
        ] {
            ConfigError::check_not_zero(key, is_zero, consequence)?;
        }
        for (rate_key, rate, burst_key, burst) in [
            ("max_messages_per_second", self.max_messages_per_second, "message_burst", self.message_burst),
            ("max_bytes_per_second", self.max_bytes_per_second, "byte_burst", self.byte_burst),
            (
                "max_connects_per_second_per_address",
                self.max_connects_per_second_per_address,
                "connect_burst_per_address",
                self.connect_burst_per_address,
            ),
        ] {
            ConfigError::check_limit(rate_key, rate, Rate::MAX, "")?;
            ConfigError::check_limit(burst_key, burst, Rate::MAX, "")?;
            if burst > 0 && rate == 0 {
                return Err(ConfigError::BurstWithoutRate { burst: burst_key, rate: rate_key });
            }
        }
        if !(1..=MAX_LEVEL).contains(&self.compression_level) {
            return Err(ConfigError::CompressionLevel(self.compression_level));
        }
        AccessPolicy::of(self)?;
        let Self {
            max_message_bytes: message, max_session_bytes: session, outbox_budget_bytes: budget, ..
        } = *self;
        ConfigError::check_message_limit(message)?;
        if session > MAX_FRAME_LEN - 1024 {
            return Err(ConfigError::SessionTooLong(session));
        }
        if message <= MAX_FRAME_LEN {
            if message + session > MAX_FRAME_LEN - 1024 {
                return Err(ConfigError::MessageWithSessionTooLong { message, session });
            }
        } else if message > budget {
            return Err(ConfigError::MessageOverBudget { message, budget });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use gatewayworker_protocol::MAX_LARGE_FRAME_LEN;

    use super::super::Cli;
    use super::*;
    use crate::core::websocket::compression::CompressionPolicy;

    #[test]
    fn a_ping_interval_that_is_no_time_is_refused() {
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
    fn the_settings_of_a_listener_are_checked_too() {
        for (own, says) in [
            ("max_message_bytes = 0", "max_message_bytes = 0"),
            ("max_message_bytes = 10000000", "max_session_bytes"),
            ("ping_interval = -1.0", "ping_interval = -1"),
            ("max_connections = 0", "max_connections = 0"),
            ("compression_level = 10", "compression_level = 10: from 1 (fastest) to 9 (smallest)"),
            ("compression = true", "compression = true: its clients, which speak text, cannot compress"),
        ] {
            let config: Config = toml::from_str(&format!("[[listen]]\nurl = 'text://a:1'\n{own}")).unwrap();
            let error = format!("{:#}", config.validated().unwrap_err());
            assert!(error.starts_with("listen = \"text://a:1\": ") && error.contains(says), "{error}");
        }
        let config: Config = toml::from_str("listen = 'udp://a:1'").unwrap();
        assert!(config.validated().unwrap_err().to_string().contains("websocket, frame, tcp, text"));
    }

    #[test]
    fn compression_has_a_level_and_may_be_on_for_all_listeners_that_can_have_it() {
        let with = |toml: &str| toml::from_str::<Config>(toml).unwrap().validated();
        for level in [0, 10, 255] {
            let error = with(&format!("compression_level = {level}")).unwrap_err().to_string();
            assert_eq!(error, format!("compression_level = {level}: from 1 (fastest) to 9 (smallest)"));
        }
        with("compression = true\ncompression_level = 9\nlisten = ['a:1', 'text://a:2']").unwrap();
        with("[[listen]]\nurl = 'text://a:1'\ncompression = false").unwrap();
        let policy = |toml: &str| toml::from_str::<Config>(toml).unwrap().compression_policy();
        assert_eq!(policy(""), None);
        let default = CompressionPolicy { min_bytes: 512, level: 1 };
        assert_eq!(policy("compression = true"), Some(default));
    }

    #[test]
    fn a_burst_needs_its_rate_and_both_are_numbers_that_can_be_counted() {
        let with = |toml: &str| toml::from_str::<Config>(toml).unwrap().validated();
        for (rate, burst) in [
            ("max_messages_per_second", "message_burst"),
            ("max_bytes_per_second", "byte_burst"),
            ("max_connects_per_second_per_address", "connect_burst_per_address"),
        ] {
            let error = with(&format!("{burst} = 5")).unwrap_err().to_string();
            assert_eq!(error, format!("{burst} is set without {rate}: set both, or none"));
            for key in [rate, burst] {
                let error = with(&format!("{key} = 1000000000001")).unwrap_err().to_string();
                assert_eq!(error, format!("{key} = 1000000000001: at most 1000000000000"));
            }
            let listener = format!("[[listen]]\nurl = 'a:1'\n{burst} = 5");
            assert!(with(&listener).unwrap_err().to_string().starts_with("listen = \"websocket://a:1\": "));
            with(&format!("{rate} = 5\n{listener}")).unwrap();
        }
        let error = toml::from_str::<Config>("rate_limit_policy = 'ban'").unwrap_err().to_string();
        assert!(error.contains("throttle") && error.contains("close"), "{error}");
    }

    #[test]
    fn limits_that_are_not_set_do_not_exist() {
        let limits = |toml: &str| toml::from_str::<Config>(toml).unwrap().rate_limits();
        assert_eq!((limits(""), limits("rate_limit_policy = 'close'")), (None, None));
        let both = limits("max_messages_per_second = 5\nmax_bytes_per_second = 7\nbyte_burst = 9").unwrap();
        assert_eq!((both.messages, both.bytes), (Some(Rate::new(5, 5)), Some(Rate::new(7, 9))));
        assert_eq!(Config::default().connect_rate(), None);
        assert_eq!(Config::default().membership_limits().max_groups_per_client, usize::MAX);
    }

    #[test]
    fn a_message_and_a_session_have_to_fit_into_a_frame() {
        let config = Config { max_session_bytes: 3 << 20, ..Config::default() };
        assert!(config.validated().unwrap_err().to_string().contains("max_session_bytes"));
        let config = Config { max_session_bytes: usize::MAX, ..Config::default() };
        assert!(config.validated().is_err());
    }

    #[test]
    fn messages_longer_than_the_originals_frames_may_be_configured() {
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
    fn a_limit_of_zero_that_would_admit_no_client_is_refused() {
        for key in [
            "max_connections",
            "max_links",
            "handshake_timeout_ms",
            "max_header_bytes",
            "max_message_bytes",
            "link_outbox_bytes",
            "max_deliveries",
        ] {
            let config: Config = toml::from_str(&format!("{key} = 0")).unwrap();
            let error = config.validated().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{key} = 0: ")), "{error}");
        }
    }

    #[test]
    fn a_worker_has_time_for_two_heartbeats_at_least() {
        let with = |toml: &str| toml::from_str::<Config>(toml).unwrap().validated();
        with("link_ping_interval_ms = 4500").unwrap();
        for (toml, says) in [
            ("link_ping_interval_ms = 4501", "link_timeout_ms = 9000: at least twice link_ping_interval_ms"),
            ("link_timeout_ms = 0", "link_timeout_ms = 0: at least twice"),
            ("link_timeout_ms = 3600001", "link_timeout_ms = 3600001: at most 3600000 (an hour)"),
            ("link_ping_interval_ms = 0", "link_ping_interval_ms = 0: "),
        ] {
            let error = with(toml).unwrap_err().to_string();
            assert!(error.starts_with(says), "{error}");
        }
    }

    #[test]
    fn tracing_needs_a_part_of_one_and_a_gateway_that_is_built_for_them() {
        let with = |toml: &str| toml::from_str::<Config>(toml).unwrap().validated();
        for part in ["-0.1", "1.1", "nan"] {
            let error = with(&format!("trace_sample = {part}")).unwrap_err().to_string();
            assert!(error.contains("give a part of all events, from 0.0 (none) to 1.0 (all)"), "{error}");
        }
        for traced in ["trace_sample = 0.5", "trace_parent = 'accept'"] {
            let refused = with(traced).err().map(|error| error.to_string());
            let is_told_how_to_build_it = refused.is_some_and(|error| error.contains("--features otel"));
            assert_eq!(is_told_how_to_build_it, !cfg!(feature = "otel"));
        }
        with("trace_sample = 0.0\ntrace_parent = 'ignore'").unwrap();
    }

    #[test]
    fn a_lan_ip_that_no_host_has_is_refused() {
        for none in [Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST, Ipv4Addr::new(240, 0, 0, 1)] {
            let config = Config { lan_ip: none.into(), ..Config::default() };
            assert!(config.validated().unwrap_err().to_string().contains("lan_listen"), "{none}");
        }
    }

    #[test]
    fn tokens_need_listeners_that_can_show_them_and_a_cookie_needs_allowed_origins() {
        let with = |auth: &str, listen: &str| {
            let text = format!("{listen}\n[auth]\nhs256_secret = '0123456789abcdef0123456789abcdef'\n{auth}");
            toml::from_str::<Config>(&text).unwrap().validated().map(drop)
        };
        let text = "listen = ['a:1', 'text://a:2']";
        let told = "listen = ['a:1', { url = 'text://a:2', auth = false }]";
        for (auth, listen, says) in [
            ("", text, Some("listen = \"text://a:2\": its clients, which speak text, cannot show the token")),
            ("required = false", text, None),
            ("", told, None),
            (
                "",
                "listen = [{ url = 'tcp://a:2', auth = true }]",
                Some("listen = \"tcp://a:2\": its clients"),
            ),
            (
                "cookie = 'jwt'",
                "",
                Some("listen = \"websocket://127.0.0.1:8289\": auth.cookie = \"jwt\" without"),
            ),
            (
                "cookie = 'jwt'",
                "allowed_origins = '*'",
                Some("listen = \"websocket://127.0.0.1:8289\": auth.cookie"),
            ),
            ("cookie = 'jwt'", "allowed_origins = 'https://example.com'", None),
            ("leeway_s = 5000", "", Some("auth.leeway_s = 5000: from 0 to 3600")),
        ] {
            let error = with(auth, listen).err().map(|error| error.to_string());
            match says {
                None => assert_eq!(error, None, "{auth} {listen}"),
                Some(says) => {
                    assert!(error.as_ref().is_some_and(|error| error.starts_with(says)), "{error:?}")
                }
            }
        }
        let error =
            toml::from_str::<Config>("[auth]\nissuer = 'a'").unwrap().validated().unwrap_err().to_string();
        assert!(error.starts_with("auth: there is no key"), "{error}");
    }
}
