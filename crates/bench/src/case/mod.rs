//! The cases, one file each, and what they share: a window of time with its CPU usage, and the watch over the running
//! clients. `runner` calls a case's `run` once per round and system.

pub(crate) mod burst;
pub(crate) mod connect;
mod crossing;
pub(crate) mod echo;
pub(crate) mod fair;
pub(crate) mod fanout;
pub(crate) mod federation;
pub(crate) mod idle;
pub(crate) mod join;
mod ledger;
pub(crate) mod mesh;
mod probe;
#[cfg(target_os = "linux")]
pub(crate) mod scale;
mod spread;
pub(crate) mod webhook;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use tokio::task::JoinSet;

use crate::address::Url;
use crate::args::Common;
use crate::client::{ClientError, ReadBuffer};
use crate::client_set::ClientSet;
use crate::histogram::Histogram;
use crate::open::Opening;
use crate::procfs::{Cpu, Memory, Processes};
use crate::report::{Metric, Progress};

/// Load without any progress for this time has stalled.
const STALL: Duration = Duration::from_secs(5);

/// The system under load.
pub(crate) struct Target {
    pub(crate) url: Url,
    pub(crate) processes: Processes,
    /// Those of the processes that are nats-servers: their CPU is also shown apart.
    pub(crate) nats: Processes,
    /// Processes whose CPU is also shown apart, by their name.
    pub(crate) parts: Vec<(&'static str, Processes)>,
}

/// The result of one round.
pub(crate) struct Outcome {
    pub(crate) metrics: Vec<Metric>,
    /// A failure besides the figures, such as lost messages: the program reports both, and fails.
    pub(crate) fault: Option<String>,
}

impl Target {
    fn opening(&self, common: &Common, clients: u32) -> Opening {
        Opening {
            url: self.url.clone(),
            clients,
            parallel: common.parallel,
            greeting: !common.no_greeting,
            group_size: None,
            over: None,
        }
    }

    /// Returns the memory in use, or `None` without processes.
    fn memory(&self) -> Result<Option<Memory>> {
        if self.processes.is_empty() { Ok(None) } else { self.processes.memory().map(Some) }
    }
}

/// A time in which CPU usage is counted.
struct Window<'a> {
    target: &'a Target,
    start: Instant,
    servers: Cpu,
    nats: Cpu,
    parts: Vec<Cpu>,
    own: Option<Cpu>,
}

/// The CPU usage in a window.
struct Usage {
    seconds: f64,
    /// The CPU time of all server processes; `None` without processes.
    server_nanos: Option<f64>,
    /// The part of nats-servers in it; `None` without any.
    nats_nanos: Option<f64>,
    /// The CPU time of the parts of the target.
    parts_nanos: Vec<(&'static str, f64)>,
    /// The CPU time of this program, if the system has it.
    own_nanos: Option<f64>,
}

impl<'a> Window<'a> {
    fn open(target: &'a Target) -> Result<Self> {
        let (servers, nats) = (target.processes.cpu()?, target.nats.cpu()?);
        let parts = target.parts.iter().map(|(_, processes)| processes.cpu()).collect::<Result<_>>()?;
        Ok(Window { target, start: Instant::now(), servers, nats, parts, own: Processes::own().cpu().ok() })
    }

    fn close(self) -> Result<Usage> {
        let seconds = self.start.elapsed().as_secs_f64();
        let servers = self.target.processes.cpu()?.since(&self.servers)?;
        let nats = self.target.nats.cpu()?.since(&self.nats)?;
        let parts = self.target.parts.iter().zip(&self.parts);
        let parts_nanos = parts
            .map(|((name, processes), before)| Ok((*name, processes.cpu()?.since(before)? as f64)))
            .collect::<Result<_>>()?;
        let own = self.own.and_then(|before| Processes::own().cpu().ok()?.since(&before).ok());
        Ok(Usage {
            seconds,
            server_nanos: (!self.target.processes.is_empty()).then_some(servers as f64),
            nats_nanos: (!self.target.nats.is_empty()).then_some(nats as f64),
            parts_nanos,
            own_nanos: own.map(|nanos| nanos as f64),
        })
    }
}

impl Usage {
    /// The servers' CPU time divided by `count`, in µs.
    fn cost(&self, name: &'static str, count: u64) -> Option<Metric> {
        let nanos = self.server_nanos.filter(|_| count > 0)?;
        Some(Metric::new(name, "µs", nanos / 1000.0 / count as f64))
    }

    /// The CPU time of nats-servers divided by `count`, in µs.
    fn nats_cost(&self, what: &str, count: u64) -> Option<Metric> {
        let nanos = self.nats_nanos.filter(|_| count > 0)?;
        Some(Metric::new(format!("nats_per_{what}"), "µs", nanos / 1000.0 / count as f64))
    }

