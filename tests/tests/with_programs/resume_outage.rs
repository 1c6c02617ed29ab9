//! Phones that speak `gw.1`, in a network that goes away and says nothing: no FIN and no RST arrives, so the gateway takes all of them for
//! connected. When the network is back, they have another address, and come back nearly at once.
//!
//! The gateway is a process in a network namespace of its own, with the register and a worker; the phones are in another one.
//! `RESUME_PHONES`, `RESUME_OUTAGE_MS` and `RESUME_P99_MS` set how many phones there are, how long the network is away (less than
//! a minute, after which the gateway notices), and within which time 99 % of the phones have to be resumed.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use gatewayworker_tests::metrics::Scrape;
use gatewayworker_tests::process::{Process, binary};
use gatewayworker_tests::{Cluster, Happened, Line, Namespace, eventually};
use serde_json::json;
use tokio::time::{interval, sleep};

/// Where phones connect, and where the gateway shows its metrics: in its own network, in which all ports are free.
const GATEWAY: &str = "10.99.0.1:8289";
const METRICS: &str = "127.0.0.1:9100";

/// How often the worker says something to all phones, how long that is, and how long the message to each phone is.
const NEWS_EVERY: Duration = Duration::from_millis(100);
const NEWS_BYTES: usize = 1000;
const OWN_BYTES: usize = 16_000;

/// The gateway's memory, and how much it keeps for a client (`resume_bytes`).
const RSS: &str = "process_resident_memory_bytes";
const RESUME_BYTES: f64 = 262_144.0;

/// Within which time all phones come back.
const COME_BACK_MS: u64 = 2000;

/// How many messages a phone sends while the network is away.
const SAID: usize = 3;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// The last message of a phone.
const END: &str = "the end";

/// A phone, and its connection.
struct Phone {
    line: Line,
    token: String,
    id: String,
}

impl Phone {
    /// A new client, which has received one message, the greeting.
    async fn start() -> Self {
        let mut line = Line::open(GATEWAY.parse().unwrap()).await;
        line.control(json!({"start": {}})).await;
        let hello = line.expect_control().await["hello"].take();
        let text = |key: &str| hello[key].as_str().unwrap().to_owned();
        assert_eq!(line.data().await, text("client"), "the worker greets with the id");
        Self { token: text("token"), id: text("client"), line }
    }

    /// Resumes on a new connection at a random time, says again what did not arrive, and receives each message that it has missed
    /// once and in order. Returns the time from connecting to `resumed`.
    async fn come_back(&mut self, missed: &[String]) -> Duration {
        sleep(Duration::from_millis(RandomState::new().hash_one(&self.id) % COME_BACK_MS)).await;
        let begun = Instant::now();
        let mut line = Line::open(GATEWAY.parse().unwrap()).await;
        line.resume(&self.token, 1, 1).await;
        let answer = line.expect_control().await;
        let took = begun.elapsed();
        assert_eq!(answer, json!({"resumed": {"client": self.id, "got": 0}}));
        for n in 0..SAID {
            line.0.send(&said(n)).await;
        }
        for missed in missed {
            assert_eq!(line.data().await, missed.replace("{id}", &self.id));
        }
        for n in 0..SAID {
            assert_eq!(line.data().await, said(n), "the worker echoes");
        }
        line.control(json!({"ack": 1 + missed.len() + SAID})).await;
        line.0.send(END).await;
        assert_eq!(line.data().await, END, "nothing comes twice");
        // The line of before ends here. The phone's system has no way to tell the gateway.
        self.line = line;
        took
    }
}

/// What phones say while the network is away.
fn said(n: usize) -> String {
    format!("said {n}")
}

fn news(n: usize) -> String {
    format!("news {n} {}", "x".repeat(NEWS_BYTES))
}

fn own(id: &str) -> String {
    format!("for {id} {}", "y".repeat(OWN_BYTES))
}

/// The network of the phones: a cell that has a cable to the gateway's network, and an address.
struct Cell {
    network: Namespace,
}

impl Cell {
    async fn connect(gateway: &Namespace) -> Self {
        let cell = Self { network: Namespace::start().await };
        gateway.connect(&cell.network).await;
        gateway.ip("address add 10.99.0.1/24 dev cable").await;
        for words in
            ["link add cell type bridge", "link set cable master cell", "address add 10.99.0.2/24 dev cell"]
        {
            cell.network.ip(words).await;
        }
        cell.restore().await;
        cell
    }

    /// Takes the network away. The cable stays up, so that the gateway's system sees nothing either.
    async fn cut(&self) {
        self.network.ip("link set cell down").await;
    }

    /// Gives the phones another address: nothing that they have sent from the one of before can arrive.
    async fn move_phones(&self) {
        self.network.ip("address del 10.99.0.2/24 dev cell").await;
        self.network.ip("address add 10.99.0.3/24 dev cell").await;
    }

    async fn restore(&self) {
        self.network.ip("link set cell up").await;
    }
}

/// A gateway in the network, as a process.
async fn start_gateway(register: SocketAddr) -> Process {
    let (listen, register) = (format!("websocket://{GATEWAY}"), register.to_string());
    let daemon =
        ["gateway", "--listen", &listen, "--register-address", &register, "--metrics-listen", METRICS];
    // Sockets in the file system do not belong to the network.
    let gateway =
        Process::start(&[&daemon[..], &["--resume", "--unix-links=false", "--shards", "2"]].concat());
    let listens = async || tokio::net::TcpStream::connect(METRICS).await.is_ok();
    eventually("the gateway to start", listens).await;
    gateway
}

