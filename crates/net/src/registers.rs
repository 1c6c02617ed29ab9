//! Keeps connections to the registers: announces a gateway to them, or follows their lists of
//! gateways.
//!
//! This is the shell: it reads and writes lines and waits. A [`RegisterConnection`] for each
//! register decides what to do, and when. A gateway runs [`announce`]; workers and client libraries run [`follow`].

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gatewayworker_protocol::SecretKey;
use gatewayworker_protocol::register::{MAX_LINE, Message};
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tracing::instrument::WithSubscriber;
use tracing::{Dispatch, info, warn};

use crate::address_lists::AddressLists;
use crate::connection_end::ConnectionEnd;
use crate::connection_lists::Listed;
use crate::register_connection::{Effect, RegisterConnection};
use crate::{LineError, LineReader, LinkSocketRef, LinkStream, LinkTls, LogLimiter, RegisterLinks};

/// How long the host of a register may acknowledge nothing.
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// How long the same trouble with a register is not logged again.
const SAME_TROUBLE: Duration = Duration::from_secs(60);

/// Announces `address` to every register, and never returns. To withdraw the announcement, drop
/// the future: that closes the connections.
///
/// With `tls`, it speaks TLS with them. `links` is kept up to date: it tells which registers are
/// connected, and why the others are not, and
/// whether the gateway is in touch with any.
pub async fn announce(
    registers: &[String],
    address: &str,
    secret_key: &SecretKey,
    tls: Option<&LinkTls>,
    links: &RegisterLinks,
) {
    let mut connections = JoinSet::new();
    for register in registers {
        let hello = Message::GatewayConnect { address: address.to_owned(), secret_key: secret_key.clone() };
        connections.spawn(RegisterTask::new(register, hello, tls, links.clone(), |_| ()).run());
    }
    until_a_panic(connections).await;
}

/// Follows every register, and publishes the **union** of the last list of each. The list of a
/// register that is down still counts. Never returns; dropping the future closes the connections.
///
/// With `tls`, it speaks TLS with them. `links` is kept up to date: it tells which registers are
/// connected, and why the others are not, and
/// of which gateways they bear witness that they are gone.
pub async fn follow(
    registers: &[String],
    secret_key: &SecretKey,
    tls: Option<&LinkTls>,
    addresses: watch::Sender<Vec<String>>,
    links: &RegisterLinks,
) {
    follow_all((registers, secret_key, tls), addresses, links, |connection, connections| {
        connections.spawn(connection);
    })
    .await;
}

/// Follows every register as [`follow`] does, and logs nothing: for one who only looks, in a process whose own links to
/// the same registers are logged.
pub async fn follow_silently(
    registers: &[String],
    secret_key: &SecretKey,
    tls: Option<&LinkTls>,
    addresses: watch::Sender<Vec<String>>,
    links: &RegisterLinks,
) {
    follow_all((registers, secret_key, tls), addresses, links, |connection, connections| {
        connections.spawn(connection.with_subscriber(Dispatch::none()));
    })
    .await;
}

async fn follow_all(
    (registers, secret_key, tls): (&[String], &SecretKey, Option<&LinkTls>),
    addresses: watch::Sender<Vec<String>>,
    links: &RegisterLinks,
    spawn: impl Fn(Pin<Box<dyn Future<Output = ()> + Send>>, &mut JoinSet<()>),
) {
    let mut connections = JoinSet::new();
    let lists = Arc::new(Mutex::new(AddressLists::default()));
    for (index, register) in registers.iter().enumerate() {
        let (lists, addresses) = (lists.clone(), addresses.clone());
        let hello = Message::WorkerConnect { secret_key: secret_key.clone() };
        let take_list = move |news: News| {
            // Locked until the union is published, so that an older one cannot replace it.
            let mut lists = lists.lock().unwrap_or_else(PoisonError::into_inner);
            let union = match news {
                News::Connected => return lists.connected(index),
                News::Listed(listed) => lists.take(index, listed),
            };
            addresses.send_if_modified(|known| {
                let changed = *known != union;
                *known = union;
                changed
            });
        };
        let connection = RegisterTask::new(register, hello, tls, links.clone(), take_list).run();
        spawn(Box::pin(connection), &mut connections);
    }
    until_a_panic(connections).await;
}

