//! What a decoder makes of frames, good and bad.

use super::super::compression::{CompressionPolicy, Deflation, Window};
use super::super::encode;
use super::*;

const LIMIT: usize = 70_000;
const OPTIONS: DecodeOptions = DecodeOptions { limit: LIMIT, compression: Compression::Off };
const AGREED: DecodeOptions =
    DecodeOptions { limit: LIMIT, compression: Compression::Agreed(Window::Bits15) };
const COMPRESSING: DecodeOptions = DecodeOptions { limit: LIMIT, compression: Compression::Declined };

fn client_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x11, 0x22, 0x33, 0x44];
    let mut frame = vec![first];
    match payload.len() {
        n @ 0..=125 => frame.push(0x80 | n as u8),
        n @ 126..=65535 => {
            frame.push(0x80 | 126);
            frame.extend((n as u16).to_be_bytes());
        }
        n => {
            frame.push(0x80 | 127);
            frame.extend((n as u64).to_be_bytes());
        }
    }
    frame.extend(mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
    frame
}

fn only_content(frame: &mut [u8]) -> Result<Content, WebSocketError> {
    match Decoder::default().step(frame, OPTIONS)? {
        Step::Frame { len, content } => {
            assert_eq!(len, frame.len());
            Ok(content)
        }
        Step::Incomplete(_) => panic!("the frame is whole"),
    }
}

#[test]
fn messages_of_every_length_form_come_out_as_they_went_in() {
    for n in [0, 1, 7, 8, 9, 125, 126, 127, 65535, 65536, LIMIT] {
        let payload: Vec<u8> = (0..n).map(|i| (i % 100) as u8).collect();
        let mut frame = client_frame(0x82, &payload);
        let Content::Message { binary: true, payload: range } = only_content(&mut frame).unwrap() else {
            panic!("a binary message of {n} bytes");
        };
        assert_eq!(frame[range], payload);
    }
}

#[test]
fn a_frame_cut_anywhere_is_incomplete_and_says_so_without_changing_it() {
    let frame = client_frame(0x81, "你好".as_bytes());
    for cut in 0..frame.len() {
        let mut part = frame[..cut].to_vec();
        let step = Decoder::default().step(&mut part, OPTIONS).unwrap();
        assert!(matches!(step, Step::Incomplete(n) if n > cut), "{cut}: {step:?}");
        assert_eq!(part, frame[..cut]);
    }
}

#[test]
fn fragments_with_control_frames_between_them_make_one_message() {
    let mut decoder = Decoder::default();
    let text = "a你b".as_bytes();
    let mut step = |first, payload: &[u8]| match decoder.step(&mut client_frame(first, payload), OPTIONS) {
        Ok(Step::Frame { content, .. }) => content,
        other => panic!("{other:?}"),
    };
    assert_eq!(step(0x01, &text[..2]), Content::Fragment);
    assert!(matches!(step(0x89, b"ping"), Content::Ping(_)));
    assert_eq!(step(0x00, &text[2..3]), Content::Fragment);
    assert!(matches!(step(0x8a, b""), Content::Pong(_)));
    assert_eq!(
        step(0x80, &text[3..]),
        Content::Assembled { binary: false, payload: text.to_vec(), compressed: None }
    );
}

#[test]
fn what_the_rfc_forbids_fails_the_connection_with_its_code() {
    let unmasked = vec![0x81, 0x01, b'a'];
    let cases: Vec<(Vec<u8>, u16)> = vec![
        (unmasked, 1002),
        (client_frame(0xc1, b"rsv1"), 1002),
        (client_frame(0xa1, b"rsv2"), 1002),
        (client_frame(0x91, b"rsv3"), 1002),
        (client_frame(0x83, b"opcode 3"), 1002),
        (client_frame(0x8b, b"opcode 11"), 1002),
        (client_frame(0x09, b"half a ping"), 1002),
        (client_frame(0x89, &[0; 126]), 1002),
        (client_frame(0x80, b"continuing nothing"), 1002),
        (client_frame(0x88, &[3]), 1002),
        (client_frame(0x88, &1005_u16.to_be_bytes()), 1002),
        (client_frame(0x88, &999_u16.to_be_bytes()), 1002),
        (client_frame(0x88, &[3, 232, 0xff]), 1007),
        (client_frame(0x81, &[0xc3, 0x28]), 1007),
        (client_frame(0x82, &[0; LIMIT + 1]), 1009),
    ];
    for (mut frame, code) in cases {
        let error = only_content(&mut frame).unwrap_err();
        assert_eq!(error.close_code(), code, "{error}");
    }
}

#[test]
fn a_message_within_a_fragmented_one_fails() {
    let mut decoder = Decoder::default();
    decoder.step(&mut client_frame(0x01, b"first"), OPTIONS).unwrap();
    let error = decoder.step(&mut client_frame(0x81, b"second"), OPTIONS).unwrap_err();
    assert_eq!(error.close_code(), 1002);
}

#[test]
fn a_length_has_its_shortest_form() {
    for (header, length) in
        [(&[0x82, 0xfe, 0, 125][..], 125), (&[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff], 65_535)]
    {
        let mut frame = [header, &[0; 4], &vec![0; length]].concat();
        assert_eq!(Decoder::default().step(&mut frame, OPTIONS).unwrap_err().close_code(), 1002);
    }
}

