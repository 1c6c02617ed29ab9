//! Frames and commands against the bytes that the original made.

use std::net::{Ipv4Addr, SocketAddrV4};

use bytes::{Bytes, BytesMut};
use gatewayworker_protocol::command::code;
use gatewayworker_protocol::frame::{FLAG_PLAIN, Frame};
use gatewayworker_protocol::interest::{FilterPiece, InterestReport, InterestUpdate, Name, NameFilter};
use gatewayworker_protocol::{
    Audience, Body, ClientId, Command, FrameError, HEADER_LEN, Hello, MAX_FRAME_LEN, Origin, Payload,
    Question, SecretKey,
};
use proptest::prelude::*;
use serde_json::Value;

struct Case {
    name: String,
    frame: Frame,
    wire: Vec<u8>,
}

fn cases() -> Vec<Case> {
    let file: Value = serde_json::from_str(include_str!("../vectors/gateway_protocol.json")).unwrap();
    let frames = file["frames"].as_array().unwrap();
    assert_eq!(frames.len(), 55);
    frames
        .iter()
        .map(|case| {
            let number = |key: &str| case[key].as_u64().unwrap();
            let ip = |key: &str| case[key].as_str().unwrap().parse().unwrap();
            let frame = Frame {
                cmd: number("cmd") as u8,
                local_ip: ip("local_ip"),
                local_port: number("local_port") as u16,
                client_ip: ip("client_ip"),
                client_port: number("client_port") as u16,
                connection_id: number("connection_id") as u32,
                flag: number("flag_on_wire") as u8,
                gateway_port: number("gateway_port") as u16,
                ext: hex(&case["ext_data_hex"]).into(),
                body: hex(&case["body_hex"]).into(),
            };
            assert_eq!(case["body_is_scalar"].as_bool().unwrap(), frame.flag & FLAG_PLAIN != 0);
            Case { name: case["name"].as_str().unwrap().into(), frame, wire: hex(&case["wire_hex"]) }
        })
        .collect()
}

fn hex(value: &Value) -> Vec<u8> {
    let digits = value.as_str().unwrap();
    (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).unwrap()).collect()
}

fn parse(bytes: &[u8]) -> Result<Option<Frame>, FrameError> {
    Frame::parse(&mut BytesMut::from(bytes), MAX_FRAME_LEN)
}

fn case(name: &str) -> Command {
    let case = cases().into_iter().find(|case| case.name == name).unwrap_or_else(|| panic!("no case {name}"));
    Command::decode(case.frame).unwrap()
}

#[test]
fn every_frame_of_the_original_is_read_and_written_byte_for_byte() {
    for Case { name, frame, wire } in cases() {
        assert_eq!(parse(&wire).unwrap().unwrap(), frame, "{name}");
        let mut out = BytesMut::new();
        frame.encode(&mut out);
        assert_eq!(out, wire, "{name}");
    }
}

#[test]
fn every_command_of_the_original_is_decoded_and_encoded_again_to_the_same_bytes() {
    for Case { name, frame, wire } in cases() {
        // The "empty" cases have addresses in all fields, which no sender of commands sets, and no body where one belongs.
        if name.ends_with(" empty") {
            continue;
        }
        let command = Command::decode(frame).unwrap_or_else(|e| panic!("{name}: {e}"));
        let mut out = BytesMut::new();
        command.clone().encode(&mut out);
        // PHP writes a uid that it was given as a number as one; to us they are all strings.
        if ["SEND_TO_UID", "SEND_TO_GROUP", "BATCH_GET_CLIENT_ID_BY_UID"].contains(&name.as_str()) {
            let said = Command::decode(parse(&out).unwrap().unwrap()).unwrap();
            assert_eq!(said, command, "{name}");
        } else {
            assert_eq!(out, wire, "{name}: {:?}", String::from_utf8_lossy(&out));
        }
    }
}

