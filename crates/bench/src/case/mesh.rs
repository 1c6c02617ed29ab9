//! The case `mesh`: many gateways and workers, each worker linked to each gateway. Measures the time until they are
//! linked, the cost of a link, of the idle mesh and of a message across it, and the time to link and to drop one more
//! gateway.
//!
//! This case starts its servers itself (`cluster`). It also measures the smallest mesh with the same number of clients:
//! the difference is the cost of links and gateways.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use super::Target;
use super::crossing::{send_to_groups, send_to_one};
use super::ledger::Groups;
use super::spread::spread;
use crate::args::{self, Load};
use crate::client::Client;
use crate::client_set::ClientSet;
use crate::cluster::{Cluster, Setup};
use crate::open::{Opening, frames, group_name};
use crate::procfs::{Memory, Processes};
use crate::report::{Metric, Progress, System};
use crate::sockets::Links;

/// The event link and the call link of a worker at a gateway. The interest link comes when it sends to groups.
const LINKS_PER_WORKER: usize = 2;
/// How long the workers may take to link to a gateway, or to drop it.
const LIMIT: Duration = Duration::from_secs(60);
/// The pause between two counts of links. A count of thousands takes some milliseconds itself.
const POLL_INTERVAL: Duration = Duration::from_millis(10);
/// How long to wait before memory is read, and after the clients have left.
const SETTLE: Duration = Duration::from_secs(3);
/// The members of a group. They are on different gateways, if there are enough.
const GROUP: u32 = 10;
/// How many clients connect at the same time.
const PARALLEL: u32 = 16;

/// A mesh to measure.
pub(crate) struct Plan<'a> {
    gateways: usize,
    workers: usize,
    /// Clients on each gateway.
    clients: u32,
    load: &'a Load,
    idle: Option<Duration>,
    group_gateways: Option<usize>,
    interest: bool,
}

/// The mesh of the flags, and the smallest mesh with the same number of clients.
pub(crate) fn plans(mesh: &args::Mesh) -> [Plan<'_>; 2] {
    let &args::Mesh { ref load, gateways, workers, clients, idle, interest, .. } = mesh;
    let (gateways, workers) = (gateways as usize, workers as usize);
    let group_gateways = mesh.group_gateways.map(|n| n as usize);
    let large = Plan { gateways, workers, clients, load, idle: Some(idle), group_gateways, interest };
    let clients = clients * mesh.gateways;
    [large, Plan { gateways: 1, workers: 1, clients, load, idle: None, group_gateways: None, interest }]
}

impl Plan<'_> {
    /// The name: gateways x workers.
    pub(crate) fn name(&self) -> String {
        format!("{}x{}", self.gateways, self.workers)
    }
}

/// Starts a mesh, measures it, and ends it.
///
/// # Errors
/// A process did not start or has ended, a client has lost its connection, or links are missing at the time limit.
pub(crate) async fn run(plan: &Plan<'_>, progress: &Progress) -> Result<System> {
    let mut cluster = Cluster::start_with(Setup::default().interest(plan.interest)).await?;
    let measured = measure(plan, &mut cluster, progress).await;
    let pids = cluster.pids();
    progress.say("ending the processes");
    cluster.stop().await;
    let (metrics, faults) = measured?;
    Ok(System { name: plan.name(), pids, rounds: vec![metrics], faults, ..System::default() })
}

