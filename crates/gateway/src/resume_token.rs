//! The token with which a client of `gw.1` comes back: which gateway has it, which client it is, and a secret.
//!
//! A token is made once for each client, and is the same for its life. It is verified before anything is looked up or
//! connected to. Whoever has it is the client, so it is in no log: [`ResumeToken`] has no `Display`.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

use data_encoding::BASE64URL_NOPAD;
use gatewayworker_protocol::SecretKey;
use ring::hmac;

/// What the bytes of a token begin with: its format.
const VERSION: u8 = 1;

/// The length of the part that is authenticated, in bytes.
const BODY: usize = 1 + 4 + 2 + 4 + SECRET;

/// The length of the code that authenticates it: HMAC-SHA256.
const CODE: usize = 32;

/// The length of a client's secret, in bytes.
const SECRET: usize = 16;

/// What is said before the body, so that no code of another purpose is one of this.
const PURPOSE: &[u8] = b"gatewayworker resume token\n";

/// A client's secret, drawn at random.
pub(crate) type Secret = [u8; SECRET];

/// What a token says.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ResumeToken {
    /// The inner address of the gateway that has the client.
    pub(crate) gateway: SocketAddrV4,
    pub(crate) connection_id: u32,
    pub(crate) secret: Secret,
}

/// The key of the tokens of a cluster.
pub(crate) struct TokenKey(hmac::Key);

impl TokenKey {
    /// The key that all gateways with this secret key have. Without a secret key, a gateway has one of its own, and
    /// its clients are resumed by itself alone.
    pub(crate) fn new(secret_key: &SecretKey) -> Self {
        let random: [u8; 32] = rand::random();
        let key = match secret_key.expose().as_bytes() {
            b"" => &random[..],
            key => key,
        };
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// Returns the text of a token.
    pub(crate) fn seal(&self, token: &ResumeToken) -> String {
        let body = token.body();
        let code = hmac::sign(&self.0, &[PURPOSE, &body].concat());
        BASE64URL_NOPAD.encode(&[&body, code.as_ref()].concat())
    }

    /// Reads the text of a token that a gateway of this cluster has made; `None` for any other text.
    pub(crate) fn open(&self, text: &str) -> Option<ResumeToken> {
        // Of a text that has another length, nothing is decoded.
        if BASE64URL_NOPAD.encode_len(BODY + CODE) != text.len() {
            return None;
        }
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
        let (body, code) = bytes.split_first_chunk::<BODY>()?;
        hmac::verify(&self.0, &[PURPOSE, body].concat(), code).ok()?;
        ResumeToken::read(body)
    }
}

impl ResumeToken {
    /// The number of the shard that has the client, on a gateway with so many.
    pub(crate) fn shard(&self, shards: usize) -> usize {
        self.connection_id as usize % shards
    }

    fn body(&self) -> [u8; BODY] {
        let mut body = [VERSION; BODY];
        body[1..5].copy_from_slice(&self.gateway.ip().octets());
        body[5..7].copy_from_slice(&self.gateway.port().to_be_bytes());
        body[7..11].copy_from_slice(&self.connection_id.to_be_bytes());
        body[11..].copy_from_slice(&self.secret);
        body
    }

    fn read(body: &[u8; BODY]) -> Option<Self> {
        let (version, rest) = body.split_first_chunk::<1>()?;
        let (ip, rest) = rest.split_first_chunk::<4>()?;
        let (port, rest) = rest.split_first_chunk::<2>()?;
        let (id, secret) = rest.split_first_chunk::<4>()?;
        Some(Self {
            gateway: SocketAddrV4::new(Ipv4Addr::from(*ip), u16::from_be_bytes(*port)),
            connection_id: u32::from_be_bytes(*id),
            secret: secret.try_into().ok()?,
        })
        .filter(|_| *version == [VERSION])
    }
}

impl fmt::Debug for ResumeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { gateway, connection_id, .. } = self;
        write!(f, "ResumeToken({gateway}, {connection_id})")
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> ResumeToken {
        let gateway = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 7), 2900);
        ResumeToken { gateway, connection_id: 17, secret: [9; SECRET] }
    }

    #[test]
    fn all_gateways_of_a_cluster_read_a_token() {
        let text = TokenKey::new(&SecretKey::new("key")).seal(&token());
        assert_eq!(TokenKey::new(&SecretKey::new("key")).open(&text), Some(token()));
        assert_eq!(TokenKey::new(&SecretKey::new("another")).open(&text), None);
        assert_eq!(format!("{:?}", token()), "ResumeToken(10.0.0.7:2900, 17)", "the secret is not shown");
    }

    #[test]
    fn without_a_secret_key_a_gateway_reads_its_own_tokens_alone() {
        let (one, other) = (TokenKey::new(&SecretKey::default()), TokenKey::new(&SecretKey::default()));
        let text = one.seal(&token());
        assert_eq!((one.open(&text), other.open(&text)), (Some(token()), None));
    }

    #[test]
    fn a_token_in_which_anything_was_changed_is_none() {
        let key = TokenKey::new(&SecretKey::new("key"));
        let text = key.seal(&token());
        for at in 0..text.len() {
            for with in ["A", "B", "=", "é", "\n"] {
                let changed = [&text[..at], with, &text[at + 1..]].concat();
                // The last character has bits that say nothing, which strict decoding wants to be 0.
                assert!(changed == text || key.open(&changed).is_none(), "{at} {with:?}");
            }
        }
        for other in ["", "x", &text[1..], &format!("{text}A")] {
            assert_eq!(key.open(other), None);
        }
    }
}