/// Ends a connection whose peer's host has acknowledged nothing for [`UNACKNOWLEDGED`], on systems that
/// can. So a gateway notices that the host of an original register is gone, which answers no pings.
///
/// A register that is stopped does not read either, but its host acknowledges: the few bytes of the
/// pings fit into its buffers.
fn limit_unacknowledged(stream: LinkSocketRef<'_>) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    // Without it, it takes longer to notice.
    let _ = socket2::SockRef::from(stream).set_tcp_user_timeout(Some(UNACKNOWLEDGED));
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = (stream, UNACKNOWLEDGED);
}

/// Waits for ever. If one of the connections panics, panics with the same payload.
async fn until_a_panic(mut connections: JoinSet<()>) {
    while let Some(ended) = connections.join_next().await {
        if let Err(Ok(panic)) = ended.map_err(tokio::task::JoinError::try_into_panic) {
            std::panic::resume_unwind(panic);
        }
    }
    // Without a register there is no connection to wait for.
    std::future::pending().await
}

/// What a follower hears of one register.
enum News {
    /// A new connection begins.
    Connected,
    Listed(Listed),
}

/// The connection to one register: carries out what its [`RegisterConnection`] decides.
struct RegisterTask<F> {
    register: String,
    tls: Option<LinkTls>,
    connection: RegisterConnection,
    /// Time zero of `connection`'s clock.
    started: Instant,
    links: RegisterLinks,
    ignored_lines: LogLimiter,
    /// The trouble that was logged last, and when.
    logged: Option<(String, Instant)>,
    take_list: F,
}

impl<F> Drop for RegisterTask<F> {
    /// A task that is dropped closes its connection.
    fn drop(&mut self) {
        self.links.disconnected(&self.register);
    }
}

impl<F: FnMut(News)> RegisterTask<F> {
    fn new(
        register: &str,
        hello: Message,
        tls: Option<&LinkTls>,
        links: RegisterLinks,
        take_list: F,
    ) -> Self {
        Self {
            register: register.to_owned(),
            tls: tls.cloned(),
            connection: RegisterConnection::new(register.to_owned(), hello),
            started: Instant::now(),
            links,
            ignored_lines: LogLimiter::default(),
            logged: None,
            take_list,
        }
    }

    /// Connects, serves, and connects anew, for ever.
    async fn run(mut self) {
        loop {
            self.wait_for_deadline().await;
            self.connection.deadline(self.now_ms());
            if self.connection.next_effect() != Some(Effect::Connect) {
                continue;
            }
            let end = match LinkStream::connect(&self.register, self.tls.as_ref()).await {
                Ok(stream) => self.serve(stream).await,
                Err(error) => ConnectionEnd::Unreachable(error),
            };
            self.links.disconnected(&self.register);
            self.connection.ended(&end, self.now_ms(), rand::random());
            while let Some(effect) = self.connection.next_effect() {
                self.report(effect);
            }
        }
    }

    /// Serves a connection until its end.
    async fn serve(&mut self, stream: LinkStream) -> ConnectionEnd {
        limit_unacknowledged(stream.socket());
        let (reading, mut writing) = stream.into_split();
        let mut lines = LineReader::new(reading);
        (self.take_list)(News::Connected);
        self.connection.connected(self.now_ms());
        loop {
            while let Some(effect) = self.connection.next_effect() {
                match effect {
                    Effect::Send(message) => {
                        let line = message.to_line();
                        let written = writing.write_all(line.as_bytes()).await;
                        if let Err(error) = written.and(writing.flush().await) {
                            return ConnectionEnd::Failed(error);
                        }
                    }
                    Effect::Disconnect => return ConnectionEnd::Silent,
                    effect => self.report(effect),
                }
            }
            tokio::select! {
                line = lines.next_line(MAX_LINE) => match line {
                    Ok(Some(line)) => self.connection.received(&line, self.now_ms()),
                    Ok(None) => return ConnectionEnd::Closed,
                    Err(LineError::Io(error)) => return ConnectionEnd::Failed(error),
                    Err(LineError::TooLong { limit }) => return ConnectionEnd::LineTooLong { limit },
                },
                () = self.wait_for_deadline() => self.connection.deadline(self.now_ms()),
            }
        }
    }

