//! Gateways that are frozen, slow, or silent for good.

use std::net::SocketAddrV4;
use std::time::Duration;

use bytes::BytesMut;
use gatewayworker_client::{AskError, ClientId, Error, Gateway, Liveness, SecretKey, Unreached};
use gatewayworker_protocol::{Command, Frame, MAX_FRAME_LEN};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::fake::{FakeGateway, listed, soon};
use crate::text;

const INTERVAL: Duration = Duration::from_millis(100);
const TIMEOUT: Duration = Duration::from_secs(4);
const QUESTION_TIMEOUT: Duration = Duration::from_millis(300);

/// A handle whose links are connected, and are given up after that time of silence.
async fn handle(gateways: &[SocketAddrV4], timeout: Duration) -> Gateway {
    let gateway = Gateway::following(listed(gateways).1)
        .question_timeout(QUESTION_TIMEOUT)
        .liveness(Liveness::new(INTERVAL, timeout))
        .connect();
    for address in gateways {
        soon(gateway.connected(*address)).await;
    }
    gateway
}

/// A handle on one gateway, which is given up after that time of silence.
fn handle_of(gateway: SocketAddrV4, timeout: Duration) -> Gateway {
    Gateway::following(listed(&[gateway]).1)
        .question_timeout(QUESTION_TIMEOUT)
        .liveness(Liveness::new(INTERVAL, timeout))
        .connect()
}

