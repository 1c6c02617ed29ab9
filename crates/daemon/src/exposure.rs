//! Refuses to listen for other machines without a key, unless the configuration allows it. A cluster is not open to
//! everybody by accident.

use std::net::IpAddr;

use gatewayworker_protocol::SecretKey;
use tracing::warn;

/// Why a daemon does not listen on an address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExposureError {
    /// Other machines may reach the address, and no key keeps them out.
    #[error(
        "{what} would listen on {ip} for everybody who reaches it: set secret_key, or listen on 127.0.0.1, or say \
         allow_insecure = true"
    )]
    Open {
        /// What would listen, "the register".
        what: String,
        /// The address.
        ip: IpAddr,
    },
}

/// Checks that `what` ("the register", for the message) may listen on `ip`: it is loopback, there is a key, or
/// `allow_insecure` is set; in the last case it logs a warning.
///
/// # Errors
/// When none of these is so.
pub fn check_exposure(
    what: &str,
    ip: IpAddr,
    secret_key: &SecretKey,
    allow_insecure: bool,
) -> Result<(), ExposureError> {
    if ip.to_canonical().is_loopback() || !secret_key.is_empty() {
        return Ok(());
    }
    if !allow_insecure {
        return Err(ExposureError::Open { what: what.to_owned(), ip });
    }
    warn!(%ip, "{what} listens without a secret_key: everybody who reaches it controls the cluster");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(ip: &str, key: &str, allow_insecure: bool) -> Result<(), ExposureError> {
        check_exposure("the register", ip.parse().unwrap(), &SecretKey::new(key), allow_insecure)
    }

    #[test]
    fn loopback_needs_no_key() {
        for ip in ["127.0.0.1", "127.1.2.3", "::1", "::ffff:127.0.0.1"] {
            assert!(check(ip, "", false).is_ok(), "{ip}");
        }
    }

    #[test]
    fn an_open_address_without_a_key_is_refused_with_what_to_do() {
        for ip in ["0.0.0.0", "::", "192.168.0.7", "::ffff:10.0.0.1"] {
            let error = check(ip, "", false).unwrap_err().to_string();
            assert!(error.starts_with(&format!("the register would listen on {ip} ")), "{error}");
            assert!(error.contains("secret_key") && error.contains("allow_insecure"), "{error}");
        }
    }

    #[test]
    fn an_open_address_is_fine_with_a_key_or_when_allowed() {
        assert!(check("0.0.0.0", "key", false).is_ok());
        assert!(check("0.0.0.0", "", true).is_ok());
    }
}
