//! [`NamesUpdate`]: what a cluster says of its names, as bytes.
//!
//! | bytes | |
//! |---|---|
//! | 8 | number of changes, this one included |
//! | 1 | whether the summary is complete |
//! | 1 | kind of the step |
//! | … | by kind: [`Step`]; a gateway is 6 bytes, a name 8 |

use std::net::{Ipv4Addr, SocketAddrV4};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use gatewayworker_protocol::interest::Name;

const ALIVE: u8 = 1;
const NAMES: u8 = 2;
const PART: u8 = 3;
const GONE: u8 = 4;
const SNAPSHOT: u8 = 5;

/// What a cluster says of its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NamesUpdate {
    /// The announcing process counts its changes. A gap is a change that was lost.
    pub(crate) number: u64,
    /// What is in none of the filters has no member. Where some gateway does not say what it has, the cluster may have everything.
    pub(crate) is_complete: bool,
    /// What is new.
    pub(crate) step: Step,
}

/// What is new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing: the announcing worker is there. It does not count as a change.
    Alive,
    /// Gateways have these names, too.
    Names(Vec<(SocketAddrV4, Vec<Name>)>),
    /// A part of another filter of a gateway. The last one completes it.
    Part(FilterPart),
    /// These gateways are gone, with their names.
    Gone(Vec<SocketAddrV4>),
    /// A part of everything, for those that do not know it. It does not count as a change.
    Snapshot {
        /// So many gateways have a filter in the snapshot.
        gateways: u16,
        /// The part.
        part: FilterPart,
    },
}

/// A part of a gateway's filter. Those of one filter follow each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FilterPart {
    pub(crate) gateway: SocketAddrV4,
    /// The bytes of the whole filter.
    pub(crate) len: u32,
    /// Where this part begins.
    pub(crate) offset: u32,
    pub(crate) bits: Bytes,
}

impl Step {
    /// Whether it has a number of its own.
    pub(crate) fn is_change(&self) -> bool {
        matches!(self, Self::Names(_) | Self::Part(_) | Self::Gone(_))
    }
}

impl NamesUpdate {
    /// About how many bytes it has.
    pub(crate) fn capacity(&self) -> usize {
        match &self.step {
            Step::Alive => 0,
            Step::Names(all) => all.iter().map(|(_, names)| 8 + 8 * names.len()).sum(),
            Step::Part(part) | Step::Snapshot { part, .. } => part.bits.len(),
            Step::Gone(gateways) => 6 * gateways.len(),
        }
    }

    pub(crate) fn encode(&self, out: &mut BytesMut) {
        out.put_u64(self.number);
        out.put_u8(self.is_complete.into());
        match &self.step {
            Step::Alive => out.put_u8(ALIVE),
            Step::Names(all) => {
                out.put_u8(NAMES);
                for (gateway, names) in all {
                    put_gateway(*gateway, out);
                    out.put_u16(names.len().try_into().unwrap_or(u16::MAX));
                    names.iter().take(u16::MAX.into()).for_each(|name| out.put_u64(name.bits()));
                }
            }
            Step::Part(part) => {
                out.put_u8(PART);
                part.encode(out);
            }
            Step::Gone(gateways) => {
                out.put_u8(GONE);
                gateways.iter().for_each(|gateway| put_gateway(*gateway, out));
            }
            Step::Snapshot { gateways, part } => {
                out.put_u8(SNAPSHOT);
                out.put_u16(*gateways);
                part.encode(out);
            }
        }
    }

    /// Reads an update; `None` if the bytes are none.
    pub(crate) fn decode(mut bytes: Bytes) -> Option<Self> {
        let number = bytes.try_get_u64().ok()?;
        let is_complete = bytes.try_get_u8().ok()? != 0;
        let step = match bytes.try_get_u8().ok()? {
            ALIVE => Step::Alive,
            NAMES => {
                let mut all = Vec::new();
                while bytes.has_remaining() {
                    let gateway = take_gateway(&mut bytes)?;
                    let len = 8 * usize::from(bytes.try_get_u16().ok()?);
                    let names = (len <= bytes.len()).then(|| bytes.split_to(len))?;
                    all.push((gateway, take_names(&names)?));
                }
                Step::Names(all)
            }
            PART => Step::Part(FilterPart::decode(bytes)?),
            GONE => {
                let mut gateways = Vec::new();
                while bytes.has_remaining() {
                    gateways.push(take_gateway(&mut bytes)?);
                }
                Step::Gone(gateways)
            }
            SNAPSHOT => {
                let gateways = bytes.try_get_u16().ok()?;
                Step::Snapshot { gateways, part: FilterPart::decode(bytes)? }
            }
            _ => return None,
        };
        Some(Self { number, is_complete, step })
    }
}

impl FilterPart {
    fn encode(&self, out: &mut BytesMut) {
        put_gateway(self.gateway, out);
        out.put_u32(self.len);
        out.put_u32(self.offset);
        out.extend_from_slice(&self.bits);
    }

    fn decode(mut bytes: Bytes) -> Option<Self> {
        let gateway = take_gateway(&mut bytes)?;
        let (len, offset) = (bytes.try_get_u32().ok()?, bytes.try_get_u32().ok()?);
        Some(Self { gateway, len, offset, bits: bytes })
    }
}

/// Reads names; `None` if bytes are left over.
fn take_names(bytes: &[u8]) -> Option<Vec<Name>> {
    let (names, rest) = bytes.as_chunks::<8>();
    rest.is_empty().then(|| names.iter().map(|name| Name::from_bits(u64::from_be_bytes(*name))).collect())
}

fn put_gateway(gateway: SocketAddrV4, out: &mut BytesMut) {
    out.put_u32((*gateway.ip()).into());
    out.put_u16(gateway.port());
}

fn take_gateway(bytes: &mut Bytes) -> Option<SocketAddrV4> {
    let ip = Ipv4Addr::from(bytes.try_get_u32().ok()?);
    Some(SocketAddrV4::new(ip, bytes.try_get_u16().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_arrives_as_it_was_and_a_part_of_one_never_panics() {
        let gateway = SocketAddrV4::new([10, 0, 0, 1].into(), 2300);
        let names = vec![Name::group(b"room"), Name::uid(b"7")];
        let part = FilterPart { gateway, len: 4096, offset: 64, bits: Bytes::from_static(&[7; 64]) };
        for step in [
            Step::Alive,
            Step::Names(vec![(gateway, names.clone()), (gateway, vec![])]),
            Step::Part(part.clone()),
            Step::Gone(vec![gateway, gateway]),
            Step::Snapshot { gateways: 9, part },
        ] {
            let update = NamesUpdate { number: 3, is_complete: true, step };
            let mut bytes = BytesMut::new();
            update.encode(&mut bytes);
            let bytes = bytes.freeze();
            for len in 0..bytes.len() {
                assert_ne!(NamesUpdate::decode(bytes.slice(..len)), Some(update.clone()), "{len}");
            }
            assert_eq!(NamesUpdate::decode(bytes), Some(update));
        }
    }
}
