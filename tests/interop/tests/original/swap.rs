//! A live system of the original's, swapped for ours one process at a time and back,
//! with clients connected, in the order that docs/migrating-from-php.md advises.

use gatewayworker_interop::cluster::{Cluster, arrive};
use gatewayworker_interop::combination::{Combination, Kind};
use gatewayworker_interop::php::php;
use gatewayworker_interop::results::{Line, Swapped, write};
use gatewayworker_interop::{Caller, Client};
use gatewayworker_tests::eventually;

const WORKER: &str = env!("CARGO_BIN_EXE_interop-worker");

/// The part of a session that the old worker writes and the new one reads.
const RICH: &str =
    r#"put rich {"f":0.1,"huge":1e25,"null":null,"no":false,"list":[1,[2,"三"]],"7":"seven","07":{},"":-1}"#;

#[tokio::test]
async fn a_live_system_is_swapped_one_process_at_a_time_and_back() {
    let php = php();
    let mut live = Live::start(Cluster::start(&php, WORKER, "k3y", Combination::ORIGINAL).await).await;
    for kind in [Kind::Ours, Kind::Php] {
        match kind {
            Kind::Ours => {
                live.swap_register(kind).await;
                live.swap_gateway(0, kind).await;
                live.swap_gateway(1, kind).await;
                live.swap_worker(kind).await;
            }
            Kind::Php => {
                live.swap_worker(kind).await;
                live.swap_gateway(1, kind).await;
                live.swap_gateway(0, kind).await;
                live.swap_register(kind).await;
            }
        }
    }
    write(&Line::Swap { steps: live.steps });
}

#[tokio::test]
async fn workers_may_go_first() {
    let php = php();
    let mut live = Live::start(Cluster::start(&php, WORKER, "", Combination::ORIGINAL).await).await;
    live.swap_worker(Kind::Ours).await;
    live.swap_worker(Kind::Php).await;
}

#[tokio::test]
async fn with_two_registers_calls_go_on_while_one_is_swapped() {
    let php = php();
    let both = [Kind::Php, Kind::Ours];
    let cluster = Cluster::start_with_registers(&php, WORKER, both, both, &both).await;
    let mut live = Live::start(cluster).await;
    for (n, kind) in [(1, Kind::Php), (0, Kind::Ours)] {
        live.cluster.stop_register(n).await;
        live.serves([0, 1]).await;
        assert_eq!(live.caller.answer("Gateway::getAllUidCount()").await, 2, "the other register is asked");
        live.cluster.start_register(n, kind).await;
        live.goes_on().await;
        live.cluster.ready().await;
    }
}

/// A system with a client of each gateway.
struct Live {
    cluster: Cluster,
    caller: Caller,
    clients: [Client; 2],
    /// What each has counted in its session.
    counts: [u32; 2],
    steps: Vec<Swapped>,
}

impl Live {
    async fn start(cluster: Cluster) -> Self {
        let clients = [come(&cluster, 0).await, come(&cluster, 1).await];
        let caller = cluster.caller();
        let mut live = Self { cluster, caller, clients, counts: [0; 2], steps: vec![] };
        live.goes_on().await;
        live
    }

    /// Stops the register and starts the other kind in its place.
    async fn swap_register(&mut self, to: Kind) {
        self.cluster.stop_register(0).await;
        self.serves([0, 1]).await;
        assert!(self.caller.call("Gateway::getAllUidCount()").await["throws"].is_string());
        self.cluster.start_register(0, to).await;
        self.goes_on().await;
        self.note(
            format!("register: {to}"),
            "nothing",
            "fails while no register is there, and until the gateways have announced themselves again",
        );
    }

