//! A cluster of processes: registers, gateways and workers with the application under test, each with an address of its
//! own, and on a host of its own where the plan asks for that.
//!
//! The rows start it by a [`Plan`], and then take its daemons apart. Nothing is counted here.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, bail};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::journal::Books;
use crate::network::{self, Host, Network};
use crate::plan::{Plan, Programs};
use crate::process::{Launch, Process, help};
use crate::relay::LinkRelay;
use crate::timing::Timing;

/// How long daemons may take to find each other.
const LINK_TIMEOUT: Duration = Duration::from_secs(20);

/// The ports of all daemons: each has an address of its own.
const REGISTER_PORT: u16 = 1236;
const INNER_PORT: u16 = 2300;
const CLIENT_PORT: u16 = 8289;

/// The first host numbers of each kind of daemon.
const GATEWAYS: u8 = 10;
const RELAYED: u8 = 60;
const WORKERS: u8 = 100;
const REGISTERS: u8 = 200;

/// A daemon, and its host if it has one.
#[derive(Debug)]
pub struct Daemon {
    /// Its process.
    pub process: Process,
    /// Its host.
    pub host: Option<Host>,
}

/// A gateway.
#[derive(Debug)]
pub struct Gateway {
    /// Counts the gateways' processes of a run: the ledger knows it by this number.
    pub number: usize,
    /// Where clients connect.
    pub listener: SocketAddr,
    /// Its process and host.
    pub daemon: Daemon,
}

/// A cluster that runs. Dropping it ends all its processes.
#[derive(Debug)]
pub struct Cluster {
    /// The registers that run.
    pub registers: Vec<Daemon>,
    /// The gateways that run.
    pub gateways: Vec<Gateway>,
    /// The workers that run.
    pub workers: Vec<Daemon>,
    /// The relays, by gateway.
    pub relays: Vec<LinkRelay>,
    /// Daemons that the row has taken out, and that may be frozen or cut off.
    pub retired: Vec<Daemon>,
    network: Option<Network>,
    plan: Plan,
    programs: Programs,
    timing: Timing,
    journal: PathBuf,
    /// The gateways and workers that were ever started.
    started_gateways: usize,
    started_workers: u8,
    directory: TempDir,
}

/// Returns the address of daemon `number` on this machine. Each process of this program has others.
fn loopback(number: u8) -> Ipv4Addr {
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 64 | (high & 0x3f), low, number)
}

fn quoted(addresses: impl IntoIterator<Item = SocketAddr>) -> String {
    let quoted: Vec<_> = addresses.into_iter().map(|address| format!("'{address}'")).collect();
    format!("[{}]", quoted.join(", "))
}

