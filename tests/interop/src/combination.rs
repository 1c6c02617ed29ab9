//! The combinations: which daemons are ours, and which the original's.

use std::fmt;

/// The kind of a daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The original's daemon.
    Php,
    /// Our daemon.
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

/// The kinds of a cluster's daemons.
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
    /// The combination of the original alone, with which all others are compared.
    pub const ORIGINAL: Self = Self { register: Kind::Php, gateway: Kind::Php, worker: Kind::Php };
}