async fn measure(
    plan: &Plan<'_>,
    cluster: &mut Cluster,
    progress: &Progress,
) -> Result<(Vec<Metric>, Vec<String>)> {
    let mut metrics = Vec::new();
    (0..plan.gateways).try_for_each(|_| cluster.add_gateway())?;
    (0..plan.workers).try_for_each(|_| cluster.add_worker())?;
    let start = Instant::now();
    let addresses: Vec<_> = cluster.gateways.iter().map(|gateway| gateway.lan_ip).collect();
    wait_until_linked(cluster, &addresses, plan.workers, progress).await?;
    metrics.push(Metric::new("linked_within", "ms", millis(start)));
    metrics.push(Metric::new("links", "", (LINKS_PER_WORKER * plan.gateways * plan.workers) as f64));

    progress.say("settling");
    tokio::time::sleep(SETTLE).await;
    if let Some(idle) = plan.idle {
        metrics.extend(idle_cpu(cluster, idle, progress).await?);
    }
    metrics.extend(handles_and_memory(cluster)?);

    let mut urls = Vec::new();
    for gateway in &mut cluster.gateways {
        // A gateway prints `websocket://`.
        let address = gateway.daemon.ready().await?.replace("websocket://", "ws://");
        urls.push(address.parse().map_err(|error: String| anyhow!("{address}: {error}"))?);
    }
    let first = urls.first().cloned().context("no gateway")?;
    let processes = Processes::new(&cluster.pids(), false);
    let target = Target { url: first, processes, nats: Processes::new(&[], false), parts: Vec::new() };
    let mut opened = Vec::new();
    for url in urls {
        let opening = Opening {
            url,
            clients: plan.clients,
            parallel: PARALLEL,
            greeting: true,
            group_size: None,
            over: None,
        };
        opened.push(opening.run(false, progress).await?.clients);
    }
    let mut clients = match plan.group_gateways {
        Some(gateways) => spread(opened, GROUP as usize, gateways),
        None => interleave(opened),
    };

    let single = send_to_one(&mut clients, plan.load, &target, progress).await?;
    metrics.extend(single.figures("single"));
    for (index, client) in clients.iter_mut().enumerate() {
        let join = format!("J{} ", group_name(index, GROUP));
        client.barrier(&frames(&[&join, "E"])).await.context("joining a group")?;
    }
    let client_set = ClientSet::new(clients);
    let all = client_set.len() as u32;
    let to_group = |index| format!("G{} ", group_name(index, GROUP));
    let one = Groups { clients: all.min(GROUP), size: GROUP, senders: 1 };
    let group = send_to_groups(&client_set, one, to_group, plan.load, &target, progress).await?;
    metrics.extend(group.figures("group"));
    let everybody = Groups { clients: all, size: GROUP, senders: all };
    let busy = send_to_groups(&client_set, everybody, to_group, plan.load, &target, progress).await?;
    metrics.extend(busy.figures("busy_group"));
    let everybody = Groups { clients: all, size: all, senders: 1 };
    let broadcast =
        send_to_groups(&client_set, everybody, |_| "B".into(), plan.load, &target, progress).await?;
    metrics.extend(broadcast.figures("broadcast"));
    metrics.extend(broadcast.used.cost("cpu_per_delivery", broadcast.deliveries));
    let lost = group.lost + busy.lost + broadcast.lost;
    metrics.push(Metric::new("lost", "", lost as f64));
    drop(client_set);
    tokio::time::sleep(SETTLE).await;

    metrics.extend(add_and_remove_gateway(plan, cluster, progress).await?);
    cluster.check()?;
    let fault = (lost > 0).then(|| format!("{}: {lost} deliveries did not arrive", plan.name()));
    Ok((metrics, fault.into_iter().collect()))
}

