//! TLS 1.3 with traffic keys that are expanded only while they are used.
//!
//! What AES-GCM makes of a key of 32 bytes, its round keys and the powers of its hash key, takes more than 500 bytes in
//! each direction: half of what an idle client's TLS would hold. So a connection holds the key itself, and its thread
//! the expanded keys of those connections that have sent or received something within the last seconds
//! ([`drop_unused_keys`]). To expand a key again takes a fraction of a microsecond.
//!
//! As with ring's own suites, what an expanded key stood in is not overwritten when it is freed; the key itself is.
//!
//! rustls takes cipher suites of others ([`provider`]); these are ring's, but for that. `certificate` configures them,
//! and the shards run [`drop_unused_keys`]. The suites of TLS 1.2 are as they were.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ring::aead::{self, Aad, LessSafeKey, UnboundKey};
use rustls::crypto::CryptoProvider;
use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, MessageDecrypter, MessageEncrypter, Nonce,
    OutboundOpaqueMessage, OutboundPlainMessage, PrefixedPayload, Tls13AeadAlgorithm,
    UnsupportedOperationError, make_tls13_aad,
};
use rustls::crypto::ring as suites;
use rustls::{
    CipherSuite, CipherSuiteCommon, ConnectionTrafficSecrets, ContentType, Error, ProtocolVersion,
    SupportedCipherSuite, Tls13CipherSuite,
};
use tokio::sync::Notify;

/// How often keys are dropped that were not used since the last time.
const INTERVAL: Duration = Duration::from_secs(5);

/// The length of an authentication tag, in bytes: of all suites of TLS 1.3.
const TAG: usize = 16;

/// Returns ring's provider, with these suites in the place of its own for TLS 1.3.
pub(super) fn provider() -> CryptoProvider {
    static SUITES: LazyLock<Vec<SupportedCipherSuite>> =
        LazyLock::new(|| suites::ALL_CIPHER_SUITES.iter().copied().map(with_expanded_on_use).collect());
    CryptoProvider { cipher_suites: SUITES.clone(), ..suites::default_provider() }
}

fn with_expanded_on_use(suite: SupportedCipherSuite) -> SupportedCipherSuite {
    let SupportedCipherSuite::Tls13(inner) = suite else { return suite };
    let algorithm = match inner.common.suite {
        CipherSuite::TLS13_AES_256_GCM_SHA384 => &aead::AES_256_GCM,
        CipherSuite::TLS13_AES_128_GCM_SHA256 => &aead::AES_128_GCM,
        // Its key is not expanded, but ring has room for one that is.
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => &aead::CHACHA20_POLY1305,
        _ => return suite,
    };
    let CipherSuiteCommon { suite, hash_provider, confidentiality_limit } = inner.common;
    // Once for each suite.
    SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite {
        common: CipherSuiteCommon { suite, hash_provider, confidentiality_limit },
        hkdf_provider: inner.hkdf_provider,
        aead_alg: Box::leak(Box::new(ExpandedOnUse { algorithm, inner })),
        quic: None,
    })))
}

/// An algorithm of ring whose keys are [`TrafficKey`]s.
struct ExpandedOnUse {
    algorithm: &'static aead::Algorithm,
    inner: &'static Tls13CipherSuite,
}

impl Tls13AeadAlgorithm for ExpandedOnUse {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        Box::new(TrafficKey::new(self.algorithm, key, iv))
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        Box::new(TrafficKey::new(self.algorithm, key, iv))
    }

    fn key_len(&self) -> usize {
        self.algorithm.key_len()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.inner.aead_alg.extract_keys(key, iv)
    }
}

/// The key of one direction of a connection.
struct TrafficKey {
    algorithm: &'static aead::Algorithm,
    key: AeadKey,
    iv: Iv,
    /// The slot where this thread had its expanded key last. Another key may have it now.
    slot: u32,
    /// Its own number in this process.
    id: u64,
}

impl TrafficKey {
    fn new(algorithm: &'static aead::Algorithm, key: AeadKey, iv: Iv) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self { algorithm, key, iv, slot: u32::MAX, id: NEXT.fetch_add(1, Ordering::Relaxed) }
    }

