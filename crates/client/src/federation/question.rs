//! [`ClusterQuestion`]: what one cluster asks another.

use std::net::SocketAddrV4;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use gatewayworker_protocol::{Command, Question};

use super::reading::{read_address, read_frame, write_address};

const ALL: u8 = 1;
const AT_GATEWAY: u8 = 2;

/// A question about clients, for all gateways of a cluster or for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterQuestion {
    /// The gateway; `None` for all.
    pub gateway: Option<SocketAddrV4>,
    /// The question.
    pub question: Question,
}

impl ClusterQuestion {
    /// The question as bytes.
    pub fn encode(self) -> Bytes {
        let mut out = BytesMut::new();
        match self.gateway {
            None => out.put_u8(ALL),
            Some(gateway) => {
                out.put_u8(AT_GATEWAY);
                write_address(gateway, &mut out);
            }
        }
        Command::Ask(self.question).encode(&mut out);
        out.freeze()
    }

    /// Reads a question; `None` if the bytes are none that one cluster may ask another: a gateway is not asked about itself.
    pub fn decode(mut bytes: Bytes) -> Option<Self> {
        let gateway = match bytes.try_get_u8().ok()? {
            ALL => None,
            AT_GATEWAY => Some(read_address(&mut bytes)?),
            _ => return None,
        };
        match Command::decode(read_frame(bytes)?).ok()? {
            Command::Ask(Question::Inspect(_) | Question::PresenceReport(_)) => None,
            Command::Ask(question) => Some(Self { gateway, question }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_arrives_as_it_was_and_a_command_is_none() {
        for gateway in [None, Some("10.0.0.1:2300".parse().unwrap())] {
            let asked = ClusterQuestion { gateway, question: Question::ConnectionsByUid("7".into()) };
            let bytes = asked.clone().encode();
            for len in 0..bytes.len() {
                assert_eq!(ClusterQuestion::decode(bytes.slice(..len)), None, "{len}");
            }
            assert_eq!(ClusterQuestion::decode(bytes), Some(asked));
        }
        let mut command = BytesMut::from(&[ALL][..]);
        Command::Destroy(1).encode(&mut command);
        assert_eq!(ClusterQuestion::decode(command.freeze()), None);
    }
}
