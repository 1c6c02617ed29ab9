//! RETURN, ours: the worker gives back events that it has not finished, the last of each client. The
//! epoch stands in the field for the connection, the [`EventCounts`] in the body.
//!
//! [`FLAG_REDELIVERED`] says that the first event of each client may have been handled in part. A gateway of an older
//! version does not look at it, and gives that event without the mark.

use super::{Command, EventCounts};
use crate::frame::FLAG_REDELIVERED;
use crate::{Frame, code};

pub(super) fn decode(epoch: u32, flag: u8, body: &[u8]) -> Command {
    let is_begun = flag & FLAG_REDELIVERED != 0;
    Command::Return { epoch, counts: EventCounts::read(body), is_begun }
}

pub(super) fn encode(epoch: u32, counts: &EventCounts, is_begun: bool) -> Frame {
    let mut frame =
        Frame { cmd: code::RETURN, connection_id: epoch, body: counts.to_bytes(), ..Frame::default() };
    frame.flag |= if is_begun { FLAG_REDELIVERED } else { 0 };
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_flag_says_that_the_first_event_was_begun() {
        let counts = EventCounts(vec![(3, 2), (4, 1)]);
        for is_begun in [false, true] {
            let frame = encode(7, &counts, is_begun);
            assert_eq!(frame, Frame { flag: frame.flag, ..encode(7, &counts, false) });
            let command = Command::Return { epoch: 7, counts: counts.clone(), is_begun };
            assert_eq!(Command::decode(frame).unwrap(), command);
        }
    }
}