    /// The CPU time of each part divided by `count`, in µs.
    fn part_costs(&self, what: &str, count: u64) -> Vec<Option<Metric>> {
        let cost = |(name, nanos): &(&str, f64)| {
            let metric =
                || Metric::new(format!("{name}_cpu_per_{what}"), "µs", nanos / 1000.0 / count as f64);
            (count > 0).then(metric)
        };
        self.parts_nanos.iter().map(cost).collect()
    }

    fn rate(&self, name: &'static str, count: u64) -> Option<Metric> {
        Some(Metric::new(name, "/s", count as f64 / self.seconds))
    }

    /// The CPU usage of both sides: 100 % is one core.
    fn busy(&self) -> impl Iterator<Item = Option<Metric>> {
        let share =
            |name, nanos: Option<f64>| nanos.map(|nanos| Metric::new(name, "%", nanos / self.seconds / 1e7));
        [share("server_cpu", self.server_nanos), share("generator_cpu", self.own_nanos)].into_iter()
    }
}

/// How many frames a read has returned, on average since `before`: reads and frames of an earlier moment.
fn frames_per_read(scratch: &ReadBuffer, before: (u64, u64)) -> Option<Metric> {
    let (reads, frames) = (scratch.reads - before.0, scratch.frames - before.1);
    (reads > 0).then(|| Metric::new("frames_per_read", "", frames as f64 / reads as f64))
}

/// How many TCP segments with data arrived per delivery. For small messages, a segment is a write of the server.
fn writes_per_delivery(client_set: &ClientSet, before: Option<u64>, count: u64) -> Option<Metric> {
    let segments = client_set.segments()?.checked_sub(before?)?;
    (count > 0).then(|| Metric::new("writes_per_delivery", "", segments as f64 / count as f64))
}

/// Three metrics of a distribution: `what`_p50, `what`_p99, `what`_max.
fn latency(what: &str, times: &Histogram) -> impl Iterator<Item = Option<Metric>> + use<> {
    let figures = [("p50", times.percentile(50.0)), ("p99", times.percentile(99.0)), ("max", times.max())];
    figures.map(|(name, value)| Some(Metric::new(format!("{what}_{name}"), "µs", value))).into_iter()
}

/// The memory of all processes at one moment, as metrics.
fn memory_metrics(names: [&'static str; 2], memory: Option<Memory>) -> impl Iterator<Item = Option<Metric>> {
    let rss = memory.map(|memory| Metric::new(names[0], "KB", memory.rss as f64));
    let pss = memory.and_then(|memory| memory.pss).map(|pss| Metric::new(names[1], "KB", pss as f64));
    [rss, pss].into_iter()
}

/// The running client tasks. A task ends only when its client has lost the connection.
type ClientTasks = JoinSet<ClientError>;

/// Watches the running clients.
struct Watch<'a> {
    clients: ClientTasks,
    progress: &'a Progress,
    /// The unit of `count`, for messages.
    unit: &'static str,
    count: &'a dyn Fn() -> u64,
    /// What `count` would be if everything had arrived.
    expected: &'a dyn Fn() -> u64,
}

impl Watch<'_> {
    /// Lets the clients run for `time`.
    ///
    /// # Errors
    /// A client has lost its connection, or there is no progress for [`STALL`]. The error has the count so far.
    async fn run(&mut self, what: &str, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        let mut moved = (Instant::now(), (self.count)());
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.step(left.min(Duration::from_millis(250))).await?;
            let count = (self.count)();
            self.progress.say(&format!("{what}: {count} {}", self.unit));
            if count != moved.1 {
                moved = (Instant::now(), count);
            } else if moved.0.elapsed() > STALL {
                let missing = (self.expected)().saturating_sub(count);
                bail!(
                    "stalled: nothing has arrived for {} s after {count} {}, {missing} are missing",
                    STALL.as_secs(),
                    self.unit
                );
            }
        }
        Ok(())
    }

    /// Lets the clients run until everything has arrived, or nothing has for [`STALL`]. Returns how much is lost.
    async fn drain(&mut self) -> Result<u64> {
        let mut moved = (Instant::now(), (self.count)());
        while (self.count)() < (self.expected)() && moved.0.elapsed() < STALL {
            self.step(Duration::from_millis(5)).await?;
            let count = (self.count)();
            self.progress.say(&format!("draining: {count} {}", self.unit));
            if count != moved.1 {
                moved = (Instant::now(), count);
            }
        }
        Ok((self.expected)().saturating_sub((self.count)()))
    }

    async fn step(&mut self, time: Duration) -> Result<()> {
        tokio::select! {
            Some(ended) = self.clients.join_next() => {
                let lost = ended.context("a client task failed")?;
                let after = format!("lost a connection after {} {}", (self.count)(), self.unit);
                Err(anyhow!(lost).context(after))
            }
            () = tokio::time::sleep(time) => Ok(()),
        }
    }
}

/// Whether a message is a greeting or a heartbeat: a JSON object, and not a message of the benchmark.
fn is_notice(payload: &[u8]) -> bool {
    payload.first() == Some(&b'{')
}