#[test]
fn every_number_of_the_original_is_a_command() {
    let file: Value = serde_json::from_str(include_str!("../vectors/gateway_protocol.json")).unwrap();
    let commands = file["commands"].as_object().unwrap();
    assert_eq!(commands.len(), 30);
    for cmd in 0..=255_u8 {
        let known =
            match Command::decode(Frame { cmd, ext: "{}".into(), body: "{}".into(), ..Frame::default() }) {
                Ok(_) => true,
                Err(gatewayworker_protocol::CommandError::Unknown(n)) => {
                    assert_eq!(n, cmd);
                    false
                }
                // Known, though `{}` is not what belongs there.
                Err(_) => true,
            };
        // RESUME is said to a gateway before its connection is a link.
        let ours = (code::ADMIT..=code::ON_RESUMED).contains(&cmd) && cmd != code::RESUME;
        assert_eq!(known, ours || commands.contains_key(&cmd.to_string()), "{cmd}");
    }
}

#[test]
fn a_cut_and_a_return_have_the_session_in_ext_and_the_handshake_in_the_body() {
    let address = SocketAddrV4::new([10, 0, 0, 1].into(), 2300);
    let origin = Origin { gateway: address, client: address, connection_id: 7, gateway_port: 8282 };
    let detached = Command::OnDetached { origin, session: "s".into() };
    let resumed = Command::OnResumed { origin, session: "s".into(), handshake: "a:0:{}".into() };
    for (command, cmd, body) in [(detached, code::ON_DETACHED, ""), (resumed, code::ON_RESUMED, "a:0:{}")] {
        let mut out = BytesMut::new();
        command.clone().encode(&mut out);
        let frame = parse(&out).unwrap().unwrap();
        assert_eq!((frame.cmd, &frame.ext[..], &frame.body[..]), (cmd, &b"s"[..], body.as_bytes()));
        assert_eq!(Command::decode(frame).unwrap(), command);
    }
}

#[test]
fn a_report_and_its_answer_have_their_number_where_a_connection_stands() {
    let body = r#"{"version":"0.1.0"}"#;
    let report = Command::Report { number: 7, body: body.into() };
    for (command, cmd, body) in [(report, code::REPORT, body), (Command::Reported(7), code::REPORTED, "")] {
        let mut out = BytesMut::new();
        command.clone().encode(&mut out);
        let frame = parse(&out).unwrap().unwrap();
        assert_eq!((frame.cmd, frame.connection_id, &frame.body[..]), (cmd, 7, body.as_bytes()));
        assert_eq!(Command::decode(frame).unwrap(), command);
    }
}

#[test]
fn commands_mean_what_the_original_means() {
    assert_eq!(
        case("SEND_TO_ALL to connections"),
        Command::SendToAll { to: Audience::Only(vec![3, 9]), message: Payload::plain("hi") }
    );
    assert_eq!(
        case("SEND_TO_ALL excluding"),
        Command::SendToAll { to: Audience::Except(vec![3]), message: Payload::plain("hi") }
    );
    assert_eq!(
        case("SEND_TO_UID"),
        Command::SendToUid { uids: vec!["u1".into(), "42".into()], message: Payload::plain("hi") }
    );
    assert_eq!(case("KICK with null message"), Command::Kick { connection_id: 7, message: None });
    let raw = Payload { raw: true, ..Payload::plain(&b"\x81\x02hi"[..]) };
    assert_eq!(case("SEND_TO_ONE raw"), Command::SendToOne { to: 7, message: raw });
    let Command::WorkerConnect(Hello { worker_key: Some(_), secret_key: Some(key), .. }) =
        case("WORKER_CONNECT")
    else {
        panic!("a worker's hello");
    };
    assert_eq!(key, SecretKey::default());
    assert!(matches!(
        case("ON_WEBSOCKET_CONNECT array body"),
        Command::OnWebSocketConnect { handshake, .. } if handshake.starts_with(b"a:3:")
    ));
}

