//! The listeners that a service manager has opened for this process and passed to it when it started (socket
//! activation: `LISTEN_FDS`). Each has the name of a setting, `FileDescriptorName=listen`, and the setting's address.
//! `listener_source.rs` takes one instead of opening one; what is left over, `run.rs` logs.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The listeners that nobody has taken yet.
#[derive(Debug, Default)]
pub(crate) struct InheritedListeners(Mutex<Vec<Inherited>>);

#[derive(Debug)]
struct Inherited {
    name: String,
    address: SocketAddr,
    listener: TcpListener,
}

impl InheritedListeners {
    /// Takes the sockets that the environment tells of, and removes the variables: a child process does not inherit
    /// them. Returns a sentence for each that is of no use, too. Call it before there is a second thread.
    #[cfg(unix)]
    pub(crate) fn of_process() -> (Self, Vec<String>) {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut sockets = listenfd::ListenFd::from_env();
        let (mut taken, mut useless) = (Vec::new(), Vec::new());
        for index in 0..sockets.len() {
            let name = names.next().unwrap_or_default().to_owned();
            let of_use = sockets.take_tcp_listener(index).and_then(|listener| match listener {
                Some(listener) => Ok(Some((listener.local_addr()?, listener))),
                None => Ok(None),
            });
            match of_use {
                Ok(Some((address, listener))) => taken.push(Inherited { name, address, listener }),
                Ok(None) => {}
                Err(error) => useless.push(format!(
                    "the service manager passed a socket named {name:?} which is no TCP listener ({error}): it is not used"
                )),
            }
        }
        (Self(Mutex::new(taken)), useless)
    }

    /// Takes nothing: there is no such service manager.
    #[cfg(not(unix))]
    pub(crate) fn of_process() -> (Self, Vec<String>) {
        Default::default()
    }

    /// Takes the listener with this name and address.
    ///
    /// # Errors
    /// The addresses of the listeners with this name, if there are some and none has the address.
    pub(crate) fn take(
        &self,
        name: &str,
        address: SocketAddr,
    ) -> Result<Option<TcpListener>, Vec<SocketAddr>> {
        let mut left = self.left();
        if let Some(at) = left.iter().position(|one| one.name == name && is_at(one.address, address)) {
            return Ok(Some(left.swap_remove(at).listener));
        }
        let others: Vec<_> = left.iter().filter(|one| one.name == name).map(|one| one.address).collect();
        if others.is_empty() { Ok(None) } else { Err(others) }
    }

    /// Takes and closes what is left; returns a sentence for each.
    pub(crate) fn close_the_rest(&self) -> Vec<String> {
        let unused = |one: Inherited| {
            format!(
                "the service manager passed a socket named {:?} for {}, which no setting asked for: it is closed; \
                 FileDescriptorName= has to be the setting's name",
                one.name, one.address
            )
        };
        self.left().drain(..).map(unused).collect()
    }

    fn left(&self) -> MutexGuard<'_, Vec<Inherited>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a socket at `bound` takes the connections of `wanted`: it has the same address, or is the one for both
/// versions of IP where the one for IPv4 is wanted.
fn is_at(bound: SocketAddr, wanted: SocketAddr) -> bool {
    let all = |address: SocketAddr| address.ip().is_unspecified();
    bound == wanted || bound.is_ipv6() && all(bound) && all(wanted) && bound.port() == wanted.port()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inherited(name: &str, address: &str) -> Inherited {
        let listener = TcpListener::bind(address).unwrap();
        Inherited { name: name.into(), address: listener.local_addr().unwrap(), listener }
    }

    #[test]
    fn a_listener_is_taken_by_name_and_address_once() {
        let (one, two) = (inherited("listen", "127.0.0.1:0"), inherited("listen", "127.0.0.1:0"));
        let (first, second) = (one.address, two.address);
        let listeners = InheritedListeners(Mutex::new(vec![one, two, inherited("web", "127.0.0.1:0")]));
        assert!(listeners.take("http.listen", first).unwrap().is_none(), "it has another name");
        let taken = listeners.take("listen", second).unwrap().expect("it was passed");
        assert_eq!(taken.local_addr().unwrap(), second);
        assert_eq!(listeners.take("listen", second).unwrap_err(), [first]);
        assert!(listeners.take("listen", first).unwrap().is_some());
        assert!(listeners.take("listen", first).unwrap().is_none(), "it is taken: a new one is opened");
        let rest = listeners.close_the_rest();
        assert!(rest.len() == 1 && rest[0].contains("\"web\""), "{rest:?}");
    }

    #[test]
    fn a_socket_for_both_versions_of_ip_serves_the_one_for_ipv4() {
        let at = |bound: &str, wanted: &str| is_at(bound.parse().unwrap(), wanted.parse().unwrap());
        assert!(at("[::]:80", "0.0.0.0:80") && at("[::]:80", "[::]:80") && at("0.0.0.0:80", "0.0.0.0:80"));
        assert!(
            !at("0.0.0.0:80", "[::]:80") && !at("[::]:80", "0.0.0.0:81") && !at("[::]:80", "127.0.0.1:80")
        );
    }
}
