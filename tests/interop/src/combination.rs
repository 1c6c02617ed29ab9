//! Which daemons are whose.

use std::fmt;

/// Whose daemon it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The original's.
    Php,
    /// Ours.
    Ours,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Php => "php",
            Self::Ours => "ours",
        })
    }
}

/// Who is whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Combination {
    /// The register.
    pub register: Kind,
    /// Both gateways.
    pub gateway: Kind,
    /// The worker.
    pub worker: Kind,
}

impl Combination {
    /// The yardstick.
    pub const ORIGINAL: Self = Self { register: Kind::Php, gateway: Kind::Php, worker: Kind::Php };
}
