//! An open listener: the settings of its clients, its certificate, and how many clients it
//! may hold. Each client has a [`Place`] among these for its life.

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use gatewayworker_net::Network;
use gatewayworker_protocol::Payload;

use crate::config::Config;
use crate::core::listener_policy::{Framing, ListenerPolicy, OtherProtocol};
use crate::core::websocket::encode;
use crate::entry::Entry;
use crate::entry::places::Addresses;
use crate::entry::refused::Refused;
use crate::listener::{Listener, WEBSOCKET};
use crate::tls::Certificate;

/// An open listener.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) policy: ListenerPolicy,
    /// Its clients come over TLS.
    pub(crate) certificate: Option<Arc<Certificate>>,
    pub(crate) handshake_timeout: Duration,
    pub(crate) max_header_bytes: usize,
    pub(crate) entry: Entry,
    /// Where its clients come from, if their number is limited by that.
    addresses: Option<Addresses>,
    places: Limit,
    /// Those of all doors.
    all_places: Arc<Limit>,
}

/// Returns what a listener of `config` speaks.
///
/// # Errors
/// When the gateway does not speak it.
pub(crate) fn framing(listener: &Listener, config: &Config) -> anyhow::Result<Framing> {
    let scheme = listener.url.scheme();
    if scheme == WEBSOCKET {
        return Ok(Framing::WebSocket(config.websocket_type));
    }
    let (index, protocol) = config.protocols.find(scheme).with_context(|| {
        let known: Vec<_> = config.protocols.schemes().collect();
        format!("listen = \"{}\": this gateway speaks {WEBSOCKET}, {}", listener.url, known.join(", "))
    })?;
    Ok(Framing::Other(OtherProtocol { protocol, index, of: config.protocols.len() }))
}

impl Door {
    /// A listener of `config`, opened on `port`.
    ///
    /// # Errors
    /// When the gateway does not speak what it is to, or its certificate cannot be loaded.
    pub(crate) fn new(
        port: u16,
        listener: &Listener,
        config: &Config,
        all_places: Arc<Limit>,
    ) -> anyhow::Result<Self> {
        let config = listener.view(config);
        let mut policy = ListenerPolicy {
            port,
            framing: framing(listener, &config)?,
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
            entry: Entry::of(&config)?,
            addresses: match config.max_connections_per_address {
                0 => None,
                max => Some(Addresses::new(max)),
            },
            places: Limit::new(listener.max_connections.unwrap_or(usize::MAX)),
            all_places,
        })
    }
}

/// How many there may be, and are.
#[derive(Debug)]
pub(crate) struct Limit {
    max: usize,
    now: AtomicUsize,
}

impl Limit {
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

/// A client's place among those that its door, and the gateway, may hold: from when it
/// is accepted until its connection has ended. It derefs to the door.
#[derive(Debug)]
pub(crate) struct Place {
    door: Arc<Door>,
    /// It is one of those that came from there. Boxed, as few doors count that, and
    /// every client has the place.
    from: Option<Box<Network>>,
}

/// Which limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// That of the gateway.
    All,
    /// That of the door.
    Here,
}

impl Place {
    pub(crate) fn take(door: &Arc<Door>) -> Result<Self, Taken> {
        if !door.all_places.take() {
            return Err(Taken::All);
        }
        if !door.places.take() {
            door.all_places.give_back();
            return Err(Taken::Here);
        }
        Ok(Self { door: door.clone(), from: None })
    }

    /// The door that it is at.
    #[cfg(test)]
    pub(crate) fn door(&self) -> &Arc<Door> {
        &self.door
    }

    /// Takes one among those that come from `address`, where they are limited.
    pub(crate) fn take_from(&mut self, address: IpAddr) -> Result<(), Refused> {
        if let (Some(addresses), None) = (&self.door.addresses, &self.from) {
            let network = Network::from(address);
            if !addresses.take(network) {
                return Err(Refused::AddressFull);
            }
            self.from = Some(Box::new(network));
        }
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let (Some(addresses), Some(from)) = (&self.door.addresses, &self.from) {
            addresses.give_back(**from);
        }
        self.door.places.give_back();
        self.door.all_places.give_back();
    }
}

impl Deref for Place {
    type Target = Door;

    fn deref(&self) -> &Door {
        &self.door
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(listener: &str, all: &Arc<Limit>) -> anyhow::Result<Arc<Door>> {
        let config: Config = toml::from_str(listener).unwrap();
        Door::new(1, &config.listen[0], &config, all.clone()).map(Arc::new)
    }

    #[test]
    fn a_place_is_given_back_at_both_limits() {
        let all = Arc::new(Limit::new(3));
        let narrow = door("[[listen]]\nurl = 'a:1'\nmax_connections = 2", &all).unwrap();
        let wide = door("listen = 'text://a:2'", &all).unwrap();
        let first = Place::take(&narrow).unwrap();
        let second = Place::take(&narrow).unwrap();
        assert_eq!(Place::take(&narrow).unwrap_err(), Taken::Here);
        let third = Place::take(&wide).unwrap();
        assert_eq!(Place::take(&wide).unwrap_err(), Taken::All);
        drop((first, third));
        let _fourth = Place::take(&narrow).unwrap();
        assert_eq!(Place::take(&narrow).unwrap_err(), Taken::Here);
        drop(second);
        let _fifth = Place::take(&wide).unwrap();
    }

    #[test]
    fn what_the_gateway_does_not_speak_is_said_with_what_it_does() {
        let error = door("listen = 'udp://a:1'", &Arc::new(Limit::new(1))).unwrap_err().to_string();
        assert_eq!(error, "listen = \"udp://a:1\": this gateway speaks websocket, frame, tcp, text");
    }

    #[test]
    fn a_ping_is_framed_as_its_clients_read_it() {
        let all = Arc::new(Limit::new(1));
        for (url, frame, ping) in [
            ("text://a:1", false, &b"hey\n"[..]),
            ("frame://a:1", false, b"\0\0\0\x07hey"),
            ("tcp://a:1", true, b"hey"),
            ("a:1", false, b"\x81\x03hey"),
            ("a:1", true, b"\x89\0"),
        ] {
            let text = format!("ping_data = 'hey'\nping_frame = {frame}\nlisten = '{url}'");
            assert_eq!(door(&text, &all).unwrap().policy.ping, ping, "{url}");
        }
    }
}
