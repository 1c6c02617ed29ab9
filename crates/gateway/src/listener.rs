//! An open listener: the settings of its clients, its certificate, and its connection limits.
//!
//! An acceptor acquires a [`ConnectionPermit`] for each connection; the connection holds it until it
//! has ended, and reads its listener's settings through it. It does not accept: `server` does. `place` is what a connection
//! has before it has said whose it is.

mod place;

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gatewayworker_net::AddressPrefix;
use gatewayworker_protocol::Payload;

use crate::access::AccessPolicy;
use crate::access::connect_rates::ConnectRates;
use crate::config::{Config, ConfigError, ListenerConfig, TraceParent};
use crate::core::keyed_limit::KeyedLimit;
use crate::core::listener_policy::ListenerPolicy;
use crate::core::websocket::compression::Compression;
use crate::core::websocket::encode;
use crate::padded::Padded;
use crate::tls::Certificate;
use crate::websocket::token::TokenPlaces;

pub(crate) use place::{NoRoom, Place};

/// An open listener.
#[derive(Debug)]
pub(crate) struct Listener {
    /// Each delivery reads it. The counts beside it change with each connection.
    pub(crate) policy: Padded<ListenerPolicy>,
    /// The certificate, where its clients speak TLS.
    pub(crate) certificate: Option<Arc<Certificate>>,
    pub(crate) handshake_timeout: Duration,
    pub(crate) max_header_bytes: usize,
    pub(crate) access: AccessPolicy,
    /// Where its clients show their tokens, where it asks for them.
    pub(crate) tokens: Option<TokenPlaces>,
    /// A client's own span is the parent of those of its connect.
    pub(crate) accepts_trace_parent: bool,
    /// The clients by address, where `max_connections_per_address` is set.
    addresses: Option<KeyedLimit<AddressPrefix>>,
    /// How often addresses connect, where `max_connects_per_second_per_address` is set.
    connect_rates: Option<Mutex<ConnectRates>>,
    opened: Instant,
    pub(crate) own_limit: ConnectionLimit,
    /// The limit of all listeners together.
    gateway_limit: Arc<ConnectionLimit>,
    /// The connections over a limit that have not said yet whose they are.
    extra_limit: ConnectionLimit,
}

impl Listener {
    /// Returns the listener of `config` that is bound to `port`, the gateway's listener number `index`.
    ///
    /// # Errors
    /// When the gateway does not know the listener's protocol, or its certificate cannot be loaded.
    pub(crate) fn new(
        index: usize,
        port: u16,
        listener: &ListenerConfig,
        config: &Config,
        gateway_limit: Arc<ConnectionLimit>,
    ) -> Result<Self, ConfigError> {
        let config = listener.view(config);
        let tokens = listener.asks_for_tokens(&config).then(|| TokenPlaces::of(&config.auth));
        let mut policy = ListenerPolicy {
            index,
            port,
            framing: listener.framing(&config)?,
            heartbeat: config.heartbeat(),
            ping: encode::ping(),
            max_message_bytes: config.max_message_bytes,
            outbox_bytes: config.outbox_bytes,
            slow_consumer: config.slow_consumer,
            rate_limits: config.rate_limits(),
            compression: config.compression_policy(),
            resume: config.resume_policy(),
        };
        // Only WebSocket has ping frames: other protocols send the data.
        if !(config.ping_frame && policy.is_websocket()) {
            policy.ping =
                policy.encode_only(Payload::plain(config.ping_data.clone()), Compression::Off).frame;
        }
        Ok(Self {
            policy: Padded(policy),
            certificate: listener.load_certificate()?.map(Arc::new),
            handshake_timeout: Duration::from_millis(config.handshake_timeout_ms),
            max_header_bytes: config.max_header_bytes,
            access: AccessPolicy::of(&config)?,
            tokens,
            accepts_trace_parent: cfg!(feature = "otel") && config.trace_parent == TraceParent::Accept,
            addresses: match config.max_connections_per_address {
                0 => None,
                max => Some(KeyedLimit::new(max)),
            },
            connect_rates: config.connect_rate().map(|rate| Mutex::new(ConnectRates::new(rate))),
            opened: Instant::now(),
            own_limit: ConnectionLimit::new(listener.max_connections.unwrap_or(usize::MAX)),
            gateway_limit,
            extra_limit: ConnectionLimit::new(place::MAX_EXTRA),
        })
    }

    /// Counts that an address connects, where that is limited.
    fn count_connect(&self, address: IpAddr) -> Result<(), AddressLimitReached> {
        let Some(rates) = &self.connect_rates else { return Ok(()) };
        let now_ms = self.opened.elapsed().as_millis() as u64;
        let network = AddressPrefix::from(address);
        let acquired = rates.lock().unwrap_or_else(PoisonError::into_inner).acquire(network, now_ms);
        acquired.map_err(|wait_ms| AddressLimitReached::Rate { retry_after_s: wait_ms.div_ceil(1000) })
    }

    /// Returns how many connections it has.
    pub(crate) fn connections(&self) -> usize {
        self.own_limit.count.load(Ordering::Relaxed)
    }
}

/// A limit on connections, and their number.
#[derive(Debug)]
pub(crate) struct ConnectionLimit {
    max: usize,
    count: AtomicUsize,
}

