//! Where a cluster is, and how to be let in: its registers, its key, and TLS. The control tool makes it from flags, a
//! daemon from its own configuration.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use gatewayworker_client::SecretKey;
use gatewayworker_client::inspect::Inspector;
use gatewayworker_net::LinkTls;

/// Returns the address by which a process on this machine reaches a listener: loopback for one on all addresses.
pub fn reachable(mut listener: SocketAddr) -> SocketAddr {
    if listener.ip().is_unspecified() {
        listener.set_ip(match listener.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    listener
}

/// Where a cluster is, how to be let in, and how long to wait for it.
#[derive(Debug, Clone)]
pub struct Access {
    /// Its registers, each `host:port`.
    pub registers: Vec<String>,
    /// Its key, empty for none.
    pub secret_key: SecretKey,
    /// TLS with registers and gateways; plain TCP where it is `None`.
    pub tls: Option<LinkTls>,
    /// How long the registers and the gateways may take to answer.
    pub question_timeout: Duration,
    /// A file that may have the key, and that this user may not read; `None` where there is none.
    pub unreadable: Option<PathBuf>,
}

impl Access {
    /// The time limit where none is set.
    pub const QUESTION_TIMEOUT: Duration = Duration::from_secs(5);

    /// Returns the access of a daemon, from its configuration.
    pub fn new(registers: Vec<String>, secret_key: SecretKey, tls: Option<LinkTls>) -> Self {
        Self { registers, secret_key, tls, question_timeout: Self::QUESTION_TIMEOUT, unreadable: None }
    }

    /// Returns an inspector of the cluster, which connects to the registers.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn inspector(&self) -> Inspector {
        Inspector::builder(&self.registers)
            .secret_key(self.secret_key.clone())
            .link_tls(self.tls.clone())
            .timeout(self.question_timeout)
            .connect()
    }
}
