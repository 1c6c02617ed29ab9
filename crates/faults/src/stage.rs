//! The stage of a row: its cluster, its load, its books, and the steps that rows have in common.
//!
//! A row calls [`Stage::begin`], harms something, and lets the load go on; `rows` then calls [`Stage::finish`].

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep};

use crate::clients::{Load, LoadShape};
use crate::cluster::{Cluster, Daemon, Gateway};
use crate::joiners::Joiners;
use crate::journal::Books;
use crate::ledger::Counts;
use crate::observers::Observers;
use crate::plan::{Plan, Programs};
use crate::process::help;
use crate::site::Site;
use crate::timing::Timing;

/// How often a condition is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// How long the first messages may take.
const WARM_UP_LIMIT: Duration = Duration::from_secs(30);

/// What a run is made with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The times.
    pub timing: Timing,
    /// The load.
    pub shape: LoadShape,
    /// The programs.
    pub programs: Programs,
    /// How long a soak takes.
    pub soak: Duration,
    /// The folder for the history of the run, and for the daemons' logs.
    pub logs: Option<PathBuf>,
}

/// The stage of one row.
#[derive(Debug)]
pub struct Stage {
    /// What the run is made with.
    pub settings: Settings,
    /// The ledger.
    pub books: Books,
    /// Sentences about what broke the promise, beside the counts.
    pub broken: Vec<String>,
    /// Sentences about what else was seen.
    pub notes: Vec<String>,
    cluster: Option<Cluster>,
    site: Option<Site>,
    load: Option<Load>,
    observers: Option<Observers>,
    joiners: Option<Joiners>,
}

