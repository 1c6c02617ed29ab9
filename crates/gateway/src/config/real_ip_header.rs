//! The setting `real_ip_header`: the header that names the client behind a proxy.

use serde::{Deserialize, Serialize};

/// The header in which the proxies say where a client comes from. Only one is looked
/// at: the other may be what the client wrote itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RealIpHeader {
    /// `X-Forwarded-For`, to which each proxy appends who came to it.
    #[default]
    XForwardedFor,
    /// `X-Real-IP`, in which the last one has written a single address.
    XRealIp,
}

impl RealIpHeader {
    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::XRealIp => "x-real-ip",
        }
    }
}
