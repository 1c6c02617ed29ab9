//! RFC 6455, case by case and byte for byte, through a real gateway. The sections and numbers are those of the Autobahn
//! test suite, which `tests/autobahn/run` runs itself.
//!
//! The worker echoes every message. If a case does not end otherwise, the client closes, and must receive the answer to
//! its close and nothing more.

use gatewayworker_tests::Cluster;
use gatewayworker_tests::conformance::{
    BINARY, CLOSE, CONTINUE, Case, FIN, PING, PONG, TEXT, client_frame, close_payload, converse,
};

const MALFORMED: u16 = 1002;
const NOT_UTF8: u16 = 1007;
const TOO_LARGE: u16 = 1009;

const RESERVED_BIT: &str = "a reserved bit without an extension";
const RESERVED_OPCODE: &str = "a reserved opcode";
const FRAGMENTED_CONTROL: &str = "a fragmented control frame";
const LONG_CONTROL: &str = "a control frame over 125 bytes";
const NOTHING_TO_CONTINUE: &str = "a continuation of nothing";
const UNFINISHED: &str = "a new message within a fragmented one";
const NO_TEXT: &str = "text that is not UTF-8";
const TOO_LONG: &str = "a message over the limit";

/// `n` bytes that are text, and do not repeat in a way that would hide a gap.
fn text(n: usize) -> Vec<u8> {
    (0..n).map(|i| b'!' + (i % 89) as u8).collect()
}

/// `n` bytes of every value.
fn binary(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i % 251) as u8 ^ 0x80).collect()
}

/// A message in fragments, as its frames.
fn fragmented<'a>(kind: u8, fragments: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let fragments: Vec<&[u8]> = fragments.into_iter().collect();
    let last = fragments.len() - 1;
    let frames = fragments.iter().enumerate().map(|(n, fragment)| {
        let first = if n == 0 { kind } else { CONTINUE } | if n == last { FIN } else { 0 };
        client_frame(first, fragment)
    });
    frames.collect::<Vec<_>>().concat()
}

/// Each case as it is, and with its bytes in pieces of these sizes.
fn in_pieces(cases: Vec<Case>, sizes: &[usize]) -> Vec<Case> {
    let chopped = cases.iter().flat_map(|case| sizes.iter().map(|size| case.clone().chopped(*size)));
    let chopped: Vec<Case> = chopped.collect();
    [cases, chopped].concat()
}

#[tokio::test]
async fn section_1_a_message_of_any_length_arrives_from_any_cut() {
    let cluster = Cluster::start().await;
    let mut cases = Vec::new();
    for n in [0, 1, 125, 126, 127, 128, 65535, 65536] {
        let (text, binary) = (text(n), binary(n));
        cases.push(Case::new(format!("1.1 text of {n}")).send(FIN | TEXT, &text).hear(FIN | TEXT, &text));
        let case = Case::new(format!("1.2 binary of {n}"));
        cases.push(case.send(FIN | BINARY, &binary).hear(FIN | BINARY, &binary));
    }
    converse(cluster.listener(), in_pieces(cases, &[1, 997])).await;
}

#[tokio::test]
async fn section_2_a_ping_is_answered_with_its_payload_and_a_pong_is_not_answered() {
    let cluster = Cluster::start().await;
    let mut cases = Vec::new();
    for (number, payload) in [
        ("2.1", &b""[..]),
        ("2.2", b"Hello, world!"),
        ("2.3", b"\x00\xff\xfe\xfd\xfc"),
        ("2.4", &[0xfe; 125]),
    ] {
        let case = Case::new(format!("{number} ping with {} bytes", payload.len()));
        cases.push(case.send(FIN | PING, payload).hear(FIN | PONG, payload));
    }
    cases.push(
        Case::new("2.5 ping with 126 bytes").send(FIN | PING, [0xfe; 126]).fails(MALFORMED, LONG_CONTROL),
    );
    cases.push(
        Case::new("2.5 pong with 126 bytes").send(FIN | PONG, [0xfe; 126]).fails(MALFORMED, LONG_CONTROL),
    );
    cases.push(Case::new("2.7 pong nobody asked for").send(FIN | PONG, ""));
    cases.push(Case::new("2.8 such a pong with a payload").send(FIN | PONG, "unsolicited"));
    let after = Case::new("2.9 such a pong, then a ping").send(FIN | PONG, "unsolicited");
    cases.push(after.send(FIN | PING, "ping").hear(FIN | PONG, "ping"));
    let pings = (0..10).map(|n| client_frame(FIN | PING, format!("payload-{n}").as_bytes()));
    let ten = Case::new("2.10 ten pings").say(pings.collect::<Vec<_>>().concat());
    cases.push((0..10).fold(ten, |ten, n| ten.hear(FIN | PONG, format!("payload-{n}"))));
    converse(cluster.listener(), in_pieces(cases, &[1])).await;
}

