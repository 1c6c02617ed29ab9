//! Traces: an operator reads along what a client sends, and what is queued for it.
//!
//! A traced client is marked (`send_queue`), with a bit of a byte that is read for each of its frames anyway: a client
//! that is not marked costs nothing more. What the shard sees of a marked client is an
//! [`Effect::Traced`](super::effects::Effect::Traced) for each trace of it, up to its close. The shell takes it to the
//! operator (`crate::trace`); nothing here waits for a reader.

use gatewayworker_protocol::CloseReason;
use gatewayworker_protocol::inspect::{Direction, FrameKind, MAX_TRACE_PAYLOAD, Preview};

use super::client::Client;
use super::effects::Effect;
use super::ports::Ports;
use super::sent_frames::{SentFrame, sent_frames};
use super::table::Key;
use super::{Close, SentClose, Shard};

/// The number of a trace, which the gateway has given to no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TraceId(pub u64);

/// What a trace has seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traced {
    /// Which trace.
    pub trace: TraceId,
    /// What it has seen.
    pub seen: Seen,
}

/// What a trace sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// A frame.
    Frame(SeenFrame),
    /// The client is closed: the trace is over.
    Closed(CloseReason),
}

/// A frame of a traced client, or one that was queued for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenFrame {
    /// Its way.
    pub direction: Direction,
    /// What it is.
    pub kind: FrameKind,
    /// The length of its payload, in bytes; of a compressed one to the client as it is on the wire.
    pub bytes: usize,
    /// The code of a close frame, where it has one.
    pub code: Option<u16>,
    /// The first bytes of its payload, where the trace shows them.
    pub preview: Preview,
}

/// The traces of a shard: a few.
#[derive(Debug, Default)]
pub(super) struct Traces(Vec<Trace>);

#[derive(Debug, Clone, Copy)]
struct Trace {
    id: TraceId,
    connection_id: u32,
    payloads: bool,
}

impl Traces {
    fn is_traced(&self, connection_id: u32) -> bool {
        self.0.iter().any(|trace| trace.connection_id == connection_id)
    }

    #[cfg(any(test, feature = "internals"))]
    pub(super) fn connection_ids(&self) -> impl Iterator<Item = u32> {
        self.0.iter().map(|trace| trace.connection_id)
    }
}

impl<P: Ports> Shard<P> {
    /// Begins to trace a client. Returns whether there is such a client.
    pub fn begin_trace(&mut self, id: TraceId, connection_id: u32, payloads: bool) -> bool {
        let Some(client) = self.table.by_id(connection_id) else { return false };
        client.queue.set_traced(true);
        self.traces.0.push(Trace { id, connection_id, payloads });
        true
    }

    /// Ends a trace, which may have ended.
    pub fn end_trace(&mut self, id: TraceId) {
        let Some(at) = self.traces.0.iter().position(|trace| trace.id == id) else { return };
        let connection_id = self.traces.0.remove(at).connection_id;
        let is_traced = self.traces.is_traced(connection_id);
        if let Some(client) = self.table.by_id(connection_id) {
            client.queue.set_traced(is_traced);
        }
    }

    /// Notes a message of a client, if it is traced.
    pub(super) fn trace_message(&mut self, key: Key, is_binary: bool, payload: &[u8]) {
        let Some(client) = self.table.get(key).filter(|client| client.queue.is_traced()) else { return };
        let kind = match (client.policy().is_websocket(), is_binary) {
            (false, _) => FrameKind::Message,
            (true, true) => FrameKind::Binary,
            (true, false) => FrameKind::Text,
        };
        self.note_frame(key.connection_id(), Direction::In, SentFrame::new(kind, None, payload));
    }

    /// Notes a ping or a pong of a client, if it is traced.
    pub(super) fn trace_control(&mut self, key: Key, kind: FrameKind, payload: &[u8]) {
        if self.table.get(key).is_some_and(|client| client.queue.is_traced()) {
            self.note_frame(key.connection_id(), Direction::In, SentFrame::new(kind, None, payload));
        }
    }

    /// Notes the frame that was queued last for a client.
    #[cold]
    pub(super) fn trace_queued(&mut self, key: Key) {
        let Some(client) = self.table.get(key) else { return };
        // The bytes are shared, not copied.
        let bytes = client.queue.last().clone();
        for frame in sent_frames(client.policy(), &bytes) {
            self.note_frame(key.connection_id(), Direction::Out, frame);
        }
    }