    /// Stops a gateway and starts the other kind in its place.
    async fn swap_gateway(&mut self, place: usize, to: Kind) {
        let (end, ()) = tokio::join!(self.clients[place].heard_before(""), self.cluster.stop_gateway(place));
        let noticed = end.into_iter().filter(|line| !is_noise(line)).collect::<Vec<_>>().join(", ");
        self.serves([1 - place]).await;
        eventually("the register to drop it", async || self.cluster.listed().await == [2 - place]).await;
        assert_eq!(
            self.caller.answer("Gateway::getAllUidCount()").await,
            1,
            "the other gateway's clients are seen"
        );
        self.cluster.start_gateway(place, to, 0).await;
        self.cluster.ready().await;
        self.clients[place] = come(&self.cluster, place).await;
        self.counts[place] = 0;
        self.goes_on().await;
        let noticed = match noticed.as_str() {
            "end" => "TCP ends",
            "closed 1001" => "closed with 1001",
            other => panic!("clients noticed {other:?}"),
        };
        let clients = format!(
            "of this gateway: {noticed}; let in again, with a new id and an empty session. Of the other: nothing"
        );
        self.note(
            format!("gateway {}: {to}", place + 1),
            &clients,
            "does not see the clients of this gateway meanwhile",
        );
    }

    /// Starts a worker of the other kind, and then stops the old one.
    async fn swap_worker(&mut self, to: Kind) {
        self.cluster.start_worker(to);
        for place in [0, 1] {
            self.reached(place, to).await;
        }
        self.serves([0, 1]).await;
        let mut sessions = Vec::new();
        for client in &mut self.clients {
            client.ask(RICH).await;
            sessions.push(client.ask("dump").await);
        }
        self.cluster.stop_worker().await;
        for place in [0, 1] {
            self.reached(place, to).await;
            assert_eq!(self.clients[place].ask("worker").await, to.to_string());
            assert_eq!(
                self.clients[place].ask("dump").await,
                sessions[place],
                "the session is the same, byte for byte"
            );
        }
        self.goes_on().await;
        self.note(
            format!("worker: {to} started, then the other one stopped"),
            "nothing; sessions go on",
            "nothing",
        );
    }

    /// Waits until new clients of a gateway are served by this kind of worker.
    async fn reached(&self, place: usize, by: Kind) {
        // The clients stay, because a gateway routes the next one to the worker with the fewest clients.
        let mut trials = Vec::new();
        eventually("a newcomer to be served by the new worker", async || {
            let mut trial = arrive(self.cluster.gateways[place].listener).await;
            let worker = trial.ask("worker").await;
            trials.push(trial);
            worker == by.to_string()
        })
        .await;
        for trial in trials {
            trial.leave().await;
        }
    }

    /// Checks that these clients have noticed nothing, and are served with their session.
    async fn serves(&mut self, which: impl IntoIterator<Item = usize>) {
        for n in which {
            let heard = self.clients[n].heard().await;
            assert!(heard.iter().all(|line| is_noise(line)), "a client noticed: {heard:?}");
            self.counts[n] += 1;
            assert_eq!(self.clients[n].ask("count").await, format!("count {}", self.counts[n]));
        }
    }

    /// Checks the whole system: both clients are served and receive each other's messages, the register lists both
    /// gateways, and GatewayClient sees both clients.
    async fn goes_on(&mut self) {
        eventually("the register to list both", async || self.cluster.listed().await == [1, 2]).await;
        self.serves([0, 1]).await;
        let [one, other] = &mut self.clients;
        one.say("group lobby hi").await;
        assert_eq!(one.hear().await, "1 to lobby: hi");
        assert_eq!(other.hear().await, "1 to lobby: hi");
        let seen = eventually("GatewayClient to see both", async || {
            self.caller.answer("Gateway::getAllUidCount()").await == 2
        });
        seen.await;
    }

    fn note(&mut self, step: String, clients: &str, calls: &str) {
        self.steps.push(Swapped { step, clients: clients.into(), calls: calls.into() });
    }
}

/// A client that is logged in under the number of its gateway.
async fn come(cluster: &Cluster, place: usize) -> Client {
    let mut client = arrive(cluster.gateways[place].listener).await;
    client.ask(&format!("login {}", place + 1)).await;
    client
}

/// Whether a message is the harness's own broadcast, or the notice that another client has left.
fn is_noise(line: &str) -> bool {
    line == "?: here" || line.starts_with("gone ")
}
