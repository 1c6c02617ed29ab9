//! A register, two gateways and a worker as processes, each ours or the original's. `steps` drives it.

mod state;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use gatewayworker_tests::eventually;
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::caller::Caller;
use crate::client::Client;
use crate::combination::{Combination, Kind};
use crate::php::Php;
use crate::ports::free_port;
use crate::process::{Process, tail};

/// The daemons of one test. Dropping it kills them; if the test has failed, it prints their logs.
pub struct Cluster {
    /// The gateways, by number.
    pub gateways: Vec<Place>,
    php: Php,
    worker_binary: PathBuf,
    key: String,
    dir: TempDir,
    logs: Vec<PathBuf>,
    registers: Vec<(SocketAddr, Option<Process>)>,
    workers: Vec<Process>,
}

/// The addresses of a gateway that runs, or has run.
pub struct Place {
    /// The address for clients.
    pub listener: SocketAddr,
    /// The inner port's address, as the gateway announces it.
    pub inner: SocketAddr,
    process: Option<Process>,
}

impl Cluster {
    /// Returns a cluster without daemons. `worker_binary` is the `interop-worker`.
    ///
    /// # Panics
    /// There is no directory for logs.
    pub fn new(php: &Php, worker_binary: &str, key: &str) -> Self {
        Self {
            gateways: Vec::new(),
            php: php.clone(),
            worker_binary: worker_binary.into(),
            key: key.into(),
            dir: tempfile::tempdir().expect("a folder for logs"),
            logs: Vec::new(),
            registers: vec![(local(), None)],
            workers: Vec::new(),
        }
    }

    /// Starts all daemons of a combination, and waits until they are linked.
    ///
    /// # Panics
    /// They are not in time.
    pub async fn start(php: &Php, worker_binary: &str, key: &str, who: Combination) -> Self {
        Self::start_mixed(php, worker_binary, key, who.register, [who.gateway; 2], &[who.worker]).await
    }

    /// Starts a register, gateways of these kinds and workers, and waits until they are linked.
    ///
    /// # Panics
    /// They are not in time.
    pub async fn start_mixed(
        php: &Php,
        worker_binary: &str,
        key: &str,
        register: Kind,
        gateways: [Kind; 2],
        workers: &[Kind],
    ) -> Self {
        let mut cluster = Self::new(php, worker_binary, key);
        cluster.start_register(0, register).await;
        cluster.add_others(gateways, workers).await;
        cluster
    }

    /// Starts a cluster with two registers, to which all gateways announce themselves.
    ///
    /// # Panics
    /// They are not linked in time.
    pub async fn start_with_registers(
        php: &Php,
        worker_binary: &str,
        registers: [Kind; 2],
        gateways: [Kind; 2],
        workers: &[Kind],
    ) -> Self {
        let mut cluster = Self::new(php, worker_binary, "");
        cluster.registers.push((local(), None));
        for (n, kind) in registers.into_iter().enumerate() {
            cluster.start_register(n, kind).await;
        }
        cluster.add_others(gateways, workers).await;
        cluster
    }

    async fn add_others(&mut self, gateways: [Kind; 2], workers: &[Kind]) {
        for kind in gateways {
            let place = self.add_place();
            self.start_gateway(place, kind, 0).await;
        }
        for kind in workers {
            self.start_worker(*kind);
        }
        self.ready().await;
    }

    /// Starts a register, by its number from 0, and waits until it listens.
    ///
    /// # Panics
    /// It does not listen in time.
    pub async fn start_register(&mut self, n: usize, kind: Kind) {
        let address = self.registers[n].0;
        let command = match kind {
            Kind::Php => {
                let mut command = self.original("register.php");
                command.env("REGISTER", address.to_string());
                command
            }
            Kind::Ours => {
                let arguments = ["register", "--listen", &address.to_string()];
                self.ours(gatewayworker_tests::process::binary(), &arguments)
            }
        };
        self.registers[n].1 = Some(self.run(command, "register", kind));
        listens("the register", address).await;
    }

    /// Reserves addresses for one more gateway, and returns its number.
    pub fn add_place(&mut self) -> usize {
        self.gateways.push(Place { listener: local(), inner: local(), process: None });
        self.gateways.len() - 1
    }

