//! One run: room for the sockets, the rounds of each system in turn, and the report.

use anyhow::{Context, Result};
use tokio::task::LocalSet;

use crate::args::{Case, Cli};
use crate::case::{self, Outcome, Target};
use crate::procfs::Processes;
use crate::report::{self, Progress, System};

/// Files that are open besides the clients' sockets, generously.
const OTHER_FILES: u64 = 64;

/// Runs what the flags ask for; `false` where figures stand but something was lost.
///
/// # Errors
/// What kept a round from its end. The rounds before it have been reported.
pub(crate) fn run(cli: &Cli) -> Result<bool> {
    allow_open_files(u64::from(cli.case.connections()) + OTHER_FILES)?;
    let common = cli.case.common();
    let mut systems =
        vec![(target(&common.url, &common.pid, common.pid_tree), system(&common.url, &common.pid))];
    if let Some(url) = &common.against {
        let pids = &common.against_pid;
        systems.push((target(url, pids, common.pid_tree), system(url, pids)));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting")?;
    let ended = rounds(&cli.case, &mut systems, &runtime);

    let systems: Vec<System> = systems.into_iter().map(|(_, system)| system).collect();
    if systems.iter().any(|system| !system.rounds.is_empty()) {
        print!("{}", report::table(name(&cli.case), &systems));
        if let Some(file) = &common.json {
            let text = format!("{:#}\n", report::document(&cli.case, &systems));
            std::fs::write(file, text).with_context(|| format!("writing {}", file.display()))?;
        }
    }
    let faults: Vec<_> = systems.iter().flat_map(|system| &system.faults).collect();
    faults.iter().for_each(|fault| eprintln!("bench: {fault}"));
    ended?;
    Ok(faults.is_empty())
}

fn rounds(case: &Case, systems: &mut [(Target, System)], runtime: &tokio::runtime::Runtime) -> Result<()> {
    let count = case.rounds();
    for round in 1..=count {
        // Whoever goes first meets a machine that has just rested, so they take turns at it.
        if round > 1 {
            systems.reverse();
        }
        let result = systems.iter_mut().try_for_each(|(target, system)| {
            let progress = Progress::new(format!("{} {} {round}/{count}", name(case), target.url.text));
            // Dropped with the round: its clients are gone before the next begins.
            let local = LocalSet::new();
            let outcome = local.block_on(runtime, one(case, target, &progress))?;
            system.rounds.push(outcome.metrics);
            system.faults.extend(outcome.fault.map(|fault| format!("{}: {fault}", target.url.text)));
            Ok(())
        });
        if round == count || result.is_err() {
            // Back in the order of the flags.
            if (round - 1) % 2 == 1 {
                systems.reverse();
            }
            return result;
        }
    }
    Ok(())
}

async fn one(case: &Case, target: &Target, progress: &Progress) -> Result<Outcome> {
    match case {
        Case::Echo(echo) => case::echo::run(echo, target, progress).await,
        Case::Fanout(fanout) => case::fanout::run(fanout, target, progress).await,
        Case::Idle(idle) => case::idle::run(idle, target, progress).await,
        Case::Connect(connect) => case::connect::run(connect, target, progress).await,
    }
}

fn name(case: &Case) -> &'static str {
    match case {
        Case::Echo(_) => "echo",
        Case::Fanout(_) => "fanout",
        Case::Idle(_) => "idle",
        Case::Connect(_) => "connect",
    }
}

fn target(url: &crate::args::Url, pids: &[u32], tree: bool) -> Target {
    Target { url: url.clone(), processes: Processes::new(pids, tree) }
}

fn system(url: &crate::args::Url, pids: &[u32]) -> System {
    System { url: url.text.clone(), pids: pids.to_vec(), ..System::default() }
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
        format!("so many clients need {needed} open files and the limit is {hard}: raise it (ulimit -n), or take fewer clients")
    })
}

/// Other systems have no such limit.
#[cfg(not(unix))]
fn allow_open_files(_: u64) -> Result<()> {
    Ok(())
}