#[tokio::test]
async fn section_3_a_reserved_bit_fails_the_connection() {
    let cluster = Cluster::start().await;
    let mut cases = Vec::new();
    for bits in 1..8_u8 {
        for (kind, name) in
            [(TEXT, "text"), (BINARY, "binary"), (CLOSE, "close"), (PING, "ping"), (PONG, "pong")]
        {
            let case = Case::new(format!("3 {name} with the bits {bits:03b}"));
            cases.push(case.send(FIN | bits << 4 | kind, "").fails(MALFORMED, RESERVED_BIT));
        }
        let after = Case::new(format!("3.2 a good message before the bits {bits:03b}"));
        let after = after.send(FIN | TEXT, "good").hear(FIN | TEXT, "good");
        cases.push(after.send(FIN | bits << 4 | TEXT, "bad").fails(MALFORMED, RESERVED_BIT));
    }
    converse(cluster.listener(), in_pieces(cases, &[1])).await;
}

#[tokio::test]
async fn section_4_a_reserved_opcode_fails_the_connection() {
    let cluster = Cluster::start().await;
    let mut cases = Vec::new();
    for opcode in (3..8).chain(11..16) {
        for payload in ["", "payload"] {
            let case = Case::new(format!("4 opcode {opcode} with {payload:?}"));
            cases.push(case.send(FIN | opcode, payload).fails(MALFORMED, RESERVED_OPCODE));
        }
        let after = Case::new(format!("4 a good message before opcode {opcode}"));
        let after = after.send(FIN | TEXT, "good").hear(FIN | TEXT, "good");
        cases.push(after.send(FIN | opcode, "bad").fails(MALFORMED, RESERVED_OPCODE));
    }
    converse(cluster.listener(), in_pieces(cases, &[1])).await;
}

#[tokio::test]
async fn section_5_fragments_in_order_make_one_message() {
    let cluster = Cluster::start().await;
    let two = [&b"fragment1"[..], b"fragment2"];
    let whole = two.concat();
    let start = |name: &str| Case::new(name).send(TEXT, two[0]);
    let nothing = |name: &str, first: u8| {
        Case::new(name).send(first, "non-continuation").fails(MALFORMED, NOTHING_TO_CONTINUE)
    };
    let cases = vec![
        Case::new("5.1 ping in fragments").send(PING, two[0]).fails(MALFORMED, FRAGMENTED_CONTROL),
        Case::new("5.2 pong in fragments").send(PONG, two[0]).fails(MALFORMED, FRAGMENTED_CONTROL),
        Case::new("5.2 close in fragments").send(CLOSE, "").fails(MALFORMED, FRAGMENTED_CONTROL),
        start("5.3 text, a frame at a time").send(FIN | CONTINUE, two[1]).hear(FIN | TEXT, &whole),
        Case::new("5.4 text in one write").say(fragmented(TEXT, two)).hear(FIN | TEXT, &whole),
        Case::new("5.4 binary").say(fragmented(BINARY, two)).hear(FIN | BINARY, &whole),
        start("5.6 ping between")
            .send(FIN | PING, "ping")
            .hear(FIN | PONG, "ping")
            .send(FIN | CONTINUE, two[1])
            .hear(FIN | TEXT, &whole),
        start("5.6 pong between").send(FIN | PONG, "").send(FIN | CONTINUE, two[1]).hear(FIN | TEXT, &whole),
        nothing("5.9 last fragment of nothing", FIN | CONTINUE),
        nothing("5.12 fragment of nothing", CONTINUE),
        Case::new("5.15 fragment behind a whole message")
            .say(fragmented(TEXT, two))
            .hear(FIN | TEXT, &whole)
            .send(CONTINUE, "fragment3")
            .fails(MALFORMED, NOTHING_TO_CONTINUE),
        start("5.18 text within text").send(FIN | TEXT, two[1]).fails(MALFORMED, UNFINISHED),
        start("5.18 a new first fragment").send(TEXT, two[1]).fails(MALFORMED, UNFINISHED),
        start("5.18 binary within text").send(FIN | BINARY, two[1]).fails(MALFORMED, UNFINISHED),
        start("5.19 five fragments, two pings")
            .send(CONTINUE, "fragment2")
            .send(FIN | PING, "pongme 1!")
            .hear(FIN | PONG, "pongme 1!")
            .send(CONTINUE, "fragment3")
            .send(CONTINUE, "fragment4")
            .send(FIN | PING, "pongme 2!")
            .hear(FIN | PONG, "pongme 2!")
            .send(FIN | CONTINUE, "fragment5")
            .hear(FIN | TEXT, "fragment1fragment2fragment3fragment4fragment5"),
        Case::new("6.1 empty fragments").say(fragmented(TEXT, [&b""[..]; 3])).hear(FIN | TEXT, ""),
        Case::new("6.1 one of them is not")
            .say(fragmented(TEXT, [&b""[..], b"middle frame payload", b""]))
            .hear(FIN | TEXT, "middle frame payload"),
        start("5 closed in the middle").send(FIN | CLOSE, "").ends(b""),
        Case::new("5 a message after another in fragments")
            .say([fragmented(BINARY, two), fragmented(TEXT, [&b"a"[..], b"b", b"c"])].concat())
            .hear(FIN | BINARY, &whole)
            .hear(FIN | TEXT, "abc"),
    ];
    converse(cluster.listener(), in_pieces(cases, &[1])).await;
}