async fn scrape(network: &Namespace) -> Scrape {
    network.run(async || Scrape::of(METRICS.parse().unwrap()).await).await
}

pub(crate) async fn phones_that_lose_the_network_at_once_come_back_and_have_missed_nothing() {
    let count = setting("RESUME_PHONES", 100) as usize;
    let outage = Duration::from_millis(setting("RESUME_OUTAGE_MS", 3000));
    let p99_limit = Duration::from_millis(setting("RESUME_P99_MS", 5000));
    binary();
    let network = Namespace::start().await;
    let cell = Cell::connect(&network).await;
    let (cluster, _gateway) = network
        .run(async || {
            let cluster = Cluster::builder().gateways(0).start().await;
            let gateway = start_gateway(cluster.register).await;
            (cluster, gateway)
        })
        .await;
    let api = cluster.api().await;
    let mut phones = cell
        .network
        .run(async move || {
            let mut phones = Vec::new();
            for _ in 0..count {
                phones.push(Phone::start().await);
            }
            phones
        })
        .await;
    // Before a client is admitted, a cut would be its end.
    eventually("the admissions", async || {
        api.client_count().await.is_ok_and(|admitted| admitted == count as u64)
    })
    .await;
    let before = scrape(&network).await;

    cell.cut().await;
    let down = Instant::now();
    for phone in &mut phones {
        for n in 0..SAID {
            phone.line.0.send(&said(n)).await;
        }
    }
    let (mut missed, mut ticks) = (Vec::new(), interval(NEWS_EVERY));
    while down.elapsed() < outage {
        if missed.len() == 5 {
            for phone in &phones {
                api.send_to_client(phone.id.parse().unwrap(), own(&phone.id)).await.unwrap();
            }
            missed.push(own("{id}"));
        }
        ticks.tick().await;
        let next = news(missed.len());
        api.send_to_all(next.clone()).await.unwrap();
        missed.push(next);
    }
    let during = scrape(&network).await;
    assert_eq!(during.get("gatewayworker_detached_clients"), 0.0, "the gateway has noticed nothing");
    cell.move_phones().await;
    cell.restore().await;

    let (heard, missed) = (missed.len(), Arc::new(missed));
    let (phones, mut took): (Vec<_>, Vec<_>) = cell
        .network
        .run(async move || {
            let back = phones.into_iter().map(|mut phone| {
                let missed = missed.clone();
                tokio::spawn(async move {
                    let took = phone.come_back(&missed).await;
                    (phone, took)
                })
            });
            join_all(back).await.into_iter().map(|back| back.expect("a phone is back")).unzip()
        })
        .await;
    took.sort_unstable();
    let (p50, p99) = (took[count / 2], took[count * 99 / 100]);
    let after = scrape(&network).await;
    let [mb_before, mb_during, mb_after] = [&before, &during, &after].map(|scrape| scrape.get(RSS) / 1e6);
    let kept = during.get("gatewayworker_resume_bytes");
    println!(
        "{count} phones, {outage:?} without a network, {heard} messages to each meanwhile: resumed in {p50:?} (p50), {p99:?} (p99); \
         {:.1} MB kept, the gateway had {mb_before:.0} MB before, {mb_during:.0} MB at the end of it, {mb_after:.0} MB when all were back",
        kept / 1e6
    );

    check_handlers(&cluster, &phones).await;
    assert_eq!(after.get("gatewayworker_resumed_total"), count as f64);
    assert_eq!(after.sum("gatewayworker_resume_lost_total"), 0.0);
    assert!(p99 < p99_limit, "{p99:?}");
    let most = count as f64 * RESUME_BYTES;
    assert!(kept <= most, "{kept} of {most} bytes");
    for scrape in [&during, &after] {
        let grown = scrape.get(RSS) - before.get(RSS);
        assert!(grown <= most, "{grown} of {most} bytes");
    }
    let left = after.get("gatewayworker_resume_bytes");
    assert!(left < count as f64 * 1000.0, "acknowledged messages are forgotten: {left} bytes");
}

/// Checks that each phone has come once, was resumed once, and has not left, and that each of its messages was handled once and in order.
async fn check_handlers(cluster: &Cluster, phones: &[Phone]) {
    let mut handled: HashMap<String, Vec<String>> = HashMap::new();
    while !cluster.events().is_quiet().await {
        match cluster.events().next().await {
            Happened::Connect(id) => {
                assert!(handled.insert(id.to_string(), Vec::new()).is_none(), "a phone comes once");
            }
            Happened::Message(id, said) => {
                handled.get_mut(&id.to_string()).unwrap().push(String::from_utf8(said.to_vec()).unwrap());
            }
            Happened::Resumed(id, _) => handled.get_mut(&id.to_string()).unwrap().push("resumed".into()),
            Happened::Detached(_) => panic!("the gateway has noticed no cut"),
            Happened::Close(..) => panic!("a phone that is cut off has not left"),
        }
    }
    assert_eq!(handled.len(), phones.len());
    let expected: Vec<_> =
        ["resumed".into()].into_iter().chain((0..SAID).map(said)).chain([END.into()]).collect();
    for phone in phones {
        assert_eq!(handled[&phone.id], expected);
    }
}
