//! SEND_TO_UID: sends a message, the body, to every client of some uids. Ext is a JSON list of them,
//! `["7","8"]`.

use bytes::Bytes;

use super::{Command, CommandError, Payload, read_json};
use crate::{Frame, code, json as lists};

#[inline]
pub(super) fn decode(frame: &mut Frame) -> Result<Command, CommandError> {
    let uids = lists::names(&read_json(frame.cmd, &frame.ext)?);
    Ok(Command::SendToUid { uids, message: Payload::take(frame) })
}

pub(super) fn encode(uids: &[Bytes], message: Payload) -> Frame {
    let ext = lists::name_list(uids).to_string().into();
    let mut frame = Frame { cmd: code::SEND_TO_UID, ext, ..Frame::default() };
    message.fill(&mut frame);
    frame
}