/// Waits until every gateway has two links of every worker.
pub(super) async fn wait_until_linked(
    cluster: &mut Cluster,
    gateways: &[Ipv4Addr],
    workers: usize,
    progress: &Progress,
) -> Result<()> {
    let (start, wanted) = (Instant::now(), LINKS_PER_WORKER * workers);
    loop {
        let links = Links::now()?;
        let lacking = gateways.iter().find(|&&gateway| links.established(gateway) < wanted);
        let Some(lacking) = lacking else { return Ok(()) };
        cluster.check()?;
        let all: usize = gateways.iter().map(|&gateway| links.established(gateway)).sum();
        progress.say(&format!("{all} of {} links", wanted * gateways.len()));
        if start.elapsed() > LIMIT {
            let how =
                format!("has {} of {wanted} links after {} s", links.established(*lacking), LIMIT.as_secs());
            let gateway = cluster.gateways.iter().find(|gateway| gateway.lan_ip == *lacking);
            return Err(
                gateway.map_or_else(|| anyhow!("{lacking} {how}"), |gateway| gateway.daemon.error(&how))
            );
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// The CPU usage of the mesh without clients, by kind of process and in total.
async fn idle_cpu(cluster: &Cluster, time: Duration, progress: &Progress) -> Result<Vec<Metric>> {
    let kinds = cluster.kinds();
    let read = || kinds.iter().map(|(_, _, processes)| processes.cpu()).collect::<Result<Vec<_>>>();
    progress.say("measuring the idle mesh");
    let (start, before) = (Instant::now(), read()?);
    tokio::time::sleep(time).await;
    let (after, seconds) = (read()?, start.elapsed().as_secs_f64());
    let mut metrics = Vec::new();
    let mut sum = 0.0;
    for (((name, ..), before), after) in kinds.iter().zip(&before).zip(&after) {
        let used = after.since(before)? as f64 / seconds / 1e6;
        metrics.push(Metric::new(format!("idle_cpu_{name}"), "ms/s", used));
        sum += used;
    }
    metrics.push(Metric::new("idle_cpu", "ms/s", sum));
    Ok(metrics)
}

/// The file handles and memory of a process of each kind, on average.
fn handles_and_memory(cluster: &Cluster) -> Result<Vec<Metric>> {
    let mut metrics = Vec::new();
    for (name, count, processes) in cluster.kinds() {
        let Memory { pss, anonymous, .. } = processes.memory()?;
        let each = |what: &str, unit, sum: u64| {
            Metric::new(format!("{name}_{what}"), unit, sum as f64 / count as f64)
        };
        metrics.push(each("handles", "", processes.handles()?));
        metrics.extend(pss.map(|pss| each("pss", "KB", pss)));
        metrics.extend(anonymous.map(|anonymous| each("anonymous", "KB", anonymous)));
    }
    Ok(metrics)
}

/// Orders the clients: the first of each gateway, then the second of each, and so on.
pub(super) fn interleave(gateways: Vec<Vec<Client>>) -> Vec<Client> {
    let mut gateways: Vec<_> = gateways.into_iter().map(Vec::into_iter).collect();
    let mut interleaved = Vec::new();
    loop {
        let before = interleaved.len();
        interleaved.extend(gateways.iter_mut().filter_map(Iterator::next));
        if interleaved.len() == before {
            return interleaved;
        }
    }
}

/// Starts one more gateway and ends it. Measures the time until all workers are linked to it, and until none is.
async fn add_and_remove_gateway(
    plan: &Plan<'_>,
    cluster: &mut Cluster,
    progress: &Progress,
) -> Result<[Metric; 2]> {
    let start = Instant::now();
    cluster.add_gateway()?;
    let address = cluster.gateways.last().context("no gateway")?.lan_ip;
    wait_until_linked(cluster, &[address], plan.workers, progress).await?;
    let known = Metric::new("newcomer_linked_within", "ms", millis(start));

    let mut newcomer = cluster.gateways.pop().context("no gateway")?.daemon;
    newcomer.ready().await?;
    let start = Instant::now();
    newcomer.terminate()?;
    loop {
        let held = Links::now()?.held(address);
        if held == 0 {
            break;
        }
        progress.say(&format!("{held} links to the ending gateway"));
        if start.elapsed() > LIMIT {
            return Err(newcomer.error(&format!("still has {held} links after {} s", LIMIT.as_secs())));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
    let dropped = Metric::new("newcomer_dropped_within", "ms", millis(start));
    newcomer.wait_for_end().await;
    Ok([known, dropped])
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

/// Adds metrics to the first mesh: the cost of each link, and of each gateway that a message goes to, as the difference
/// to the second mesh.
pub(crate) fn compare(mesh: &args::Mesh, systems: &mut [System]) {
    let [large, small] = systems else { return };
    let (gateways, workers) = (f64::from(mesh.gateways), f64::from(mesh.workers));
    let more = [
        ("worker_anonymous", "worker_per_link", LINKS_PER_WORKER as f64 * (gateways - 1.0)),
        ("gateway_anonymous", "gateway_per_link", LINKS_PER_WORKER as f64 * (workers - 1.0)),
        ("register_anonymous", "register_per_connection", gateways + workers - 2.0),
        ("cpu_per_group", "group_per_gateway", gateways - 1.0),
        ("cpu_per_busy_group", "busy_group_per_gateway", gateways - 1.0),
        ("cpu_per_broadcast", "broadcast_per_gateway", gateways - 1.0),
    ];
    let (Some(round), Some(other)) = (large.rounds.first_mut(), small.rounds.first()) else { return };
    for (name, each, count) in more {
        let find = |round: &[Metric]| round.iter().find(|metric| metric.name == name).cloned();
        let (Some(a), Some(b)) = (find(round), find(other)) else { continue };
        if count > 0.0 {
            round.push(Metric::new(each, a.unit, (a.value - b.value) / count));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn flags(text: &str) -> args::Mesh {
        match args::Cli::try_parse_from(text.split_whitespace()).unwrap().case {
            args::Case::Mesh(mesh) => mesh,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_smallest_mesh_has_the_same_number_of_clients() {
        let mesh = flags("bench mesh --gateways 4 --workers 3 --clients 5");
        let [large, small] = plans(&mesh);
        assert_eq!((large.name(), large.clients), ("4x3".into(), 5));
        assert_eq!((small.name(), small.clients), ("1x1".into(), 20));
        assert!(large.interest && small.interest);
        let off = flags("bench mesh --group-gateways 2 --interest off");
        let [large, small] = plans(&off);
        assert_eq!((large.group_gateways, large.interest, small.interest), (Some(2), false, false));
    }

    #[test]
    fn a_links_memory_is_the_difference_of_two_meshes() {
        let mesh = flags("bench mesh --gateways 5 --workers 1");
        let system = |worker, gateway| System {
            rounds: vec![vec![
                Metric::new("worker_anonymous", "KB", worker),
                Metric::new("gateway_anonymous", "KB", gateway),
            ]],
            ..System::default()
        };
        let mut systems = [system(1080.0, 500.0), system(1000.0, 500.0)];
        compare(&mesh, &mut systems);
        let added = &systems[0].rounds[0][2..];
        assert_eq!(
            added,
            [Metric::new("worker_per_link", "KB", 10.0)],
            "one worker: no more links at a gateway"
        );
        assert_eq!(systems[1].rounds[0].len(), 2);
    }
}
