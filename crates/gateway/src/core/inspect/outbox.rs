//! What waits to be written to one client.

use gatewayworker_protocol::inspect::{
    MAX_OUTBOX_FRAMES, MAX_OUTBOX_PAYLOAD, OutboxFrame, OutboxReport, Preview,
};

use crate::core::Shard;
use crate::core::ports::Ports;
use crate::core::sent_frames::{SentFrame, sent_frames};

/// Returns what waits for a client, and what is in it where `payloads` says so; `None` where the shard has no such
/// client.
pub(crate) fn outbox<P: Ports>(shard: &Shard<P>, connection_id: u32, payloads: bool) -> Option<OutboxReport> {
    let client = shard.table().client(connection_id)?;
    let queue = &client.queue;
    let mut report = OutboxReport {
        bytes: queue.bytes() as u64,
        is_blocked: queue.is_blocked(),
        ..OutboxReport::default()
    };
    for (n, bytes) in queue.frames().enumerate() {
        let room = MAX_OUTBOX_FRAMES.saturating_sub(report.frames.len());
        if room == 0 {
            // Each is one frame, unless a worker has put several into one message.
            report.total += 1;
            continue;
        }
        let frames = match n == 0 && queue.is_begun() {
            true => vec![SentFrame::raw(bytes)],
            false => sent_frames(client.policy(), bytes),
        };
        report.total += frames.len() as u64;
        report.frames.extend(frames.iter().take(room).map(|frame| describe(frame, payloads)));
    }
    Some(report)
}

fn describe(frame: &SentFrame<'_>, payloads: bool) -> OutboxFrame {
    let SentFrame { kind, len, code, payload } = frame;
    let (kind, code) = (*kind, *code);
    let preview = if payloads { Preview::new(payload, MAX_OUTBOX_PAYLOAD) } else { Preview::default() };
    OutboxFrame { kind, bytes: *len as u64, code, preview }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use gatewayworker_protocol::Features;
    use gatewayworker_protocol::inspect::FrameKind;

    use super::*;
    use crate::core::testing;
    use crate::core::websocket::encode;

    #[test]
    fn an_outbox_shows_its_first_frames_and_the_rest_of_one_that_is_begun() {
        let (mut shard, workers) = testing::shard();
        let worker = workers.join("worker", 1000, Features::default());
        let (key, connection) = testing::client(&mut shard, 1, &worker, testing::policy());
        assert_eq!(outbox(&shard, 1, true), Some(OutboxReport::default()));
        assert_eq!(outbox(&shard, 2, true), None);
        connection.room.set(4);
        shard.send_own_frame(key, encode::message(false, b"first"));
        for n in 0..70_u8 {
            shard.send_own_frame(key, encode::message(true, &[n; 600]));
        }
        shard.send_own_frame(key, encode::close(Some(1001), "bye"));
        while shard.flush() {}
        let report = outbox(&shard, 1, true).unwrap();
        assert_eq!((report.bytes, report.total, report.is_blocked), (shard.blocked_bytes() as u64, 72, true));
        assert_eq!(report.frames.len(), MAX_OUTBOX_FRAMES);
        let rest = &report.frames[0];
        assert_eq!(
            (rest.kind, rest.bytes, rest.preview.payload.as_deref()),
            (FrameKind::Raw, 3, Some("rst"))
        );
        let next = &report.frames[1];
        assert_eq!((next.kind, next.bytes, next.preview.cut), (FrameKind::Binary, 600, true));
        assert_eq!(next.preview.payload.as_ref().map(String::len), Some(MAX_OUTBOX_PAYLOAD));
        let without = outbox(&shard, 1, false).unwrap();
        assert!(without.frames.iter().all(|frame| frame.preview == Preview::default()));
        connection.room.set(usize::MAX);
        shard.writable(key);
        assert_eq!(outbox(&shard, 1, true), Some(OutboxReport::default()));
    }

    #[test]
    fn several_frames_of_one_message_are_listed_within_the_limit() {
        let (mut shard, workers) = testing::shard();
        let worker = workers.join("worker", 1000, Features::default());
        let (key, connection) = testing::client(&mut shard, 1, &worker, testing::policy());
        connection.room.set(0);
        let both = [&encode::message(false, b"a")[..], &encode::close(Some(1000), "")].concat();
        (0..40).for_each(|_| shard.send_own_frame(key, Bytes::from(both.clone())));
        let report = outbox(&shard, 1, false).unwrap();
        assert_eq!((report.frames.len(), report.frames[1].code), (50, Some(1000)));
    }
}
