//! [`Envelope`]: what stands around everything that is said over NATS, and its signature.
//!
//! Bytes only. Numbers are big-endian:
//!
//! | bytes | |
//! |---|---|
//! | 1 | version, 1 |
//! | 1 | kind |
//! | 8 | the wall's time, in ms since 1970 |
//! | 8 | the sending process |
//! | 8 | number: the process counts all that it sends |
//! | 1 + n | the name of the sender's cluster |
//! | … | by kind: [`Content`] |
//! | 32 | HMAC-SHA256 over all bytes before |

use std::net::{Ipv4Addr, SocketAddrV4};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use gatewayworker_client::ClusterName;
use gatewayworker_client::federation::ListedGateway;
use ring::hmac;

use super::bundle::Bundle;
use super::clusters::Presence;
use super::names::NamesUpdate;
use super::partitions::Partitions;
use super::slots::{Slot, Slots};
use super::workers::Hello;

const VERSION: u8 = 1;
const SEND: u8 = 1;
const QUESTION: u8 = 2;
const ANSWER: u8 = 3;
const WORKER: u8 = 4;
const CLUSTER: u8 = 5;
const BUNDLE: u8 = 6;
const NAMES: u8 = 16;
const NAMES_WANTED: u8 = 17;

const SIGNATURE: usize = 32;

/// The key with which clusters sign what they say.
#[derive(Debug, Clone)]
pub(crate) struct Key(hmac::Key);

/// Why a message cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OpenError {
    /// It is not signed with the key.
    Unsigned,
    /// It is signed, and of another version or of none.
    Unreadable,
}

/// Something that a process says over NATS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Envelope {
    /// When, in ms since 1970.
    pub(crate) unix_ms: u64,
    /// The process.
    pub(crate) process: u64,
    /// How many it had said.
    pub(crate) number: u64,
    /// Its cluster.
    pub(crate) cluster: ClusterName,
    /// What it says.
    pub(crate) content: Content,
}

/// What is said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// A call.
    Send(SendContent),
    /// A question.
    Question {
        /// Where the answer goes.
        reply: String,
        /// The asker waits so long, in ms.
        within_ms: u32,
        /// The question.
        question: Bytes,
    },
    /// A part of an answer.
    Answer {
        /// The process that has asked.
        asker: u64,
        /// The number of its question.
        question: u64,
        /// Which part this is.
        part: u16,
        /// How many there are.
        parts: u16,
        /// The part.
        answer: Bytes,
    },
    /// A worker announces itself to those of its cluster.
    Worker(Hello),
    /// A cluster is announced.
    Cluster(Presence),
    /// Calls over JetStream.
    Bundle(Bundle),
    /// A cluster says which names it has.
    Names(NamesUpdate),
    /// A cluster is to say all names that it has.
    NamesWanted,
}

/// A call for other clusters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SendContent {
    /// The only cluster that it is for; `None` for all in the slots.
    pub(crate) to: Option<ClusterName>,
    /// For slots with a cluster that the sender knows: how many calls the process had sent for them.
    pub(crate) counters: Vec<(Slot, u32)>,
    /// The call.
    pub(crate) call: Bytes,
}

impl Key {
    pub(crate) fn new(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The key for messages below a prefix: what is said there is not signed for another.
    pub(crate) fn for_prefix(&self, prefix: &str) -> Self {
        Self::new(hmac::sign(&self.0, prefix.as_bytes()).as_ref())
    }

    /// Signs a message.
    pub(crate) fn seal(&self, envelope: &Envelope) -> Bytes {
        let mut out = BytesMut::with_capacity(envelope.content.capacity());
        envelope.encode(&mut out);
        let signature = hmac::sign(&self.0, &out);
        out.extend_from_slice(signature.as_ref());
        out.freeze()
    }

    /// Reads a message.
    ///
    /// # Errors
    /// When it is not signed with this key, or cannot be read.
    pub(crate) fn open(&self, mut message: Bytes) -> Result<Envelope, OpenError> {
        let signed = message.len().checked_sub(SIGNATURE).ok_or(OpenError::Unsigned)?;
        let signature = message.split_off(signed);
        hmac::verify(&self.0, &message, &signature).map_err(|_| OpenError::Unsigned)?;
        Envelope::decode(message).ok_or(OpenError::Unreadable)
    }
}

impl Content {
    fn kind(&self) -> u8 {
        match self {
            Self::Send(_) => SEND,
            Self::Question { .. } => QUESTION,
            Self::Answer { .. } => ANSWER,
            Self::Worker(_) => WORKER,
            Self::Cluster(_) => CLUSTER,
            Self::Bundle(_) => BUNDLE,
            Self::Names(_) => NAMES,
            Self::NamesWanted => NAMES_WANTED,
        }
    }

