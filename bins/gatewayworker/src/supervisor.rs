//! Several daemons together: they start one after the other, live until they are
//! told to end, and end in the opposite order, so that a gateway's last closes
//! still find a worker. When one of them ends by itself the others do not go on
//! without it.

use std::cell::RefCell;
use std::convert::Infallible;
use std::time::Duration;

use anyhow::bail;
use gatewayworker_daemon::Signal;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::child::{Daemon, Event, Stop};

/// How long the daemons together may take to drain before they are killed: longer than
/// they give themselves, each in its configuration, as this is for one that is stuck.
const DRAIN: Duration = Duration::from_secs(60);

/// The daemons of one cluster.
pub(crate) struct Plan {
    /// Comes first: the others look for it, and try again only after a while.
    pub(crate) register: Daemon,
    /// Start together once the register listens.
    pub(crate) others: Vec<Daemon>,
}

/// Runs all daemons until the first of `signals`; `welcome` is called with each
/// name and its addresses when one listens.
///
/// # Errors
/// When one cannot start or ends by itself; all others have ended then too.
pub(crate) async fn supervise(
    plan: Plan,
    mut signals: mpsc::Receiver<Signal>,
    welcome: impl FnMut(&str, &[String]),
) -> anyhow::Result<()> {
    let kill = CancellationToken::new();
    let (events_in, mut events) = mpsc::channel(16);
    let started = RefCell::new(Vec::new());
    let start = |daemon: Daemon| {
        let stop = Stop { drain: CancellationToken::new(), kill: kill.clone() };
        let drain = stop.drain.clone();
        let task = tokio::spawn(daemon.start(events_in.clone(), stop)?);
        started.borrow_mut().push((drain, task));
        anyhow::Ok(())
    };
    let result = tokio::select! {
        _ = signals.recv() => Ok(()),
        failure = live(plan, &mut events, start, welcome) => failure.map(|never| match never {}),
    };

    // Nobody waits to be heard any more.
    events.close();
    let ended = async {
        for (drain, task) in started.into_inner().into_iter().rev() {
            drain.cancel();
            let _ = task.await;
        }
    };
    let mut ended = std::pin::pin!(ended);
    let drained = tokio::select! {
        () = &mut ended => true,
        () = tokio::time::sleep(DRAIN) => false,
        Some(_) = signals.recv() => false,
    };
    if !drained {
        kill.cancel();
        ended.await;
    }
    result
}

/// Starts all daemons; returns only where they cannot go on.
async fn live(
    plan: Plan,
    events: &mut mpsc::Receiver<Event>,
    start: impl Fn(Daemon) -> anyhow::Result<()>,
    mut welcome: impl FnMut(&str, &[String]),
) -> anyhow::Result<Infallible> {
    let register = plan.register.name;
    let mut others = plan.others;
    start(plan.register)?;
    while let Some(event) = events.recv().await {
        match event {
            Event::Ready(name, addresses) => {
                welcome(name, &addresses);
                if name == register {
                    others.drain(..).try_for_each(&start)?;
                }
            }
            Event::Ended(name, Ok(status)) => bail!("the {name} ended by itself ({status})"),
            Event::Ended(name, Err(error)) => bail!("lost sight of the {name}: {error}"),
        }
    }
    bail!("no daemon is left")
}

#[cfg(all(test, unix))]
mod tests {
    use std::path::Path;

    use super::*;

    /// A daemon that is a shell script.
    fn daemon(name: &'static str, script: &str) -> Daemon {
        let arguments = ["-c", script].map(Into::into).into();
        Daemon { name, colour: 0, program: "/bin/sh".into(), arguments }
    }

    /// Says that it is ready and lives until its standard input ends; then it drains for
    /// so many seconds, and adds its name to `file`.
    fn good(name: &'static str, drains: &str, file: &Path) -> Daemon {
        let file = file.display();
        let script = format!("echo ready {name}:1 {name}:2; cat; sleep {drains}; echo {name} >> {file}");
        daemon(name, &script)
    }

    const SIGNAL: Signal = Signal { name: "SIGINT", status: 130 };

    #[tokio::test]
    async fn a_signal_drains_all_one_after_the_other_and_is_no_failure() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("drained");
        let others = vec![good("businessworker", "0.1", &file), good("gateway", "0.2", &file)];
        let plan = Plan { register: good("register", "0", &file), others };
        let (signal, signals) = mpsc::channel(2);
        let mut seen = Vec::new();
        let result = supervise(plan, signals, |name, addresses| {
            seen.push(format!("{name} {}", addresses.join(" ")));
            if seen.len() == 3 {
                signal.try_send(SIGNAL).unwrap();
            }
        });
        result.await.unwrap();
        assert_eq!(seen[0], "register register:1 register:2", "the others start once it listens");
        let drained = std::fs::read_to_string(file).unwrap();
        assert_eq!(drained, "gateway\nbusinessworker\nregister\n", "each was there for the one before it");
    }

    #[tokio::test]
    async fn one_that_ends_by_itself_takes_the_others_along() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("register");
        let plan = Plan { register: good("register", "0", &file), others: vec![daemon("gateway", "exit 3")] };
        let (_signal, signals) = mpsc::channel(2);
        let error = supervise(plan, signals, |_, _| ()).await.unwrap_err().to_string();
        assert_eq!(error, "the gateway ended by itself (exit status: 3)");
        assert!(file.exists(), "the register has drained");
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let mut missing = daemon("businessworker", "");
        missing.program = "/nowhere/worker".into();
        let plan =
            Plan { register: good("register", "0", &directory.path().join("r")), others: vec![missing] };
        let (_signal, signals) = mpsc::channel(2);
        let error = format!("{:#}", supervise(plan, signals, |_, _| ()).await.unwrap_err());
        assert!(error.starts_with("cannot start the businessworker (/nowhere/worker): "), "{error}");
    }

    #[tokio::test]
    async fn a_second_signal_kills_one_that_does_not_drain() {
        let stubborn = daemon("register", "echo ready x:1; exec sleep 1000");
        let plan = Plan { register: stubborn, others: vec![] };
        let (signal, signals) = mpsc::channel(2);
        let start = std::time::Instant::now();
        let result = supervise(plan, signals, |_, _| {
            signal.try_send(SIGNAL).unwrap();
            signal.try_send(SIGNAL).unwrap();
        });
        result.await.unwrap();
        assert!(start.elapsed() < DRAIN);
    }
}
