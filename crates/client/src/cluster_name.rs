//! [`ClusterName`]: the name of one of several federated clusters.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The longest name, in bytes.
const MAX: usize = 32;

/// The name of a cluster: 1 to 32 letters, digits, `-` and `_`, so that it can be a part of a NATS subject.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterName(Arc<str>);

/// A text that is not the name of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the name of a cluster: 1 to {MAX} letters, digits, - and _ are")]
pub struct ClusterNameError(String);

impl ClusterName {
    /// The name `*`, which stands for all clusters that are not known.
    pub fn unknown() -> Self {
        Self("*".into())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClusterName {
    type Err = ClusterNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        if (1..=MAX).contains(&text.len()) && text.bytes().all(is_good) {
            Ok(Self(text.into()))
        } else {
            Err(ClusterNameError(text.chars().take(2 * MAX).collect()))
        }
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_part_of_a_subject() {
        let longest = "n".repeat(MAX);
        for name in ["sh-1", "A_0", &longest] {
            assert_eq!(name.parse::<ClusterName>().unwrap().as_str(), name);
        }
        let too_long = "n".repeat(MAX + 1);
        for name in ["", "*", ">", "a.b", "a b", "上海", &too_long] {
            assert!(name.parse::<ClusterName>().is_err(), "{name}");
        }
    }
}