    fn capacity(&self) -> usize {
        256 + match self {
            Self::Send(send) => send.call.len(),
            Self::Question { question, .. } => question.len(),
            Self::Answer { answer, .. } => answer.len(),
            Self::Worker(_) | Self::NamesWanted => 0,
            Self::Names(update) => update.capacity(),
            Self::Cluster(presence) => presence.gateways.len() * 14,
            Self::Bundle(bundle) => bundle.capacity(),
        }
    }
}

impl SendContent {
    /// The most bytes that a message has beside the call.
    pub(crate) const OVERHEAD: usize = 512;
}

impl Envelope {
    fn encode(&self, out: &mut BytesMut) {
        out.put_u8(VERSION);
        out.put_u8(self.content.kind());
        out.put_u64(self.unix_ms);
        out.put_u64(self.process);
        out.put_u64(self.number);
        put_text(self.cluster.as_str(), out);
        match &self.content {
            Content::Send(SendContent { to, counters, call }) => {
                put_text(to.as_ref().map_or("", ClusterName::as_str), out);
                let slots = counters.iter().fold(Slots::NONE, |slots, (slot, _)| slots.with(*slot));
                out.put_u32(slots.bits());
                counters.iter().for_each(|(_, counter)| out.put_u32(*counter));
                out.extend_from_slice(call);
            }
            Content::Question { reply, within_ms, question } => {
                put_text(reply, out);
                out.put_u32(*within_ms);
                out.extend_from_slice(question);
            }
            Content::Answer { asker, question, part, parts, answer } => {
                out.put_u64(*asker);
                out.put_u64(*question);
                out.put_u16(*part);
                out.put_u16(*parts);
                out.extend_from_slice(answer);
            }
            Content::Worker(Hello { holds, is_leaving }) => {
                out.put_u16(holds.bits());
                out.put_u8((*is_leaving).into());
            }
            Content::Cluster(Presence { gateways, is_leaving }) => {
                out.put_u8((*is_leaving).into());
                for gateway in gateways {
                    out.put_u32((*gateway.address.ip()).into());
                    out.put_u16(gateway.address.port());
                    // No gateway has 0: it stands for one that has not said its instance.
                    out.put_u64(gateway.instance.unwrap_or(0));
                }
            }
            Content::Bundle(bundle) => bundle.encode(out),
            Content::Names(update) => update.encode(out),
            Content::NamesWanted => {}
        }
    }

    fn decode(mut bytes: Bytes) -> Option<Self> {
        if bytes.try_get_u8().ok()? != VERSION {
            return None;
        }
        let kind = bytes.try_get_u8().ok()?;
        let unix_ms = bytes.try_get_u64().ok()?;
        let process = bytes.try_get_u64().ok()?;
        let number = bytes.try_get_u64().ok()?;
        let cluster = take_text(&mut bytes)?.parse().ok()?;
        let content = match kind {
            SEND => {
                let to = match take_text(&mut bytes)?.as_str() {
                    "" => None,
                    name => Some(name.parse().ok()?),
                };
                let slots = Slots::from_bits(bytes.try_get_u32().ok()?);
                let counters = slots
                    .iter()
                    .map(|slot| Some((slot, bytes.try_get_u32().ok()?)))
                    .collect::<Option<_>>()?;
                Content::Send(SendContent { to, counters, call: bytes })
            }
            QUESTION => {
                let reply = take_text(&mut bytes)?;
                Content::Question { reply, within_ms: bytes.try_get_u32().ok()?, question: bytes }
            }
            ANSWER => Content::Answer {
                asker: bytes.try_get_u64().ok()?,
                question: bytes.try_get_u64().ok()?,
                part: bytes.try_get_u16().ok()?,
                parts: bytes.try_get_u16().ok()?,
                answer: bytes,
            },
            WORKER => {
                let holds = Partitions::from_bits(bytes.try_get_u16().ok()?);
                Content::Worker(Hello { holds, is_leaving: bytes.try_get_u8().ok()? != 0 })
            }
            CLUSTER => {
                let is_leaving = bytes.try_get_u8().ok()? != 0;
                let mut gateways = Vec::new();
                while bytes.has_remaining() {
                    let ip = Ipv4Addr::from(bytes.try_get_u32().ok()?);
                    let address = SocketAddrV4::new(ip, bytes.try_get_u16().ok()?);
                    let instance = Some(bytes.try_get_u64().ok()?).filter(|instance| *instance != 0);
                    gateways.push(ListedGateway { address, instance });
                }
                Content::Cluster(Presence { gateways, is_leaving })
            }
            BUNDLE => Content::Bundle(Bundle::decode(bytes)?),
            NAMES => Content::Names(NamesUpdate::decode(bytes)?),
            NAMES_WANTED => Content::NamesWanted,
            _ => return None,
        };
        Some(Self { unix_ms, process, number, cluster, content })
    }
}

/// Texts in messages are names and subjects, which are short.
pub(super) fn put_text(text: &str, out: &mut BytesMut) {
    let bytes = &text.as_bytes()[..text.len().min(u8::MAX.into())];
    out.put_u8(bytes.len() as u8);
    out.extend_from_slice(bytes);
}

pub(super) fn take_text(bytes: &mut Bytes) -> Option<String> {
    let len = bytes.try_get_u8().ok()?.into();
    let text = (len <= bytes.len()).then(|| bytes.split_to(len))?;
    String::from_utf8(text.into()).ok()
}

#[cfg(test)]
mod tests {
    use super::super::names::Step;
    use super::*;