async fn until(condition: impl Fn() -> bool) {
    soon(async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_question_of_a_frozen_gateway_fails_in_its_time_and_names_the_gateway() {
    let (fake, frozen) = (FakeGateway::start().await, FakeGateway::start().await);
    fake.answer_with(|_| Some(b"i:3;".to_vec()));
    let gateway = handle(&[fake.address, frozen.address], TIMEOUT).await;
    frozen.freeze();
    let asked = Instant::now();
    let error = gateway.is_online(frozen.id(1)).await.unwrap_err();
    let Error::Unreached { gateway: named, why: Unreached::TimedOut } = error else { panic!("{error}") };
    assert_eq!(named, frozen.address);
    assert!((QUESTION_TIMEOUT..TIMEOUT).contains(&asked.elapsed()), "{:?}", asked.elapsed());
    assert!(error.to_string().contains(&frozen.address.to_string()), "{error}");

    let error = gateway.client_count().await.unwrap_err();
    let AskError::Incomplete { partial: 3, missing, .. } = &error else { panic!("{error:?}") };
    assert_eq!(missing.iter().map(|(gateway, _)| *gateway).collect::<Vec<_>>(), [frozen.address]);
    assert!(error.to_string().contains(&frozen.address.to_string()), "{error}");
}

#[tokio::test]
async fn a_frozen_gateway_is_noticed_and_counts_as_not_connected_until_it_answers() {
    let (fake, mut frozen) = (FakeGateway::start().await, FakeGateway::start().await);
    let gateway = handle(&[fake.address, frozen.address], 10 * INTERVAL).await;
    frozen.freeze();
    until(|| gateway.connected_gateways() == [fake.address]).await;
    // Its kernel takes the next connection; that is no sign of life.
    until(|| frozen.links() > 1).await;
    let delivery = gateway.send_to_client(frozen.id(1), "lost").await.unwrap();
    assert_eq!(delivery.unreached, [(frozen.address, Unreached::NotConnected)]);
    frozen.thaw();
    soon(gateway.connected(frozen.address)).await;
    assert!(gateway.send_to_client(frozen.id(1), "m").await.unwrap().is_complete());
    assert_eq!(frozen.told().await, Command::SendToOne { to: 1, message: text("m") });
}

#[tokio::test]
async fn a_gateway_that_freezes_behind_an_answer_is_noticed_however_long_questions_may_take() {
    let fake = FakeGateway::start().await;
    let hour = Duration::from_secs(3600);
    let gateway = Gateway::following(listed(&[fake.address]).1)
        .question_timeout(hour)
        .liveness(Liveness::new(INTERVAL, 10 * INTERVAL))
        .connect();
    soon(gateway.connected(fake.address)).await;
    fake.freeze();
    let asking = tokio::spawn({
        let (gateway, id) = (gateway.clone(), fake.id(1));
        async move { gateway.is_online(id).await }
    });
    let asked = Instant::now();
    while asked.elapsed() < 3 * INTERVAL {
        tokio::task::yield_now().await;
    }
    fake.thaw();
    assert!(!soon(asking).await.unwrap().unwrap());
    fake.freeze();
    until(|| gateway.connected_gateways().is_empty()).await;
}

#[tokio::test]
async fn a_gateway_that_answers_slowly_but_in_time_keeps_its_link() {
    let mut slow = FakeGateway::start().await;
    let gateway = handle(&[slow.address], TIMEOUT).await;
    for _ in 0..2 {
        let pings = slow.pings();
        slow.freeze();
        let began = Instant::now();
        while began.elapsed() < TIMEOUT / 8 {
            tokio::task::yield_now().await;
        }
        assert!(gateway.is_online(slow.id(1)).await.is_err(), "the question's own time is shorter");
        slow.thaw();
        until(|| slow.pings() > pings).await;
    }
    assert!(!soon(gateway.is_online(slow.id(1))).await.unwrap());
    assert_eq!(slow.links(), 1);
    assert!(slow.told_already().iter().all(|command| matches!(command, Command::Ask(_))));
}

/// Reads at a slow pace, and answers all questions with no.
async fn read_slowly(link: TcpStream) {
    let (mut reading, mut writing) = link.into_split();
    let (mut received, mut pace) = (BytesMut::new(), tokio::time::interval(Duration::from_millis(50)));
    let mut chunk = vec![0; 32 * 1024];
    loop {
        pace.tick().await;
        let read = reading.read(&mut chunk).await.unwrap();
        received.extend_from_slice(&chunk[..read]);
        while let Some(frame) = Frame::parse(&mut received, MAX_FRAME_LEN).unwrap() {
            if let Command::Ask(_) = Command::decode(frame).unwrap() {
                writing.write_all(b"\0\0\0\x04i:0;").await.unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_slow_to_read_a_long_backlog_is_not_taken_for_dead() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddrV4 = listener.local_addr().unwrap().to_string().parse().unwrap();
    let gateway = handle_of(address, 20 * INTERVAL);
    let (link, _) = soon(listener.accept()).await.unwrap();
    soon(gateway.connected(address)).await;
    let _reading = AbortOnDropHandle::new(tokio::spawn(read_slowly(link)));
    // The kernel takes it at once; reading it takes five seconds.
    let began = Instant::now();
    for _ in 0..50 {
        let delivery = gateway.send_to_client(ClientId::new(address, 1), "x".repeat(64_000)).await.unwrap();
        assert!(delivery.is_complete(), "{delivery:?}");
    }
    let delivery = async {
        while gateway.is_online(ClientId::new(address, 1)).await.is_err() {
            assert_eq!(gateway.connected_gateways(), [address]);
        }
    };
    soon(delivery).await;
    assert!(began.elapsed() > 30 * INTERVAL);
    assert!(futures_util::FutureExt::now_or_never(listener.accept()).is_none(), "it connected once");
}

#[tokio::test]
async fn a_frozen_gateway_is_noticed_though_its_kernel_takes_what_is_said() {
    let frozen = FakeGateway::start().await;
    let gateway = handle(&[frozen.address], 10 * INTERVAL).await;
    frozen.freeze();
    let since = Instant::now();
    soon(async {
        while !gateway.connected_gateways().is_empty() {
            gateway.send_to_client(frozen.id(1), "hi").await.unwrap();
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(since.elapsed() < 30 * INTERVAL, "{:?}", since.elapsed());
}

/// Answers as the original does: `pack('N', strlen($buffer)) . serialize((int)isset(…))`, and nothing
/// else.
#[tokio::test]
async fn a_gateway_of_the_original_gives_signs_of_life() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddrV4 = listener.local_addr().unwrap().to_string().parse().unwrap();
    let _gateway = Gateway::following(listed(&[address]).1)
        .secret_key(SecretKey::new("k"))
        .liveness(Liveness::new(INTERVAL, TIMEOUT))
        .connect();
    let (mut link, _) = soon(listener.accept()).await.unwrap();
    let mut header = [0; 28];
    soon(link.read_exact(&mut header)).await.unwrap();
    let len = u32::from_be_bytes(header[..4].try_into().unwrap()) as usize;
    assert_eq!(header[4], 202, "CMD_GATEWAY_CLIENT_CONNECT");
    soon(link.read_exact(&mut vec![0; len - header.len()])).await.unwrap();
    for _ in 0..5 {
        soon(link.read_exact(&mut header)).await.unwrap();
        // unpack('Npack_len/Ccmd/Nlocal_ip/nlocal_port/Nclient_ip/nclient_port/Nconnection_id/Cflag/…')
        let (len, cmd, connection_id) = (&header[..4], header[4], &header[17..21]);
        assert_eq!((len, cmd, connection_id), (&28_u32.to_be_bytes()[..], 11, &[0; 4][..]), "CMD_IS_ONLINE");
        link.write_all(b"\0\0\0\x04i:0;").await.unwrap();
    }
    // Nobody connects a second time: the link is the first one still.
    assert!(futures_util::FutureExt::now_or_never(listener.accept()).is_none());
}
