//! A shard whose clients are cut off and come back: everything arrives once and in order, in both directions.

use std::sync::Arc;

use bytes::Bytes;
use gatewayworker_protocol::{Audience, Command, Features, Payload, SecretKey};

use super::super::client::NewClient;
use super::super::effects::Effect;
use super::super::inbox::Inbox;
use super::super::link::LinkState;
use super::super::listener_policy::ListenerPolicy;
use super::super::reading::Reading;
use super::super::testing::{self, MemoryConnection, MemoryDirectory, MemoryLink, MemoryPorts};
use super::super::websocket::compression::{Compression, CompressionPolicy};
use super::super::worker_link::WorkerLink;
use super::*;

mod admission;
mod compressed;
mod told;

const SECRET: [u8; 16] = [7; 16];

const POLICY: ResumePolicy = ResumePolicy { resume_ms: 60_000, resume_bytes: 64 * 1024, ping_ms: 25_000 };

fn policy() -> ListenerPolicy {
    let compression = Some(CompressionPolicy { min_bytes: 100, level: 1 });
    ListenerPolicy { resume: Some(POLICY), compression, ..testing::policy() }
}

/// A frame of a client.
fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() < 126);
    [&[0x80 | opcode, 0x80 | payload.len() as u8, 0, 0, 0, 0], payload].concat()
}

/// A shard, its worker, and one client with the program that it runs.
struct Site {
    shard: Shard<MemoryPorts>,
    workers: MemoryDirectory,
    worker: Arc<WorkerLink<MemoryLink>>,
    now_ms: u64,
    client: Client,
    key: Key,
    connection: MemoryConnection,
    inbox: Inbox,
}

/// What the program of a client knows.
#[derive(Default)]
struct Client {
    /// What it has received.
    got: Vec<String>,
    controls: Vec<String>,
    /// What it has sent and that is not acknowledged, and how many it has sent before.
    sent: Vec<String>,
    acknowledged: usize,
    attempt: u64,
    /// What its connection has agreed on.
    compression: Compression,
    /// Bytes that are no whole frame yet.
    partial: Vec<u8>,
}

impl Client {
    /// Takes what has arrived. Returns the number of the last message that the gateway has, where it said so.
    fn receive(&mut self, bytes: &[u8]) {
        self.partial.extend_from_slice(bytes);
        loop {
            let Some((&[first, second], rest)) = self.partial.split_first_chunk::<2>() else { return };
            let (len, rest) = match second {
                126 => {
                    let Some((len, rest)) = rest.split_first_chunk::<2>() else { return };
                    (usize::from(u16::from_be_bytes(*len)), rest)
                }
                len => (usize::from(len), rest),
            };
            let Some(payload) = rest.get(..len) else { return };
            let message = compressed::message(first, payload, self.compression);
            let (text, rest) = (String::from_utf8_lossy(&message).into_owned(), rest[len..].to_vec());
            match (first & !compressed::RSV1, text.strip_prefix('\u{1}')) {
                (0x88, _) => self.controls.push("close".to_owned()),
                (0x81, Some(data)) if data.starts_with('\u{1}') => self.got.push(data.to_owned()),
                (0x81, Some(control)) => {
                    self.controls.push(control.to_owned());
                    let json: serde_json::Value = serde_json::from_str(control).unwrap();
                    let number = json["ack"].as_u64().or(json["resumed"]["got"].as_u64());
                    if let Some(number) = number {
                        self.sent.drain(..number as usize - self.acknowledged);
                        self.acknowledged = number as usize;
                    }
                }
                _ => self.got.push(text),
            }
            self.partial = rest;
        }
    }
}

impl Site {
    fn new() -> Self {
        Self::with(|workers| workers.join("worker", 1 << 30, Features::default()))
    }

    /// One whose worker joins like this.
    fn with(join: impl FnOnce(&MemoryDirectory) -> Arc<WorkerLink<MemoryLink>>) -> Self {
        let (mut shard, workers) = testing::shard();
        let worker = join(&workers);
        let connection = MemoryConnection::new(policy());
        let new = testing::new_client(1, &worker, connection.clone());
        let key = shard.insert(NewClient { resume: Some((POLICY, SECRET)), ..new }, 0);
        shard.tell_connected(key, None, 0);
        let client = Client::default();
        let mut site =
            Self { shard, workers, worker, now_ms: 0, client, key, connection, inbox: Inbox::default() };
        site.settle();
        site
    }

