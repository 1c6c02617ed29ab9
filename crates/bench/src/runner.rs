//! One run of the program: the limit on open files, the rounds of each system in turns, and the report.
//!
//! `main` calls [`run`], which calls the case's own `run` for each round.

use anyhow::{Context, Result};
use tokio::runtime::Runtime;
use tokio::task::LocalSet;

use crate::address::Url;
use crate::args::{Case, Cli, Common, Federation, Mesh, Scale, Webhook};
use crate::case::{self, Outcome, Target};
use crate::procfs::Processes;
use crate::report::{self, Progress, System};

/// Room for open files besides the clients' sockets.
const OTHER_FILES: u64 = 64;

/// Runs the case of the flags. Returns `false` if messages or clients were lost, though there are figures.
///
/// # Errors
/// A round did not end. The rounds before it are reported.
pub(crate) fn run(cli: &Cli) -> Result<bool> {
    if let Case::Generate = cli.case {
        return generate();
    }
    allow_open_files(u64::from(cli.case.connections()) + OTHER_FILES)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting")?;
    let (systems, ended) = match (&cli.case, cli.case.common()) {
        (Case::Mesh(mesh), _) => meshes(mesh, &runtime),
        (Case::Scale(scale), _) => scaled(scale, &runtime),
        (Case::Federation(federation), _) => federated(federation, &runtime),
        (Case::Webhook(webhook), _) => over_http(webhook, &runtime),
        (_, Some(common)) => loaded(&cli.case, common, &runtime),
        (_, None) => (Vec::new(), Ok(())),
    };
    if systems.iter().any(|system| !system.rounds.is_empty()) {
        // The columns of a fault are its repetitions, one after another.
        let ratios = !matches!(&cli.case, Case::Federation(federation) if federation.fault.is_some());
        print!("{}", report::table(name(&cli.case), &systems, ratios));
        if let Some(file) = cli.case.json() {
            let text = format!("{:#}\n", report::document(&cli.case, &systems));
            std::fs::write(file, text).with_context(|| format!("writing {}", file.display()))?;
        }
    }
    let faults: Vec<_> = systems.iter().flat_map(|system| &system.faults).collect();
    faults.iter().for_each(|fault| eprintln!("bench: {fault}"));
    ended?;
    Ok(faults.is_empty())
}

/// Loads servers that run already.
fn loaded(case: &Case, common: &Common, runtime: &Runtime) -> (Vec<System>, Result<()>) {
    let mut systems = vec![system(&common.name, &common.url, &common.pid, common.pid_tree)];
    for peer in &common.against {
        systems.push(system(&peer.name, &peer.url, &peer.pids, common.pid_tree));
    }
    let ended = rounds(case, &mut systems, runtime);
    (systems.into_iter().map(|(_, system)| system).collect(), ended)
}

/// Measures the mesh of the flags, and then the smallest mesh, to compare.
fn meshes(mesh: &Mesh, runtime: &Runtime) -> (Vec<System>, Result<()>) {
    let mut systems = Vec::new();
    for plan in case::mesh::plans(mesh) {
        let progress = Progress::new(format!("mesh {}", plan.name()));
        let local = LocalSet::new();
        match local.block_on(runtime, case::mesh::run(&plan, &progress)).with_context(|| plan.name()) {
            Ok(system) => systems.push(system),
            Err(error) => return (systems, Err(error)),
        }
    }
    case::mesh::compare(mesh, &mut systems);
    (systems, Ok(()))
}

/// Measures clusters that NATS joins, and the plain mesh of the same gateways; or a fault of NATS.
fn federated(federation: &Federation, runtime: &Runtime) -> (Vec<System>, Result<()>) {
    let progress = Progress::new("federation".into());
    match LocalSet::new().block_on(runtime, case::federation::run(federation, &progress)) {
        Ok(systems) => (systems, Ok(())),
        Err(error) => (Vec::new(), Err(error)),
    }
}

/// Measures an echo over HTTP, and one in Rust.
fn over_http(webhook: &Webhook, runtime: &Runtime) -> (Vec<System>, Result<()>) {
    let progress = Progress::new("webhook".into());
    match LocalSet::new().block_on(runtime, case::webhook::run(webhook, &progress)) {
        Ok(systems) => (systems, Ok(())),
        Err(error) => (Vec::new(), Err(error)),
    }
}

/// Measures clients on as many gateways as they need.
#[cfg(target_os = "linux")]
fn scaled(scale: &Scale, runtime: &Runtime) -> (Vec<System>, Result<()>) {
    let progress = Progress::new("scale".into());
    let run = async {
        case::scale::check(scale)?;
        case::scale::run(scale, &progress).await
    };
    match LocalSet::new().block_on(runtime, run) {
        Ok(system) => (vec![system], Ok(())),
        Err(error) => (Vec::new(), Err(error)),
    }
}