/// Text, by Autobahn's numbers: greetings, the first and last of each length, the
/// borders, and what Unicode calls no character but UTF-8 may say.
const VALID: &[(&str, &[u8])] = &[
    ("6.2", "Hello-µ@ßöäüàá-UTF-8!!".as_bytes()),
    ("6.5", "κόσμε".as_bytes()),
    ("6.7 first of one", b"\x00"),
    ("6.7 first of two", b"\xc2\x80"),
    ("6.7 first of three", b"\xe0\xa0\x80"),
    ("6.7 first of four", b"\xf0\x90\x80\x80"),
    ("6.9 last of one", b"\x7f"),
    ("6.9 last of two", b"\xdf\xbf"),
    ("6.9 last of three", b"\xef\xbf\xbf"),
    ("6.9 last of four", b"\xf4\x8f\xbf\xbf"),
    ("6.11 U+D7FF", b"\xed\x9f\xbf"),
    ("6.11 U+E000", b"\xee\x80\x80"),
    ("6.11 U+FFFD", b"\xef\xbf\xbd"),
    ("6.22 U+FFFE", b"\xef\xbf\xbe"),
    ("6.22 U+1FFFF", b"\xf0\x9f\xbf\xbf"),
    ("6.23 a mark of order", b"\xef\xbb\xbf"),
];

