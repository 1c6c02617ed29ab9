//! Opens clients: source address, TLS, handshake, greeting and group, several at the same time.
//!
//! Each case opens its clients with an [`Opening`], and then drives them itself.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::task::JoinSet;

use crate::address::Url;
use crate::client::{Client, receipts};
use crate::histogram::Histogram;
use crate::report::Progress;
use crate::stream::Stream;
use crate::wire;

/// How long one client may take, from connecting to its greeting.
const OPEN_LIMIT: Duration = Duration::from_secs(10);

/// The clients of one source address. By default the kernel has 28,000 ports for each, and a closed one stays in use
/// for a minute.
const PER_SOURCE: u32 = 20_000;

/// The longest response to a handshake, in bytes.
const MAX_RESPONSE: usize = 16 * 1024;

/// The settings of the clients to open.
#[derive(Clone)]
pub(crate) struct Opening {
    pub(crate) url: Url,
    /// How many clients to open.
    pub(crate) clients: u32,
    /// How many open at the same time.
    pub(crate) parallel: u32,
    /// Whether a client counts as open only after its greeting.
    pub(crate) greeting: bool,
    /// The size of the groups that clients join, if they do.
    pub(crate) group_size: Option<u32>,
    /// The time in which all clients open, evenly, if given. Then `parallel` does not count.
    pub(crate) over: Option<Duration>,
}

/// The opened clients.
pub(crate) struct Opened {
    /// The clients, by number. Empty if each was closed again.
    pub(crate) clients: Vec<Client>,
    /// The times from connecting to the greeting.
    pub(crate) times: Histogram,
}

impl Opening {
    /// Opens all clients. With `close_each`, closes each one when it is open.
    ///
    /// # Errors
    /// A client cannot be opened. The error names it.
    pub(crate) async fn run(&self, close_each: bool, progress: &Progress) -> Result<Opened> {
        let times = Rc::new(RefCell::new(Histogram::new()));
        let opened = Rc::new(RefCell::new(BTreeMap::new()));
        let (next, done) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let mut openers = JoinSet::new();
        let parallel = if self.over.is_some() { self.clients } else { self.parallel.min(self.clients) };
        let begin = Instant::now();
        for _ in 0..parallel {
            let (this, next, done) = (self.clone(), next.clone(), done.clone());
            let (opened, times) = (opened.clone(), times.clone());
            openers.spawn_local(async move {
                while next.get() < this.clients {
                    let index = next.replace(next.get() + 1);
                    if let Some(over) = this.over {
                        tokio::time::sleep_until((begin + after(over, index, this.clients)).into()).await;
                    }
                    let start = Instant::now();
                    let client = this.open(index).await.with_context(|| {
                        format!(
                            "client {} of {} could not open at {}",
                            index + 1,
                            this.clients,
                            this.url.text
                        )
                    })?;
                    times.borrow_mut().record(start.elapsed());
                    if close_each {
                        client.close().await;
                    } else {
                        opened.borrow_mut().insert(index, client);
                    }
                    done.set(done.get() + 1);
                }
                Ok(())
            });
        }
        let mut beat = tokio::time::interval(Duration::from_millis(250));
        loop {
            tokio::select! {
                ended = openers.join_next() => match ended {
                    None => break,
                    Some(ended) => ended.map_err(anyhow::Error::from).and_then(|ended: Result<()>| ended)?,
                },
                _ = beat.tick() => progress.say(&format!("{} of {} clients open", done.get(), self.clients)),
            }
        }
        Ok(Opened { clients: opened.take().into_values().collect(), times: times.replace(Histogram::new()) })
    }

    async fn open(&self, index: u32) -> Result<Client> {
        tokio::time::timeout(OPEN_LIMIT, async {
            let mut client = self.handshake(index).await?;
            if self.greeting {
                client.wait_for_greeting().await.context("waiting for the greeting")?;
            }
            if let Some(size) = self.group_size {
                let join = frames(&[&format!("J{} ", group_name(index as usize, size)), "E"]);
                client.barrier(&join).await.context("joining its group")?;
            }
            Ok(client)
        })
        .await
        .map_err(|_| anyhow!("no answer within {} s", OPEN_LIMIT.as_secs()))?
    }

