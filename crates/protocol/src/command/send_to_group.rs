//! SEND_TO_GROUP: sends a message, the body, to every member of some groups. Ext is JSON,
//! `{"group":["a"],"exclude":{"3":3}}`; `exclude`, null for none, has connections that do not get it.

use bytes::Bytes;
use serde_json::{Value, json};

use super::{Command, CommandError, Payload, read_json};
use crate::{Frame, code, json as lists};

#[inline]
pub(super) fn decode(frame: &mut Frame) -> Result<Command, CommandError> {
    let ext = read_json(frame.cmd, &frame.ext)?;
    let groups = ext.get("group").ok_or(CommandError::Missing { cmd: frame.cmd, what: "group" })?;
    let except = ext.get("exclude").map(lists::set_keys).unwrap_or_default();
    Ok(Command::SendToGroup { groups: lists::names(groups), except, message: Payload::take(frame) })
}

pub(super) fn encode(groups: &[Bytes], except: &[u32], message: Payload) -> Frame {
    let except = if except.is_empty() { Value::Null } else { lists::id_map(except) };
    let ext = json!({ "group": lists::name_list(groups), "exclude": except }).to_string().into();
    let mut frame = Frame { cmd: code::SEND_TO_GROUP, ext, ..Frame::default() };
    message.fill(&mut frame);
    frame
}