    fn envelope(content: Content) -> Envelope {
        Envelope {
            unix_ms: 1_700_000_000_000,
            process: 7,
            number: 3,
            cluster: "sh-1".parse().unwrap(),
            content,
        }
    }

    fn all() -> Vec<Envelope> {
        let bj = "bj-1".parse::<ClusterName>().unwrap();
        let call = Bytes::from_static(b"a call");
        let slots = Slots::of(&bj).iter().map(|slot| (slot, 9)).collect();
        [
            Content::Send(SendContent { to: None, counters: vec![], call: call.clone() }),
            Content::Send(SendContent { to: Some(bj), counters: slots, call: call.clone() }),
            Content::Question { reply: "a.b".into(), within_ms: 5_000, question: call.clone() },
            Content::Answer { asker: 1, question: 2, part: 3, parts: 4, answer: call },
            Content::Names(NamesUpdate { number: 1, is_complete: true, step: Step::Alive }),
            Content::NamesWanted,
            Content::Worker(Hello { holds: Partitions::from_bits(0x8001), is_leaving: true }),
            Content::Cluster(Presence {
                gateways: [Some(7), None]
                    .map(|instance| ListedGateway { address: "10.0.0.1:2300".parse().unwrap(), instance })
                    .into(),
                is_leaving: false,
            }),
            Content::Bundle(Bundle { counters: vec![], calls: vec![] }),
        ]
        .map(envelope)
        .into()
    }

    #[test]
    fn a_message_arrives_as_it_was() {
        let key = Key::new(b"a key of sixteen");
        for envelope in all() {
            assert_eq!(key.open(key.seal(&envelope)), Ok(envelope));
        }
    }

    #[test]
    fn what_is_not_signed_with_the_key_is_no_message() {
        let (key, other) = (Key::new(b"a key of sixteen"), Key::new(b"another sixteen."));
        let (one, two) = (key.for_prefix("one"), key.for_prefix("two"));
        let presence = envelope(Content::Cluster(Presence::default()));
        assert_eq!(one.open(one.seal(&presence)), Ok(presence.clone()));
        assert_eq!(two.open(one.seal(&presence)), Err(OpenError::Unsigned), "of another prefix");
        for envelope in all() {
            let sealed = key.seal(&envelope);
            assert_eq!(other.open(sealed.clone()), Err(OpenError::Unsigned));
            for at in 0..sealed.len() {
                let mut forged = sealed.to_vec();
                forged[at] ^= 1;
                assert_eq!(key.open(forged.into()), Err(OpenError::Unsigned), "byte {at}");
                assert_eq!(key.open(sealed.slice(..at)), Err(OpenError::Unsigned), "{at} bytes");
            }
        }
    }

    /// A signed message of a later version, say.
    #[test]
    fn signed_bytes_that_cannot_be_read_are_no_message_and_are_told_from_unsigned_ones() {
        let key = Key::new(b"a key of sixteen");
        for envelope in all() {
            let mut bytes = BytesMut::new();
            envelope.encode(&mut bytes);
            let bytes = bytes.freeze();
            for len in 0..26 {
                assert_eq!(Envelope::decode(bytes.slice(..len)), None, "{len} bytes");
            }
            let mut later = bytes.to_vec();
            later[0] = 2;
            let signature = hmac::sign(&key.0, &later);
            later.extend_from_slice(signature.as_ref());
            assert_eq!(key.open(later.into()), Err(OpenError::Unreadable));
        }
    }

    #[test]
    fn a_send_has_room_for_everything_beside_its_call() {
        let longest = "n".repeat(32).parse::<ClusterName>().unwrap();
        let content = SendContent {
            to: Some(longest.clone()),
            counters: Slots::every().map(|slot| (slot, u32::MAX)).collect(),
            call: Bytes::new(),
        };
        let envelope = Envelope { cluster: longest, ..envelope(Content::Send(content)) };
        assert!(Key::new(b"key").seal(&envelope).len() <= SendContent::OVERHEAD);
    }
}