    /// Notes the close of a client that is out of the table, with the last frames of both sides. Its traces are over.
    pub(super) fn trace_closed(&mut self, client: &Client<P>, close: &Close<'_>) {
        let id = client.connection_id;
        if let SentClose::Yes(frame) = close.sent {
            let (code, payload) = frame.map_or((None, ""), |frame| (Some(frame.code), &frame.reason));
            let payload = payload.as_bytes();
            self.note_frame(id, Direction::In, SentFrame::new(FrameKind::Close, code, payload));
        }
        for frame in close.last.iter().flat_map(|last| sent_frames(client.policy(), last)) {
            self.note_frame(id, Direction::Out, frame);
        }
        let effects = &mut self.effects.list;
        self.traces.0.retain(|trace| {
            let is_over = trace.connection_id == id;
            if is_over {
                let seen = Seen::Closed(close.reason);
                effects.push_back(Effect::Traced(Box::new(Traced { trace: trace.id, seen })));
            }
            !is_over
        });
    }

    fn note_frame(&mut self, connection_id: u32, direction: Direction, frame: SentFrame<'_>) {
        let SentFrame { kind, len: bytes, code, payload } = frame;
        for trace in self.traces.0.iter().filter(|trace| trace.connection_id == connection_id) {
            let preview =
                if trace.payloads { Preview::new(&payload, MAX_TRACE_PAYLOAD) } else { Preview::default() };
            let seen = SeenFrame { direction, kind, bytes, code, preview };
            let traced = Traced { trace: trace.id, seen: Seen::Frame(seen) };
            self.effects.list.push_back(Effect::Traced(Box::new(traced)));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use gatewayworker_protocol::{Command, Features, Payload, SecretKey};

    use super::super::commands::ShardCommand;
    use super::super::inbox::Inbox;
    use super::super::link::LinkState;
    use super::super::listener_policy::{Framing, ListenerPolicy, OtherProtocol};
    use super::super::protocol::Text;
    use super::super::testing::{self, MemoryConnection, MemoryPorts};
    use super::*;

    const TRACE: TraceId = TraceId(7);

    /// A shard with a client that may be traced.
    struct Traced {
        shard: Shard<MemoryPorts>,
        key: Key,
        connection: MemoryConnection,
        inbox: Inbox,
    }

    impl Traced {
        fn new(policy: ListenerPolicy) -> Self {
            let (mut shard, workers) = testing::shard();
            let worker = workers.join("worker", 1 << 20, Features::default());
            let inbox = Inbox::new(&policy, Vec::new());
            let (key, connection) = testing::client(&mut shard, 1, &worker, policy);
            Self { shard, key, connection, inbox }
        }

        fn receive(&mut self, bytes: &[u8]) {
            self.shard.receive(self.key, &mut self.inbox, &mut bytes.to_vec(), 0);
        }

        fn execute(&mut self, command: Command) {
            self.shard.execute(commands(command));
            while self.shard.flush() {}
        }

        /// What the traces have seen since the last call, each with its trace.
        fn seen(&mut self) -> Vec<(u64, String)> {
            self.shard.check().unwrap();
            let effects = std::iter::from_fn(|| self.shard.next_effect());
            let seen = effects.filter_map(|effect| match effect {
                Effect::Traced(traced) => Some((traced.trace.0, words(&traced.seen))),
                _ => None,
            });
            seen.collect()
        }

        fn seen_by_one(&mut self) -> Vec<String> {
            self.seen().into_iter().map(|(_, seen)| seen).collect()
        }
    }

    fn words(seen: &Seen) -> String {
        match seen {
            Seen::Closed(reason) => format!("closed {reason}"),
            Seen::Frame(SeenFrame { direction, kind, bytes, code, preview }) => {
                let way = if *direction == Direction::In { "in" } else { "out" };
                let code = code.map(|code| format!(" {code}")).unwrap_or_default();
                let payload = preview.payload.as_ref().map(|text| format!(" {text}")).unwrap_or_default();
                format!("{way} {} {bytes}{code}{payload}", kind.as_str())
            }
        }
    }

    fn commands(command: Command) -> Vec<ShardCommand> {
        let mut bytes = bytes::BytesMut::new();
        command.encode(&mut bytes);
        let mut link = LinkState::new(SecretKey::default(), 1 << 20, 1);
        assert!(link.next(&mut bytes, || 0).unwrap().is_none());
        link.pending.remove(0)
    }

    fn send(text: &'static str) -> Command {
        Command::SendToOne { to: 1, message: Payload::plain(text) }
    }

    #[test]
    fn a_trace_sees_what_a_client_sends_and_is_sent_in_its_order() {
        let mut one = Traced::new(testing::policy());
        one.receive(b"\x81\x82\0\0\0\0no");
        assert!(one.shard.begin_trace(TRACE, 1, true));
        one.receive(b"\x81\x82\0\0\0\0hi\x82\x81\0\0\0\0\xff\x89\x81\0\0\0\0p\x8a\x80\0\0\0\0");
        one.execute(send("yes"));
        one.receive(b"\x88\x85\0\0\0\0\x0f\xa1bye");
        let seen = [
            "in text 2 hi",
            "in binary 1",
            "in ping 1 p",
            "out pong 1 p",
            "in pong 0 ",
            "out text 3 yes",
            "in close 3 4001 bye",
            "out close 0 4001 ",
            "closed client-left",
        ];
        assert_eq!(one.seen_by_one(), seen);
    }

    #[test]
    fn without_payloads_a_trace_sees_lengths_alone() {
        let mut one = Traced::new(testing::policy());
        assert!(one.shard.begin_trace(TRACE, 1, false));
        one.receive(b"\x81\x82\0\0\0\0hi");
        one.execute(send("yes"));
        assert_eq!(one.seen_by_one(), ["in text 2", "out text 3"]);
    }

    #[test]
    fn a_long_payload_is_cut() {
        let mut one = Traced::new(testing::policy());
        assert!(one.shard.begin_trace(TRACE, 1, true));
        one.execute(Command::SendToOne { to: 1, message: Payload::plain(vec![b'x'; 100_000]) });
        let Some(Effect::Traced(traced)) = one.shard.next_effect() else { panic!("no effect") };
        let Seen::Frame(frame) = traced.seen else { panic!("no frame") };
        assert_eq!((frame.bytes, frame.preview.cut), (100_000, true));
        assert_eq!(frame.preview.payload.unwrap().len(), MAX_TRACE_PAYLOAD);
    }

    #[test]
    fn the_last_message_of_a_kick_is_seen() {
        let mut one = Traced::new(testing::policy());
        assert!(one.shard.begin_trace(TRACE, 1, true));
        one.execute(Command::Kick { connection_id: 1, message: Some(Payload::plain("go")) });
        assert_eq!(one.seen_by_one(), ["out text 2 go", "out close 0 1000 ", "closed kicked"]);
    }

    #[test]
    fn a_client_that_does_not_read_is_traced_as_well() {
        let mut one = Traced::new(testing::policy());
        assert!(one.shard.begin_trace(TRACE, 1, true));
        one.connection.room.set(1);
        for text in ["one", "two", "three"] {
            one.execute(send(text));
        }
        assert_eq!(one.seen_by_one(), ["out text 3 one", "out text 3 two", "out text 5 three"]);
        one.connection.room.set(1000);
        one.shard.writable(one.key);
        assert_eq!(one.shard.blocked_bytes(), 0);
        one.connection.is_broken.set(true);
        one.execute(send("four"));
        assert_eq!(one.seen_by_one(), ["out text 4 four", "closed client-left"]);
    }

    #[test]
    fn a_message_of_another_protocol_is_a_message() {
        let other = OtherProtocol { protocol: Arc::new(Text), index: 0, of: 1 };
        let mut one = Traced::new(ListenerPolicy { framing: Framing::Other(other), ..testing::policy() });
        assert!(one.shard.begin_trace(TRACE, 1, true));
        one.receive(b"hi\r\n");
        one.execute(send("yes"));
        let raw = Payload { raw: true, ..Payload::plain("half") };
        one.execute(Command::SendToOne { to: 1, message: raw });
        one.shard.read_ended(one.key);
        let seen = ["in message 2 hi", "out message 3 yes", "out raw 4 half", "closed client-left"];
        assert_eq!(one.seen_by_one(), seen);
    }

    #[test]
    fn several_traces_see_the_same_client_and_each_ends_by_itself() {
        let mut one = Traced::new(testing::policy());
        assert!(!one.shard.begin_trace(TraceId(0), 2, true), "there is no such client");
        assert!(one.shard.begin_trace(TraceId(1), 1, true) && one.shard.begin_trace(TraceId(2), 1, false));
        one.execute(send("a"));
        assert_eq!(one.seen(), [(1, "out text 1 a".to_owned()), (2, "out text 1".to_owned())]);
        one.shard.end_trace(TraceId(1));
        one.shard.end_trace(TraceId(1));
        one.execute(send("b"));
        assert_eq!(one.seen(), [(2, "out text 1".to_owned())]);
        one.shard.end_trace(TraceId(2));
        one.execute(send("c"));
        one.receive(b"\x81\x81\0\0\0\0d\x89\x80\0\0\0\0");
        assert_eq!(one.seen(), []);
    }

    #[test]
    fn a_broadcast_is_seen_by_the_trace_of_the_client_alone() {
        let (mut shard, workers) = testing::shard();
        let worker = workers.join("worker", 1 << 20, Features::default());
        for id in 1..=5 {
            testing::client(&mut shard, id, &worker, testing::policy());
        }
        assert!(shard.begin_trace(TRACE, 3, true));
        let to = gatewayworker_protocol::Audience::Everyone;
        shard.execute(commands(Command::SendToAll { to, message: Payload::plain("all") }));
        let effects: Vec<_> = std::iter::from_fn(|| shard.next_effect()).collect();
        let [Effect::Traced(traced)] = &*effects else { panic!("{} effects", effects.len()) };
        assert_eq!(words(&traced.seen), "out text 3 all");
    }
}