    async fn handshake(&self, index: u32) -> Result<Client> {
        let address = self.url.address;
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(source) = source(address, index) {
            socket.bind(source).with_context(|| format!("binding {source}"))?;
        }
        let tcp = socket.connect(address).await?;
        tcp.set_nodelay(true)?;
        let mut stream = if self.url.is_tls { Stream::secure(tcp).await? } else { Stream::Plain(tcp) };
        let subprotocol = self.url.is_resumable.then_some("gw.1");
        let mut request = wire::request(&self.url.host, &self.url.path, subprotocol);
        if self.url.is_resumable {
            // It need not wait for the answer.
            wire::encode(wire::opcode::TEXT, receipts::START, &mut request);
        }
        stream.write_all(&request).await?;
        stream.flush().await?;
        let mut bytes = Vec::new();
        loop {
            match wire::response_end(&bytes) {
                Ok(Some(end)) => {
                    let client = Client::new(stream, bytes.split_off(end));
                    return Ok(if self.url.is_resumable { client.with_receipts() } else { client });
                }
                Ok(None) if bytes.len() > MAX_RESPONSE => {
                    return Err(anyhow!("the handshake's answer has no end"));
                }
                Ok(None) => {}
                Err(status) => return Err(anyhow!("the handshake was answered with {status:?}")),
            }
            if stream.read_buf(&mut bytes).await? == 0 {
                return Err(anyhow!("the server ended the connection in the handshake"));
            }
        }
    }
}

/// The delay of client `index`, where `clients` open evenly in the time `over`.
fn after(over: Duration, index: u32, clients: u32) -> Duration {
    over.mul_f64(f64::from(index) / f64::from(clients))
}

/// The group of client `index`, where groups have `size` members.
pub(crate) fn group_name(index: usize, size: u32) -> String {
    format!("g{}", index / size as usize)
}

/// Encodes text messages, one after the other.
pub(crate) fn frames(messages: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    messages.iter().for_each(|message| wire::encode(wire::opcode::TEXT, message.as_bytes(), &mut out));
    out
}

/// The source address of client `index`, or `None` for the kernel's choice. Clients of a loopback server use 127.0.0.1
/// for the first `PER_SOURCE`, then 127.0.0.2, and so on.
fn source(server: SocketAddr, index: u32) -> Option<SocketAddr> {
    let IpAddr::V4(server) = server.ip() else { return None };
    let step = index / PER_SOURCE;
    (server.is_loopback() && step > 0).then(|| {
        let address = u32::from(Ipv4Addr::LOCALHOST) + step;
        SocketAddr::from((Ipv4Addr::from(address), 0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_twenty_thousand_clients_come_from_another_loopback_address() {
        let server = "127.0.0.1:8289".parse().unwrap();
        assert_eq!(source(server, 19_999), None);
        assert_eq!(source(server, 20_000).unwrap().to_string(), "127.0.0.2:0");
        assert_eq!(source(server, 65_000).unwrap().to_string(), "127.0.0.4:0");
        assert_eq!(source("192.0.2.1:80".parse().unwrap(), 65_000), None);
        assert_eq!(source("[::1]:80".parse().unwrap(), 65_000), None);
    }

    #[test]
    fn a_group_is_a_run_of_neighbours() {
        assert_eq!([0, 1, 2, 3, 4].map(|index| group_name(index, 2)), ["g0", "g0", "g1", "g1", "g2"]);
    }

    #[test]
    fn clients_open_evenly_over_a_time() {
        let over = Duration::from_secs(1);
        assert_eq!([0, 1, 9_999].map(|index| after(over, index, 10_000).as_micros()), [0, 100, 999_900]);
        assert_eq!(after(Duration::from_secs(86_400), 999_999, 1_000_000).as_millis(), 86_399_913);
    }

    /// Opens a client at a server, and returns the client's address and the result.
    async fn open_at(index: u32, answer: &'static [u8]) -> (IpAddr, Result<Client>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}", listener.local_addr().unwrap()).parse().unwrap();
        let opening = Opening { url, clients: 1, parallel: 1, greeting: true, group_size: None, over: None };
        let serve = async {
            let (mut peer, from) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                peer.read_buf(&mut request).await.unwrap();
            }
            peer.write_all(answer).await.unwrap();
            from.ip()
        };
        tokio::join!(serve, opening.open(index))
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_late_client_is_bound_before_it_connects() {
        let (from, client) = open_at(20_000, b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x81\x02{}").await;
        assert_eq!(from.to_string(), "127.0.0.2");
        assert!(client.is_ok());
    }

    #[tokio::test]
    async fn a_client_that_is_refused_or_not_greeted_is_an_error() {
        let (_, refused) = open_at(0, b"HTTP/1.1 403 Forbidden\r\n\r\n").await;
        assert!(refused.err().unwrap().to_string().contains("403 Forbidden"));
        let (_, silent) = open_at(0, b"HTTP/1.1 101 Switching Protocols\r\n\r\n").await;
        assert!(silent.err().unwrap().to_string().contains("greeting"));
    }
}