    /// Starts the gateway with this number, and waits until it listens. `ping` is its ping interval in seconds, 0 for none;
    /// with an interval, a client is closed after one unanswered ping.
    ///
    /// # Panics
    /// It does not listen in time.
    pub async fn start_gateway(&mut self, place: usize, kind: Kind, ping: u32) {
        let Place { listener, inner, .. } = self.gateways[place];
        let command = match kind {
            Kind::Php => {
                let mut command = self.original("gateway.php");
                command.env("LISTEN", listener.to_string()).env("LAN_PORT", inner.port().to_string());
                command.env("PING", ping.to_string());
                command
            }
            Kind::Ours => {
                let (listen, port) = (format!("websocket://{listener}"), inner.port().to_string());
                let (ping, limit) = (ping.to_string(), u32::from(ping > 0).to_string());
                let register = self.register_addresses();
                let arguments = [
                    ["--listen", &listen],
                    ["--lan-port", &port],
                    ["--register-address", &register],
                    ["--ping-interval", &ping],
                    ["--ping-not-response-limit", &limit],
                ];
                let mut command = self.ours(gatewayworker_tests::process::binary(), &["gateway"]);
                command.args(arguments.as_flattened());
                command
            }
        };
        self.gateways[place].process = Some(self.run(command, &format!("gateway {}", place + 1), kind));
        listens("the gateway", inner).await;
        listens("the gateway", listener).await;
    }

    /// Starts a worker.
    ///
    /// # Panics
    /// Its program is missing.
    pub fn start_worker(&mut self, kind: Kind) {
        let register = self.register_addresses();
        let command = match kind {
            Kind::Php => self.original("worker.php"),
            Kind::Ours => self.ours(&self.worker_binary, &["--register-address", &register]),
        };
        let process = self.run(command, "worker", kind);
        self.workers.push(process);
    }

    /// The registers' addresses, separated by commas.
    pub fn register_addresses(&self) -> String {
        let addresses: Vec<_> = self.registers.iter().map(|(address, _)| address.to_string()).collect();
        addresses.join(",")
    }

    /// Stops a register, and waits for its end.
    ///
    /// # Panics
    /// It does not run, or does not end in time.
    pub async fn stop_register(&mut self, n: usize) {
        self.registers[n].1.take().expect("there is a register").stop().await;
    }

    /// Stops the worker that was started first, and waits for its end.
    ///
    /// # Panics
    /// It does not run, or does not end in time.
    pub async fn stop_worker(&mut self) {
        self.workers.remove(0).stop().await;
    }

    /// Stops a gateway, and waits for its end.
    ///
    /// # Panics
    /// It does not run, or does not end in time.
    pub async fn stop_gateway(&mut self, place: usize) {
        self.gateways[place].process.take().expect("there is a gateway").stop().await;
    }

    /// Kills a gateway, as a crash does.
    ///
    /// # Panics
    /// It does not run.
    pub fn kill_gateway(&mut self, place: usize) {
        self.gateways[place].process.take().expect("there is a gateway").kill();
    }

    /// Starts a process with the GatewayClient.
    ///
    /// # Panics
    /// PHP does not start.
    pub fn caller(&self) -> Caller {
        Caller::start(&self.php, &self.register_addresses(), &self.key, &self.dir.path().join("caller.log"))
    }

    /// The last lines of all daemons' logs.
    pub fn logs(&self) -> String {
        let log = |path: &PathBuf| {
            format!("--- {}\n{}\n", path.file_name().unwrap_or_default().display(), tail(path))
        };
        self.logs.iter().map(log).collect()
    }

    fn original(&self, script: &str) -> Command {
        let mut command = self.php.script(script);
        command.arg("start").env("REGISTER", self.register_addresses()).env("SECRET_KEY", &self.key);
        command
    }

    fn ours(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("GATEWAYWORKER_")) {
            command.env_remove(name);
        }
        command.args(arguments).env("GATEWAYWORKER_SECRET_KEY", &self.key);
        command
    }

    fn run(&mut self, mut command: Command, what: &str, kind: Kind) -> Process {
        // Each start has a directory of its own: the pid file of a killed daemon prevents the next start.
        let state = self.dir.path().join(format!("{:02} {what} {kind}", self.logs.len()));
        let log = state.with_extension("out");
        self.logs.push(log.clone());
        command.env("STATE", state);
        Process::start(command, &log)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprint!("{}", self.logs());
        }
    }
}

/// Connects as soon as the gateway serves clients. The worker's handler of the connect has ended then.
///
/// # Panics
/// The gateway does not serve in time.
pub async fn arrive(listener: SocketAddr) -> Client {
    let mut arrived = None;
    eventually("a client to be served", async || {
        arrived = Client::connect(listener, "/").await.ok();
        arrived.is_some()
    })
    .await;
    let mut client = arrived.expect("it is there");
    client.heard().await;
    client
}

fn local() -> SocketAddr {
    ([127, 0, 0, 1], free_port()).into()
}

async fn listens(what: &str, address: SocketAddr) {
    eventually(what, async || TcpStream::connect(address).await.is_ok()).await;
}
