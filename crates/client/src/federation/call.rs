//! [`ClusterCall`]: what one cluster tells another to do.

use std::net::SocketAddrV4;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use gatewayworker_protocol::{Audience, ClientId, Command, Frame};

use super::reading::{ADDRESS_LEN, read_address, read_frame, write_address};

const EVERYWHERE: u8 = 1;
const AT_GATEWAY: u8 = 2;

/// The bytes of a client's id.
const ID_LEN: usize = ADDRESS_LEN + 4;

/// What a cluster is told to do. Made by a handle in another one, and obeyed by [`OwnCluster`](super::OwnCluster).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterCall {
    /// A send to clients wherever they are: of groups, of uids, or all.
    Everywhere {
        /// The command, without anybody excepted.
        command: Command,
        /// The clients that do not get it.
        except: Vec<ClientId>,
    },
    /// A command for one gateway.
    AtGateway {
        /// Its address.
        gateway: SocketAddrV4,
        /// The command.
        command: Command,
    },
}

/// Bytes that are not a call, or a call that clusters do not make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not a call that one cluster may make to another")]
pub struct CallError;

impl ClusterCall {
    /// The call as bytes.
    pub fn encode(self) -> Bytes {
        match self {
            Self::Everywhere { command, except } => encode_everywhere(&command.into_frame(), &except),
            Self::AtGateway { gateway, command } => encode_at_gateway(gateway, &command.into_frame()),
        }
    }

    /// Reads a call.
    ///
    /// # Errors
    /// When the bytes are no call, or the call is none that a client library may make.
    pub fn decode(mut bytes: Bytes) -> Result<Self, CallError> {
        match bytes.try_get_u8() {
            Ok(EVERYWHERE) => {
                let except = read_ids(&mut bytes).ok_or(CallError)?;
                let command = read_command(bytes).filter(is_everywhere).ok_or(CallError)?;
                Ok(Self::Everywhere { command, except })
            }
            Ok(AT_GATEWAY) => {
                let gateway = read_address(&mut bytes).ok_or(CallError)?;
                let command = read_command(bytes).filter(is_at_gateway).ok_or(CallError)?;
                Ok(Self::AtGateway { gateway, command })
            }
            _ => Err(CallError),
        }
    }
}

/// The call that has this frame, without a copy of the command.
pub(crate) fn encode_everywhere(frame: &Frame, except: &[ClientId]) -> Bytes {
    let mut out = BytesMut::with_capacity(5 + except.len() * ID_LEN + frame.encoded_len());
    out.put_u8(EVERYWHERE);
    out.put_u32(except.len() as u32);
    for id in except {
        write_address(id.gateway(), &mut out);
        out.put_u32(id.connection_id());
    }
    frame.encode(&mut out);
    out.freeze()
}

/// The call that has this frame for a gateway.
pub(crate) fn encode_at_gateway(gateway: SocketAddrV4, frame: &Frame) -> Bytes {
    let mut out = BytesMut::with_capacity(1 + ADDRESS_LEN + frame.encoded_len());
    out.put_u8(AT_GATEWAY);
    write_address(gateway, &mut out);
    frame.encode(&mut out);
    out.freeze()
}

/// How long the call with this frame is.
pub(crate) fn at_gateway_len(frame: &Frame) -> usize {
    1 + ADDRESS_LEN + frame.encoded_len()
}

fn read_ids(bytes: &mut Bytes) -> Option<Vec<ClientId>> {
    let count = bytes.try_get_u32().ok()? as usize;
    // The list is in the bytes already: its length bounds what is reserved.
    if count > bytes.len() / ID_LEN {
        return None;
    }
    (0..count).map(|_| Some(ClientId::new(read_address(bytes)?, bytes.try_get_u32().ok()?))).collect()
}

fn read_command(bytes: Bytes) -> Option<Command> {
    Command::decode(read_frame(bytes)?).ok()
}

fn is_everywhere(command: &Command) -> bool {
    match command {
        Command::SendToAll { to, .. } => *to == Audience::Everyone,
        Command::SendToGroup { except, .. } => except.is_empty(),
        Command::SendToUid { .. } | Command::Ungroup(_) => true,
        _ => false,
    }
}

/// Whether it is about clients of one gateway. What a worker says of itself and of its events never comes from another
/// cluster.
fn is_at_gateway(command: &Command) -> bool {
    match command {
        Command::SendToAll { to, .. } => matches!(to, Audience::Only(_)),
        Command::SendToOne { .. }
        | Command::Kick { .. }
        | Command::Destroy(_)
        | Command::SetSession { .. }
        | Command::UpdateSession { .. }
        | Command::BindUid { .. }
        | Command::UnbindUid { .. }
        | Command::JoinGroup { .. }
        | Command::LeaveGroup { .. } => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use gatewayworker_protocol::Payload;

    use super::*;

    fn message() -> Payload {
        Payload::plain(Bytes::from_static(b"hi"))
    }

    fn gateway() -> SocketAddrV4 {
        "10.0.0.1:2300".parse().unwrap()
    }

    fn calls() -> Vec<ClusterCall> {
        let except = vec![ClientId::new(gateway(), 7), ClientId::new(gateway(), 8)];
        let group = Command::SendToGroup { groups: vec!["a".into()], except: vec![], message: message() };
        let all = Command::SendToAll { to: Audience::Everyone, message: message() };
        let one = Command::SendToOne { to: 9, message: message() };
        vec![
            ClusterCall::Everywhere { command: group, except: except.clone() },
            ClusterCall::Everywhere { command: all, except },
            ClusterCall::AtGateway { gateway: gateway(), command: one },
        ]
    }

    #[test]
    fn a_call_arrives_as_it_was() {
        for call in calls() {
            assert_eq!(ClusterCall::decode(call.clone().encode()), Ok(call));
        }
    }

    #[test]
    fn a_part_of_a_call_is_none_and_no_count_reserves_memory() {
        for call in calls() {
            let bytes = call.encode();
            for len in 0..bytes.len() {
                assert_eq!(ClusterCall::decode(bytes.slice(..len)), Err(CallError), "{len}");
            }
        }
        assert_eq!(ClusterCall::decode(Bytes::from_static(&[1, 255, 255, 255, 255, 0])), Err(CallError));
    }

    #[test]
    fn what_a_worker_says_of_itself_comes_from_no_other_cluster() {
        for command in [Command::Admit(1), Command::Ping(Bytes::new()), Command::Closed(vec![1])] {
            let call = ClusterCall::AtGateway { gateway: gateway(), command: command.clone() };
            assert_eq!(ClusterCall::decode(call.encode()), Err(CallError), "{command:?}");
        }
    }
}
