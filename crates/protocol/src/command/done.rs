//! DONE, ours: the worker has handled events of these clients. The epoch stands in the field for the
//! connection, the [`EventCounts`] in the body.

use bytes::BytesMut;

use super::event_counts::encode_entry;
use super::{Command, EventCounts};
use crate::{Frame, code};

/// How many clients a frame of [`encode_done`] names at most.
const CLIENTS: usize = 64;

#[inline]
pub(super) fn decode(epoch: u32, body: &[u8]) -> Command {
    Command::Done { epoch, counts: EventCounts::read(body) }
}

pub(super) fn encode(epoch: u32, counts: &EventCounts) -> Frame {
    Frame { cmd: code::DONE, connection_id: epoch, body: counts.to_bytes(), ..Frame::default() }
}

/// Appends [`Command::Done`] for connections, and how many events of each, without memory of its own: a
/// worker says it all the time. Several frames where there are many; none where there is nothing.
pub fn encode_done(epoch: u32, counts: &[(u32, u32)], out: &mut BytesMut) {
    let frame = Frame { cmd: code::DONE, connection_id: epoch, ..Frame::default() };
    for counts in counts.chunks(CLIENTS) {
        let mut body = [0; 8 * CLIENTS];
        for (entry, count) in body.as_chunks_mut::<8>().0.iter_mut().zip(counts) {
            *entry = encode_entry(*count);
        }
        frame.encode_with(out, &[], &body[..8 * counts.len()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MAX_FRAME_LEN;

    #[test]
    fn what_is_encoded_in_place_is_the_command() {
        let (mut in_place, mut whole) = (BytesMut::new(), BytesMut::new());
        let counts = vec![(1, 2), (u32::MAX, 1)];
        encode_done(7, &counts, &mut in_place);
        Command::Done { epoch: 7, counts: EventCounts(counts) }.encode(&mut whole);
        assert_eq!(in_place, whole);
    }

    #[test]
    fn many_clients_take_several_frames_in_their_order() {
        let counts: Vec<(u32, u32)> = (0..150).map(|client| (client, 1)).collect();
        let (mut out, mut read) = (BytesMut::new(), Vec::new());
        encode_done(7, &counts, &mut out);
        while let Some(frame) = Frame::parse(&mut out, MAX_FRAME_LEN).unwrap() {
            let Command::Done { epoch: 7, counts } = Command::decode(frame).unwrap() else { panic!() };
            read.extend(counts.0);
        }
        assert_eq!(read, counts);
        encode_done(7, &[], &mut out);
        assert!(out.is_empty());
    }
}
