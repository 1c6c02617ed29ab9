//! The place of a connection that has not said yet whose it is.
//!
//! A connection is counted when it is accepted ([`ConnectionPermit`]). Where clients may come back, one that is over a limit
//! is let in for a moment all the same: a client that comes back has its place already, so what is full of clients that
//! were cut off would keep out just them. Such connections are few, and none of them becomes a new client as long as the
//! limit is reached.

use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use super::{AddressLimitReached, ConnectionPermit, LimitReached, Listener};

/// How many connections over a limit a listener lets in at a time, until each has said whose it is.
pub(super) const MAX_EXTRA: usize = 256;

/// The place of a connection. It derefs to the listener.
#[derive(Debug)]
pub(crate) enum Place {
    /// Within all limits.
    Counted(ConnectionPermit),
    /// Over a limit.
    Extra(ExtraPlace),
}

/// One of the places for connections over a limit. It is released on drop.
#[derive(Debug)]
pub(crate) struct ExtraPlace {
    listener: Arc<Listener>,
    /// The client's address, once it is known.
    address: Option<IpAddr>,
}

/// The limit that leaves no room for a new client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoRoom {
    /// Of all clients.
    Limit(LimitReached),
    /// Of the client's address.
    Address(AddressLimitReached),
}

impl Place {
    /// Acquires a place of a listener.
    ///
    /// # Errors
    /// The limit that is reached, where the listener has no place for connections over it.
    pub(crate) fn acquire(listener: &Arc<Listener>) -> Result<Self, LimitReached> {
        ConnectionPermit::acquire(listener)
            .map(Self::Counted)
            .or_else(|limit| ExtraPlace::acquire(listener).map(Self::Extra).ok_or(limit))
    }

    /// Counts the connection for its client's address, as [`ConnectionPermit::count_address`] does. To be called once.
    ///
    /// # Errors
    /// When the address connects too often; when it has as many connections as it may, where the listener has no place for
    /// those over it.
    pub(crate) fn count_address(&mut self, address: IpAddr) -> Result<(), AddressLimitReached> {
        let listener = match self {
            Self::Counted(permit) => match permit.count_address(address) {
                Err(AddressLimitReached::Connections) => &permit.listener,
                counted => return counted,
            },
            Self::Extra(extra) => {
                extra.address = Some(address);
                return extra.listener.count_connect(address);
            }
        };
        let extra = ExtraPlace::acquire(listener).ok_or(AddressLimitReached::Connections)?;
        *self = Self::Extra(extra.of(address));
        Ok(())
    }

    /// Makes the place one of a new client.
    ///
    /// # Errors
    /// The place, and the limit that is reached.
    pub(crate) fn into_permit(self) -> Result<ConnectionPermit, (Self, NoRoom)> {
        match self {
            Self::Counted(permit) => Ok(permit),
            Self::Extra(extra) => extra.count().map_err(|limit| (Self::Extra(extra), limit)),
        }
    }
}

impl ExtraPlace {
    fn acquire(listener: &Arc<Listener>) -> Option<Self> {
        let may = listener.policy.resume.is_some() && listener.extra_limit.acquire();
        may.then(|| Self { listener: listener.clone(), address: None })
    }

    fn of(mut self, address: IpAddr) -> Self {
        self.address = Some(address);
        self
    }

    /// Counts the connection within all limits.
    fn count(&self) -> Result<ConnectionPermit, NoRoom> {
        let mut permit = ConnectionPermit::acquire(&self.listener).map_err(NoRoom::Limit)?;
        if let Some(address) = self.address {
            permit.hold_address(address).map_err(NoRoom::Address)?;
        }
        Ok(permit)
    }
}

impl Drop for ExtraPlace {
    fn drop(&mut self) {
        self.listener.extra_limit.release();
    }
}

impl Deref for Place {
    type Target = Listener;

    fn deref(&self) -> &Listener {
        match self {
            Self::Counted(permit) => permit,
            Self::Extra(extra) => &extra.listener,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::listener;
    use super::*;
    use crate::listener::ConnectionLimit;

    const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

    #[test]
    fn a_full_listener_lets_few_more_in_where_clients_come_back() {
        let all = Arc::new(ConnectionLimit::new(9));
        let full = listener("resume = true\n[[listen]]\nurl = 'a:1'\nmax_connections = 1", &all).unwrap();
        let first = Place::acquire(&full).unwrap();
        let extra: Vec<_> = (0..MAX_EXTRA).map(|_| Place::acquire(&full).unwrap()).collect();
        assert_eq!(Place::acquire(&full).unwrap_err(), LimitReached::Listener);
        assert_eq!(full.connections(), 1);
        let mut extra = extra.into_iter();
        let (_, denied) = extra.next().unwrap().into_permit().unwrap_err();
        assert_eq!(denied, NoRoom::Limit(LimitReached::Listener), "a new client");
        drop(first);
        let permit = extra.next().unwrap().into_permit();
        assert!(permit.is_ok());
        drop(extra);
        assert_eq!(full.extra_limit.count(), 0);

        let full = listener("[[listen]]\nurl = 'a:1'\nmax_connections = 1", &all).unwrap();
        let _first = Place::acquire(&full).unwrap();
        assert_eq!(Place::acquire(&full).unwrap_err(), LimitReached::Listener, "nobody comes back");
    }

    #[test]
    fn an_address_with_as_many_connections_as_it_may_have_is_let_in_where_clients_come_back() {
        let all = Arc::new(ConnectionLimit::new(9));
        let limited = "listen = 'a:1'\nmax_connections_per_address = 1";
        for (resume, may_come) in [("true", true), ("false", false)] {
            let listener = listener(&format!("resume = {resume}\n{limited}"), &all).unwrap();
            let mut first = Place::acquire(&listener).unwrap();
            first.count_address(HOME).unwrap();
            let mut second = Place::acquire(&listener).unwrap();
            assert_eq!(second.count_address(HOME).is_ok(), may_come);
            if may_come {
                assert_eq!(listener.connections(), 1, "it has left its place");
                let (_, denied) = second.into_permit().unwrap_err();
                assert_eq!(denied, NoRoom::Address(AddressLimitReached::Connections));
                let mut third = Place::acquire(&listener).unwrap();
                third.count_address(HOME).unwrap();
                drop(first);
                assert!(third.into_permit().unwrap().network.is_some(), "it is counted for its address");
            }
        }
    }

    #[test]
    fn an_address_that_connects_too_often_is_kept_out() {
        let all = Arc::new(ConnectionLimit::new(1));
        let often = "listen = 'a:1'\nresume = true\nmax_connects_per_second_per_address = 1";
        let listener = listener(often, &all).unwrap();
        let places = (0..5).map(|_| Place::acquire(&listener).unwrap());
        let refused = places.filter_map(|mut place| place.count_address(HOME).err());
        assert!(refused.count() > 0);
    }
}
