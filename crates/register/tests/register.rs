//! The register as its peers see it: lines over TCP.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use gatewayworker_protocol::SecretKey;
use gatewayworker_protocol::register::Message;
use gatewayworker_register::{Config, Limits, serve};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longer than anything here takes; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// A time limit short enough to be waited for.
const SHORT: Duration = Duration::from_millis(50);

struct Register {
    address: SocketAddr,
    shutdown: CancellationToken,
    serving: JoinHandle<Result<(), gatewayworker_register::Error>>,
}

impl Register {
    async fn start(config: Config) -> Self {
        Self::start_on(TcpListener::bind("127.0.0.1:0").await.unwrap(), config)
    }

    fn start_on(listener: TcpListener, config: Config) -> Self {
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, config, shutdown.clone()));
        Self { address, shutdown, serving }
    }

    async fn peer(&self) -> Peer {
        Peer(BufReader::new(TcpStream::connect(self.address).await.unwrap()))
    }

    async fn gateway(&self, address: &str) -> Peer {
        let mut peer = self.peer().await;
        peer.announce(address).await;
        peer
    }

    async fn worker(&self) -> Peer {
        let mut peer = self.peer().await;
        peer.say(r#"{"event":"worker_connect","secret_key":""}"#).await;
        peer
    }
}

struct Peer(BufReader<TcpStream>);