impl Stage {
    /// An empty stage.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            books: Books::default(),
            broken: Vec::new(),
            notes: Vec::new(),
            cluster: None,
            site: None,
            load: None,
            observers: None,
            joiners: None,
        }
    }

    /// Returns the times of the run.
    pub fn timing(&self) -> Timing {
        self.settings.timing
    }

    /// Returns the cluster.
    ///
    /// # Panics
    /// Before [`begin`](Self::begin).
    pub fn cluster(&mut self) -> &mut Cluster {
        self.cluster.as_mut().expect("the row has begun")
    }

    /// Returns the load.
    ///
    /// # Panics
    /// Before [`begin`](Self::begin).
    pub fn load(&mut self) -> &mut Load {
        self.load.as_mut().expect("the row has begun")
    }

    /// Starts a cluster and its load, and returns when the clients are served.
    ///
    /// # Errors
    /// The daemons do not start, or do not serve.
    pub async fn begin(&mut self, plan: Plan) -> Result<()> {
        let Settings { timing, programs, .. } = self.settings.clone();
        let cluster = Cluster::start(plan, programs, timing, &self.books).await?;
        let listeners = cluster.listeners();
        self.cluster = Some(cluster);
        self.begin_load(listeners).await
    }

    /// Starts a cluster with the control tool, and its load; returns when the clients are served.
    ///
    /// # Errors
    /// The cluster does not start, or does not serve.
    pub async fn begin_site(&mut self) -> Result<()> {
        let Settings { timing, programs, .. } = self.settings.clone();
        let site = Site::start(&programs, timing, &self.books).await?;
        let listener = site.listener;
        self.site = Some(site);
        self.begin_load(vec![(0, listener)]).await
    }

    /// Runs a command of the control tool.
    ///
    /// # Errors
    /// It fails, or the cluster was not started with the tool.
    pub async fn control(&self, command: &str) -> Result<()> {
        self.site.as_ref().context("the control tool has started no cluster")?.run(command).await
    }

    /// Returns where the clients of the control tool's cluster connect.
    ///
    /// # Panics
    /// Before [`begin_site`](Self::begin_site).
    pub fn site_listener(&self) -> std::net::SocketAddr {
        self.site.as_ref().expect("the row has begun").listener
    }

    /// Starts a load at these gateways, and returns when the clients are served.
    ///
    /// # Errors
    /// They are not.
    async fn begin_load(&mut self, gateways: Vec<(usize, std::net::SocketAddr)>) -> Result<()> {
        let shape = self.settings.shape;
        if shape.observed {
            self.observers = Some(Observers::start(shape.clients, &self.books, &gateways).await?);
        }
        let observers = self.observers.as_ref().map(|observers| observers.ids.clone());
        self.load = Some(Load::start(shape, self.books.clone(), gateways, observers.unwrap_or_default()));
        let enough = u64::from(shape.clients) * 6;
        let books = self.books.clone();
        if !self.wait_for(WARM_UP_LIMIT, || books.open().handled() >= enough).await {
            bail!("the clients are not served in {WARM_UP_LIMIT:?}:\n{}", self.logs());
        }
        sleep(self.timing().warm_up).await;
        Ok(())
    }

    /// Lets the load go on for a time.
    pub async fn go_on(&self, time: Duration) {
        sleep(time).await;
    }

    /// Lets the load go on until `condition` is true; returns whether it was in time.
    pub async fn wait_for(&self, limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
        let deadline = Instant::now() + limit;
        while !condition() {
            if Instant::now() > deadline {
                return false;
            }
            sleep(LOOK_INTERVAL).await;
        }
        true
    }

    /// Lets the load go on until the fault was noticed, at most for a time, and then for a moment more.
    pub async fn until_detected(&self, limit: Duration) {
        self.wait_for(limit, || self.books.open().is_detected()).await;
        self.go_on(self.timing().after / 2).await;
    }

    /// Lets the load go on until the closes of a lost gateway run: as long as that takes at most, if these daemons
    /// give gateways up.
    ///
    /// # Errors
    /// The worker's program does not run.
    pub async fn until_gateway_is_lost(&self) -> Result<()> {
        let gives_up = help(&self.settings.programs.worker)?.contains("--gateway-lost-after-ms ");
        let limit = if gives_up { self.timing().gateway_lost_limit } else { self.timing().after };
        self.until_detected(limit).await;
        Ok(())
    }

    /// Takes the first worker out of the cluster, and watches its clients.
    ///
    /// # Errors
    /// It has no clients, so that harming it would show nothing.
    pub fn take_worker(&mut self) -> Result<Daemon> {
        self.watch_worker(0)?;
        Ok(self.cluster().workers.remove(0))
    }

    /// Watches the clients of a worker: whether they are given to another.
    ///
    /// # Errors
    /// It has no clients.
    pub fn watch_worker(&mut self, n: usize) -> Result<()> {
        let process = &self.cluster().workers[n].process;
        let (pid, name) = (process.pid, process.launch.name.clone());
        self.books.remark(format_args!("{name}, process {pid}, is watched"));
        if self.books.open().watch_worker(pid, self.books.now()) == 0 {
            bail!("{name} has no clients");
        }
        Ok(())
    }

    /// Takes the first gateway out of the cluster, and watches its clients' closes. New clients go to the others, if
    /// there are any.
    ///
    /// # Errors
    /// It has no clients, so that harming it would show nothing.
    pub fn take_gateway(&mut self) -> Result<Gateway> {
        let (gateway, clients) = self.remove_gateway();
        if clients == 0 {
            bail!("{} has no clients", gateway.daemon.process.launch.name);
        }
        Ok(gateway)
    }

    /// Takes the first gateway out of the cluster, as [`take_gateway`](Self::take_gateway) does, and returns how many
    /// clients it has.
    pub fn remove_gateway(&mut self) -> (Gateway, usize) {
        let gateway = self.cluster().gateways.remove(0);
        let clients = self.books.open().gateway_harmed(gateway.number, self.books.now());
        self.books.remark(format_args!("gateway {} is harmed", gateway.number));
        let listeners = self.cluster().listeners();
        if !listeners.is_empty() {
            self.load().set_gateways(listeners);
        }
        (gateway, clients)
    }

    /// Kills a worker. Its handlers count as ended from now on.
    ///
    /// # Errors
    /// It has ended before.
    pub async fn kill_worker(&mut self, worker: &mut Daemon) -> Result<()> {
        self.books.open().worker_killed(worker.process.pid);
        self.books.remark(format_args!("process {} is killed", worker.process.pid));
        worker.process.kill().await
    }

    /// Freezes a worker. Its handlers may overlap with their successors.
    ///
    /// # Errors
    /// It has ended.
    pub fn freeze_worker(&mut self, worker: &Daemon) -> Result<()> {
        worker.process.signal(Signal::SIGSTOP)?;
        self.books.open().worker_cut(worker.process.pid);
        self.books.remark(format_args!("process {} is frozen", worker.process.pid));
        Ok(())
    }

    /// Starts joiners at the cluster's gateways.
    ///
    /// # Panics
    /// Before [`begin`](Self::begin).
    pub fn begin_joins(&mut self) {
        let gateways = self.cluster().listeners();
        self.joiners = Some(Joiners::start(&self.books, gateways));
    }

    /// Stops the joiners, and judges what they have seen: a join may take `limit` until it takes effect.
    pub async fn end_joins(&mut self, limit: Duration) {
        let Some(joiners) = self.joiners.take() else { return };
        let seen = joiners.stop().await;
        self.notes.push(format!(
            "{} groups joined, the longest wait {} ms",
            seen.heard,
            seen.longest.as_millis()
        ));
        self.broken.extend(seen.missed.iter().map(|what| format!("missed: {what}")));
        if seen.heard == 0 {
            self.broken.push("no group was joined".into());
        }
        if seen.longest > limit {
            self.broken.push(format!("a join has waited {:?}, and {limit:?} are allowed", seen.longest));
        }
    }

    /// Ends the load, and waits for what is still owed, up to a limit.
    ///
    /// # Errors
    /// The row has not begun.
    pub async fn finish(&mut self) -> Result<Counts> {
        let load = self.load.take().context("the row has no load")?;
        load.stop().await;
        let books = self.books.clone();
        self.wait_for(self.timing().settle, || books.open().is_settled()).await;
        if let Some(observers) = self.observers.take() {
            let closes_missing = || books.open().counts(books.now()).closes_missing;
            let before = closes_missing();
            observers.stop().await;
            self.wait_for(self.timing().settle, || closes_missing() <= before).await;
        }
        if let Some(cluster) = &mut self.cluster {
            for name in cluster.ended() {
                self.broken.push(format!("{name} has ended by itself"));
            }
        }
        Ok(self.books.open().counts(self.books.now()))
    }

    /// Returns the logs of all daemons.
    pub fn logs(&self) -> String {
        let of_cluster = self.cluster.as_ref().map(Cluster::logs);
        of_cluster.or(self.site.as_ref().map(Site::log)).unwrap_or_default()
    }
}
