//! SEND_TO_ALL: sends a message, the body, to many clients of the gateway. Ext is empty for all of
//! them, or is JSON: `{"connections":{"3":3}}` for these, `{"exclude":{"3":3}}` for all but these.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Command, CommandError, Payload, read_json};
use crate::{Frame, code, json as lists};

/// The clients that a broadcast reaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Audience {
    /// Every client of the gateway.
    Everyone,
    /// These connections.
    Only(Vec<u32>),
    /// Every client but these connections.
    Except(Vec<u32>),
}

#[inline]
pub(super) fn decode(frame: &mut Frame) -> Result<Command, CommandError> {
    let to =
        if frame.ext.is_empty() { Audience::Everyone } else { audience(&read_json(frame.cmd, &frame.ext)?) };
    Ok(Command::SendToAll { to, message: Payload::take(frame) })
}

/// Reads ext as PHP does: the values of `connections`, or else the keys of `exclude`.
fn audience(ext: &Value) -> Audience {
    if let Some(connections) = ext.get("connections").filter(|c| !c.is_null()) {
        Audience::Only(lists::connection_ids(connections))
    } else {
        match ext.get("exclude").map(lists::set_keys) {
            Some(ids) if !ids.is_empty() => Audience::Except(ids),
            _ => Audience::Everyone,
        }
    }
}

#[inline]
pub(super) fn encode(to: Audience, message: Payload) -> Frame {
    let ext = match to {
        Audience::Everyone => Bytes::new(),
        Audience::Only(ids) => json!({ "connections": lists::id_map(&ids) }).to_string().into(),
        Audience::Except(ids) => json!({ "exclude": lists::id_map(&ids) }).to_string().into(),
    };
    let mut frame = Frame { cmd: code::SEND_TO_ALL, ext, ..Frame::default() };
    message.fill(&mut frame);
    frame
}