#[test]
fn a_peer_that_ignores_the_close_code_reads_a_refusal_as_a_kick() {
    let message = Some(Payload::plain("no"));
    let refusal = Command::Refuse { connection_id: 7, message: message.clone(), code: 4403 };
    let frame = refusal.clone().into_frame();
    assert_eq!((frame.cmd, frame.ext.as_ref()), (code::KICK, &br#"{"code":4403}"#[..]));
    assert_eq!(Command::decode(frame.clone()).unwrap(), refusal);
    let kick = Command::Kick { connection_id: 7, message };
    for ext in ["", "{}", r#"{"code":65536}"#, r#"{"code":-1}"#, "junk"] {
        assert_eq!(Command::decode(Frame { ext: ext.into(), ..frame.clone() }).unwrap(), kick, "{ext}");
    }
}

#[test]
fn the_request_for_admission_is_a_flag_that_the_original_ignores() {
    let mut frame = case("ON_WEBSOCKET_CONNECT array body").into_frame();
    assert_eq!(frame.flag, 0);
    frame.flag = gatewayworker_protocol::frame::FLAG_ASKS;
    let asking = Command::decode(frame.clone()).unwrap();
    assert!(matches!(asking, Command::OnWebSocketConnect { asks: true, .. }));
    assert_eq!(asking.into_frame(), frame);
    let admit = Command::Admit(7).into_frame();
    assert_eq!(Command::decode(admit).unwrap(), Command::Admit(7));
    let publish = Command::Publish { topic: "news".into(), payload: "it rains".into() };
    assert_eq!(Command::decode(publish.clone().into_frame()).unwrap(), publish);
}

fn with_ext(cmd: u8, ext: &str) -> Command {
    Command::decode(Frame { cmd, ext: ext.to_owned().into(), ..Frame::default() }).unwrap()
}

#[test]
fn lists_are_read_with_holes_and_with_numbers_for_strings() {
    let Command::SendToUid { uids, .. } = with_ext(14, r#"{"3":"a","5":7}"#) else { panic!() };
    assert_eq!(uids, [Bytes::from("a"), Bytes::from("7")]);
    let Command::SendToAll { to, .. } = with_ext(6, r#"{"connections":[3,"5"]}"#) else { panic!() };
    assert_eq!(to, Audience::Only(vec![3, 5]));
    let Command::SendToAll { to, .. } = with_ext(6, r#"{"exclude":{"3":3,"4":null}}"#) else { panic!() };
    assert_eq!(to, Audience::Except(vec![3]));
    let Command::SendToGroup { groups, except, .. } =
        with_ext(22, r#"{"group":{"1":"a","2":7},"exclude":null}"#)
    else {
        panic!()
    };
    assert_eq!((groups, except), (vec![Bytes::from("a"), Bytes::from("7")], vec![]));
}

#[test]
fn a_broadcast_with_unreadable_exceptions_is_an_error() {
    let frame = Frame { cmd: 6, ext: r#"{"exclude":{"3":"#.into(), ..Frame::default() };
    assert!(Command::decode(frame).is_err());
}

#[test]
fn a_question_with_an_unreadable_ext_is_still_a_question() {
    assert_eq!(with_ext(25, "{"), Command::Ask(Question::Select(None)));
    assert_eq!(with_ext(16, "{"), Command::Ask(Question::BatchConnectionsByUid(vec![])));
    assert_eq!(with_ext(28, "7"), Command::Ask(Question::BatchCount(vec![])));
}

#[test]
fn a_missing_or_null_key_of_a_link_is_no_key() {
    for body in [r#"{"worker_key":"W:0"}"#, r#"{"worker_key":"W:0","secret_key":null}"#] {
        let frame = Frame { cmd: 200, body: body.into(), ..Frame::default() };
        let Command::WorkerConnect(hello) = Command::decode(frame).unwrap() else { panic!() };
        assert_eq!(hello.secret_key, None);
    }
}

#[test]
fn client_ids_are_the_originals() {
    let file: Vec<Value> = serde_json::from_str(include_str!("../vectors/client_id.json")).unwrap();
    assert_eq!(file.len(), 4);
    for case in file {
        let ip: Ipv4Addr = case["local_ip"].as_str().unwrap().parse().unwrap();
        let gateway = SocketAddrV4::new(ip, case["local_port"].as_u64().unwrap() as u16);
        let id = ClientId::new(gateway, case["connection_id"].as_u64().unwrap() as u32);
        let text = case["client_id"].as_str().unwrap();
        assert_eq!(id.to_string(), text);
        assert_eq!(text.parse::<ClientId>().unwrap(), id);
        assert_eq!(text.to_uppercase().parse::<ClientId>().unwrap(), id);
    }
}

#[test]
fn impossible_lengths_are_rejected_before_the_rest_has_come() {
    let mut frame = BytesMut::new();
    Frame { ext: "ext".into(), body: "body".into(), ..Frame::default() }.encode(&mut frame);
    for (len, error) in [
        (27, FrameError::TooShort(27)),
        (
            MAX_FRAME_LEN as u32 + 1,
            FrameError::TooLong { len: MAX_FRAME_LEN as u32 + 1, limit: MAX_FRAME_LEN },
        ),
        (u32::MAX, FrameError::TooLong { len: u32::MAX, limit: MAX_FRAME_LEN }),
    ] {
        assert_eq!(parse(&len.to_be_bytes()), Err(error));
    }
    frame[24..28].copy_from_slice(&8_u32.to_be_bytes());
    let len = frame.len() as u32;
    assert_eq!(parse(&frame[..HEADER_LEN]), Err(FrameError::ExtBeyondFrame { ext_len: 8, len }));
}

prop_compose! {
    fn any_frame()(
        cmd: u8, local_ip: u32, local_port: u16, client_ip: u32, client_port: u16, connection_id: u32, flag: u8,
        gateway_port: u16, ext in prop::collection::vec(any::<u8>(), 0..200), body in prop::collection::vec(any::<u8>(), 0..200),
    ) -> Frame {
        Frame {
            cmd, local_ip: local_ip.into(), local_port, client_ip: client_ip.into(), client_port, connection_id, flag,
            gateway_port, ext: ext.into(), body: body.into(),
        }
    }
}

fn any_payload() -> impl Strategy<Value = Payload> {
    (prop::collection::vec(any::<u8>(), 0..50), any::<bool>(), any::<bool>(), any::<bool>()).prop_map(
        |(bytes, plain, raw, binary)| {
            let body = if plain { Body::Plain(bytes.into()) } else { Body::Php(bytes.into()) };
            Payload { body, raw, binary }
        },
    )
}

fn names() -> impl Strategy<Value = Vec<Bytes>> {
    prop::collection::vec("[^\0]{0,8}".prop_map(Bytes::from), 0..5)
}

fn any_interest() -> impl Strategy<Value = Command> {
    let names = prop::collection::vec(any::<u64>().prop_map(Name::from_bits), 0..20);
    prop_oneof![
        (any::<u64>(), any::<u32>(), any::<u32>(), prop::collection::vec(any::<u8>(), 0..50)).prop_map(
            |(version, len, offset, bits)| {
                let piece = FilterPiece { version, len, offset, bits: bits.into() };
                Command::Interest(InterestUpdate::Filter(piece))
            }
        ),
        (any::<u64>(), names)
            .prop_map(|(version, names)| Command::Interest(InterestUpdate::Names { version, names })),
        (any::<u64>(), any::<u32>()).prop_map(|(renewed_at_ms, lease_ms)| {
            Command::Interest(InterestUpdate::Grant { renewed_at_ms, lease_ms })
        }),
        any::<u64>().prop_map(|version| Command::InterestReport(InterestReport::Applied(version))),
        any::<u64>().prop_map(|now_ms| Command::InterestReport(InterestReport::Renew(now_ms))),
    ]
}

fn any_command() -> impl Strategy<Value = Command> {
    let ids =
        prop::collection::btree_set(any::<u32>(), 1..5).prop_map(|ids| ids.into_iter().collect::<Vec<_>>());
    prop_oneof![
        (any::<u32>(), any_payload()).prop_map(|(to, message)| Command::SendToOne { to, message }),
        (ids.clone(), any_payload())
            .prop_map(|(ids, message)| Command::SendToAll { to: Audience::Only(ids), message }),
        (ids.clone(), any_payload())
            .prop_map(|(ids, message)| Command::SendToAll { to: Audience::Except(ids), message }),
        (names(), any_payload()).prop_map(|(uids, message)| Command::SendToUid { uids, message }),
        (names(), ids, any_payload()).prop_map(|(groups, except, message)| Command::SendToGroup {
            groups,
            except,
            message
        }),
        (any::<u32>(), names()).prop_map(|(connection_id, mut names)| Command::JoinGroup {
            connection_id,
            group: names.pop().unwrap_or_default(),
        }),
        any_interest(),
        names().prop_map(|names| Command::Ask(Question::BatchCount(names))),
        names().prop_map(|names| Command::Ask(Question::BatchConnectionsByUid(names))),
    ]
}

proptest! {
    #[test]
    fn a_frame_survives_the_wire(frame in any_frame()) {
        let mut wire = BytesMut::new();
        frame.encode(&mut wire);
        prop_assert_eq!(wire.len(), frame.encoded_len());
        prop_assert_eq!(Frame::parse(&mut wire, MAX_FRAME_LEN).unwrap().unwrap(), frame);
        prop_assert!(wire.is_empty());
    }

    #[test]
    fn frames_cut_anywhere_come_out_whole_and_in_order(frames in prop::collection::vec(any_frame(), 1..5), cut in 1..64_usize) {
        let mut wire = BytesMut::new();
        frames.iter().for_each(|frame| frame.encode(&mut wire));
        let mut buffer = BytesMut::new();
        let mut parsed = Vec::new();
        for piece in wire.chunks(cut) {
            buffer.extend_from_slice(piece);
            while let Some(frame) = Frame::parse(&mut buffer, MAX_FRAME_LEN).unwrap() {
                parsed.push(frame);
            }
        }
        prop_assert_eq!(parsed, frames);
    }

    #[test]
    fn a_command_survives_the_wire(command in any_command()) {
        let mut wire = BytesMut::new();
        command.clone().encode(&mut wire);
        let frame = Frame::parse(&mut wire, MAX_FRAME_LEN).unwrap().unwrap();
        prop_assert_eq!(Command::decode(frame).unwrap(), command);
    }

    #[test]
    fn any_bytes_are_a_frame_an_error_or_too_few(bytes in prop::collection::vec(any::<u8>(), 0..300), length: u16) {
        let mut bytes = bytes;
        // Mostly a length that could be one, so that the rest is looked at too.
        if bytes.len() > 4 {
            bytes[..4].copy_from_slice(&u32::from(length % 400).to_be_bytes());
        }
        let mut buffer = BytesMut::from(&bytes[..]);
        while let Ok(Some(frame)) = Frame::parse(&mut buffer, MAX_FRAME_LEN) {
            let _ = Command::decode(frame);
        }
        // What is too few stays as it is, and nothing was allocated for what was promised.
        prop_assert!(buffer.capacity() <= bytes.len().max(1) * 2);
    }
}

#[test]
fn an_unreadable_update_of_interest_is_an_error() {
    let names = Command::Interest(InterestUpdate::Names { version: 1, names: vec![Name::from_bits(2)] });
    let frame = names.into_frame();
    for unreadable in [
        Frame { flag: 9, ..frame.clone() },
        Frame { ext: frame.ext.slice(1..), ..frame.clone() },
        Frame { body: frame.body.slice(1..), ..frame.clone() },
        Frame { body: vec![0; 8 * (InterestUpdate::MAX_NAMES + 1)].into(), ..frame.clone() },
        Frame { cmd: code::INTEREST_REPORT, flag: 9, ..frame.clone() },
        Frame { cmd: code::INTEREST_REPORT, flag: 1, ext: Bytes::new(), ..frame },
    ] {
        assert!(Command::decode(unreadable.clone()).is_err(), "{unreadable:?}");
    }
}

#[test]
fn a_filter_goes_in_pieces_that_fit_any_frame() {
    let whole = Bytes::from(vec![7; NameFilter::MAX_BYTES]);
    let mut next = 0;
    for update in InterestUpdate::filter(3, &whole) {
        assert!(Command::Interest(update.clone()).into_frame().encoded_len() <= MAX_FRAME_LEN);
        let InterestUpdate::Filter(piece) = update else { panic!("{update:?}") };
        assert_eq!((piece.version, piece.len as usize, piece.offset as usize), (3, whole.len(), next));
        next += piece.bits.len();
    }
    assert_eq!(next, whole.len());
}
