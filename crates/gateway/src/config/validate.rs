//! What a configuration has to be like for a gateway to run with it.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use gatewayworker_daemon::{check_address, check_exposure};
use gatewayworker_protocol::{MAX_FRAME_LEN, MAX_MESSAGE_LEN};

use super::Config;
use crate::access::AccessPolicy;

/// The longest time over which clients may be closed when the gateway stops.
const MAX_SHUTDOWN_SPREAD_MS: u64 = 3_600_000;

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
            listener.framing(&self)?;
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
        AccessPolicy::of(self)?;
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
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use gatewayworker_protocol::MAX_LARGE_FRAME_LEN;

    use super::super::Cli;
    use super::*;

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
}