    fn settle(&mut self) -> Vec<Effect<MemoryPorts>> {
        testing::settle(std::slice::from_mut(&mut self.shard), &self.workers)
    }

    /// Executes a command of the worker.
    fn execute(&mut self, command: Command) {
        let mut bytes = bytes::BytesMut::new();
        command.encode(&mut bytes);
        let mut link = LinkState::new(SecretKey::default(), 16 << 20, 1);
        assert!(link.next(&mut bytes, || 0).unwrap().is_none());
        self.shard.execute(link.pending.remove(0));
    }

    fn say(&mut self, text: &str) {
        self.execute(Command::SendToOne { to: 1, message: Payload::plain(text.to_owned()) });
    }

    fn say_to_all(&mut self, text: &str) {
        let message = Payload::plain(text.to_owned());
        self.execute(Command::SendToAll { to: Audience::Everyone, message });
    }

    fn flush(&mut self) {
        while self.shard.flush() {}
    }

    /// The program reads what has arrived.
    fn read(&mut self) {
        let arrived = std::mem::take(&mut *self.connection.written.borrow_mut());
        self.client.receive(&arrived);
    }

    /// The program sends bytes.
    fn send(&mut self, mut bytes: Vec<u8>) -> Reading<MemoryLink> {
        self.shard.receive(self.key, &mut self.inbox, &mut bytes, self.now_ms)
    }

    fn send_text(&mut self, text: &str) -> Reading<MemoryLink> {
        self.send(masked(1, text.as_bytes()))
    }

    /// The program connects again and asks for its client.
    fn come_back(&mut self) -> Attached<MemoryConnection> {
        self.come_back_as(None)
    }

    /// The program connects again, and shows a token for admission that says this.
    fn come_back_as(&mut self, grant: Option<Grant>) -> Attached<MemoryConnection> {
        self.client.attempt += 1;
        self.client.partial.clear();
        self.connection = MemoryConnection::new(policy());
        let returning = Returning {
            socket: self.connection.clone(),
            connection_id: 1,
            secret: SECRET,
            attempt: self.client.attempt,
            got: self.client.got.len() as u64,
            address: SocketAddrV4::new([127, 0, 0, 1].into(), 1),
            handshake: "handshake".into(),
            compression: self.client.compression,
            prefix: Bytes::new(),
            grant,
        };
        self.inbox = Inbox::default();
        let attached = self.shard.attach(returning, self.now_ms);
        self.shard.check().unwrap();
        attached
    }
}

