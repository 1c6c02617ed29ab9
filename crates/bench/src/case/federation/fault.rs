//! A fault of NATS under a steady load: a client of each cluster sends to a group that all clients are members of, at a
//! fixed rate. Before, during and after the fault, `deliveries` counts what the sends said and what has arrived.
//!
//! The workers' own counters of missed messages are read before and after.

use std::cell::RefCell;
use std::fmt::Write;
use std::future::poll_fn;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::SETTLE;
use super::deliveries::{Deliveries, Report};
use super::side::Side;
use crate::args::{self, Fault};
use crate::case::fanout::head;
use crate::case::{ClientTasks, Watch, is_notice};
use crate::client::{ClientError, ReadBuffer};
use crate::client_set::ClientSet;
use crate::histogram::Histogram;
use crate::nats::Nats;
use crate::open::{Opening, frames};
use crate::pace::{DueMessages, Schedule, pace};
use crate::report::{Metric, Progress, System};
use crate::wire::{self, opcode};

/// How long the load goes on after the fault: async-nats and leaf nodes connect again within a few seconds.
const AFTER: Duration = Duration::from_secs(15);
/// How messages begin.
const PREFIX: &str = "Psteady ";
/// The metric of what workers have found to be missing.
const CALLS: &str = "gatewayworker_federation_calls_total";

/// The load, which the clients share.
struct Load {
    /// Distinguishes its messages from late ones of the load before.
    run: usize,
    start: Instant,
    size: usize,
    scratch: RefCell<ReadBuffer>,
    dues: Rc<RefCell<DueMessages>>,
    deliveries: RefCell<Deliveries>,
}

/// What the workers of all clusters have counted.
#[derive(Clone, Copy)]
struct Counted {
    missed: f64,
    late: f64,
}

/// Measures the fault: once, or once for each nats-server that is killed.
///
/// # Errors
/// A process has ended, a client has lost its connection, or the own clusters do not deliver any more.
pub(super) async fn run(
    flags: &args::Federation,
    fault: Fault,
    side: &mut Side,
    progress: &Progress,
) -> Result<Vec<System>> {
    let mut nats = side.nats.take().context("there is no NATS")?;
    let (clients, clusters) = open(flags, side, progress).await?;
    let times = if fault == Fault::NatsKill { nats.len() } else { 1 };
    let mut systems = Vec::new();
    let mut ended = Ok(());
    for server in 0..times {
        let name = match fault {
            Fault::NatsKill => format!("nats {} killed", server + 1),
            Fault::NatsAway => "nats away".into(),
            Fault::LeafCut => "leaf cut".into(),
        };
        let one = One { flags, fault, server, clients: &clients, clusters: &clusters };
        match one.measure(side, &mut nats, progress).await {
            Ok((round, faults)) => {
                let pids = side.pids().into_iter().chain(nats.pids()).collect();
                systems.push(System { name, pids, rounds: vec![round], faults, ..System::default() });
            }
            Err(error) => {
                ended = Err(error.context(name));
                break;
            }
        }
    }
    side.nats = Some(nats);
    ended.and_then(|()| side.check()).map(|()| systems)
}

/// Opens the clients, and lets them join the group. Returns them with the cluster of each.
async fn open(flags: &args::Federation, side: &Side, progress: &Progress) -> Result<(ClientSet, Vec<usize>)> {
    let (mut clients, mut clusters) = (Vec::new(), Vec::new());
    for (cluster, urls) in side.urls.iter().enumerate() {
        for url in urls {
            let opening = Opening {
                url: url.clone(),
                clients: flags.clients(),
                parallel: flags.clients(),
                greeting: true,
                group_size: None,
                over: None,
            };
            clients.extend(opening.run(false, progress).await?.clients);
        }
        clusters.resize(clients.len(), cluster);
    }
    for client in &mut clients {
        client.barrier(&frames(&["Jsteady ", "E"])).await.context("joining the group")?;
    }
    tokio::time::sleep(SETTLE).await;
    Ok((ClientSet::new(clients), clusters))
}

/// One fault.
struct One<'a> {
    flags: &'a args::Federation,
    fault: Fault,
    /// The nats-server that is killed.
    server: usize,
    clients: &'a ClientSet,
    /// The cluster of each client.
    clusters: &'a [usize],
}

