//! An open listener: the settings of its clients, its certificate, and how many clients it
//! may hold. Each client has a [`ConnectionPermit`] among these for its life.

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gatewayworker_net::Network;
use gatewayworker_protocol::Payload;

use crate::access::AccessPolicy;
use crate::access::connection_limits::AddressLimits;
use crate::access::rejections::RejectReason;
use crate::config::{Config, ListenerConfig};
use crate::core::listener_policy::ListenerPolicy;
use crate::core::websocket::encode;
use crate::tls::Certificate;

/// An open listener.
#[derive(Debug)]
pub(crate) struct Listener {
    pub(crate) policy: ListenerPolicy,
    /// Its clients come over TLS.
    pub(crate) certificate: Option<Arc<Certificate>>,
    pub(crate) handshake_timeout: Duration,
    pub(crate) max_header_bytes: usize,
    pub(crate) access: AccessPolicy,
    /// Where its clients come from, if their number is limited by that.
    addresses: Option<AddressLimits>,
    own_limit: ConnectionLimit,
    /// Those of all listeners.
    gateway_limit: Arc<ConnectionLimit>,
}

impl Listener {
    /// A listener of `config`, opened on `port`.
    ///
    /// # Errors
    /// When the gateway does not speak what it is to, or its certificate cannot be loaded.
    pub(crate) fn new(
        port: u16,
        listener: &ListenerConfig,
        config: &Config,
        gateway_limit: Arc<ConnectionLimit>,
    ) -> anyhow::Result<Self> {
        let config = listener.view(config);
        let mut policy = ListenerPolicy {
            port,
            framing: listener.framing(&config)?,
            heartbeat: config.heartbeat(),
            ping: encode::ping(),
            max_message_bytes: config.max_message_bytes,
            outbox_bytes: config.outbox_bytes,
            slow_consumer: config.slow_consumer,
        };
        // Only WebSocket has frames for it: others get the data.
        if !(config.ping_frame && policy.is_websocket()) {
            policy.ping = policy.encode_only(Payload::plain(config.ping_data.clone()));
        }
        Ok(Self {
            policy,
            certificate: listener.load_certificate()?.map(Arc::new),
            handshake_timeout: Duration::from_millis(config.handshake_timeout_ms),
            max_header_bytes: config.max_header_bytes,
            access: AccessPolicy::of(&config)?,
            addresses: match config.max_connections_per_address {
                0 => None,
                max => Some(AddressLimits::new(max)),
            },
            own_limit: ConnectionLimit::new(listener.max_connections.unwrap_or(usize::MAX)),
            gateway_limit,
        })
    }
}

/// How many there may be, and are.
#[derive(Debug)]
pub(crate) struct ConnectionLimit {
    max: usize,
    now: AtomicUsize,
}

impl ConnectionLimit {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, now: AtomicUsize::new(0) }
    }

    /// One more, if there may be.
    fn take(&self) -> bool {
        let more = |now| (now < self.max).then_some(now + 1);
        self.now.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn give_back(&self) {
        self.now.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A client's place among those that its listener, and the gateway, may hold: from when it
/// is accepted until its connection has ended. It derefs to the listener.
#[derive(Debug)]
pub(crate) struct ConnectionPermit {
    listener: Arc<Listener>,
    /// It is one of those that came from there. Boxed, as few listeners count that, and
    /// every client has the place.
    from: Option<Box<Network>>,
}

/// Which limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LimitReached {
    /// That of the gateway.
    All,
    /// That of the listener.
    Here,
}

impl ConnectionPermit {
    pub(crate) fn take(listener: &Arc<Listener>) -> Result<Self, LimitReached> {
        if !listener.gateway_limit.take() {
            return Err(LimitReached::All);
        }
        if !listener.own_limit.take() {
            listener.gateway_limit.give_back();
            return Err(LimitReached::Here);
        }
        Ok(Self { listener: listener.clone(), from: None })
    }

    /// The listener that it is at.
    #[cfg(test)]
    pub(crate) fn listener(&self) -> &Arc<Listener> {
        &self.listener
    }

    /// Takes one among those that come from `address`, where they are limited.
    pub(crate) fn take_from(&mut self, address: IpAddr) -> Result<(), RejectReason> {
        if let (Some(addresses), None) = (&self.listener.addresses, &self.from) {
            let network = Network::from(address);
            if !addresses.take(network) {
                return Err(RejectReason::AddressFull);
            }
            self.from = Some(Box::new(network));
        }
        Ok(())
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        if let (Some(addresses), Some(from)) = (&self.listener.addresses, &self.from) {
            addresses.give_back(**from);
        }
        self.listener.own_limit.give_back();
        self.listener.gateway_limit.give_back();
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

    fn listener(listener: &str, all: &Arc<ConnectionLimit>) -> anyhow::Result<Arc<Listener>> {
        let config: Config = toml::from_str(listener).unwrap();
        Listener::new(1, &config.listen[0], &config, all.clone()).map(Arc::new)
    }

    #[test]
    fn a_place_is_given_back_at_both_limits() {
        let all = Arc::new(ConnectionLimit::new(3));
        let narrow = listener("[[listen]]\nurl = 'a:1'\nmax_connections = 2", &all).unwrap();
        let wide = listener("listen = 'text://a:2'", &all).unwrap();
        let first = ConnectionPermit::take(&narrow).unwrap();
        let second = ConnectionPermit::take(&narrow).unwrap();
        assert_eq!(ConnectionPermit::take(&narrow).unwrap_err(), LimitReached::Here);
        let third = ConnectionPermit::take(&wide).unwrap();
        assert_eq!(ConnectionPermit::take(&wide).unwrap_err(), LimitReached::All);
        drop((first, third));
        let _fourth = ConnectionPermit::take(&narrow).unwrap();
        assert_eq!(ConnectionPermit::take(&narrow).unwrap_err(), LimitReached::Here);
        drop(second);
        let _fifth = ConnectionPermit::take(&wide).unwrap();
    }

    #[test]
    fn what_the_gateway_does_not_speak_is_said_with_what_it_does() {
        let error =
            listener("listen = 'udp://a:1'", &Arc::new(ConnectionLimit::new(1))).unwrap_err().to_string();
        assert_eq!(error, "listen = \"udp://a:1\": this gateway speaks websocket, frame, tcp, text");
    }

    #[test]
    fn a_ping_is_framed_as_its_clients_read_it() {
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
