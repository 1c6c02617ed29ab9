//! permessage-deflate (RFC 7692), byte for byte, through a real gateway: of clients that have agreed on it, and of those
//! that compress though it was not accepted (section 7.2), as Safari of iOS 15 and macOS 12 does.
//!
//! The worker echoes every message.

use flate2::{Compress, Compression, FlushCompress};
use gatewayworker::CloseReason;
use gatewayworker_gateway as gateway;
use gatewayworker_protocol::ClientId;
use gatewayworker_tests::conformance::{
    BINARY, CLOSE, CONTINUE, Case, FIN, PING, PONG, TEXT, client_frame, close_payload, converse,
    converse_offering, server_frame,
};
use gatewayworker_tests::metrics::assert_moves;
use gatewayworker_tests::{Cluster, WsClient, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;

/// The bit of a compressed message's first frame.
pub(crate) const RSV1: u8 = 0x40;

pub(crate) const OFFER: &str = "permessage-deflate; client_max_window_bits";

const RESERVED_BIT: &str = "a reserved bit without an extension";

/// "Hello", section 7.2.3.1.
const HELLO: [u8; 7] = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];

/// The same as a reference to the message before, section 7.2.3.2.
const HELLO_AGAIN: [u8; 5] = [0xf2, 0x00, 0x11, 0x00, 0x00];

/// A message compressed by itself, within a window of so many bits.
pub(crate) fn compressed_within(bits: u8, message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + message.len() / 10 + 100);
    let mut compress = Compress::new_with_window_bits(Compression::fast(), false, bits);
    compress.compress_vec(message, &mut out, FlushCompress::Sync).expect("a fresh compressor");
    out.truncate(out.len() - 4);
    out
}

pub(crate) fn compressed(message: &[u8]) -> Vec<u8> {
    compressed_within(15, message)
}

/// A message of 50 MB that has fewer bytes than any limit here when it is compressed.
fn bomb() -> Vec<u8> {
    let mut out = Vec::with_capacity(100_000);
    let mut compress = Compress::new(Compression::best(), false);
    compress.compress_vec(&vec![0; 50 << 20], &mut out, FlushCompress::Sync).expect("a fresh compressor");
    assert!(out.len() < out.capacity(), "it is whole");
    out
}

/// A cluster whose gateway compresses messages of 500 bytes and more.
async fn compressing() -> Cluster {
    let settings = |config: &mut gateway::Config| {
        config.compression = true;
        config.compression_min_bytes = 500;
        config.max_message_bytes = 100_000;
    };
    Cluster::builder().gateway(settings).metrics().start().await
}