impl One<'_> {
    async fn measure(
        &self,
        side: &Side,
        nats: &mut Nats,
        progress: &Progress,
    ) -> Result<(Vec<Metric>, Vec<String>)> {
        let before = Counted::read(&side.metrics).await?;
        let senders: Vec<_> = (0..side.clusters.len()).collect();
        let load = Rc::new(Load {
            run: self.server,
            start: Instant::now(),
            size: self.flags.load.size as usize,
            scratch: RefCell::new(ReadBuffer::new()),
            dues: Rc::new(RefCell::new(DueMessages::new(senders.len()))),
            deliveries: RefCell::new(Deliveries::new(self.clusters.to_vec(), &senders)),
        });
        let mut clients = ClientTasks::new();
        for client in 0..self.clients.len() {
            // The first client of each cluster sends.
            let is_first = client == 0 || self.clusters[client - 1] != self.clusters[client];
            let sender = is_first.then_some(self.clusters[client]);
            clients.spawn_local(drive(self.clients.clone(), client, sender, load.clone()));
        }
        clients.spawn_local(pace(Schedule::new(load.start, self.flags.rate), load.dues.clone()));
        let count = || load.deliveries.borrow().count;
        let expected = || load.deliveries.borrow().expected();
        let mut watch = Watch { clients, progress, unit: "deliveries", count: &count, expected: &expected };
        watch.run("before", self.flags.load.warmup + self.flags.load.duration).await?;
        let begin = load.start.elapsed();
        self.begin(nats).await;
        watch.run("while the fault lasts", self.flags.fault_time(self.fault)).await?;
        self.heal(nats).await?;
        let end = load.start.elapsed();
        watch.run("after", AFTER).await?;
        load.dues.borrow_mut().stop();
        watch.drain().await?;
        watch.clients.shutdown().await;
        let counted = Counted::read(&side.metrics).await?.since(before);
        let report = load.deliveries.borrow().report(&(begin..end));
        Ok((figures(&report, counted, begin, end), faults(&report, counted)))
    }

    async fn begin(&self, nats: &mut Nats) {
        match self.fault {
            Fault::NatsKill => nats.kill(self.server).await,
            Fault::NatsAway => {
                for server in 0..nats.len() {
                    nats.kill(server).await;
                }
            }
            Fault::LeafCut => nats.cut(self.flags.cut),
        }
    }

    async fn heal(&self, nats: &mut Nats) -> Result<()> {
        match self.fault {
            Fault::NatsKill => nats.start_again(self.server).await,
            Fault::NatsAway => {
                for server in 0..nats.len() {
                    nats.start_again(server).await?;
                }
                Ok(())
            }
            Fault::LeafCut => {
                nats.heal();
                Ok(())
            }
        }
    }
}

/// Drives one client: sends what is due if it is a sender, and enters what it receives, until its connection ends.
async fn drive(client_set: ClientSet, index: usize, sender: Option<usize>, load: Rc<Load>) -> ClientError {
    let mut text = String::new();
    poll_fn(|cx| {
        let mut client = client_set.client(index);
        if let Some(sender) = sender {
            let full = client.unsent() > 0;
            while client.has_room(cx) {
                let Some(due) = load.dues.borrow_mut().take(sender, Instant::now(), full) else { break };
                let at = due.saturating_duration_since(load.start);
                let number = load.deliveries.borrow_mut().sent(sender, at);
                text.clear();
                // Writing to a String cannot fail.
                let _ = write!(text, "{PREFIX}{:02x}{sender:02x}{number:08x} ", load.run);
                text.extend(std::iter::repeat_n('x', load.size - text.len().min(load.size)));
                wire::encode(opcode::TEXT, text.as_bytes(), client.out());
            }
            load.dues.borrow_mut().wake(sender, cx);
        }
        client.poll(cx, &load.scratch, |now, payload, _| {
            let now = now.saturating_duration_since(load.start);
            let mut deliveries = load.deliveries.borrow_mut();
            let message = payload.strip_prefix(PREFIX.as_bytes()).and_then(head);
            let known = match (message, answer(payload)) {
                (Some((sender, _)), _) | (_, Some((sender, ..))) if sender >> 8 != load.run => Some(()),
                (Some((sender, number)), _) => deliveries.delivered(index, sender & 0xff, number, now),
                (_, Some((sender, number, unreached))) => {
                    deliveries.answered(sender & 0xff, number, unreached)
                }
                _ => is_notice(payload).then_some(()),
            };
            known.ok_or_else(|| ClientError::unexpected(payload))
        })
    })
    .await
}

/// Parses the answer of a send, `R<head> <gateways> <clusters>`: run and sender, number, and clusters that were not reached.
fn answer(payload: &[u8]) -> Option<(usize, u32, u32)> {
    let rest = payload.strip_prefix(b"R")?;
    let (sender, number) = head(rest)?;
    let clusters = std::str::from_utf8(rest).ok()?.split(' ').nth(2)?.parse().ok()?;
    Some((sender, number, clusters))
}

