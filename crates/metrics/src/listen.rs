//! The listener of a daemon's metrics, from the setting `metrics_listen`.

use std::net::SocketAddr;

use gatewayworker_daemon::{AddressError, BindError, ListenerSource, check_address};
use tokio::net::TcpListener;
use tracing::{info, warn};

/// The name of the setting.
const KEY: &str = "metrics_listen";

/// Where a daemon's metrics are read.
#[derive(Debug, Default)]
pub enum Listener {
    /// At `metrics_listen`, if it is set.
    #[default]
    Configured,
    /// At this listener; nowhere where it is `None`.
    Given(Option<TcpListener>),
}

/// Checks the setting `metrics_listen`, without looking its host up.
///
/// # Errors
/// When it is neither `ip:port` nor `host:port`.
pub fn check(listen: Option<&str>) -> Result<(), AddressError> {
    listen.map_or(Ok(()), |address| check_address(KEY, address))
}

/// Listens on `listen`, with a socket from `listeners`; returns `None` where it is not set. Logs the address, with a
/// warning if other machines reach it.
///
/// # Errors
/// When the address does not resolve, or is in use.
pub async fn bind(
    listen: Option<&str>,
    listeners: &ListenerSource,
) -> Result<Option<TcpListener>, BindError> {
    let Some(address) = listen else { return Ok(None) };
    let (listener, address) = listeners.open(KEY, address).await?;
    info!(%address, "metrics are read here");
    if !address.ip().to_canonical().is_loopback() {
        warn!(
            %address,
            "everybody who reaches metrics_listen reads this daemon's numbers and problems: let a firewall keep others out"
        );
    }
    Ok(Some(listener))
}

impl Listener {
    /// Opens the listener; `listen` is the setting.
    ///
    /// # Errors
    /// As [`bind`].
    pub async fn open(self, listen: Option<&str>) -> Result<Option<TcpListener>, BindError> {
        match self {
            Self::Given(listener) => Ok(listener),
            Self::Configured => bind(listen, &ListenerSource::default()).await,
        }
    }
}

/// Returns the URL of a daemon's metrics, as `start` shows it.
pub fn url(address: SocketAddr) -> String {
    format!("http://{address}/metrics")
}
