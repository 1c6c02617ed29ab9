//! The setting `real_ip_header`: the header that names the client behind a proxy.

use serde::{Deserialize, Serialize};

/// The header in which trusted proxies name the client. Only the configured one is read: proxies do
/// not overwrite the other, so a client could write it itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RealIpHeader {
    /// `X-Forwarded-For`, to which each proxy appends the address of its peer.
    #[default]
    XForwardedFor,
    /// `X-Real-IP`, a single address, which the last proxy writes.
    XRealIp,
}

impl RealIpHeader {
    /// Returns the name of the header, in lower case.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::XRealIp => "x-real-ip",
        }
    }
}
