//! Staying connected to registers: announcing a gateway, following their lists.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::time::Duration;

use gatewayworker_protocol::SecretKey;
use gatewayworker_protocol::register::{MAX_LINE, Message, PING_INTERVAL_SECS};
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use crate::{Backoff, LineError, LineReader, LogLimiter, RegisterLinks};

/// A register that closes a connection within this time does not want it. It says nothing to a
/// gateway that it takes.
const REFUSAL: Duration = Duration::from_secs(1);

/// Announces `address` to every register, for ever; dropping the future ends the
/// connections, and with them the announcement. `links` has what became of them.
pub async fn announce(registers: &[String], address: &str, secret_key: &SecretKey, links: &RegisterLinks) {
    let mut connections = JoinSet::new();
    for register in registers {
        let hello = Message::GatewayConnect { address: address.to_owned(), secret_key: secret_key.clone() };
        connections.spawn(stay_connected(register.clone(), hello, links.clone(), |_| ()));
    }
    until_a_panic(connections).await;
}

/// Follows every register and publishes the **union** of what each said last;
/// a register that is down keeps its last word. Runs for ever; dropping the
/// future ends the connections. `links` has what became of them.
///
/// (In the original the list that came last replaces the others.)
pub async fn follow(
    registers: &[String],
    secret_key: &SecretKey,
    addresses: watch::Sender<Vec<String>>,
    links: &RegisterLinks,
) {
    let mut connections = JoinSet::new();
    let lists = std::sync::Arc::new(std::sync::Mutex::new(BTreeMap::<usize, Vec<String>>::new()));
    for (index, register) in registers.iter().enumerate() {
        let (lists, addresses) = (lists.clone(), addresses.clone());
        let hello = Message::WorkerConnect { secret_key: secret_key.clone() };
        connections.spawn(stay_connected(register.clone(), hello, links.clone(), move |message| {
            let Message::BroadcastAddresses { addresses: list } = message else { return };
            let mut lists = lists.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            lists.insert(index, list);
            let mut union: Vec<String> = lists.values().flatten().cloned().collect();
            union.sort();
            union.dedup();
            addresses.send_if_modified(|known| {
                let changed = *known != union;
                *known = union;
                changed
            });
        }));
    }
    until_a_panic(connections).await;
}

/// Waits for ever, or until one of the connections panics: a panic of the caller's then.
async fn until_a_panic(mut connections: JoinSet<()>) {
    while let Some(ended) = connections.join_next().await {
        if let Err(Ok(panic)) = ended.map_err(tokio::task::JoinError::try_into_panic) {
            std::panic::resume_unwind(panic);
        }
    }
}

/// Connects to a register, says `hello`, hears what it says, and begins again.
async fn stay_connected(
    register: String,
    hello: Message,
    links: RegisterLinks,
    mut hear: impl FnMut(Message),
) {
    let mut backoff = Backoff::default();
    let strange_lines = LogLimiter::default();
    loop {
        let started = tokio::time::Instant::now();
        let mut connection = Connection { register: &register, links: &links, is_taken: false };
        let why = connection.converse(&hello, &strange_lines, &mut hear).await;
        links.down(&register, why.clone());
        warn!("{why}");
        // A connection that stood for a while was a success, however it ended.
        if started.elapsed() > Duration::from_secs(10) {
            backoff.reset();
        }
        let wait = backoff.next_wait();
        debug!(%register, wait_ms = wait.as_millis() as u64, "trying again");
        tokio::time::sleep(wait).await;
    }
}

/// One connection to a register.
struct Connection<'a> {
    register: &'a str,
    links: &'a RegisterLinks,
    /// The register has taken the `hello`: it has answered, or let the connection stand.
    is_taken: bool,
}

