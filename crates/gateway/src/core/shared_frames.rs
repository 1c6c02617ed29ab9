//! The frames of one message for many clients of a shard.
//!
//! A queued frame is a counted reference to bytes that all its clients share. Two things make that cheap:
//!
//! - **Joining.** Where a message finds the frame of the message before it at the end of an outbox, the shard makes one
//!   frame of both, once, and puts it in the place of the first. So broadcasts that wait together are written from one
//!   buffer, and a client needs no memory for a second frame.
//! - **Counting apart.** Where several shards count references to the same bytes at the same time, the cache line of
//!   the count goes from core to core with each client. A shard of several counts at a copy of its own.
//!
//! [`Shard::send_to_many`](super::Shard) makes one for each message, and `send_queue` asks it for each client.

use bytes::Bytes;

use super::listener_policy::ListenerPolicy;
use super::outgoing::{Counted, Encoding, Outgoing};
use super::websocket::compression::Compression;

/// The longest frame that is made of two, and the longest message that a shard copies, in bytes. To write more costs far
/// more than all of this.
const MAX_COPY: usize = 4 * 1024;

/// The fewest clients for which a shard copies a message.
const COPY_FROM: usize = 16;

/// The frame that the last message for many has left at the end of outboxes; empty if there is none to join with.
#[derive(Debug, Default)]
pub(super) struct LastShared(Bytes);