fn figures(report: &Report, counted: Counted, begin: Duration, end: Duration) -> Vec<Metric> {
    let count = |name, value: u64| Metric::new(name, "", value as f64);
    let mut metrics = vec![
        Metric::new("fault_lasted", "s", (end - begin).as_secs_f64()),
        count("sent", report.sent),
        count("sends_that_said_unreached", report.said_unreached),
        count("own_cluster_missing", report.own_missing),
        count("lost_though_taken", report.lost),
        Metric::new("counted_as_missed", "", counted.missed),
        Metric::new("counted_as_late", "", counted.late),
        count("lost_in_a_part_of_a_cluster", report.partly),
        count("twice", report.twice),
        count("out_of_order", report.out_of_order),
    ];
    let (first, last) = report.disturbed.unwrap_or((begin, begin));
    let seconds = |name, time: Duration| Metric::new(name, "s", time.as_secs_f64());
    metrics.push(seconds("disturbed_for", last - first));
    metrics.push(seconds("all_arrives_again_after_begin", last.saturating_sub(begin)));
    metrics.push(seconds("all_arrives_again_after_end", last.saturating_sub(end)));
    for (to, phases) in [("own", &report.own), ("others", &report.others)] {
        for (phase, times) in ["before", "meanwhile", "after"].into_iter().zip(phases) {
            metrics.extend(times_of(&format!("{to}_{phase}"), times));
        }
    }
    metrics
}

/// The times of a phase in milliseconds, and how many there are. Where nothing has arrived, there is no time.
fn times_of(what: &str, times: &Histogram) -> Vec<Metric> {
    let figures = [("p50", times.percentile(50.0)), ("p99", times.percentile(99.0)), ("max", times.max())];
    let figures = figures.map(|(name, micros)| Metric::new(format!("{what}_{name}"), "ms", micros / 1000.0));
    let arrived = Metric::new(format!("{what}_arrived"), "", times.count() as f64);
    std::iter::once(arrived).chain(figures.into_iter().filter(|_| times.count() > 0)).collect()
}

/// What may not happen, whatever NATS does.
fn faults(report: &Report, counted: Counted) -> Vec<String> {
    let uncounted = report.lost as f64 - (counted.missed - counted.late);
    [
        (report.own_missing, "deliveries in the sender's own cluster did not arrive"),
        (report.twice, "deliveries arrived twice"),
        (report.unanswered, "sends were not answered"),
        (uncounted.max(0.0) as u64, "messages were lost and no worker has counted them"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect()
}

impl Counted {
    /// Reads the counters of all workers.
    async fn read(urls: &[String]) -> Result<Self> {
        let mut sum = Counted { missed: 0.0, late: 0.0 };
        for url in urls {
            let text = scrape(url).await.with_context(|| format!("reading {url}"))?;
            sum.missed += counter(&text, "missed").context("a worker does not count what it misses")?;
            sum.late += counter(&text, "late").context("a worker does not count what is late")?;
        }
        Ok(sum)
    }

    fn since(self, before: Counted) -> Self {
        Counted { missed: self.missed - before.missed, late: self.late - before.late }
    }
}

fn counter(text: &str, result: &str) -> Option<f64> {
    let name = format!("{CALLS}{{result=\"{result}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&name))?.trim().parse().ok()
}

/// Gets a worker's metrics.
async fn scrape(url: &str) -> Result<String> {
    let rest = url.strip_prefix("http://").context("it is no http:// URL")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, "metrics"));
    let mut stream = TcpStream::connect(host).await?;
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_of_a_send_says_how_many_clusters_were_not_reached() {
        assert_eq!(answer(b"R000100000002 0 3"), Some((1, 2, 3)));
        assert_eq!(answer(b"R000100000002 0"), None);
        assert_eq!(answer(b"Psteady 000100000002 xx"), None);
    }

    #[test]
    fn a_counter_is_found_by_its_result() {
        let text = format!("# HELP x\r\n{CALLS}{{result=\"missed\"}} 12\n{CALLS}{{result=\"late\"}} 3\n");
        assert_eq!((counter(&text, "missed"), counter(&text, "late")), (Some(12.0), Some(3.0)));
        assert_eq!(counter(&text, "published"), None);
    }

    #[test]
    fn a_loss_that_no_worker_has_counted_is_a_fault() {
        let mut all = Deliveries::new(vec![0, 1], &[0]);
        all.sent(0, Duration::ZERO);
        all.answered(0, 0, 0).unwrap();
        all.delivered(0, 0, 0, Duration::ZERO).unwrap();
        let report = all.report(&(Duration::ZERO..Duration::ZERO));
        assert_eq!(faults(&report, Counted { missed: 1.0, late: 0.0 }), Vec::<String>::new());
        let faults = faults(&report, Counted { missed: 1.0, late: 1.0 });
        assert_eq!(faults, ["1 messages were lost and no worker has counted them"]);
    }
}