    fn report(&mut self, effect: Effect) {
        match effect {
            Effect::Accepted => {
                self.logged = None;
                info!(register = self.register, "the register has accepted the connection");
                self.links.up(&self.register);
            }
            Effect::Trouble(why) => {
                self.log_trouble(&why);
                self.links.down(&self.register, why);
            }
            Effect::Heard { answers_pings } => self.links.heard(&self.register, answers_pings),
            Effect::List(listed) => {
                self.links.listed(&self.register, listed.clone());
                (self.take_list)(News::Listed(listed));
            }
            Effect::Ignored(error) => {
                let register = self.register.clone();
                self.ignored_lines.log(move |lines| {
                    warn!(register, error, lines, "ignored a line that no register sends");
                });
            }
            // Carried out by `run` and `serve`, which have the socket.
            Effect::Connect | Effect::Send(_) | Effect::Disconnect => {}
        }
    }

    /// Logs why the register is of no use. A register that is away for a night is not a line every few
    /// seconds.
    fn log_trouble(&mut self, why: &str) {
        let now = Instant::now();
        let is_known =
            |(last, at): &(String, Instant)| last == why && now.saturating_duration_since(*at) < SAME_TROUBLE;
        if !self.logged.as_ref().is_some_and(is_known) {
            warn!("{why}");
            self.logged = Some((why.to_owned(), now));
        }
    }

    /// Waits for the next deadline, or for ever if there is none.
    async fn wait_for_deadline(&self) {
        match self.connection.next_deadline() {
            Some(at_ms) => sleep_until(self.started + Duration::from_millis(at_ms)).await,
            None => std::future::pending().await,
        }
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis().try_into().unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::connection_lists::MAX_GATEWAYS;

    /// Runs a follower or an announcer against a register that runs `register` for each connection,
    /// until `is_it` accepts the reported trouble.
    async fn trouble_with<F: Future<Output = ()>>(
        announces: bool,
        register: impl Fn(TcpStream) -> F,
        is_it: impl Fn(Option<&str>) -> bool,
    ) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let registers = [listener.local_addr().unwrap().to_string()];
        let (links, key) = (RegisterLinks::default(), SecretKey::default());
        let serve = async {
            loop {
                register(listener.accept().await.unwrap().0).await;
            }
        };
        let stay = async {
            if announces {
                announce(&registers, "127.0.0.1:1", &key, None, &links).await;
            } else {
                follow(&registers, &key, None, watch::channel(Vec::new()).0, &links).await;
            }
        };
        let look = async {
            while !is_it(links.trouble(Duration::ZERO).as_deref()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            () = serve => {}
            () = stay => {}
            found = tokio::time::timeout(Duration::from_secs(20), look) => {
                found.unwrap_or_else(|_| panic!("the expected trouble was not reported; last: {:?}", links.trouble(Duration::ZERO)));
            }
        }
    }

    #[tokio::test]
    async fn a_register_that_closes_at_once_refuses_the_key() {
        for announces in [false, true] {
            let says = |why: Option<&str>| why.is_some_and(|why| why.contains("is the secret_key the same?"));
            trouble_with(announces, async |_| (), says).await;
            // With bytes unread, closing is a reset; with all read, an end.
            let read = async |mut stream: tokio::net::TcpStream| drop(stream.read(&mut [0; 1000]).await);
            trouble_with(announces, read, says).await;
        }
    }

    #[tokio::test]
    async fn a_gateway_that_withdraws_is_in_touch_with_no_register() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let registers = [listener.local_addr().unwrap().to_string()];
        let (links, key) = (RegisterLinks::default(), SecretKey::default());
        let is_in_touch = async |expected| {
            while links.in_touch() != expected {
                tokio::task::yield_now().await;
            }
        };
        let register = async {
            let mut stream = listener.accept().await.unwrap().0;
            say(&mut stream, b"{\"event\":\"pong\"}\n").await;
            is_in_touch(true).await;
            stream
        };
        let _stream = tokio::select! {
            () = announce(&registers, "127.0.0.1:1", &key, None, &links) => unreachable!("it never returns"),
            stream = tokio::time::timeout(Duration::from_secs(20), register) => stream.expect("a connection"),
        };
        tokio::time::timeout(Duration::from_secs(20), is_in_touch(false)).await.expect("a withdrawal");
    }