#[test]
fn a_compressed_message_takes_what_was_sent_until_its_last_fragment() {
    let mut compressed = Vec::new();
    for _ in 0..3 {
        // A stored block without content: five bytes.
        compressed.extend([0x00, 0x00, 0x00, 0xff, 0xff]);
    }
    let mut decoder = Decoder::default();
    decoder.step(&mut client_frame(0x41, &compressed), COMPRESSING).unwrap();
    let kept = decoder.kept.as_ref().unwrap();
    assert_eq!(kept.fragments.as_ref().unwrap().payload, compressed);
    assert!(kept.history.is_none());
    // All fragments together are held against one limit.
    let half = vec![0; max_compressed_len(LIMIT) / 2];
    decoder.step(&mut client_frame(0x00, &half), COMPRESSING).unwrap();
    let error = decoder.step(&mut client_frame(0x00, &half), COMPRESSING).unwrap_err();
    assert_eq!(error, WebSocketError::TooLarge);
}

#[test]
fn fragments_together_may_not_pass_the_limit() {
    let mut decoder = Decoder::default();
    decoder.step(&mut client_frame(0x02, &[0; 40_000]), OPTIONS).unwrap();
    let error = decoder.step(&mut client_frame(0x80, &[0; 40_000]), OPTIONS).unwrap_err();
    assert_eq!(error, WebSocketError::TooLarge);
}

#[test]
fn a_length_nobody_could_mean_is_refused_by_its_header() {
    let mut header = vec![0x82, 0xff];
    header.extend(u64::MAX.to_be_bytes());
    header.extend([0; 4]);
    assert_eq!(Decoder::default().step(&mut header, OPTIONS), Err(WebSocketError::TooLarge));
}

/// "Hello", RFC 7692 section 7.2.3.1.
const HELLO: [u8; 7] = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];

/// The same as a reference to the message before, section 7.2.3.2.
const HELLO_AGAIN: [u8; 5] = [0xf2, 0x00, 0x11, 0x00, 0x00];

#[test]
fn compressed_messages_are_understood_of_a_client_that_has_offered_to_compress() {
    let mut decoder = Decoder::default();
    let mut step = |first, payload: &[u8]| match decoder.step(&mut client_frame(first, payload), COMPRESSING)
    {
        Ok(Step::Frame { content, .. }) => content,
        other => panic!("{other:?}"),
    };
    let hello = |binary, wire| {
        let compressed = Some(CompressedSizes { plain: 5, wire });
        Content::Assembled { binary, payload: b"Hello".to_vec(), compressed }
    };
    assert_eq!(step(0xc1, &HELLO), hello(false, 7));
    // A reference to the message before.
    assert_eq!(step(0xc2, &HELLO_AGAIN), hello(true, 5));
    assert!(matches!(step(0x81, b"plain"), Content::Message { .. }));
    assert_eq!(step(0x41, &HELLO[..3]), Content::Fragment);
    assert!(matches!(step(0x89, b"ping"), Content::Ping(_)));
    assert_eq!(step(0x00, &HELLO[3..]), Content::Fragment);
    assert_eq!(step(0x80, b""), hello(false, 7));
    assert_eq!(step(0x01, b"pla"), Content::Fragment);
    assert_eq!(
        step(0x80, b"in"),
        Content::Assembled { binary: false, payload: b"plain".to_vec(), compressed: None }
    );
}

#[test]
fn what_rfc_7692_forbids_fails_the_connection_with_its_code() {
    let compress = |payload: &[u8]| {
        let policy = CompressionPolicy { min_bytes: 0, level: 6 };
        let frame =
            encode::deflated_message(true, payload, Deflation { policy, window: Window::Bits15 }).unwrap();
        let header = if frame[1] < 126 { 2 } else { 4 };
        frame[header..].to_vec()
    };
    // It does not shrink.
    let no_utf8 = [0x00, 0x02, 0x00, 0xfd, 0xff, 0xc3, 0x28, 0x00];
    for (frames, code) in [
        (vec![client_frame(0x41, &HELLO[..3]), client_frame(0xc0, &HELLO[3..])], 1002),
        (vec![client_frame(0x01, b"a"), client_frame(0xc0, b"b")], 1002),
        (vec![client_frame(0xc9, b"ping")], 1002),
        (vec![client_frame(0xe1, &HELLO)], 1002),
        (vec![client_frame(0xc1, b"\xff\xff")], 1007),
        (vec![client_frame(0xc1, &no_utf8)], 1007),
        (vec![client_frame(0x41, &HELLO), client_frame(0x80, b"\xff\xff")], 1007),
        (vec![client_frame(0xc2, &compress(&[0; LIMIT + 1]))], 1009),
        (vec![client_frame(0xc2, &[0; 2 * LIMIT])], 1009),
    ] {
        for options in [COMPRESSING, AGREED] {
            let (mut decoder, mut frames) = (Decoder::default(), frames.clone());
            let failed = frames.iter_mut().find_map(|frame| decoder.step(frame, options).err());
            assert_eq!(failed.unwrap().close_code(), code);
        }
    }
}

#[test]
fn nothing_is_kept_of_a_client_that_has_agreed_and_it_may_refer_to_nothing_before() {
    let mut decoder = Decoder::default();
    for (first, fragment) in [(0xc1, &HELLO[..]), (0x41, &HELLO[..4]), (0x80, &HELLO[4..])] {
        decoder.step(&mut client_frame(first, fragment), AGREED).unwrap();
    }
    assert!(decoder.is_idle());
    let failed = decoder.step(&mut client_frame(0xc1, &HELLO_AGAIN), AGREED);
    assert_eq!(failed, Err(WebSocketError::NotDeflate));
}

#[test]
fn a_client_that_does_not_compress_leaves_nothing_behind() {
    let mut decoder = Decoder::default();
    decoder.step(&mut client_frame(0x01, b"a"), COMPRESSING).unwrap();
    decoder.step(&mut client_frame(0x80, b"b"), COMPRESSING).unwrap();
    assert!(decoder.kept.is_none());
    assert_eq!(size_of::<Decoder>(), size_of::<usize>());
}
