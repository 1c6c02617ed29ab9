//! Messages that a client compresses though permessage-deflate was not accepted (RFC 7692, section 7.2), byte for byte,
//! through a real gateway. Safari of iOS 15 and macOS 12 sends them.
//!
//! The worker echoes every message, and the gateway compresses nothing.

use gatewayworker_tests::Cluster;
use gatewayworker_tests::conformance::{
    BINARY, CONTINUE, Case, FIN, PING, PONG, TEXT, converse, converse_offering,
};

/// The bit of a compressed message's first frame.
const RSV1: u8 = 0x40;

const OFFER: &str = "permessage-deflate; client_max_window_bits";

const RESERVED_BIT: &str = "a reserved bit without an extension";

/// "Hello", section 7.2.3.1.
const HELLO: [u8; 7] = [0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00];

/// The same as a reference to the message before, section 7.2.3.2.
const HELLO_AGAIN: [u8; 5] = [0xf2, 0x00, 0x11, 0x00, 0x00];

fn compressed(message: &[u8]) -> Vec<u8> {
    miniz_oxide::deflate::compress_to_vec(message, 6)
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
    let bomb = compressed(&vec![0; 50 << 20]);
    assert!(bomb.len() < 100_000);
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
            .fails(1002, "a compressed message that is not DEFLATE"),
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