#[test]
fn a_client_that_is_cut_off_misses_nothing_and_its_worker_does_not_notice() {
    let mut site = Site::new();
    site.say("one");
    site.flush();
    site.shard.read_ended(site.key);
    assert!(site.connection.is_detached.get());
    site.say("two");
    site.say_to_all("three");
    site.flush();
    site.read();
    assert_eq!(site.client.got, ["one"]);
    assert!(matches!(site.come_back(), Attached::Yes(key) if key == site.key));
    site.flush();
    site.read();
    assert_eq!(site.client.got, ["one", "two", "three"]);
    assert_eq!(site.client.controls, [r#"{"resumed":{"client":"7f00000108fc00000001","got":0}}"#]);
    assert_eq!(testing::told(&site.worker), ["connect 1"]);
    assert!(!site.settle().iter().any(|effect| matches!(effect, Effect::Finish(_))));
}

#[test]
fn a_client_that_does_not_come_back_is_closed_when_its_time_is_over() {
    let mut site = Site::new();
    site.shard.read_ended(site.key);
    site.settle();
    assert_eq!(site.shard.next_deadline(), Some(25_000), "the next look at its line");
    site.shard.advance(59_999);
    assert!(site.shard.connection(site.key).is_some());
    site.shard.advance(60_000);
    assert_eq!(testing::told(&site.worker), ["connect 1", "close 1"]);
    assert!(matches!(site.come_back(), Attached::Lost(_, Lost::Expired)));
    assert_eq!(site.shard.resumption.bytes, 0);
}

#[test]
fn the_time_of_a_client_begins_with_the_cut_however_long_nothing_has_happened_before() {
    let mut site = Site::new();
    site.shard.read_ended(site.key);
    assert_eq!(site.shard.next_deadline(), Some(0), "an advance says what time it is");
    site.shard.advance(20_000);
    assert_eq!(
        site.shard.table.client(1).unwrap().resumable.as_ref().unwrap().detached_since_ms(),
        Some(20_000)
    );
    site.shard.advance(79_999);
    assert!(site.shard.connection(site.key).is_some());
    site.shard.advance(80_000);
    assert!(site.shard.connection(site.key).is_none());
}

#[test]
fn the_time_of_a_client_that_is_closed_while_it_is_away_begins_with_the_close() {
    let mut site = Site::new();
    site.shard.read_ended(site.key);
    site.shard.advance(20_000);
    site.execute(Command::Kick { connection_id: 1, message: None });
    site.shard.advance(70_000);
    site.shard.advance(129_999);
    assert!(matches!(site.come_back(), Attached::Ended(..)));
    site.shard.advance(130_000);
    assert!(matches!(site.come_back(), Attached::Lost(_, Lost::Expired)));
    assert!(site.shard.left_of_resumption().iter().all(|(_, left)| *left == 0));
}

#[test]
fn a_client_that_comes_and_goes_within_one_turn_is_given_up_once() {
    let mut site = Site::new();
    for _ in 0..3 {
        site.shard.read_ended(site.key);
        assert!(matches!(site.come_back(), Attached::Yes(_)));
    }
    site.shard.advance(1_000);
    site.shard.advance(61_000);
    assert!(site.shard.connection(site.key).is_some(), "it is there");
    site.shard.read_ended(site.key);
    site.shard.advance(61_000);
    site.shard.advance(121_000);
    assert_eq!(testing::told(&site.worker), ["connect 1", "close 1"]);
    assert!(site.shard.left_of_resumption().iter().all(|(_, left)| *left == 0));
}

#[test]
fn a_text_that_begins_with_the_mark_is_data_in_both_directions() {
    let mut site = Site::new();
    site.say("\u{1}{\"ack\":1}");
    site.say_to_all("\u{1}x");
    site.flush();
    site.read();
    assert_eq!(site.client.got, ["\u{1}{\"ack\":1}", "\u{1}x"]);
    site.send_text("\u{1}\u{1}{\"ping\":{}}");
    assert_eq!(testing::told(&site.worker), ["connect 1", "message 1 \u{1}{\"ping\":{}}"]);
}

#[test]
fn raw_bytes_are_sent_only_as_one_whole_message() {
    let mut site = Site::new();
    let raw = |bytes: &'static [u8]| Payload { raw: true, ..Payload::plain(Bytes::from_static(bytes)) };
    for (bytes, counts) in [
        (&b"\x81\x02hi"[..], true),
        (b"\x82\x01\x01", true),
        (b"\x81\x02\x01x", false),
        (b"\x81\x02hi\x81\x02ho", false),
        (b"\x01\x02hi", false),
        (b"\xc1\x02hi", false),
        (b"\x89\x00", false),
        (b"hi", false),
        (b"", false),
    ] {
        let before = site.shard.settings.counters.deliveries_dropped.get();
        site.execute(Command::SendToOne { to: 1, message: raw(bytes) });
        let is_dropped = site.shard.settings.counters.deliveries_dropped.get() > before;
        assert_eq!(is_dropped, !counts, "{bytes:?}");
    }
    site.flush();
    site.read();
    assert_eq!(site.client.got, ["hi", "\u{1}"]);
}

#[test]
fn close_frames_of_a_client_mean_that_it_leaves_or_that_it_was_cut_off() {
    let close = |code: u16, reason: &str| masked(8, &[&code.to_be_bytes(), reason.as_bytes()].concat());
    for (frame, leaves) in [
        (close(1000, ""), true),
        (masked(8, b""), true),
        (close(1001, ""), true),
        (close(1001, "x"), false),
        (close(3000, ""), true),
        (close(3999, ""), false),
        (close(4998, "x"), true),
        (close(4999, ""), false),
        (close(1011, ""), false),
    ] {
        let mut site = Site::new();
        assert!(matches!(site.send(frame.clone()), Reading::Closed));
        assert_eq!(site.shard.connection(site.key).is_none(), leaves, "{frame:?}");
        let told: &[&str] = if leaves { &["connect 1", "close 1"] } else { &["connect 1"] };
        assert_eq!(testing::told(&site.worker), told);
    }
}

#[test]
fn what_the_application_said_before_it_closed_a_client_that_was_away_is_told_when_it_comes_back() {
    let mut site = Site::new();
    site.shard.read_ended(site.key);
    site.say("before");
    site.execute(Command::Kick { connection_id: 1, message: Some(Payload::plain("bye")) });
    assert_eq!(testing::told(&site.worker), ["connect 1", "close 1"]);
    site.settle();
    for _ in 0..2 {
        let Attached::Ended(_, frames) = site.come_back() else { panic!("it is not told") };
        let mut client = Client::default();
        frames.iter().for_each(|frame| client.receive(frame));
        assert_eq!(client.got, ["before", "bye"]);
        assert_eq!(client.controls, [r#"{"closed":{"code":1000,"reason":""}}"#, "close"]);
    }
    site.shard.advance(60_000);
    assert!(matches!(site.come_back(), Attached::Lost(_, Lost::Expired)));
    assert_eq!(site.shard.resumption.bytes, 0);
}

/// The close code that a connection ends with.
fn ended_with(attached: Attached<MemoryConnection>) -> Option<u16> {
    let Attached::Ended(_, frames) = attached else { return None };
    frames.last().map(|frame| u16::from_be_bytes([frame[2], frame[3]]))
}

#[test]
fn an_old_attempt_a_foreign_secret_and_a_number_that_was_never_sent_do_not_get_the_client() {
    let mut site = Site::new();
    assert!(matches!(site.come_back(), Attached::Yes(_)));
    site.client.attempt = 0;
    assert_eq!(ended_with(site.come_back()), Some(SUPERSEDED));
    site.client.attempt = 5;
    site.client.got = vec!["never".to_owned()];
    assert_eq!(ended_with(site.come_back()), Some(PROTOCOL_ERROR));
    site.client.got.clear();
    let mut foreign = site.client.attempt;
    foreign += 2;
    let connection = MemoryConnection::new(policy());
    let returning = Returning {
        socket: connection,
        connection_id: 1,
        secret: [8; 16],
        attempt: foreign,
        got: 0,
        address: SocketAddrV4::new([127, 0, 0, 1].into(), 1),
        handshake: Bytes::new(),
        compression: Compression::Off,
        prefix: Bytes::new(),
        grant: None,
    };
    assert!(matches!(site.shard.attach(returning, 0), Attached::Lost(_, Lost::Expired)));
    assert!(matches!(site.come_back(), Attached::Yes(_)));
}

#[test]
fn more_than_is_kept_is_forgotten_and_a_client_that_needs_it_is_behind() {
    let mut site = Site::new();
    site.shard.read_ended(site.key);
    let long = "x".repeat(1000);
    (0..100).for_each(|_| site.say(&long));
    assert!(site.shard.resumption.bytes <= POLICY.resume_bytes);
    assert!(matches!(site.come_back(), Attached::Lost(_, Lost::Behind)));
    assert_eq!(testing::told(&site.worker), ["connect 1", "close 1"]);
    assert_eq!(site.shard.resumption.bytes, 0);
}

#[test]
fn a_line_on_which_nothing_is_heard_is_asked_and_given_up() {
    let mut site = Site::new();
    for now_ms in [25_000, 50_000] {
        site.shard.advance(now_ms);
        site.flush();
    }
    site.read();
    assert_eq!(site.client.controls, [r#"{"ping":{}}"#, r#"{"ping":{}}"#]);
    site.shard.advance(62_000);
    assert!(!site.connection.is_detached.get());
    site.shard.advance(62_500);
    assert!(site.connection.is_detached.get());
    assert!(site.shard.connection(site.key).is_some());
}

#[test]
fn a_client_that_answers_pings_stays_and_one_that_asks_is_answered() {
    let mut site = Site::new();
    for step in 1..10 {
        site.now_ms = step * 25_000;
        site.shard.advance(site.now_ms);
        site.send_text("\u{1}{\"ack\":0}");
    }
    assert!(!site.connection.is_detached.get());
    site.send_text("\u{1}{\"ping\":{}}");
    site.flush();
    site.read();
    assert_eq!(site.client.controls.last().unwrap(), r#"{"ack":0}"#);
}

#[test]
fn the_last_messages_before_a_pause_are_acknowledged_with_the_next_ping() {
    let mut site = Site::new();
    site.send_text("one");
    site.flush();
    site.read();
    assert!(site.client.controls.is_empty());
    site.client.sent.push("one".to_owned());
    site.shard.advance(25_000);
    site.flush();
    site.read();
    assert_eq!(site.client.controls, [r#"{"ack":1}"#, r#"{"ping":{}}"#]);
}

#[test]
fn wrong_control_messages_end_the_client() {
    for wrong in ["\u{1}x", "\u{1}[]", "\u{1}", "\u{1}{\"ack\":1}", "\u{1}{\"start\":{}}"] {
        let mut site = Site::new();
        assert!(matches!(site.send_text(wrong), Reading::Closed), "{wrong:?}");
        assert_eq!(testing::told(&site.worker), ["connect 1", "close 1"], "{wrong:?}");
        assert_eq!(site.shard.resumption.bytes, 0);
    }
}

/// A small generator: the walk is the same each time.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

#[test]
fn over_ten_thousand_cuts_at_any_byte_everything_arrives_once_and_in_order() {
    let mut site = Site::new();
    let mut draw = Draw(0x9e37_79b9_7f4a_7c15);
    let (mut said, mut sent, mut told) = (0, 0, Vec::new());
    let (mut cuts, mut is_attached) = (0, true);
    while cuts < 10_000 {
        match draw.below(10) {
            // Not while it is away for so long that too much waits.
            0..=2 if site.shard.resumption.bytes < POLICY.resume_bytes / 2 => {
                let text = said.to_string();
                if draw.below(2) == 0 {
                    site.say(&text);
                } else {
                    site.say_to_all(&text);
                }
                said += 1;
            }
            3..=4 if is_attached => {
                // It sends, perhaps a part only, and the rest is lost.
                let text = sent.to_string();
                let frame = masked(1, text.as_bytes());
                sent += 1;
                site.client.sent.push(text);
                let cut = draw.below(3 * frame.len() as u64) as usize;
                let whole = cut >= frame.len();
                site.send(frame[..cut.min(frame.len())].to_vec());
                if !whole {
                    site.shard.read_ended(site.key);
                    (is_attached, cuts) = (false, cuts + 1);
                }
            }
            5 => {
                let room = draw.below(200) as usize;
                site.connection.room.set(room);
            }
            6 if is_attached => {
                site.flush();
                site.shard.writable(site.key);
                site.read();
            }
            7 if is_attached => {
                let got = site.client.got.len();
                site.send_text(&format!("\u{1}{{\"ack\":{got}}}"));
            }
            8 if is_attached => {
                // A cut, which perhaps the gateway does not notice.
                site.read();
                if draw.below(2) == 0 {
                    site.shard.read_ended(site.key);
                }
                (is_attached, cuts) = (false, cuts + 1);
            }
            9 if !is_attached => {
                assert!(matches!(site.come_back(), Attached::Yes(_)));
                if draw.below(4) == 0 {
                    // Cut again before the answer has arrived, or in the middle of it.
                    site.connection.room.set(draw.below(60) as usize);
                    site.flush();
                    site.read();
                    cuts += 1;
                    continue;
                }
                site.flush();
                site.read();
                is_attached = true;
                // It sends again what the gateway does not have.
                for text in site.client.sent.clone() {
                    site.send(masked(1, text.as_bytes()));
                }
            }
            _ => {}
        }
        site.now_ms += draw.below(3);
        told.extend(testing::told(&site.worker));
        site.settle();
    }
    if !is_attached {
        assert!(matches!(site.come_back(), Attached::Yes(_)));
    }
    site.connection.room.set(usize::MAX);
    site.flush();
    site.shard.writable(site.key);
    site.read();
    for text in site.client.sent.clone() {
        site.send(masked(1, text.as_bytes()));
    }
    told.extend(testing::told(&site.worker));
    assert!(site.client.got.iter().eq((0..said).map(|n| n.to_string()).collect::<Vec<_>>().iter()));
    let expected = (0..sent).map(|n| format!("message 1 {n}"));
    assert!(told.iter().skip(1).eq(expected.collect::<Vec<_>>().iter()), "{} of {sent}", told.len());
    assert!(said > 1_000 && sent > 1_000);
}
