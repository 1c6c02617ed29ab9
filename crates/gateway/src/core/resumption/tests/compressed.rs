//! Clients that come back with another agreement about compression than they had.

use std::borrow::Cow;

use flate2::{Decompress, FlushDecompress};

use super::super::super::websocket::compression::Window;
use super::*;

/// The bit of a frame that says that it is compressed.
pub(super) const RSV1: u8 = 0x40;

/// All that a client may have agreed on, as far as it matters here.
const AGREEMENTS: [Compression; 4] = [
    Compression::Off,
    Compression::Declined,
    Compression::Agreed(Window::Bits9),
    Compression::Agreed(Window::Bits15),
];

/// What a client makes of a frame's payload: one that has not agreed knows no compressed frames, and one that has knows
/// no larger window.
pub(super) fn message(first: u8, payload: &[u8], compression: Compression) -> Cow<'_, [u8]> {
    if first & RSV1 == 0 {
        return payload.into();
    }
    let Compression::Agreed(window) = compression else { panic!("a compressed frame without an agreement") };
    let mut decompressor = Decompress::new_with_window_bits(false, window.bits());
    let input = [payload, b"\0\0\xff\xff"].concat();
    let mut message = Vec::new();
    while decompressor.total_in() < input.len() as u64 {
        // In pieces, so that it refers to its window and not to its output.
        let mut piece = Vec::with_capacity(64);
        let rest = &input[decompressor.total_in() as usize..];
        decompressor.decompress_vec(rest, &mut piece, FlushDecompress::Sync).unwrap();
        message.extend(piece);
    }
    message.into()
}

/// A text with a number that needs a window of more than 9 bits to become short.
fn long(number: usize) -> String {
    let words: String = (0..300).map(|n| format!("{} ", n * 7919 % 613)).collect();
    format!("{number}: {words}{words}")
}

impl Site {
    /// The client is cut off, and comes back with another agreement.
    fn come_back_with(&mut self, compression: Compression) {
        self.shard.read_ended(self.key);
        self.client.compression = compression;
        assert!(matches!(self.come_back(), Attached::Yes(_)));
    }
}

#[test]
fn what_is_sent_again_can_be_read_whatever_the_new_connection_has_agreed_on() {
    for (before, after) in AGREEMENTS.into_iter().flat_map(|one| AGREEMENTS.map(|other| (one, other))) {
        let mut site = Site::new();
        site.come_back_with(before);
        site.say(&long(0));
        site.say_to_all(&long(1));
        site.say(&format!("\u{1}{}", long(2)));
        site.flush();
        // All of it is on its way, and is lost.
        site.connection.written.borrow_mut().clear();
        site.say_to_all(&format!("\u{1}{}", long(3)));
        site.come_back_with(after);
        site.say(&long(4));
        site.flush();
        site.read();
        let expected =
            [0, 1, 2, 3, 4].map(|n| [if n == 2 || n == 3 { "\u{1}" } else { "" }, &long(n)].concat());
        assert_eq!(site.client.got, expected, "{before:?}, {after:?}");
    }
}

#[test]
fn messages_to_a_client_that_counts_them_are_compressed_where_it_has_agreed() {
    for (compression, is_compressed) in AGREEMENTS.into_iter().zip([false, false, true, true]) {
        let mut site = Site::new();
        site.come_back_with(compression);
        for text in [long(1), format!("\u{1}{}", long(2))] {
            for say in [Site::say, Site::say_to_all] {
                site.flush();
                site.read();
                say(&mut site, &text);
                site.flush();
                let written = site.connection.written.borrow();
                assert_eq!(written[0] & RSV1 != 0, is_compressed, "{compression:?}");
                assert_eq!(written.len() < text.len(), is_compressed, "{compression:?}");
            }
        }
        let counters = &site.shard.settings.counters.compressed;
        assert_eq!(counters.wire.get() > 0, is_compressed);
        // What is kept for it counts as without compression.
        assert!(site.shard.resumption.bytes > 4 * long(1).len());
    }
}

#[test]
fn over_cuts_with_another_agreement_each_everything_arrives_once_and_in_order() {
    let mut site = Site::new();
    let mut draw = Draw(0x2545_f491_4f6c_dd1d);
    let (mut said, mut cuts) = (0, 0);
    while cuts < 1_000 {
        match draw.below(6) {
            0..=1 if site.shard.resumption.bytes < POLICY.resume_bytes / 2 => {
                let text = if draw.below(3) == 0 { said.to_string() } else { long(said) };
                let text = if draw.below(3) == 0 { format!("\u{1}{text}") } else { text };
                if draw.below(2) == 0 {
                    site.say(&text)
                } else {
                    site.say_to_all(&text)
                }
                said += 1;
            }
            2 => site.connection.room.set(draw.below(10_000) as usize),
            3..=4 => {
                site.flush();
                site.shard.writable(site.key);
                site.read();
                let got = site.client.got.len();
                site.send_text(&format!("\u{1}{{\"ack\":{got}}}"));
            }
            _ => {
                site.come_back_with(AGREEMENTS[draw.below(4) as usize]);
                cuts += 1;
            }
        }
        site.settle();
    }
    site.connection.room.set(usize::MAX);
    site.flush();
    site.shard.writable(site.key);
    site.read();
    let number = |text: &String| text.trim_start_matches('\u{1}').split(':').next().map(str::to_owned);
    let got: Vec<_> = site.client.got.iter().filter_map(number).collect();
    assert!(got.iter().eq(&(0..said).map(|n| n.to_string()).collect::<Vec<_>>()), "{} of {said}", got.len());
    assert!(said > 500);
}

#[test]
fn the_last_message_of_a_client_that_was_away_can_be_read_whatever_it_has_agreed_on() {
    for (before, after) in AGREEMENTS.into_iter().flat_map(|one| AGREEMENTS.map(|other| (one, other))) {
        let mut site = Site::new();
        site.come_back_with(before);
        site.shard.read_ended(site.key);
        site.say(&long(1));
        let last = format!("\u{1}{}", long(2));
        site.execute(Command::Kick { connection_id: 1, message: Some(Payload::plain(last.clone())) });
        let mut client = Client { compression: after, ..Client::default() };
        site.client.compression = after;
        let Attached::Ended(_, frames) = site.come_back() else { panic!("it is not told") };
        frames.iter().for_each(|frame| client.receive(frame));
        assert_eq!(client.got, [long(1), last], "{before:?}, {after:?}");
    }
}

#[test]
fn raw_bytes_that_are_compressed_are_not_sent_to_a_client_that_counts_its_messages() {
    for compression in AGREEMENTS {
        let mut site = Site::new();
        site.come_back_with(compression);
        let body = Bytes::from_static(b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00");
        let raw = Payload { raw: true, ..Payload::plain(body) };
        site.execute(Command::SendToOne { to: 1, message: raw });
        site.flush();
        site.read();
        assert_eq!(site.client.got, [""; 0]);
    }
}