/// The frames of one message for clients of one shard.
#[derive(Debug)]
pub(super) struct SharedFrames<'m> {
    message: &'m Outgoing,
    /// The settings of the listener of the last client, what that has agreed to, and the encoding for such clients.
    encoding: Option<(*const ListenerPolicy, Compression, Encoding<&'m Bytes>)>,
    before: Bytes,
    /// An encoding of the message, and the frame that `before` and it have become.
    joined: Option<(&'m Bytes, Bytes)>,
    /// The shard is one of several, and there are enough clients.
    copies: bool,
    /// The first encoding that was queued by itself, and what is queued for it.
    alone: Option<(&'m Bytes, Bytes)>,
}

impl<'m> SharedFrames<'m> {
    /// The frames for so many clients of one of `shards` shards, behind those of the last message.
    pub(super) fn new(message: &'m Outgoing, last: &mut LastShared, shards: usize, clients: usize) -> Self {
        let before = std::mem::take(&mut last.0);
        let copies = shards > 1 && clients >= COPY_FROM;
        Self { message, encoding: None, before, joined: None, copies, alone: None }
    }

    /// Returns the encoding for a client of a listener with these settings that has agreed to this.
    #[inline]
    pub(super) fn encoding(
        &mut self,
        policy: &ListenerPolicy,
        compression: Compression,
    ) -> Encoding<&'m Bytes> {
        match self.encoding {
            // The settings are those of an open listener, and stay where they are.
            Some((of, agreed, encoding)) if std::ptr::eq(of, policy) && agreed == compression => encoding,
            _ => {
                let encoding = policy.encode(self.message, compression);
                self.encoding = Some((policy, compression, encoding));
                encoding
            }
        }
    }

    /// Returns the encoding for such a client that counts its messages; `None` where it cannot get this one.
    pub(super) fn counted(
        &mut self,
        policy: &ListenerPolicy,
        compression: Compression,
    ) -> Option<Counted<&'m Bytes>> {
        if !self.message.is_counted_as_it_is() {
            return policy.encode_counted(self.message, compression);
        }
        let sent = self.encoding(policy, compression);
        let kept = match sent.compressed {
            Some(_) => policy.encode(self.message, Compression::Off).frame,
            None => sent.frame,
        };
        Some(Counted { kept, sent })
    }

    /// Returns a reference to an encoding of the message, or to the shard's copy of it.
    #[inline]
    pub(super) fn alone(&mut self, encoding: &'m Bytes) -> Bytes {
        match &self.alone {
            Some((of, frame)) if std::ptr::eq(*of, encoding) => frame.clone(),
            // Clients of listeners of another kind, or that compress otherwise: their frames are not copied.
            Some(_) => encoding.clone(),
            None => self.first_alone(encoding),
        }
    }

    fn first_alone(&mut self, encoding: &'m Bytes) -> Bytes {
        let is_copied = self.copies && encoding.len() <= MAX_COPY;
        let frame = if is_copied { Bytes::copy_from_slice(encoding) } else { encoding.clone() };
        self.alone = Some((encoding, frame.clone()));
        frame
    }

    /// Returns the frame that `last`, the last one of an outbox, and an encoding of the message become; `None` where
    /// they are not joined, as `last` is not that of the message before.
    #[inline]
    pub(super) fn joined(&mut self, last: &Bytes, encoding: &'m Bytes) -> Option<Bytes> {
        // Both are alive: the same place means the same bytes.
        if last.as_ptr() != self.before.as_ptr() || last.len() != self.before.len() {
            return None;
        }
        match &self.joined {
            Some((of, joined)) => std::ptr::eq(*of, encoding).then(|| joined.clone()),
            None => self.join(encoding),
        }
    }

    fn join(&mut self, encoding: &'m Bytes) -> Option<Bytes> {
        if self.before.len() + encoding.len() > MAX_COPY {
            return None;
        }
        let joined = Bytes::from([&self.before[..], encoding].concat());
        self.joined = Some((encoding, joined.clone()));
        Some(joined)
    }

    /// Keeps the frame that the next message is joined with.
    pub(super) fn keep(self, last: &mut LastShared) {
        let frame = self.joined.or(self.alone).map(|(_, frame)| frame);
        last.0 = frame.filter(|frame| frame.len() < MAX_COPY).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use gatewayworker_protocol::Payload;

    use super::*;

    fn message(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    /// Frames of a message whose own encodings are not used.
    fn frames<'m>(last: &mut LastShared, shards: usize, clients: usize) -> SharedFrames<'m> {
        static MESSAGE: LazyLock<Outgoing> = LazyLock::new(|| Outgoing::new(Payload::plain("")));
        SharedFrames::new(&MESSAGE, last, shards, clients)
    }

    #[test]
    fn a_frame_is_joined_once_for_all_clients_that_have_the_one_before() {
        let (mut last, [a, b, c]) = (LastShared::default(), ["a", "b", "c"].map(message));
        let mut now = frames(&mut last, 1, 2);
        assert_eq!(now.joined(&message("x"), &a), None, "there is none before");
        let queued = now.alone(&a);
        now.keep(&mut last);
        let mut now = frames(&mut last, 1, 2);
        let both = [(); 2].map(|()| now.joined(&queued, &b).unwrap());
        assert_eq!((&both[0][..], both[0].as_ptr()), (&b"ab"[..], both[1].as_ptr()));
        assert_eq!(now.joined(&message("x"), &b), None, "it has another frame");
        assert_eq!(now.joined(&queued, &c), None, "it needs another encoding");
        now.keep(&mut last);
        assert_eq!(frames(&mut last, 1, 2).joined(&both[0], &c).unwrap(), "abc");
    }

    #[test]
    fn long_frames_are_not_joined() {
        let mut last = LastShared::default();
        for (first, second) in [(MAX_COPY - 1, 2), (MAX_COPY + 1, 1)] {
            let [first, second] = [first, second].map(|len| Bytes::from(vec![b'x'; len]));
            let mut now = frames(&mut last, 1, 1);
            let queued = now.alone(&first);
            now.keep(&mut last);
            assert_eq!(frames(&mut last, 1, 1).joined(&queued, &second), None);
        }
    }

    #[test]
    fn a_shard_of_several_counts_at_one_copy_of_a_short_message() {
        let mut last = LastShared::default();
        let (short, long) = (Bytes::from(vec![b'x'; MAX_COPY]), Bytes::from(vec![b'x'; MAX_COPY + 1]));
        for (shards, clients, encoding, is_copied) in [
            (1, 100, &short, false),
            (2, COPY_FROM - 1, &short, false),
            (2, 100, &short, true),
            (2, 100, &long, false),
        ] {
            let mut now = frames(&mut last, shards, clients);
            let queued = [(); 2].map(|()| now.alone(encoding));
            assert_eq!(
                queued[0].as_ptr() != encoding.as_ptr(),
                is_copied,
                "{shards} shards, {clients} clients"
            );
            assert_eq!(queued[0].as_ptr(), queued[1].as_ptr());
        }
    }
}