    #[tokio::test]
    async fn a_register_that_does_not_answer_a_follower_is_reported() {
        let silent = async |stream| {
            tokio::time::sleep(Duration::from_secs(60)).await;
            drop(stream);
        };
        trouble_with(false, silent, |why| why.is_some_and(|why| why.contains("has not answered yet"))).await;
    }

    /// Follows a true register, which lists `a:1`, and one that runs `lies` for each connection, until
    /// `is_it` accepts the union of the lists.
    async fn union_with<F: Future<Output = ()>>(
        lies: impl Fn(TcpStream) -> F,
        is_it: impl Fn(&[String]) -> bool,
    ) {
        let (truth, lie) = (
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        );
        let registers = [&truth, &lie].map(|register| register.local_addr().unwrap().to_string());
        let (links, key) = (RegisterLinks::default(), SecretKey::default());
        let (list, mut union) = watch::channel(Vec::new());
        let serve_truth = async {
            let mut stream = truth.accept().await.unwrap().0;
            let list = Message::BroadcastAddresses { addresses: vec!["a:1".into()], complete: true };
            stream.write_all(list.to_line().as_bytes()).await.unwrap();
            std::future::pending::<()>().await;
        };
        let serve_lies = async {
            loop {
                lies(lie.accept().await.unwrap().0).await;
            }
        };
        let look = async {
            union.wait_for(|union| is_it(union)).await.unwrap();
        };
        tokio::select! {
            () = serve_truth => {}
            () = serve_lies => {}
            () = follow(&registers, &key, None, list, &links) => {}
            seen = tokio::time::timeout(Duration::from_secs(20), look) => seen.expect("the union in time"),
        }
    }

    async fn say(stream: &mut TcpStream, line: &[u8]) {
        // The follower may have closed the connection.
        let _ = stream.write_all(line).await;
    }

    #[tokio::test]
    async fn a_register_that_sends_garbage_takes_nothing_from_the_others() {
        let garbage = async |mut stream: TcpStream| {
            say(&mut stream, b"garbage\n{\"event\":\"dance\"}\n\0\xff\n[1]\n").await;
            say(&mut stream, b"{\"event\":\"broadcast_addresses\",\"addresses\":[\"\",\"b c\",\"z:1\"]}\n")
                .await;
            let _ = stream.read(&mut [0; 1000]).await;
        };
        union_with(garbage, |union| union == ["a:1", "z:1"]).await;
    }

    #[tokio::test]
    async fn a_register_that_sends_an_endless_line_takes_nothing_from_the_others() {
        let endless = async |mut stream: TcpStream| {
            let chunk = vec![b'x'; 1024 * 1024];
            while stream.write_all(&chunk).await.is_ok() {}
        };
        union_with(endless, |union| union == ["a:1"]).await;
        trouble_with(false, endless, |why| why.is_some_and(|why| why.contains("is not a register"))).await;
    }

