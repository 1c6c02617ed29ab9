//! Zip bombs: small compressed messages that would become far longer than a message may be. The gateway never allocates
//! what they would become.

use std::sync::PoisonError;

use flate2::{Compress, Compression, FlushCompress};
use gatewayworker_tests::conformance::{
    BINARY, CLOSE, CONTINUE, FIN, PING, PONG, client_frame, close_payload, server_frame,
};

use crate::clients::{Clients, Connection};
use crate::counting::{Owner, count_for, most_long_bytes};
use crate::daemons::{Daemons, MAX_MESSAGE};
use crate::{COUNT, Way};

/// The bit of a compressed message's first frame.
const RSV1: u8 = 0x40;

/// How many clients send bombs at the same time.
const CLIENTS: usize = 32;

/// So many zeros, compressed.
fn zeros(len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(len / 500 + 1024);
    let mut compress = Compress::new(Compression::best(), false);
    compress.compress_vec(&vec![0; len], &mut out, FlushCompress::Sync).unwrap();
    assert!(out.len() < out.capacity(), "it is whole");
    out
}

/// Has some clients send this at the same time, and asserts that each is closed with 1009, and that the gateway has not
/// allocated more than so many bytes for it meanwhile.
fn assert_bounded(daemons: &Daemons, bytes: &[u8], most: usize) {
    let mut clients = Clients::open(daemons, CLIENTS);
    let answer = server_frame(FIN | CLOSE, &close_payload(1009, b"a message over the limit"));
    let allocated = most_long_bytes(Owner::Gateway, || {
        let (first, rest) = bytes.split_at(bytes.len() - 1);
        clients.each(|client| client.write_all(first).unwrap());
        clients.each(|client| client.write_all(rest).unwrap());
        clients.each(|client| assert_eq!(hears(client, answer.len()), answer));
    });
    assert!(allocated <= most as i64, "the gateway has allocated {allocated} bytes, and not {most}");
}

fn hears(client: &mut dyn Connection, bytes: usize) -> Vec<u8> {
    let mut heard = vec![0; bytes];
    client.read_exact(&mut heard).unwrap();
    heard
}

#[test]
fn a_bomb_has_no_more_memory_than_a_message_may_have_and_harms_no_other_client() {
    let _alone = COUNT.lock().unwrap_or_else(PoisonError::into_inner);
    count_for(Owner::Clients);
    let daemons = Daemons::start(Way::Compressing);
    let mut bystander = Clients::open(&daemons, 1);
    // 64 MB. What the clients have sent is there twice, as a buffer may have room for as much again; of what it becomes
    // there is one at a time.
    let bomb = zeros(64 * MAX_MESSAGE);
    let frame = client_frame(FIN | RSV1 | BINARY, &bomb);
    assert_bounded(&daemons, &frame, 2 * MAX_MESSAGE + 2 * CLIENTS * frame.len());
    // In many fragments of a byte, with empty ones and pings between.
    let bomb = zeros(2 * MAX_MESSAGE);
    let fragments = bomb[1..]
        .iter()
        .flat_map(|byte| [client_frame(CONTINUE, &[]), client_frame(CONTINUE, &[*byte])].concat());
    let first = client_frame(RSV1 | BINARY, &bomb[..1]);
    let frames: Vec<u8> =
        first.into_iter().chain(fragments).chain(client_frame(FIN | CONTINUE, &[])).collect();
    assert_bounded(&daemons, &frames, 2 * MAX_MESSAGE + 2 * CLIENTS * frames.len());
    // Many messages of a client that each become as long as a message may be: they wait for its worker, up to
    // `link_outbox_bytes` (10 MB), and then in the socket.
    let frame = client_frame(FIN | RSV1 | BINARY, &zeros(MAX_MESSAGE));
    let mut client = Clients::open(&daemons, 1);
    let allocated = most_long_bytes(Owner::Gateway, || {
        client.each(|client| {
            (0..200).for_each(|_| client.write_all(&frame).unwrap());
            client.write_all(&client_frame(FIN | PING, b"done")).unwrap();
            assert_eq!(hears(client, 6), server_frame(FIN | PONG, b"done"));
        });
    });
    assert!(allocated <= 32 * MAX_MESSAGE as i64, "the gateway has allocated {allocated} bytes");
    bystander.each(|client| {
        client.write_all(&client_frame(FIN | PING, b"still here")).unwrap();
        assert_eq!(hears(client, 12), server_frame(FIN | PONG, b"still here"));
    });
}