impl Connection<'_> {
    /// Talks with the register until the connection ends; returns why it did, for people.
    async fn converse(
        &mut self,
        hello: &Message,
        strange_lines: &LogLimiter,
        hear: &mut impl FnMut(Message),
    ) -> String {
        let register = self.register;
        let stream = match crate::connect(register).await {
            Ok(stream) => stream,
            Err(error) => {
                return format!(
                    "the register at {register} cannot be reached ({error}): does it run, and is \
                     register_address right?"
                );
            }
        };
        let (reading, mut writing) = stream.into_split();
        if let Err(error) = writing.write_all(hello.to_line().as_bytes()).await {
            return self.failed(&error);
        }
        let mut lines = LineReader::new(reading);
        // The original pings no register on its own host; one that never pinged is
        // believed as long as its connection stands.
        let pings = !register.starts_with("127.0.0.1");
        let mut ping = tokio::time::interval(Duration::from_secs(PING_INTERVAL_SECS));
        ping.tick().await;
        let mut refusal = std::pin::pin!(tokio::time::sleep(REFUSAL));
        let mut may_refuse = true;
        loop {
            tokio::select! {
                line = lines.next_line(MAX_LINE) => {
                    let line = match line {
                        Ok(Some(line)) => line,
                        Ok(None) => return self.closed(),
                        Err(LineError::Io(error)) => return self.failed(&error),
                        Err(error) => return format!("the register at {register} is none: {error}"),
                    };
                    match Message::parse(&line) {
                        Ok(message) => {
                            self.taken();
                            hear(message);
                        }
                        Err(error) => {
                            let register = register.to_owned();
                            strange_lines.log(move |lines| {
                                warn!(register, %error, lines, "ignored what no register says");
                            });
                        }
                    }
                }
                () = &mut refusal, if may_refuse => {
                    may_refuse = false;
                    match hello {
                        Message::WorkerConnect { .. } if !self.is_taken => {
                            let why = format!("the register at {register} has not answered yet: is it one?");
                            warn!("{why}");
                            self.links.down(register, why);
                        }
                        _ => self.taken(),
                    }
                }
                _ = ping.tick(), if pings => {
                    if let Err(error) = writing.write_all(Message::Ping.to_line().as_bytes()).await {
                        return self.failed(&error);
                    }
                }
            }
        }
    }

    fn taken(&mut self) {
        if !std::mem::replace(&mut self.is_taken, true) {
            info!(register = self.register, "connected to the register");
            self.links.up(self.register);
        }
    }

    /// The register has closed the connection: it does that at once, and without a word, where
    /// the key is another one.
    fn closed(&self) -> String {
        let register = self.register;
        if self.is_taken {
            return format!("the register at {register} closed the connection: it has stopped");
        }
        format!("the register at {register} closed the connection at once: is the secret_key the same?")
    }

    fn failed(&self, error: &io::Error) -> String {
        match error.kind() {
            // It closed before it had read all.
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe if !self.is_taken => self.closed(),
            _ => format!("the connection to the register at {} failed: {error}", self.register),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    /// What a register does with a connection, and what the one who follows or announces says
    /// of it in the end.
    async fn trouble_with<F: Future<Output = ()>>(
        announces: bool,
        register: impl Fn(tokio::net::TcpStream) -> F,
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
                announce(&registers, "127.0.0.1:1", &key, &links).await;
            } else {
                follow(&registers, &key, watch::channel(Vec::new()).0, &links).await;
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
                found.unwrap_or_else(|_| panic!("in vain: {:?}", links.trouble(Duration::ZERO)));
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
    async fn a_register_that_says_nothing_to_a_follower_is_none() {
        let silent = async |stream| {
            tokio::time::sleep(Duration::from_secs(60)).await;
            drop(stream);
        };
        trouble_with(false, silent, |why| why.is_some_and(|why| why.contains("has not answered yet"))).await;
    }

    #[tokio::test]
    async fn a_register_that_has_stopped_is_not_taken_for_one_that_refuses() {
        let answer = async |mut stream: tokio::net::TcpStream| {
            let list = Message::BroadcastAddresses { addresses: Vec::new() };
            stream.write_all(list.to_line().as_bytes()).await.unwrap();
            let _ = stream.read(&mut [0; 1000]).await;
        };
        trouble_with(false, answer, |why| why.is_some_and(|why| why.ends_with("it has stopped"))).await;
    }

    #[tokio::test]
    async fn a_register_that_is_not_there_is_named() {
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
        let links = RegisterLinks::default();
        let (registers, key) = ([nobody.clone()], SecretKey::default());
        tokio::select! {
            () = announce(&registers, "127.0.0.1:1", &key, &links) => {}
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
    async fn a_register_that_lets_an_announcement_stand_has_taken_it() {
        let links = RegisterLinks::default();
        links.down("before", "down".into());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (registers, key) = ([listener.local_addr().unwrap().to_string()], SecretKey::default());
        tokio::select! {
            () = announce(&registers, "127.0.0.1:1", &key, &links) => {}
            () = async {
                while links.trouble(Duration::ZERO).is_some() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            } => {}
        }
    }
}