    /// Calls `use_key` with the expanded key.
    fn with<R>(&mut self, use_key: impl FnOnce(&LessSafeKey) -> Result<R, Error>) -> Result<R, Error> {
        EXPANDED.with_borrow_mut(|expanded| match expanded.find(self.slot, self.id) {
            Some(key) => use_key(key),
            None => {
                let key = UnboundKey::new(self.algorithm, self.key.as_ref());
                let key = key.map_err(|_| Error::General("a traffic key has a wrong length".to_owned()))?;
                let key = LessSafeKey::new(key);
                let used = use_key(&key);
                self.slot = expanded.insert(self.id, key);
                used
            }
        })
    }
}

impl Drop for TrafficKey {
    fn drop(&mut self) {
        // Where the thread ends, they are gone already.
        let _ = EXPANDED.try_with(|expanded| expanded.borrow_mut().remove(self.slot, self.id));
    }
}

// The two below do what RFC 8446 section 5.2 says, as rustls does with ring's own suites.

impl MessageEncrypter for TrafficKey {
    fn encrypt(&mut self, msg: OutboundPlainMessage<'_>, seq: u64) -> Result<OutboundOpaqueMessage, Error> {
        let len = self.encrypted_payload_len(msg.payload.len());
        let mut payload = PrefixedPayload::with_capacity(len);
        payload.extend_from_chunks(&msg.payload);
        payload.extend_from_slice(&msg.typ.to_array());
        let nonce = aead::Nonce::assume_unique_for_key(Nonce::new(&self.iv, seq).0);
        let aad = Aad::from(make_tls13_aad(len));
        self.with(|key| {
            key.seal_in_place_append_tag(nonce, aad, &mut payload).map_err(|_| Error::EncryptError)
        })?;
        Ok(OutboundOpaqueMessage::new(ContentType::ApplicationData, ProtocolVersion::TLSv1_2, payload))
    }

    fn encrypted_payload_len(&self, payload_len: usize) -> usize {
        payload_len + 1 + TAG
    }
}

impl MessageDecrypter for TrafficKey {
    fn decrypt<'a>(
        &mut self,
        mut msg: InboundOpaqueMessage<'a>,
        seq: u64,
    ) -> Result<InboundPlainMessage<'a>, Error> {
        let payload = &mut msg.payload;
        if payload.len() < TAG {
            return Err(Error::DecryptError);
        }
        let nonce = aead::Nonce::assume_unique_for_key(Nonce::new(&self.iv, seq).0);
        let aad = Aad::from(make_tls13_aad(payload.len()));
        let len = self.with(|key| {
            let opened = key.open_in_place(nonce, aad, payload).map_err(|_| Error::DecryptError)?;
            Ok(opened.len())
        })?;
        payload.truncate(len);
        msg.into_tls13_unpadded_message()
    }
}

thread_local! {
    static EXPANDED: RefCell<ExpandedKeys> = RefCell::default();
}

/// The expanded keys of a thread.
#[derive(Default)]
struct ExpandedKeys {
    slots: Vec<Option<ExpandedKey>>,
    free: Vec<u32>,
    /// Notified when there is a first one.
    first: Rc<Notify>,
}

struct ExpandedKey {
    /// The number of its [`TrafficKey`].
    id: u64,
    /// It was used since keys were dropped last.
    is_used: bool,
    key: Box<Padded>,
}

/// A key in a block of more than 640 bytes, of which rustls has one for each connection: between those, the room of keys
/// that are dropped would not go back to the system.
struct Padded {
    key: LessSafeKey,
    _padding: [u8; 112],
}

impl ExpandedKeys {
    #[inline]
    fn find(&mut self, slot: u32, id: u64) -> Option<&LessSafeKey> {
        let expanded = self.slots.get_mut(slot as usize)?.as_mut().filter(|expanded| expanded.id == id)?;
        expanded.is_used = true;
        Some(&expanded.key.key)
    }

