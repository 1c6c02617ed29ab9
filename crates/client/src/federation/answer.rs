//! The answers of one cluster's gateways, as bytes for another cluster.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::reading::{read_address, write_address};
use crate::Unreached;
use crate::core::Outcome;

const ANSWERED: u8 = 0;

/// The reasons, with their numbers on the wire.
const REASONS: [(u8, Unreached); 6] = [
    (1, Unreached::NotKnown),
    (2, Unreached::NotConnected),
    (3, Unreached::Overloaded),
    (4, Unreached::TimedOut),
    (5, Unreached::Lost),
    (6, Unreached::BadAnswer),
];

pub(crate) fn encode_answers(outcomes: &[Outcome]) -> Bytes {
    let mut out = BytesMut::new();
    for (gateway, outcome) in outcomes {
        write_address(*gateway, &mut out);
        match outcome {
            Ok(answer) => {
                out.put_u8(ANSWERED);
                out.put_u32(answer.len() as u32);
                out.extend_from_slice(answer);
            }
            Err(why) => {
                let number = REASONS.iter().find(|(_, reason)| reason == why);
                out.put_u8(number.map_or(u8::MAX, |(number, _)| *number));
            }
        }
    }
    out.freeze()
}

/// Reads the answers of a cluster's gateways; `None` if the bytes are none.
pub(crate) fn decode_answers(mut bytes: Bytes) -> Option<Vec<Outcome>> {
    let mut outcomes = Vec::new();
    while bytes.has_remaining() {
        let gateway = read_address(&mut bytes)?;
        let outcome = match bytes.try_get_u8().ok()? {
            ANSWERED => {
                let len = bytes.try_get_u32().ok()? as usize;
                Ok((len <= bytes.len()).then(|| bytes.split_to(len))?)
            }
            number => {
                // A reason of a later version is one that this version cannot name.
                let reason = REASONS.iter().find(|(known, _)| *known == number);
                Err(reason.map_or(Unreached::BadAnswer, |(_, reason)| *reason))
            }
        };
        outcomes.push((gateway, outcome));
    }
    Some(outcomes)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddrV4;

    use super::*;

    #[test]
    fn answers_arrive_as_they_were() {
        let gateway = |port| SocketAddrV4::new([10, 0, 0, 1].into(), port);
        let mut outcomes =
            vec![(gateway(1), Ok(Bytes::from_static(b"i:3;"))), (gateway(2), Ok(Bytes::new()))];
        outcomes.extend(REASONS.iter().map(|(number, why)| (gateway(10 + u16::from(*number)), Err(*why))));
        let bytes = encode_answers(&outcomes);
        assert_eq!(decode_answers(bytes.clone()), Some(outcomes));
        assert_eq!(decode_answers(Bytes::new()), Some(vec![]));
        assert_eq!(decode_answers(bytes.slice(..bytes.len() - 3)), None);
    }
}
