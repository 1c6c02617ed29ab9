//! Unix sockets for links within one host: the name on which a gateway listens, and who may be trusted there.
//!
//! The name is abstract and made of the address that the gateway announces. Linux keeps abstract names
//! for each network namespace, as it does IP addresses: wherever the name is found, the address is the same
//! gateway's, and when its process ends, the name is gone. It has no permissions, so the
//! connecting side asks the kernel whose socket it is; the accepting side asks for the secret key, as over
//! TCP. [`LinkConnector`](crate::LinkConnector) connects; the gateway listens. docs/decisions/0012 has
//! the reasons.

use std::io;
use std::net::SocketAddrV4;
use std::task::{Context, Poll};

use crate::LinkSocket;

/// The socket on which a gateway accepts links of its host.
#[derive(Debug)]
pub struct UnixLinkListener {
    #[cfg(target_os = "linux")]
    listener: tokio::net::UnixListener,
}

#[cfg(target_os = "linux")]
mod linux {
    use std::sync::LazyLock;
    use std::task::ready;

    use nix::unistd::geteuid;
    use tokio::net::{UnixListener, UnixStream};

    use super::*;
    use crate::LogLimiter;
    use crate::unix_socket::UnixSocket;

    /// The user id that the kernel shows for users of another namespace of users, whoever they are.
    const UNKNOWN_USER: u32 = 65534;

    impl UnixLinkListener {
        /// Listens for links to the gateway that announces `gateway`.
        ///
        /// # Errors
        /// `AddrInUse` where another process has the name.
        ///
        /// # Panics
        /// Outside a tokio runtime.
        pub fn bind(gateway: SocketAddrV4) -> io::Result<Self> {
            Ok(Self { listener: UnixListener::bind(name(gateway))? })
        }

        /// Accepts a link. Only the task that has polled last is woken.
        ///
        /// # Errors
        /// As accepting a TCP connection.
        pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<LinkSocket>> {
            let (stream, _) = ready!(self.listener.poll_accept(cx))?;
            Poll::Ready(Ok(LinkSocket::Unix(UnixSocket::new(stream.into_std()?)?)))
        }
    }

    /// Connects to a gateway of this host. `None` where none listens, or one that is not trusted.
    ///
    /// Waits for nothing: the kernel answers at once.
    pub(crate) async fn connect(gateway: SocketAddrV4) -> Option<LinkSocket> {
        let stream = match UnixStream::connect(name(gateway)).await {
            Ok(stream) => stream,
            Err(error) => {
                // Nobody listens: the gateway is on another host, or wants no Unix links.
                if error.kind() != io::ErrorKind::ConnectionRefused {
                    tracing::debug!(%gateway, %error, "the link goes over TCP");
                }
                return None;
            }
        };
        let socket = UnixSocket::new(stream.into_std().ok()?).ok()?;
        let listener = socket.peer().ok()?.user;
        if !is_trusted(listener, geteuid().as_raw()) {
            static OTHERS: LazyLock<LogLimiter> = LazyLock::new(LogLimiter::default);
            OTHERS.log(move |times| {
                tracing::warn!(
                    %gateway, user = listener, times,
                    "the Unix socket of this gateway belongs to another user: the link goes over TCP"
                );
            });
            return None;
        }
        Some(LinkSocket::Unix(socket))
    }

    /// Whether a socket of the user `listener` may be given the secret key by the user `own`: anybody can
    /// listen on a name that is free.
    fn is_trusted(listener: u32, own: u32) -> bool {
        listener != UNKNOWN_USER && (listener == 0 || listener == own)
    }

    /// The name, with the byte 0 in front that makes it abstract.
    fn name(gateway: SocketAddrV4) -> String {
        format!("\0gatewayworker/{gateway}")
    }

    #[cfg(test)]
    mod tests {
        use std::future::poll_fn;

        use super::*;

        const GATEWAY: SocketAddrV4 = SocketAddrV4::new(std::net::Ipv4Addr::new(127, 20, 12, 1), 2300);

        #[test]
        fn trusts_its_own_user_and_root() {
            assert!(is_trusted(1000, 1000));
            assert!(is_trusted(0, 1000));
            assert!(!is_trusted(1001, 1000));
            assert!(!is_trusted(1000, 0));
            assert!(!is_trusted(UNKNOWN_USER, UNKNOWN_USER));
        }

        #[tokio::test]
        async fn a_name_ends_with_its_listener() {
            assert!(connect(GATEWAY).await.is_none());
            let listener = UnixLinkListener::bind(GATEWAY).unwrap();
            assert_eq!(UnixLinkListener::bind(GATEWAY).unwrap_err().kind(), io::ErrorKind::AddrInUse);
            let (accepted, connected) =
                tokio::join!(poll_fn(|cx| listener.poll_accept(cx)), connect(GATEWAY));
            let process = Some(std::process::id() as i32);
            for socket in [accepted.unwrap(), connected.unwrap()] {
                assert_eq!(socket.by_ref().peer().unwrap(), crate::LinkPeer::Unix(process));
            }
            drop(listener);
            assert!(connect(GATEWAY).await.is_none());
        }
    }
}

#[cfg(target_os = "linux")]
pub(crate) use linux::connect;

#[cfg(not(target_os = "linux"))]
impl UnixLinkListener {
    /// Fails: there are no abstract names here.
    ///
    /// # Errors
    /// Always, with `Unsupported`.
    pub fn bind(_gateway: SocketAddrV4) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Is never called, as there is no listener.
    ///
    /// # Errors
    /// None.
    pub fn poll_accept(&self, _cx: &mut Context<'_>) -> Poll<io::Result<LinkSocket>> {
        Poll::Pending
    }
}

/// Finds no gateway: there are no abstract names here.
#[cfg(not(target_os = "linux"))]
pub(crate) async fn connect(_gateway: SocketAddrV4) -> Option<LinkSocket> {
    None
}
