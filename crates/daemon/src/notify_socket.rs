//! The socket of a service manager, as sd_notify(3) describes it: one message is one datagram. `service_manager.rs`
//! makes the messages. Where there are no Unix sockets, none can be reached.

use std::ffi::OsStr;
use std::io;

/// A socket that is connected to the manager's, and never blocks.
#[derive(Debug)]
pub(crate) struct NotifySocket {
    #[cfg(unix)]
    socket: std::os::unix::net::UnixDatagram,
}

#[cfg(unix)]
impl NotifySocket {
    /// Connects to a path, or to a name in Linux's abstract namespace, which begins with `@`.
    ///
    /// # Errors
    /// When nobody has bound it.
    pub(crate) fn connect(address: &OsStr) -> io::Result<Self> {
        let socket = std::os::unix::net::UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        #[cfg(target_os = "linux")]
        if let Some(name) = address.as_encoded_bytes().strip_prefix(b"@") {
            use std::os::linux::net::SocketAddrExt;
            use std::os::unix::net::SocketAddr;
            socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?;
            return Ok(Self { socket });
        }
        socket.connect(address)?;
        Ok(Self { socket })
    }

    /// Sends one message.
    ///
    /// # Errors
    /// When the manager is gone, or has not read for long.
    pub(crate) fn send(&self, message: &str) -> io::Result<()> {
        self.socket.send(message.as_bytes()).map(drop)
    }
}

#[cfg(not(unix))]
impl NotifySocket {
    /// Connects to nothing.
    ///
    /// # Errors
    /// Always.
    pub(crate) fn connect(_address: &OsStr) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Sends nothing.
    ///
    /// # Errors
    /// Always.
    pub(crate) fn send(&self, _message: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Returns the system's monotonic clock in microseconds, which the manager compares with its own.
pub(crate) fn monotonic_micros() -> i128 {
    #[cfg(unix)]
    {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000
    }
    #[cfg(not(unix))]
    0
}