/// Some JSON of so many bytes.
pub(crate) fn json(len: usize) -> Vec<u8> {
    let items = (0_u32..).map(|n| format!(r#"{{"id":{n},"value":{}}},"#, n.wrapping_mul(7919) % 977));
    items.flat_map(String::into_bytes).take(len).collect()
}

#[tokio::test]
async fn compressed_messages_arrive_from_a_client_that_offered_compression() {
    let cluster = Cluster::start().await;
    let long: Vec<u8> = (0..300_000_u32).map(|n| b'a' + (n.wrapping_mul(n) % 23) as u8).collect();
    let packed = compressed(&long);
    let (head, tail) = packed.split_at(packed.len() / 3);
    let cases = [
        Case::new("text").send(FIN | RSV1 | TEXT, HELLO).hear(FIN | TEXT, "Hello"),
        Case::new("binary").send(FIN | RSV1 | BINARY, HELLO).hear(FIN | BINARY, "Hello"),
        Case::new("nothing").send(FIN | RSV1 | TEXT, [0]).hear(FIN | TEXT, ""),
        Case::new("with the window of those before")
            .send(FIN | RSV1 | TEXT, HELLO)
            .hear(FIN | TEXT, "Hello")
            .send(FIN | TEXT, "plain")
            .hear(FIN | TEXT, "plain")
            .send(FIN | RSV1 | TEXT, HELLO_AGAIN)
            .hear(FIN | TEXT, "Hello"),
        Case::new("in fragments, with a ping between")
            .send(RSV1 | TEXT, &HELLO[..3])
            .send(FIN | PING, "ping")
            .hear(FIN | PONG, "ping")
            .send(CONTINUE, &HELLO[3..])
            .send(FIN | CONTINUE, "")
            .hear(FIN | TEXT, "Hello"),
        Case::new("long").send(FIN | RSV1 | TEXT, &packed).hear(FIN | TEXT, &long),
        Case::new("long, in fragments, twice")
            .send(RSV1 | TEXT, head)
            .send(FIN | CONTINUE, tail)
            .hear(FIN | TEXT, &long)
            .send(FIN | RSV1 | TEXT, &packed)
            .hear(FIN | TEXT, &long),
    ];
    let cases: Vec<_> = cases.into_iter().flat_map(|case| [case.clone().chopped(997), case]).collect();
    converse_offering(cluster.listener(), OFFER, cases).await;
}

#[tokio::test]
async fn an_invalid_compressed_message_fails_the_connection_with_its_code() {
    let cluster = Cluster::builder().gateway(|config| config.max_message_bytes = 100_000).start().await;
    let bomb = bomb();
    let too_long = "a message over the limit";
    let cases = [
        Case::new("a bit on a continuation")
            .send(RSV1 | TEXT, &HELLO[..3])
            .send(FIN | RSV1 | CONTINUE, &HELLO[3..])
            .fails(1002, RESERVED_BIT),
        Case::new("a bit on a ping").send(FIN | RSV1 | PING, "").fails(1002, RESERVED_BIT),
        Case::new("another bit").send(FIN | RSV1 | 0x20 | TEXT, HELLO).fails(1002, RESERVED_BIT),
        Case::new("no DEFLATE")
            .send(FIN | RSV1 | TEXT, [0xff; 9])
            .fails(1007, "a compressed message that is not DEFLATE"),
        Case::new("no UTF-8")
            .send(FIN | RSV1 | TEXT, compressed(b"\xc3\x28"))
            .fails(1007, "text that is not UTF-8"),
        Case::new("a bomb").send(FIN | RSV1 | BINARY, &bomb).fails(1009, too_long),
        Case::new("a bomb in fragments")
            .send(RSV1 | BINARY, &bomb[..1000])
            .send(FIN | CONTINUE, &bomb[1000..])
            .fails(1009, too_long),
        Case::new("one byte too many")
            .send(FIN | RSV1 | BINARY, compressed(&[7; 100_001]))
            .fails(1009, too_long),
        Case::new("none too many")
            .send(FIN | RSV1 | BINARY, compressed(&[7; 100_000]))
            .hear(FIN | BINARY, [7; 100_000]),
    ];
    converse_offering(cluster.listener(), OFFER, cases).await;
}

#[tokio::test]
async fn a_compressed_message_without_an_offer_fails_the_connection() {
    let cluster = Cluster::start().await;
    let case = || Case::new("not offered").send(FIN | RSV1 | TEXT, HELLO).fails(1002, RESERVED_BIT);
    converse(cluster.listener(), [case()]).await;
    converse_offering(cluster.listener(), "x-webkit-deflate-frame", [case()]).await;
}

#[tokio::test]
async fn clients_that_have_agreed_send_and_get_each_message_compressed_by_itself() {
    let cluster = compressing().await;
    let (long, short, edge) = (json(50_000), json(499), json(500));
    let packed = compressed(&long);
    let (head, tail) = packed.split_at(packed.len() / 3);
    let random = |n: &u32| Some(n.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    let noise: Vec<u8> = std::iter::successors(Some(1), random).map(|n| (n >> 24) as u8).take(2000).collect();
    let cases = [
        Case::new("text").send(FIN | RSV1 | TEXT, HELLO).hear(FIN | TEXT, "Hello"),
        Case::new("long, twice")
            .send(FIN | RSV1 | TEXT, &packed)
            .hear(FIN | RSV1 | TEXT, &packed)
            .send(FIN | RSV1 | BINARY, &packed)
            .hear(FIN | RSV1 | BINARY, &packed),
        Case::new("in fragments, with a ping between")
            .send(RSV1 | TEXT, head)
            .send(FIN | PING, "ping")
            .hear(FIN | PONG, "ping")
            .send(FIN | CONTINUE, tail)
            .hear(FIN | RSV1 | TEXT, &packed),
        Case::new("plain there, compressed back").send(FIN | TEXT, &long).hear(FIN | RSV1 | TEXT, &packed),
        Case::new("from min_bytes on")
            .send(FIN | TEXT, &short)
            .hear(FIN | TEXT, &short)
            .send(FIN | TEXT, &edge)
            .hear(FIN | RSV1 | TEXT, compressed(&edge)),
        Case::new("what does not shrink").send(FIN | BINARY, &noise).hear(FIN | BINARY, &noise),
        Case::new("a reference to the message before")
            .send(FIN | RSV1 | TEXT, HELLO)
            .hear(FIN | TEXT, "Hello")
            .send(FIN | RSV1 | TEXT, HELLO_AGAIN)
            .fails(1007, "a compressed message that is not DEFLATE"),
        Case::new("a bomb").send(FIN | RSV1 | BINARY, bomb()).fails(1009, "a message over the limit"),
        Case::new("a bit on a pong").send(FIN | RSV1 | PONG, "").fails(1002, RESERVED_BIT),
    ];
    let cases: Vec<_> = cases.into_iter().flat_map(|case| [case.clone().chopped(997), case]).collect();
    converse_offering(cluster.listener(), OFFER, cases).await;
}

#[tokio::test]
async fn a_client_gets_messages_within_the_window_that_it_has_asked_for() {
    let cluster = compressing().await;
    let (long, short) = (json(40_000), json(512));
    for (bits, offer) in [
        (9, "permessage-deflate; server_max_window_bits=9"),
        (
            12,
            "permessage-deflate; server_max_window_bits=8, permessage-deflate; server_max_window_bits=\"12\"",
        ),
        (15, "permessage-deflate; server_max_window_bits=15"),
    ] {
        let case = Case::new("a window")
            .send(FIN | TEXT, &long)
            .hear(FIN | RSV1 | TEXT, compressed_within(bits, &long))
            // It is shorter than each window, and the same for all.
            .send(FIN | TEXT, &short)
            .hear(FIN | RSV1 | TEXT, compressed(&short));
        converse_offering(cluster.listener(), offer, [case]).await;
    }
    // Nothing can be compressed within a window of 8 bits.
    let case = Case::new("declined").send(FIN | TEXT, &long).hear(FIN | TEXT, &long);
    converse_offering(cluster.listener(), "permessage-deflate; server_max_window_bits=8", [case.clone()])
        .await;
    converse(cluster.listener(), [case]).await;
}

#[tokio::test]
async fn a_bomb_closes_its_client_and_no_other() {
    let cluster = compressing().await;
    let (mut bystander, _) = offering(&cluster, Some(OFFER)).await;
    let text = json(5000);
    let bomb = bomb();
    let in_fragments = |len: usize| {
        let (first, rest) = bomb.split_at(len);
        let rest = rest.chunks(len).flat_map(|piece| client_frame(CONTINUE, piece));
        let frames = client_frame(RSV1 | BINARY, first).into_iter().chain(rest);
        frames.chain(client_frame(FIN | CONTINUE, b"")).collect()
    };
    for frames in [client_frame(FIN | RSV1 | BINARY, &bomb), in_fragments(4000), in_fragments(3)] {
        let (mut client, id) = offering(&cluster, Some(OFFER)).await;
        client.write_all(&frames).await.unwrap();
        hears(&mut client, &server_frame(FIN | CLOSE, &close_payload(1009, b"a message over the limit")))
            .await;
        assert_eq!(cluster.events().next_close().await, (id, CloseReason::TooLarge));
        bystander.write_all(&client_frame(FIN | RSV1 | TEXT, &compressed(&text))).await.unwrap();
        hears(&mut bystander, &server_frame(FIN | RSV1 | TEXT, &compressed(&text))).await;
    }
}

/// A client that has offered this, its id, and a way to read so many bytes of what it is sent.
async fn offering(cluster: &Cluster, offer: Option<&'static str>) -> (TcpStream, ClientId) {
    let listener = cluster.listener();
    let tcp = TcpStream::connect(listener).await.unwrap();
    let mut request = format!("ws://{listener}/").into_client_request().unwrap();
    if let Some(offer) = offer {
        request.headers_mut().insert("Sec-WebSocket-Extensions", HeaderValue::from_static(offer));
    }
    let mut client = WsClient::over(tcp, request).await.unwrap();
    let id = client.text().await.parse().unwrap();
    (client.into_inner(), id)
}

async fn hears(client: &mut TcpStream, frame: &[u8]) {
    let mut heard = vec![0; frame.len()];
    soon("a frame", client.read_exact(&mut heard)).await.unwrap();
    assert!(heard == frame, "{} bytes", frame.len());
}

#[tokio::test]
async fn a_broadcast_reaches_each_client_as_it_has_agreed_and_both_sizes_are_counted() {
    let cluster = compressing().await;
    let daemon = cluster.gateways[0].metrics.unwrap();
    let api = cluster.api().await;
    let text = json(5000);
    let message = String::from_utf8(text.clone()).unwrap();
    let mut clients = Vec::new();
    for (offer, frame) in [
        (Some(OFFER), server_frame(FIN | RSV1 | TEXT, &compressed(&text))),
        (None, server_frame(FIN | TEXT, &text)),
        (Some("permessage-deflate; server_max_window_bits=10"), {
            server_frame(FIN | RSV1 | TEXT, &compressed_within(10, &text))
        }),
        (Some(OFFER), server_frame(FIN | RSV1 | TEXT, &compressed(&text))),
        (Some("permessage-deflate; server_max_window_bits=8"), server_frame(FIN | TEXT, &text)),
    ] {
        clients.push((offering(&cluster, offer).await, frame));
    }
    let plain_len = server_frame(FIN | TEXT, &text).len();
    let compressed_frames = clients.iter().map(|(_, frame)| frame.len()).filter(|len| *len < plain_len);
    let (wire, count) = compressed_frames.fold((0, 0), |(sum, count), len| (sum + len, count + 1));
    assert_eq!(count, 3);
    let moves = [
        ("gatewayworker_compression_plain_bytes_total{direction=\"out\"}", (count * plain_len) as f64),
        ("gatewayworker_compression_wire_bytes_total{direction=\"out\"}", wire as f64),
        ("gatewayworker_bytes_total{direction=\"out\"}", (wire + 2 * plain_len) as f64),
    ];
    assert_moves(daemon, &moves, async || {
        api.send_to_all(message.clone()).await.unwrap();
        for ((client, _), frame) in &mut clients {
            hears(client, frame).await;
        }
    })
    .await;
    let ((first, id), frame) = &mut clients[0];
    let moves = [
        ("gatewayworker_compression_plain_bytes_total{direction=\"out\"}", plain_len as f64),
        ("gatewayworker_compression_wire_bytes_total{direction=\"out\"}", frame.len() as f64),
    ];
    assert_moves(daemon, &moves, async || {
        api.send_to_client(*id, message.clone()).await.unwrap();
        hears(first, frame).await;
    })
    .await;
    // Raw bytes are sent as they are.
    let raw = server_frame(FIN | TEXT, &text);
    assert_moves(daemon, &[(moves[0].0, 0.0)], async || {
        api.send_to_client(*id, raw.clone()).raw().await.unwrap();
        hears(first, &raw).await;
    })
    .await;
    let (said, echo) = (compressed(&text), frame.clone());
    let moves = [
        ("gatewayworker_compression_plain_bytes_total{direction=\"in\"}", text.len() as f64),
        ("gatewayworker_compression_wire_bytes_total{direction=\"in\"}", said.len() as f64),
    ];
    assert_moves(daemon, &moves, async || {
        first.write_all(&client_frame(FIN | RSV1 | TEXT, &said)).await.unwrap();
        hears(first, &echo).await;
    })
    .await;
}