    #[tokio::test]
    async fn a_register_that_lists_nobody_or_closes_or_is_silent_takes_nothing_from_the_others() {
        let nobody = async |mut stream: TcpStream| {
            say(
                &mut stream,
                Message::BroadcastAddresses { addresses: Vec::new(), complete: true }.to_line().as_bytes(),
            )
            .await;
            let _ = stream.read(&mut [0; 1000]).await;
        };
        union_with(nobody, |union| union == ["a:1"]).await;
        union_with(async |_| (), |union| union == ["a:1"]).await;
        union_with(async |_| std::future::pending().await, |union| union == ["a:1"]).await;
    }

    #[tokio::test]
    async fn a_register_cannot_make_the_list_endless() {
        let many = async |mut stream: TcpStream| {
            for round in 0..3 {
                let addresses = (0..2 * MAX_GATEWAYS).map(|n| format!("z{round}:{n}")).collect();
                say(
                    &mut stream,
                    Message::BroadcastAddresses { addresses, complete: true }.to_line().as_bytes(),
                )
                .await;
            }
            let _ = stream.read(&mut [0; 1000]).await;
        };
        union_with(many, |union| union.len() == MAX_GATEWAYS + 1 && union[0] == "a:1").await;
    }

    #[tokio::test]
    async fn a_register_that_has_stopped_is_reported_as_that() {
        let answer = async |mut stream: tokio::net::TcpStream| {
            let list = Message::BroadcastAddresses { addresses: Vec::new(), complete: true };
            stream.write_all(list.to_line().as_bytes()).await.unwrap();
            let _ = stream.read(&mut [0; 1000]).await;
        };
        trouble_with(false, answer, |why| why.is_some_and(|why| why.ends_with("it has stopped"))).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_register_that_falls_silent_is_left_and_connected_to_anew() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let registers = [listener.local_addr().unwrap().to_string()];
        let (links, key) = (RegisterLinks::default(), SecretKey::default());
        let falls_silent = async {
            let list = Message::BroadcastAddresses { addresses: Vec::new(), complete: true }.to_line();
            let mut silent = listener.accept().await.unwrap().0;
            say(&mut silent, list.as_bytes()).await;
            let mut sent = Vec::new();
            silent.read_to_end(&mut sent).await.unwrap();
            let _again = listener.accept().await.unwrap().0;
            let said = links.trouble(Duration::ZERO).expect("no register is of use");
            assert!(said.contains("has been silent for too long"), "{said}");
        };
        tokio::select! {
            () = falls_silent => {}
            () = follow(&registers, &key, None, watch::channel(Vec::new()).0, &links) => {}
        }
    }

    #[tokio::test]
    async fn a_register_that_cannot_be_reached_is_named() {
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
        let links = RegisterLinks::default();
        let (registers, key) = ([nobody.clone()], SecretKey::default());
        tokio::select! {
            () = announce(&registers, "127.0.0.1:1", &key, None, &links) => {}
            () = async {
                while links.trouble(Duration::ZERO).is_none() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            } => {}
        }
        let why = links.trouble(Duration::ZERO).unwrap();
        assert!(why.starts_with(&format!("the register at {nobody} cannot be reached (")), "{why}");
    }

    #[tokio::test]
    async fn without_a_register_following_and_announcing_never_return() {
        let (links, key) = (RegisterLinks::default(), SecretKey::default());
        let addresses = watch::channel(Vec::new()).0;
        let mut tasks = JoinSet::new();
        tasks.spawn({
            let (links, key) = (links.clone(), key.clone());
            async move { announce(&[], "127.0.0.1:1", &key, None, &links).await }
        });
        tasks.spawn(async move { follow(&[], &key, None, addresses, &links).await });
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert!(tasks.try_join_next().is_none());
    }

    #[tokio::test]
    async fn a_register_that_keeps_an_announcement_open_has_accepted_it() {
        let links = RegisterLinks::default();
        links.down("before", "down".into());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (registers, key) = ([listener.local_addr().unwrap().to_string()], SecretKey::default());
        tokio::select! {
            () = announce(&registers, "127.0.0.1:1", &key, None, &links) => {}
            () = async {
                while links.trouble(Duration::ZERO).is_some() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            } => {}
        }
    }
}