#[cfg(not(target_os = "linux"))]
fn scaled(_: &Scale, _: &Runtime) -> (Vec<System>, Result<()>) {
    (Vec::new(), Err(anyhow::anyhow!("the case scale runs on Linux only")))
}

/// Runs as a process of the load generator of `scale`.
#[cfg(target_os = "linux")]
fn generate() -> Result<bool> {
    allow_all_open_files()?;
    crate::generator::run().map(|()| true)
}

#[cfg(not(target_os = "linux"))]
fn generate() -> Result<bool> {
    anyhow::bail!("the case scale runs on Linux only")
}

/// Raises the limit on open files as far as the system allows.
#[cfg(target_os = "linux")]
fn allow_all_open_files() -> Result<()> {
    let (_, hard) = rlimit::Resource::NOFILE.get().context("reading the limit on open files")?;
    rlimit::Resource::NOFILE.set(hard, hard).context("raising the limit on open files")
}

fn rounds(case: &Case, systems: &mut [(Target, System)], runtime: &Runtime) -> Result<()> {
    let count = case.rounds();
    for round in 0..count {
        for place in 0..systems.len() {
            // The first of a round finds a rested machine, so the systems take turns in being first.
            let turn = (place + round as usize) % systems.len();
            let (target, system) = &mut systems[turn];
            let who = if system.name.is_empty() { &target.url.text } else { &system.name };
            let progress = Progress::new(format!("{} {who} {}/{count}", name(case), round + 1));
            // Dropping the set ends this round's clients before the next round.
            let local = LocalSet::new();
            let outcome =
                local.block_on(runtime, one(case, target, &progress)).with_context(|| who.clone())?;
            system.rounds.push(outcome.metrics);
            let faults = outcome.fault.map(|fault| format!("{who}: {fault}"));
            system.faults.extend(faults);
        }
    }
    Ok(())
}

async fn one(case: &Case, target: &Target, progress: &Progress) -> Result<Outcome> {
    match case {
        Case::Echo(echo) => case::echo::run(echo, target, progress).await,
        Case::Fanout(fanout) => case::fanout::run(fanout.into(), target, progress).await,
        Case::Group(group) => case::fanout::run(group.into(), target, progress).await,
        Case::Idle(idle) => case::idle::run(idle, target, progress).await,
        Case::Connect(connect) => case::connect::run(connect, target, progress).await,
        Case::Join(join) => case::join::run(join, target, progress).await,
        Case::Fair(fair) => case::fair::run(fair, target, progress).await,
        Case::Burst(burst) => case::burst::run(burst, target, progress).await,
        Case::Mesh(_) | Case::Scale(_) | Case::Federation(_) | Case::Webhook(_) | Case::Generate => {
            anyhow::bail!("this case starts its servers itself")
        }
    }
}

fn name(case: &Case) -> &'static str {
    match case {
        Case::Echo(_) => "echo",
        Case::Fanout(_) => "fanout",
        Case::Group(_) => "group",
        Case::Idle(_) => "idle",
        Case::Connect(_) => "connect",
        Case::Join(_) => "join",
        Case::Fair(_) => "fair",
        Case::Burst(_) => "burst",
        Case::Mesh(_) => "mesh",
        Case::Scale(_) => "scale",
        Case::Federation(_) => "federation",
        Case::Webhook(_) => "webhook",
        Case::Generate => "generate",
    }
}

fn system(name: &str, url: &Url, pids: &[u32], tree: bool) -> (Target, System) {
    let processes = Processes::new(pids, tree);
    let target = Target { url: url.clone(), processes, nats: Processes::new(&[], false), parts: Vec::new() };
    let (name, url) = (name.to_owned(), url.text.clone());
    (target, System { name, url, pids: pids.to_vec(), ..System::default() })
}

/// Raises the limit on open files to `needed`.
#[cfg(unix)]
fn allow_open_files(needed: u64) -> Result<()> {
    use rlimit::Resource;
    let (soft, hard) = Resource::NOFILE.get().context("reading the limit on open files")?;
    if soft >= needed {
        return Ok(());
    }
    Resource::NOFILE.set(needed, hard.max(needed)).with_context(|| {
        format!("these clients need {needed} open files and the limit is {hard}: raise it (ulimit -n), or use fewer clients")
    })
}

/// Other systems have no such limit.
#[cfg(not(unix))]
fn allow_open_files(_: u64) -> Result<()> {
    Ok(())
}