impl ConnectionLimit {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, count: AtomicUsize::new(0) }
    }

    /// Returns how many connections there are.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Counts one more, unless the limit is reached. Returns whether it was counted.
    fn acquire(&self) -> bool {
        let more = |count| (count < self.max).then_some(count + 1);
        self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn release(&self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The right of one connection to exist, within the limits of its listener and of the gateway. It
/// is acquired when the connection is accepted and released on drop, when the connection has ended.
/// It derefs to the listener.
#[derive(Debug)]
pub(crate) struct ConnectionPermit {
    listener: Arc<Listener>,
    /// The network that it is counted for. Boxed, as few listeners count by address, and every
    /// client has the field.
    network: Option<Box<AddressPrefix>>,
}

/// The limit that left no room for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LimitReached {
    /// The gateway's `max_connections`.
    Gateway,
    /// The listener's own `max_connections`.
    Listener,
}

/// The limit of its client's address that leaves no room for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AddressLimitReached {
    /// `max_connections_per_address`.
    Connections,
    /// `max_connects_per_second_per_address`.
    Rate {
        /// After how many seconds the address may connect again.
        retry_after_s: u64,
    },
}

impl ConnectionPermit {
    /// Acquires a permit of a listener.
    ///
    /// # Errors
    /// The limit that is reached.
    pub(crate) fn acquire(listener: &Arc<Listener>) -> Result<Self, LimitReached> {
        if !listener.gateway_limit.acquire() {
            return Err(LimitReached::Gateway);
        }
        if !listener.own_limit.acquire() {
            listener.gateway_limit.release();
            return Err(LimitReached::Listener);
        }
        Ok(Self { listener: listener.clone(), network: None })
    }

    /// Returns the listener of the connection.
    #[cfg(test)]
    pub(crate) fn listener(&self) -> &Arc<Listener> {
        &self.listener
    }

    /// Counts the connection for its client's address, where the listener limits that. To be called
    /// once.
    ///
    /// # Errors
    /// When `max_connections_per_address` or `max_connects_per_second_per_address` is reached.
    pub(crate) fn count_address(&mut self, address: IpAddr) -> Result<(), AddressLimitReached> {
        self.listener.count_connect(address)?;
        self.hold_address(address)
    }

    /// Counts the connection among those that its client's address has.
    fn hold_address(&mut self, address: IpAddr) -> Result<(), AddressLimitReached> {
        let network = AddressPrefix::from(address);
        if let (Some(addresses), None) = (&self.listener.addresses, &self.network) {
            if !addresses.acquire(network) {
                return Err(AddressLimitReached::Connections);
            }
            self.network = Some(Box::new(network));
        }
        Ok(())
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        if let (Some(addresses), Some(network)) = (&self.listener.addresses, &self.network) {
            addresses.release(&**network);
        }
        self.listener.own_limit.release();
        self.listener.gateway_limit.release();
    }
}

impl Deref for ConnectionPermit {
    type Target = Listener;

    fn deref(&self) -> &Listener {
        &self.listener
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn listener(listener: &str, all: &Arc<ConnectionLimit>) -> Result<Arc<Listener>, ConfigError> {
        let config: Config = toml::from_str(listener).unwrap();
        Listener::new(0, 1, &config.listen[0], &config, all.clone()).map(Arc::new)
    }

    #[test]
    fn a_permit_is_released_at_both_limits() {
        let all = Arc::new(ConnectionLimit::new(3));
        let narrow = listener("[[listen]]\nurl = 'a:1'\nmax_connections = 2", &all).unwrap();
        let wide = listener("listen = 'text://a:2'", &all).unwrap();
        let first = ConnectionPermit::acquire(&narrow).unwrap();
        let second = ConnectionPermit::acquire(&narrow).unwrap();
        assert_eq!(ConnectionPermit::acquire(&narrow).unwrap_err(), LimitReached::Listener);
        let third = ConnectionPermit::acquire(&wide).unwrap();
        assert_eq!(ConnectionPermit::acquire(&wide).unwrap_err(), LimitReached::Gateway);
        drop((first, third));
        let _fourth = ConnectionPermit::acquire(&narrow).unwrap();
        assert_eq!(ConnectionPermit::acquire(&narrow).unwrap_err(), LimitReached::Listener);
        drop(second);
        let _fifth = ConnectionPermit::acquire(&wide).unwrap();
    }

    #[test]
    fn the_settings_that_each_delivery_reads_share_no_cache_line_with_counts() {
        let listener = listener("listen = 'a:1'", &Arc::new(ConnectionLimit::new(1))).unwrap();
        let settings = std::ptr::from_ref(&listener.policy).addr();
        // The references to the listener are counted before it.
        assert_eq!(settings % 128, 0);
        let count = std::ptr::from_ref(&listener.own_limit.count).addr();
        let behind = settings + size_of_val(&listener.policy);
        assert!(
            count < settings || count >= behind.next_multiple_of(128),
            "{count} is within {settings}..{behind}"
        );
    }

    #[test]
    fn an_unknown_protocol_is_refused_with_the_known_ones() {
        let error =
            listener("listen = 'udp://a:1'", &Arc::new(ConnectionLimit::new(1))).unwrap_err().to_string();
        assert_eq!(error, "listen = \"udp://a:1\": this gateway speaks websocket, frame, tcp, text");
    }

    #[test]
    fn a_ping_is_framed_for_the_protocol_of_the_listener() {
        let all = Arc::new(ConnectionLimit::new(1));
        for (url, frame, ping) in [
            ("text://a:1", false, &b"hey\n"[..]),
            ("frame://a:1", false, b"\0\0\0\x07hey"),
            ("tcp://a:1", true, b"hey"),
            ("a:1", false, b"\x81\x03hey"),
            ("a:1", true, b"\x89\0"),
        ] {
            let text = format!("ping_data = 'hey'\nping_frame = {frame}\nlisten = '{url}'");
            assert_eq!(listener(&text, &all).unwrap().policy.ping, ping, "{url}");
        }
    }
}