impl Cluster {
    /// Starts a cluster, and waits until all its workers and gateways are linked.
    ///
    /// # Errors
    /// A daemon does not start, or they do not find each other.
    pub async fn start(plan: Plan, programs: Programs, timing: Timing, books: &Books) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("faults-").tempdir()?;
        let journal = books.read_journal(directory.path())?;
        let network = plan.hosts.then(Network::new).transpose()?;
        let mut cluster = Self {
            registers: Vec::new(),
            gateways: Vec::new(),
            workers: Vec::new(),
            relays: Vec::new(),
            retired: Vec::new(),
            network,
            plan,
            programs,
            timing,
            journal,
            started_gateways: 0,
            started_workers: 0,
            directory,
        };
        for n in 0..cluster.plan.registers {
            let register = cluster.start_register(n).await?;
            cluster.registers.push(register);
        }
        for n in 0..cluster.plan.gateways {
            let host = cluster.host(GATEWAYS + n as u8)?;
            let gateway = cluster.start_gateway(n as u8, host).await?;
            cluster.gateways.push(gateway);
        }
        for _ in 0..cluster.plan.workers {
            cluster.add_worker().await?;
            // One after the other: a relay knows the links of the first worker by that.
            cluster.wait_until_linked().await?;
        }
        Ok(cluster)
    }

    /// The folder with the files of all daemons.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn address(&self, number: u8) -> Ipv4Addr {
        if self.plan.hosts { network::address(number) } else { loopback(number) }
    }

    fn host(&self, number: u8) -> Result<Option<Host>> {
        self.network.as_ref().map(|network| network.connect(number)).transpose()
    }

    fn register_address(&self, n: usize) -> SocketAddr {
        (self.address(REGISTERS + n as u8), REGISTER_PORT).into()
    }

    fn register_addresses(&self) -> String {
        quoted((0..self.plan.registers).map(|n| self.register_address(n)))
    }

    fn launch(&self, name: String, program: Vec<OsString>, config: String, host: Option<&Host>) -> Launch {
        Launch {
            name,
            program,
            config: format!("secret_key = 'the key of a run'\n{config}"),
            directory: self.directory().to_owned(),
            host: host.map(Host::holder),
            open_files: None,
            clock_ahead: None,
            log: self.plan.log,
        }
    }

    async fn start_register(&self, n: usize) -> Result<Daemon> {
        let host = self.host(REGISTERS + n as u8)?;
        let config = format!("listen = '{}'\n", self.register_address(n));
        let launch =
            self.launch(format!("register-{}", n + 1), self.programs.register.clone(), config, host.as_ref());
        Ok(Daemon { process: launch.start().await?, host })
    }

    async fn start_gateway(&mut self, n: u8, host: Option<Host>) -> Result<Gateway> {
        let lan_ip = self.address(GATEWAYS + n);
        let listener = SocketAddr::from((lan_ip, CLIENT_PORT));
        let registers = match self.plan.split_registers {
            true => quoted([self.register_address(usize::from(n) % self.plan.registers)]),
            false => self.register_addresses(),
        };
        let mut config = format!(
            "listen = ['websocket://{listener}']\nlan_ip = '{lan_ip}'\nlan_port = {INNER_PORT}\n\
             register_address = {registers}\nping_interval = 0\n"
        );
        config += &self.timing.settings(&help(&self.programs.gateway)?);
        config += &self.plan.gateway_lines;
        if self.plan.relayed {
            let behind = SocketAddr::from((self.address(RELAYED + n), INNER_PORT));
            config += &format!("lan_listen = '{behind}'\n");
            self.relays.push(LinkRelay::start((lan_ip, INNER_PORT).into(), behind).await?);
        }
        let name = format!("gateway-{}", n + 1);
        let mut launch = self.launch(name, self.programs.gateway.clone(), config, host.as_ref());
        launch.open_files = self.plan.open_files;
        launch.clock_ahead = self.plan.clocks_apart.map(|seconds| seconds * u32::from(n));
        self.started_gateways += 1;
        let number = self.started_gateways - 1;
        Ok(Gateway { number, listener, daemon: Daemon { process: launch.start().await?, host } })
    }

    /// Starts one more worker, and does not wait for its links.
    ///
    /// # Errors
    /// It does not start.
    pub async fn add_worker(&mut self) -> Result<()> {
        let number = self.started_workers;
        self.started_workers += 1;
        let host = self.host(WORKERS + number)?;
        let config = self.worker_config()?;
        let name = format!("worker-{}", number + 1);
        let mut launch = self.launch(name, self.programs.worker.clone(), config, host.as_ref());
        launch.open_files = self.plan.open_files;
        let ahead = |seconds| seconds * (u32::from(number) + 2);
        launch.clock_ahead = self.plan.clocks_apart.map(ahead);
        self.workers.push(Daemon { process: launch.start().await?, host });
        Ok(())
    }

    /// Returns the configuration of a worker, without the key.
    ///
    /// # Errors
    /// The worker's program does not run.
    pub fn worker_config(&self) -> Result<String> {
        let Plan { worker_lines, app_lines, handler_ms, .. } = &self.plan;
        let settings = self.timing.settings(&help(&self.programs.worker)?);
        let (registers, journal) = (self.register_addresses(), self.journal.display());
        Ok(format!(
            "register_address = {registers}\n{settings}{worker_lines}\
             [app]\njournal = '{journal}'\nhandler_ms = {handler_ms}\n{app_lines}"
        ))
    }

    /// Starts a register that was killed once more.
    ///
    /// # Errors
    /// It does not start.
    pub async fn restart_register(&mut self, killed: Daemon) -> Result<()> {
        let process = killed.process.launch.clone().start().await?;
        self.registers.push(Daemon { process, host: killed.host });
        Ok(())
    }

    /// Starts a gateway that was killed or stopped once more, at the same addresses.
    ///
    /// # Errors
    /// It does not start.
    pub async fn restart_gateway(&mut self, ended: Gateway) -> Result<()> {
        let process = ended.daemon.process.launch.clone().start().await?;
        self.started_gateways += 1;
        let number = self.started_gateways - 1;
        let daemon = Daemon { process, host: ended.daemon.host };
        self.gateways.push(Gateway { number, daemon, listener: ended.listener });
        Ok(())
    }

    /// Returns where clients can connect.
    pub fn listeners(&self) -> Vec<(usize, SocketAddr)> {
        self.gateways.iter().map(|gateway| (gateway.number, gateway.listener)).collect()
    }

    /// Waits until every worker is linked to every gateway.
    ///
    /// # Errors
    /// It takes too long.
    pub async fn wait_until_linked(&mut self) -> Result<()> {
        let deadline = Instant::now() + LINK_TIMEOUT;
        while !self.is_linked().await? {
            if Instant::now() > deadline {
                bail!("workers and gateways have not found each other in {LINK_TIMEOUT:?}");
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    async fn is_linked(&mut self) -> Result<bool> {
        let (gateways, workers) = (self.gateways.len() as u64, self.workers.len() as u64);
        for worker in &mut self.workers {
            if worker.process.stat("gateways").await? != gateways {
                return Ok(false);
            }
        }
        for gateway in &mut self.gateways {
            if gateway.daemon.process.stat("workers").await? != workers {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns the names of daemons that have ended by themselves.
    pub fn ended(&mut self) -> Vec<String> {
        let gateways = self.gateways.iter_mut().map(|gateway| &mut gateway.daemon);
        let all = self.registers.iter_mut().chain(gateways).chain(&mut self.workers);
        all.filter_map(|daemon| daemon.process.has_ended().then(|| daemon.process.launch.name.clone()))
            .collect()
    }

    /// Returns the logs of all daemons, each behind its name.
    pub fn logs(&self) -> String {
        let Ok(files) = std::fs::read_dir(self.directory()) else { return String::new() };
        let mut paths: Vec<_> = files.flatten().map(|file| file.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
        paths.sort();
        let show = |path: &PathBuf| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            format!("== {}\n{text}", path.file_stem().unwrap_or_default().to_string_lossy())
        };
        paths.iter().map(show).collect()
    }
}
