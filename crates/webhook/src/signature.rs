//! Signs requests, as Stripe does: a time, and an HMAC over the time and the body.
//!
//! `delivery` signs each try anew, so that a backend may refuse old requests. While the key is changed there are two
//! signatures, and the backend takes either.

use data_encoding::HEXLOWER;
use gatewayworker_protocol::SecretKey;
use ring::hmac;

/// Signs with each of its keys.
#[derive(Debug)]
pub(crate) struct Signer(Vec<hmac::Key>);

impl Signer {
    /// A signer with those of the keys that are not empty.
    pub(crate) fn new<'a>(keys: impl IntoIterator<Item = &'a SecretKey>) -> Self {
        let keys = keys.into_iter().filter(|key| !key.is_empty());
        Self(keys.map(|key| hmac::Key::new(hmac::HMAC_SHA256, key.expose().as_bytes())).collect())
    }

    /// Returns the signature of a body at a time, in seconds since 1970: `t=1492774577,v1=5257…`, with one `v1` for each
    /// key. `None` where there is no key.
    pub(crate) fn sign(&self, unix_s: u64, body: &[u8]) -> Option<String> {
        if self.0.is_empty() {
            return None;
        }
        let mut signature = format!("t={unix_s}");
        for key in &self.0 {
            let mut context = hmac::Context::with_key(key);
            context.update(unix_s.to_string().as_bytes());
            context.update(b".");
            context.update(body);
            signature.push_str(",v1=");
            signature.push_str(&HEXLOWER.encode(context.sign().as_ref()));
        }
        Some(signature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf '1492774577.{"event":"message"}' | openssl dgst -sha256 -hmac whsec_0123456789abcdef`
    const OF_OPENSSL: &str = "f42655fc936bc8c350ac651f5e89f50e3f9cb9f8635d05643336ada27cf301db";

    fn keys(keys: &[&str]) -> Vec<SecretKey> {
        keys.iter().map(|key| SecretKey::new(*key)).collect()
    }

    #[test]
    fn signs_the_time_and_the_body() {
        let signer = Signer::new(&keys(&["whsec_0123456789abcdef", ""]));
        let signature = signer.sign(1_492_774_577, br#"{"event":"message"}"#).unwrap();
        assert_eq!(signature, format!("t=1492774577,v1={OF_OPENSSL}"));
    }

    #[test]
    fn signs_with_both_keys_while_they_are_changed() {
        let (old, new) = ("whsec_0123456789abcdef", "whsec_fedcba9876543210");
        let sign = |of: &[&str]| Signer::new(&keys(of)).sign(7, b"{}").unwrap();
        let both = sign(&[old, new]);
        assert_eq!(both, format!("{},{}", sign(&[old]), sign(&[new]).trim_start_matches("t=7,")));
    }

    #[test]
    fn another_time_has_another_signature() {
        let signer = Signer::new(&keys(&["whsec_0123456789abcdef"]));
        let code = |unix_s| signer.sign(unix_s, b"{}").unwrap().split_off(4);
        assert_ne!(code(7), code(8));
    }

    #[test]
    fn without_a_key_there_is_no_signature() {
        assert_eq!(Signer::new(&keys(&[""])).sign(7, b"{}"), None);
    }
}