impl Peer {
    async fn say(&mut self, line: &str) {
        self.0.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    async fn announce(&mut self, address: &str) {
        self.say(&format!(r#"{{"event":"gateway_connect","address":"{address}","secret_key":""}}"#)).await;
    }

    async fn hear(&mut self) -> String {
        let mut line = String::new();
        let read = self.0.read_line(&mut line);
        tokio::time::timeout(PATIENCE, read).await.expect("a line in time").unwrap();
        line
    }

    async fn hear_list(&mut self) -> Vec<String> {
        let line = self.hear().await;
        match Message::parse(line.as_bytes()) {
            Ok(Message::BroadcastAddresses { addresses, .. }) => addresses,
            other => panic!("{other:?} from {line:?}"),
        }
    }

    /// Hears lists until one has these addresses, in any order; says how many it took.
    async fn hear_until(&mut self, expected: &[&str]) -> usize {
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        for lists in 1.. {
            let mut list = self.hear_list().await;
            list.sort_unstable();
            if list == expected {
                return lists;
            }
        }
        unreachable!()
    }

    /// A line, or nothing if the connection ends.
    async fn hear_line_or_end(&mut self) -> String {
        let mut line = String::new();
        let _ = tokio::time::timeout(PATIENCE, self.0.read_line(&mut line)).await.expect("an end or a line");
        line
    }

    /// All that comes until the register closes the connection.
    async fn hear_end(mut self) -> String {
        let mut rest = Vec::new();
        // A connection may end with a reset where the register left lines unread.
        let _ = tokio::time::timeout(PATIENCE, self.0.read_to_end(&mut rest)).await.expect("the end in time");
        String::from_utf8(rest).unwrap()
    }
}

fn with_limits(change: impl FnOnce(&mut Limits)) -> Config {
    let mut config = Config::default();
    change(&mut config.limits);
    config
}

#[tokio::test]
async fn a_worker_gets_the_list_at_once_even_if_it_is_empty() {
    let register = Register::start(Config::default()).await;
    let mut worker = register.worker().await;
    let line = "{\"event\":\"broadcast_addresses\",\"addresses\":[],\"complete\":false}\n";
    assert_eq!(worker.hear().await, line);
}

#[tokio::test]
async fn a_worker_is_told_when_the_list_of_a_register_that_has_just_started_is_complete() {
    let register = Register::start(with_limits(|limits| limits.gathering = SHORT)).await;
    let mut worker = register.worker().await;
    let complete = "{\"event\":\"broadcast_addresses\",\"addresses\":[]}\n";
    while worker.hear().await != complete {}
}

#[tokio::test]
async fn a_worker_is_told_when_gateways_come_and_go() {
    let register = Register::start(Config::default()).await;
    let mut worker = register.worker().await;
    assert!(worker.hear_list().await.is_empty());
    let first = register.gateway("127.0.0.1:2300").await;
    assert_eq!(worker.hear_list().await, ["127.0.0.1:2300"]);
    let _second = register.gateway("127.0.0.1:2301").await;
    assert_eq!(worker.hear_list().await, ["127.0.0.1:2300", "127.0.0.1:2301"]);
    drop(first);
    assert_eq!(worker.hear_list().await, ["127.0.0.1:2301"]);
}

#[tokio::test]
async fn a_worker_that_connects_later_gets_the_list() {
    let register = Register::start(Config::default()).await;
    let mut first = register.worker().await;
    let _gateway = register.gateway("a:1").await;
    first.hear_until(&["a:1"]).await;
    assert_eq!(register.worker().await.hear_list().await, ["a:1"]);
}

#[tokio::test]
async fn a_worker_that_asks_again_gets_the_list_again() {
    let register = Register::start(Config::default()).await;
    let mut worker = register.worker().await;
    assert!(worker.hear_list().await.is_empty());
    worker.say(r#"{"event":"worker_connect"}"#).await;
    assert!(worker.hear_list().await.is_empty());
}

#[tokio::test]
async fn a_gateway_is_told_nothing() {
    let register = Register::start(Config::default()).await;
    let gateway = register.gateway("a:1").await;
    let mut worker = register.worker().await;
    worker.hear_until(&["a:1"]).await;
    register.shutdown.cancel();
    assert_eq!(gateway.hear_end().await, "");
}

#[tokio::test]
async fn a_ping_that_asks_for_an_answer_gets_one_beside_the_lists() {
    let register = Register::start(Config::default()).await;
    let mut gateway = register.gateway("a:1").await;
    gateway.say(r#"{"event":"ping","answer":true}"#).await;
    assert_eq!(gateway.hear().await, "{\"event\":\"pong\"}\n");
    let mut worker = register.worker().await;
    worker.hear_until(&["a:1"]).await;
    worker.say(r#"{"event":"ping","answer":true}"#).await;
    assert_eq!(worker.hear().await, "{\"event\":\"pong\"}\n");
    drop(gateway);
    assert!(worker.hear_list().await.is_empty());
}

#[tokio::test]
async fn one_connection_may_announce_and_ask() {
    let register = Register::start(Config::default()).await;
    let mut both = register.gateway("a:1").await;
    both.say(r#"{"event":"worker_connect"}"#).await;
    assert_eq!(both.hear_list().await, ["a:1"]);
    drop(both);
    register.worker().await.hear_until(&[]).await;
}

#[tokio::test]
async fn an_address_stays_until_the_last_connection_that_announces_it_is_gone() {
    let register = Register::start(Config::default()).await;
    let mut worker = register.worker().await;
    let old = register.gateway("a:1").await;
    worker.hear_until(&["a:1"]).await;
    let mut new = register.gateway("a:1").await;
    // One line behind the announcement, so that it has taken effect.
    new.say(r#"{"event":"worker_connect"}"#).await;
    assert_eq!(new.hear_list().await, ["a:1"]);
    drop(old);
    let _other = register.gateway("b:1").await;
    assert_eq!(worker.hear_list().await, ["a:1", "b:1"], "nothing changed in between");
    drop(new);
    assert_eq!(worker.hear_list().await, ["b:1"]);
}

#[tokio::test]
async fn a_second_announcement_replaces_the_first() {
    let register = Register::start(Config::default()).await;
    let mut worker = register.worker().await;
    let mut gateway = register.gateway("a:1").await;
    worker.hear_until(&["a:1"]).await;
    gateway.announce("a:2").await;
    assert_eq!(worker.hear_list().await, ["a:2"]);
}

#[tokio::test]
async fn a_wrong_key_closes_without_a_word() {
    let register = Register::start(Config::default().with_secret_key(SecretKey::new("right"))).await;
    for line in [
        r#"{"event":"worker_connect","secret_key":"wrong"}"#,
        r#"{"event":"worker_connect"}"#,
        r#"{"event":"gateway_connect","address":"a:1","secret_key":"righ"}"#,
    ] {
        let mut peer = register.peer().await;
        peer.say(line).await;
        assert_eq!(peer.hear_end().await, "", "{line}");
    }
    let mut worker = register.peer().await;
    worker.say(r#"{"event":"worker_connect","secret_key":"right"}"#).await;
    assert!(worker.hear_list().await.is_empty());
}

#[tokio::test]
async fn what_is_no_json_is_answered_with_a_sentence_and_closed() {
    let register = Register::start(Config::default()).await;
    for line in ["GET / HTTP/1.1\r\nHost: x\r\n\r", "{}", "[]", "", "7"] {
        let mut peer = register.peer().await;
        peer.say(line).await;
        let answer = peer.hear_end().await;
        assert!(answer.starts_with("Bad request") && answer.ends_with('\n'), "{answer:?} to {line:?}");
    }
}

#[tokio::test]
async fn an_unknown_or_broken_event_closes_without_a_word() {
    let register = Register::start(Config::default()).await;
    for line in [
        r#"{"event":"dance"}"#,
        r#"{"event":"broadcast_addresses","addresses":[]}"#,
        r#"{"event":"gateway_connect"}"#,
        r#"{"event":"gateway_connect","address":""}"#,
    ] {
        let mut peer = register.peer().await;
        peer.say(line).await;
        assert_eq!(peer.hear_end().await, "", "{line}");
    }
}

#[tokio::test]
async fn a_peer_that_does_not_show_the_key_is_closed_even_if_it_pings() {
    let register = Register::start(with_limits(|limits| limits.introduction = SHORT)).await;
    let silent = register.peer().await;
    let mut pinging = register.peer().await;
    pinging.say(r#"{"event":"ping"}"#).await;
    assert_eq!(silent.hear_end().await, "");
    assert_eq!(pinging.hear_end().await, "");
}

#[tokio::test]
async fn a_silent_peer_is_closed_only_if_it_has_pinged() {
    let register = Register::start(with_limits(|limits| limits.silence = SHORT)).await;
    let mut worker = register.worker().await;
    let _never_pinged = register.gateway("never-pinged:1").await;
    worker.hear_until(&["never-pinged:1"]).await;
    let mut pinged = register.gateway("pinged:1").await;
    worker.hear_until(&["never-pinged:1", "pinged:1"]).await;
    pinged.say(r#"{"event":"ping"}"#).await;
    assert_eq!(pinged.hear_end().await, "");
    assert_eq!(worker.hear_list().await, ["never-pinged:1"]);
}

#[tokio::test]
async fn a_peer_without_the_key_may_send_short_lines_only() {
    let register = Register::start(with_limits(|limits| limits.introduction = PATIENCE * 10)).await;
    let mut peer = register.peer().await;
    let endless = vec![b'x'; 65 * 1024];
    // It may be closed before all of it is out.
    let _ = peer.0.write_all(&endless).await;
    assert_eq!(peer.hear_end().await, "");
}

#[tokio::test]
async fn connections_over_the_limit_are_closed_at_once() {
    let register = Register::start(Config::default().with_max_connections(1)).await;
    let mut first = register.worker().await;
    first.hear_list().await;
    assert_eq!(register.peer().await.hear_end().await, "");
    // Only one place, but it is free again.
    drop(first);
    loop {
        let mut next = register.peer().await;
        let asked = next.0.write_all(b"{\"event\":\"worker_connect\"}\n").await;
        if asked.is_ok() && !next.hear_line_or_end().await.is_empty() {
            break;
        }
    }
}

#[tokio::test]
async fn a_peer_with_the_key_does_not_count_as_unauthenticated() {
    let register = Register::start(Config::default().with_max_unauthenticated(1)).await;
    let mut workers = Vec::new();
    for _ in 0..3 {
        let mut worker = register.worker().await;
        worker.hear_list().await;
        workers.push(worker);
    }
    let _stranger = register.peer().await;
    assert_eq!(register.peer().await.hear_end().await, "");
}

#[tokio::test]
async fn a_burst_of_announcements_goes_out_as_fewer_lists() {
    const GATEWAYS: usize = 300;
    let register = Register::start(Config::default()).await;
    let mut worker = register.worker().await;
    worker.hear_list().await;
    let mut gateways = Vec::new();
    let addresses: Vec<String> = (0..GATEWAYS).map(|n| format!("10.0.0.1:{n}")).collect();
    for address in &addresses {
        let mut gateway = register.gateway(address).await;
        // Its answer says that the announcement has taken effect before the next is made.
        gateway.say(r#"{"event":"worker_connect"}"#).await;
        assert_eq!(gateway.hear_list().await.last(), Some(address));
        gateways.push(gateway);
    }
    let all: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let lists = worker.hear_until(&all).await;
    assert!(lists < GATEWAYS * 3 / 4, "{lists} lists for {GATEWAYS} gateways");
}

#[tokio::test]
async fn a_worker_that_does_not_read_is_closed_and_delays_no_other() {
    let limit = SHORT * 4;
    let config = with_limits(|limits| limits.write = limit);
    let listening = TcpSocket::new_v4().unwrap();
    // Connections inherit it: a small buffer is full sooner.
    listening.set_send_buffer_size(8192).unwrap();
    listening.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let register = Register::start_on(listening.listen(64).unwrap(), config);

    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stuck = Peer(BufReader::new(socket.connect(register.address).await.unwrap()));
    stuck.say(r#"{"event":"worker_connect"}"#).await;

    let mut gateways = Vec::new();
    let mut expected = Vec::new();
    for n in 0..300 {
        expected.push(format!("{}:{n}", "x".repeat(250)));
        gateways.push(register.gateway(&expected[n]).await);
    }
    let mut changing = gateways.pop().unwrap();
    let mut reading = register.worker().await;
    let started = Instant::now();
    let mut round = 0;
    while round < 10 || started.elapsed() < limit * 2 {
        round += 1;
        expected[299] = format!("round:{round}");
        changing.announce(&expected[299]).await;
        let all: Vec<&str> = expected.iter().map(String::as_str).collect();
        reading.hear_until(&all).await;
    }
    let told = stuck.hear_end().await;
    assert!(!told.contains(&format!("round:{round}")), "it was closed before the last list");
}

#[tokio::test]
async fn shutdown_closes_all_connections_and_ends() {
    let register = Register::start(Config::default()).await;
    let mut worker = register.worker().await;
    worker.hear_list().await;
    let stranger = register.peer().await;
    register.shutdown.cancel();
    tokio::time::timeout(PATIENCE, register.serving).await.expect("ends in time").unwrap().unwrap();
    assert_eq!(worker.hear_end().await, "");
    assert_eq!(stranger.hear_end().await, "");
}