/// Invalid UTF-8.
const INVALID: &[(&str, &[u8])] = &[
    ("6.3 a surrogate within text", b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited"),
    ("6.4 beyond Unicode within text", b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80edited"),
    ("6.6 one of two", b"\xce"),
    ("6.6 two of three", b"\xce\xba\xe1\xbd"),
    ("6.6 three of four", b"text\xf0\x9f\x98"),
    ("6.8 five bytes", b"\xf8\x88\x80\x80\x80"),
    ("6.8 six bytes", b"\xfc\x84\x80\x80\x80\x80"),
    ("6.10 last of five", b"\xfb\xbf\xbf\xbf\xbf"),
    ("6.10 last of six", b"\xfd\xbf\xbf\xbf\xbf\xbf"),
    ("6.12 U+110000", b"\xf4\x90\x80\x80"),
    ("6.12 U+140000", b"\xf5\x80\x80\x80"),
    ("6.13 a lone continuation", b"\x80"),
    ("6.13 the last of those", b"\xbf"),
    ("6.13 five of them", b"\x80\xbf\x80\xbf\x80"),
    ("6.14 a start and a space", b"\xc3 "),
    ("6.14 another", b"\xe9 "),
    ("6.14 a third", b"\xf1 "),
    ("6.16 two starts", b"\xc3\xc3"),
    ("6.17 never a byte of text: fe", b"\xfe"),
    ("6.17 never a byte of text: ff", b"\xff"),
    ("6.18 a slash in two", b"\xc0\xaf"),
    ("6.18 a slash in three", b"\xe0\x80\xaf"),
    ("6.18 a slash in four", b"\xf0\x80\x80\xaf"),
    ("6.18 a slash in five", b"\xf8\x80\x80\x80\xaf"),
    ("6.19 overlong U+7F", b"\xc1\xbf"),
    ("6.19 overlong U+7FF", b"\xe0\x9f\xbf"),
    ("6.19 overlong U+FFFF", b"\xf0\x8f\xbf\xbf"),
    ("6.20 zero in two", b"\xc0\x80"),
    ("6.20 zero in three", b"\xe0\x80\x80"),
    ("6.21 first surrogate", b"\xed\xa0\x80"),
    ("6.21 last high surrogate", b"\xed\xaf\xbf"),
    ("6.21 first low surrogate", b"\xed\xb0\x80"),
    ("6.21 last surrogate", b"\xed\xbf\xbf"),
    ("6.22 a pair of surrogates", b"\xed\xa0\x80\xed\xb0\x80"),
];

#[tokio::test]
async fn section_6_valid_text_arrives_wherever_its_characters_are_cut() {
    let cluster = Cluster::start().await;
    let cases = VALID.iter().map(|(name, valid)| {
        let whole = Case::new(name).send(FIN | TEXT, valid).hear(FIN | TEXT, valid);
        let cut = |case: Case, at| {
            let (head, tail) = valid.split_at(at);
            case.say(fragmented(TEXT, [head, tail])).hear(FIN | TEXT, valid)
        };
        let bytes = fragmented(TEXT, valid.chunks(1));
        (0..=valid.len()).fold(whole, cut).say(bytes).hear(FIN | TEXT, valid)
    });
    converse(cluster.listener(), in_pieces(cases.collect(), &[1])).await;
}

#[tokio::test]
async fn section_6_invalid_utf_8_is_refused_in_text_and_accepted_in_binary() {
    let cluster = Cluster::start().await;
    let mut cases = Vec::new();
    for (name, invalid) in INVALID {
        cases.push(Case::new(name).send(FIN | TEXT, invalid).fails(NOT_UTF8, NO_TEXT));
        cases.push(Case::new(name).send(FIN | BINARY, invalid).hear(FIN | BINARY, invalid));
        for at in 0..=invalid.len() {
            let (head, tail) = invalid.split_at(at);
            let case = Case::new(format!("{name}, cut at {at}")).say(fragmented(TEXT, [head, tail]));
            cases.push(case.fails(NOT_UTF8, NO_TEXT));
        }
    }
    converse(cluster.listener(), cases).await;
}

#[tokio::test]
async fn section_7_a_close_is_answered_with_its_code_and_ends_the_connection() {
    let cluster = Cluster::start().await;
    let bye = close_payload(1000, b"");
    let closing = client_frame(FIN | CLOSE, &bye);
    let after =
        |name: &str, frame: Vec<u8>| Case::new(name).say([closing.clone(), frame].concat()).ends(&bye);
    let large = text(256 * 1024);
    let mut cases = vec![
        Case::new("7.1.1 after a message").send(FIN | TEXT, "Hello").hear(FIN | TEXT, "Hello"),
        after("7.1.2 twice", closing.clone()),
        after("7.1.3 then a ping", client_frame(FIN | PING, b"")),
        after("7.1.4 then text", client_frame(FIN | TEXT, b"Hello")),
        after("7.1.5 then a fragment", client_frame(FIN | CONTINUE, b"Hello")),
        after("7.1.5 then what is no frame", vec![0xff; 30]),
        Case::new("7.1.6 after much, with a ping behind")
            .send(FIN | TEXT, &large)
            .hear(FIN | TEXT, &large)
            .say([closing.clone(), client_frame(FIN | PING, b"")].concat())
            .ends(&bye),
        Case::new("7.3.1 without a code").send(FIN | CLOSE, "").ends(b""),
        Case::new("7.3.2 half a code").send(FIN | CLOSE, [3]).fails(MALFORMED, "half a close code"),
        Case::new("7.3.4 with a reason").send(FIN | CLOSE, close_payload(1000, b"Hello World!")).ends(&bye),
        Case::new("7.3.5 with the longest").send(FIN | CLOSE, close_payload(1000, &[b'*'; 123])).ends(&bye),
        Case::new("7.3.6 too long a reason")
            .send(FIN | CLOSE, close_payload(1000, &[b'*'; 124]))
            .fails(MALFORMED, LONG_CONTROL),
    ];
    for (name, invalid) in INVALID {
        let case = Case::new(format!("7.5.1 a reason that is not UTF-8: {name}"));
        cases.push(case.send(FIN | CLOSE, close_payload(1000, invalid)).fails(NOT_UTF8, NO_TEXT));
    }
    let valid = (1000..=1003).chain(1007..=1014).chain([3000, 3999, 4000, 4999]);
    cases.extend(valid.map(|code| {
        let payload = close_payload(code, b"");
        Case::new(format!("7.7 code {code}")).send(FIN | CLOSE, &payload).ends(&payload)
    }));
    let invalid = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535];
    cases.extend(invalid.map(|code| {
        let case = Case::new(format!("7.9 code {code}")).send(FIN | CLOSE, close_payload(code, b""));
        case.fails(MALFORMED, "a close code that may not be sent")
    }));
    converse(cluster.listener(), cases).await;
}

#[tokio::test]
async fn section_9_messages_up_to_the_limit_arrive_and_one_byte_more_is_refused() {
    const LIMIT: usize = 8 * 1024 * 1024;
    let cluster = Cluster::start().await;
    let limit = gatewayworker_gateway::Config::default().max_message_bytes;
    assert_eq!(limit, LIMIT, "the limit that is documented");
    let mut cases = Vec::new();
    for n in [64 * 1024, 256 * 1024, 1024 * 1024, LIMIT] {
        let (text, binary) = (text(n), binary(n));
        cases.push(Case::new(format!("9.1 text of {n}")).send(FIN | TEXT, &text).hear(FIN | TEXT, &text));
        let case = Case::new(format!("9.2 binary of {n}"));
        cases.push(case.send(FIN | BINARY, &binary).hear(FIN | BINARY, &binary));
    }
    let message = text(256 * 1024);
    for size in [64, 256, 1024, 1300, 64 * 1024] {
        let case = Case::new(format!("9.3 fragments of {size}")).say(fragmented(TEXT, message.chunks(size)));
        cases.push(case.hear(FIN | TEXT, &message));
    }
    let header = |first: u8, len: u64| [&[first, 0xff], &len.to_be_bytes()[..], &[0; 4]].concat();
    for (name, len) in [("one too many", LIMIT as u64 + 1), ("a length that is negative", 1 << 63)] {
        let case = Case::new(format!("9 {name}")).say(header(FIN | BINARY, len));
        cases.push(case.fails(TOO_LARGE, TOO_LONG));
    }
    let half = binary(LIMIT / 2);
    let halves = Case::new("9.4 two halves").say(fragmented(BINARY, [&half[..], &half]));
    cases.push(halves.hear(FIN | BINARY, [&half[..], &half].concat()));
    let over = Case::new("9 the last fragment is one too many").send(BINARY, &half).send(CONTINUE, &half);
    cases.push(over.send(FIN | CONTINUE, "!").fails(TOO_LARGE, TOO_LONG));
    // One after the other: a worker's link holds no two such answers, and fails the second.
    for case in cases {
        converse(cluster.listener(), [case]).await;
    }
}

#[tokio::test]
async fn section_9_messages_of_16_mib_arrive_with_a_higher_limit() {
    const LIMIT: usize = 16 * 1024 * 1024;
    let cluster = Cluster::builder().gateway(|config| config.max_message_bytes = LIMIT).start().await;
    let (text, binary) = (text(LIMIT), binary(LIMIT));
    let cases = [
        Case::new("9.1.6 text").send(FIN | TEXT, &text).hear(FIN | TEXT, &text),
        Case::new("9.2.6 binary").send(FIN | BINARY, &binary).hear(FIN | BINARY, &binary),
        Case::new("text in fragments").say(fragmented(TEXT, text.chunks(1 << 20))).hear(FIN | TEXT, &text),
        Case::new("binary in fragments")
            .say(fragmented(BINARY, binary.chunks(LIMIT / 3)))
            .hear(FIN | BINARY, &binary),
        Case::new("one byte too many")
            .send(FIN | BINARY, &binary)
            .hear(FIN | BINARY, &binary)
            .say([&[FIN | BINARY, 0xff], &(LIMIT as u64 + 1).to_be_bytes()[..], &[0; 4]].concat())
            .fails(TOO_LARGE, TOO_LONG),
    ];
    for case in cases {
        converse(cluster.listener(), [case]).await;
    }
}

#[tokio::test]
async fn beyond_autobahn_a_frame_without_a_mask_fails_the_connection() {
    let cluster = Cluster::start().await;
    let mut cases = Vec::new();
    for (kind, name) in [(CONTINUE, "continuation"), (TEXT, "text"), (BINARY, "binary")].into_iter().chain([
        (CLOSE, "close"),
        (PING, "ping"),
        (PONG, "pong"),
    ]) {
        for payload in [&b""[..], b"\x03\xe8"] {
            let frame = [&[FIN | kind, payload.len() as u8], payload].concat();
            let case = Case::new(format!("unmasked {name} of {}", payload.len())).say(frame);
            cases.push(case.fails(MALFORMED, "a frame without a mask"));
        }
    }
    converse(cluster.listener(), in_pieces(cases, &[1])).await;
}