    /// Inserts a key that was used just now, and returns its slot.
    fn insert(&mut self, id: u64, key: LessSafeKey) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            if self.slots.is_empty() {
                self.first.notify_one();
            }
            self.slots.push(None);
            self.slots.len() as u32 - 1
        });
        let key = Box::new(Padded { key, _padding: [0; 112] });
        self.slots[slot as usize] = Some(ExpandedKey { id, is_used: true, key });
        slot
    }

    fn remove(&mut self, slot: u32, id: u64) {
        if let Some(place) = self.slots.get_mut(slot as usize)
            && place.take_if(|expanded| expanded.id == id).is_some()
        {
            self.free.push(slot);
        }
    }

    /// Drops the keys that were not used since the last call.
    fn drop_unused(&mut self) {
        let mut kept = 0;
        for (slot, place) in (0..).zip(&mut self.slots) {
            if place.take_if(|expanded| !std::mem::take(&mut expanded.is_used)).is_some() {
                self.free.push(slot);
            }
            kept += usize::from(place.is_some());
        }
        if kept <= self.slots.len() / 4 {
            // A crowd has fallen silent. A key that moves is not found again: it is expanded anew, and dropped here next
            // time.
            self.slots.retain(Option::is_some);
            self.slots.shrink_to_fit();
            self.free = Vec::new();
        }
    }
}

/// Drops the keys of this thread that are not used for [`INTERVAL`], at most twice as late, as long as it is polled.
pub(crate) async fn drop_unused_keys() {
    let first = EXPANDED.with_borrow(|expanded| expanded.first.clone());
    loop {
        first.notified().await;
        while EXPANDED.with_borrow(|expanded| !expanded.slots.is_empty()) {
            tokio::time::sleep(INTERVAL).await;
            EXPANDED.with_borrow_mut(ExpandedKeys::drop_unused);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traffic_key() -> TrafficKey {
        TrafficKey::new(&aead::AES_256_GCM, AeadKey::from([7; 32]), Iv::new([1; 12]))
    }

    fn seal(key: &mut TrafficKey, seq: u64) -> Vec<u8> {
        let message = OutboundPlainMessage {
            typ: ContentType::ApplicationData,
            version: ProtocolVersion::TLSv1_2,
            payload: rustls::crypto::cipher::OutboundChunks::Single(b"hello"),
        };
        key.encrypt(message, seq).unwrap().encode()
    }

    fn expanded() -> usize {
        EXPANDED.with_borrow(|expanded| expanded.slots.iter().flatten().count())
    }

    fn drop_unused() {
        EXPANDED.with_borrow_mut(ExpandedKeys::drop_unused);
    }

    #[test]
    fn a_key_that_is_not_used_is_dropped_and_seals_the_same_afterwards() {
        let mut key = traffic_key();
        let sealed = seal(&mut key, 3);
        assert_eq!(expanded(), 1);
        drop_unused();
        assert_eq!(expanded(), 1, "it was used just now");
        drop_unused();
        assert_eq!(expanded(), 0);
        assert_eq!(seal(&mut key, 3), sealed);
    }

    #[test]
    fn a_key_does_not_use_the_slot_that_is_anothers_now() {
        let mut first = traffic_key();
        let sealed = seal(&mut first, 0);
        drop_unused();
        drop_unused();
        let mut other = TrafficKey::new(&aead::AES_256_GCM, AeadKey::from([8; 32]), Iv::new([1; 12]));
        assert_ne!(seal(&mut other, 0), sealed);
        assert_eq!(other.slot, first.slot);
        assert_eq!(seal(&mut first, 0), sealed);
        drop(other);
        assert_eq!(seal(&mut first, 0), sealed);
        drop(first);
        assert_eq!(expanded(), 0);
    }

    #[test]
    fn it_seals_as_the_suite_of_ring_does() {
        let SupportedCipherSuite::Tls13(suite) = suites::cipher_suite::TLS13_AES_256_GCM_SHA384 else {
            panic!("it is one of TLS 1.3")
        };
        let mut theirs = suite.aead_alg.encrypter(AeadKey::from([7; 32]), Iv::new([1; 12]));
        let message = OutboundPlainMessage {
            typ: ContentType::ApplicationData,
            version: ProtocolVersion::TLSv1_2,
            payload: rustls::crypto::cipher::OutboundChunks::Single(b"hello"),
        };
        assert_eq!(seal(&mut traffic_key(), 9), theirs.encrypt(message, 9).unwrap().encode());
    }
}
