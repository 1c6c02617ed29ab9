use std::path::Path;
use std::time::{Duration, Instant};

use gatewayworker_daemon::LogFormat;

use super::super::daemon::OnReload;
use super::super::leaving::DRAIN_TIMEOUT;
use super::*;

/// A daemon that is a shell script.
fn daemon(name: &'static str, script: &str) -> Daemon {
    let arguments = ["-c", script, name].map(Into::into).into();
    let on_reload = match name {
        "businessworker" => OnReload::Replace,
        "gateway" => OnReload::ReadFiles,
        _ => OnReload::Nothing,
    };
    Daemon {
        name,
        colour: 0,
        program: "/bin/sh".into(),
        arguments,
        variables: vec![],
        log_format: LogFormat::Text,
        on_reload,
    }
}

/// Says that it is ready and lives until its standard input ends; then it drains for
/// so many seconds, and adds its name to `file`.
fn good(name: &'static str, drains: &str, file: &Path) -> Daemon {
    let file = file.display();
    let script =
        format!("echo ready {name}:1 {name}:2 >&0; cat > /dev/null; sleep {drains}; echo {name} >> {file}");
    daemon(name, &script)
}

fn plan(register: Daemon, others: impl IntoIterator<Item = Daemon>) -> Vec<Daemon> {
    std::iter::once(register).chain(others).collect()
}

/// Waits until `found` finds what it looks for in a cluster's status.
async fn status_with<T>(ask: &mpsc::Sender<Request>, found: impl Fn(&[DaemonStatus]) -> Option<T>) -> T {
    let look = async {
        loop {
            let (to, status) = oneshot::channel();
            ask.send(Request::Status(to)).await.expect("it is there");
            if let Some(found) = found(&status.await.expect("it answers")) {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), look).await.expect("it comes to that")
}

async fn reload(ask: &mpsc::Sender<Request>) -> Reloaded {
    let (to, done) = oneshot::channel();
    ask.send(Request::Reload(to)).await.expect("it is there");
    done.await.expect("it answers")
}

async fn ready(ask: &mpsc::Sender<Request>) {
    let (to, ready) = oneshot::channel();
    ask.send(Request::Ready(to)).await.expect("it is there");
    ready.await.expect("it answers");
}

const STOP: Request = Request::Stop { now: false };

#[tokio::test]
async fn a_stop_drains_all_one_after_the_other_and_is_no_failure() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("drained");
    let others = [good("businessworker", "0.1", &file), good("gateway", "0.2", &file)];
    let plan = plan(good("register", "0", &file), others);
    let (ask, requests) = mpsc::channel(2);
    let mut seen = Vec::new();
    let result = supervise(plan, requests, |name, addresses| {
        seen.push(format!("{name} {}", addresses.join(" ")));
        if seen.len() == 3 {
            ask.try_send(STOP).unwrap();
        }
    });
    result.await.unwrap();
    assert_eq!(seen[0], "register register:1 register:2", "the others start once it listens");
    let drained = std::fs::read_to_string(file).unwrap();
    assert_eq!(drained, "gateway\nbusinessworker\nregister\n", "each was there for the one before it");
}

#[tokio::test]
async fn one_that_does_not_start_takes_the_others_along_and_its_last_words_are_the_reason() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("register");
    let gateway = daemon("gateway", "echo 'error: port in use' >&2; exit 3");
    let (_ask, requests) = mpsc::channel(2);
    let result = supervise(plan(good("register", "0", &file), [gateway]), requests, |_, _| ());
    let error = result.await.unwrap_err().to_string();
    assert_eq!(error, "the gateway ended by itself (exit status: 3; error: port in use)");
    assert!(file.exists(), "the register has drained");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let mut missing = daemon("businessworker", "");
    missing.program = "/nowhere/worker".into();
    let plan = plan(good("register", "0", &directory.path().join("r")), [missing]);
    let (_ask, requests) = mpsc::channel(2);
    let error = format!("{:#}", supervise(plan, requests, |_, _| ()).await.unwrap_err());
    assert!(error.starts_with("cannot start the businessworker (/nowhere/worker): "), "{error}");
}

#[tokio::test]
async fn one_that_ends_by_itself_later_is_started_again() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("drained");
    let plan = plan(good("register", "0", &file), [good("gateway", "0", &file)]);
    let (ask, requests) = mpsc::channel(2);
    let operate = async {
        ready(&ask).await;
        let gateway = |status: &[DaemonStatus]| {
            let gateway = status.iter().find(|status| status.name == "gateway")?;
            let process = gateway.processes.first().filter(|process| process.state == "ready")?;
            Some((gateway.restarts, process.process_id))
        };
        let (restarts, first) = status_with(&ask, gateway).await;
        assert_eq!(restarts, 0);
        // The shell's own: a minimal Debian has no program of that name.
        let kill = format!("kill -s KILL {first}");
        assert!(std::process::Command::new("sh").args(["-c", &kill]).status().unwrap().success());
        let again = |status: &[DaemonStatus]| gateway(status).filter(|(restarts, _)| *restarts == 1);
        let (_, second) = status_with(&ask, again).await;
        assert_ne!(second, first);
        ask.send(STOP).await.unwrap();
    };
    let (result, ()) = tokio::join!(supervise(plan, requests, |_, _| ()), operate);
    result.unwrap();
}

/// Takes words, and says how it goes: it is linked to so many gateways.
fn talking(gateways: usize, file: &Path) -> Daemon {
    let script = format!(
        "echo ready >&0; while read word; do case $word in \
         status) echo 'status {{\"gateways\":{gateways}}}' >&0;; \
         reload) echo $0 $word >> {file}; echo reloaded >&0;; \
         esac; done; echo $$ drained >> {file}",
        file = file.display()
    );
    daemon("businessworker", &script)
}

#[tokio::test]
async fn a_reload_replaces_the_worker_before_it_drains_and_tells_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("said");
    let mut gateway = talking(0, &file);
    gateway.name = "gateway";
    gateway.on_reload = OnReload::ReadFiles;
    gateway.arguments[2] = "gateway".into();
    let plan = plan(good("register", "0", &file), [talking(1, &file), gateway]);
    let (ask, requests) = mpsc::channel(2);
    let operate = async {
        ready(&ask).await;
        let worker = |status: &[DaemonStatus]| {
            let worker = status.iter().find(|status| status.name == "businessworker")?;
            let process = worker.processes.first().filter(|process| process.state == "ready")?;
            assert_eq!(process.status.stats["gateways"], 1);
            (worker.processes.len() == 1).then_some((worker.restarts, process.process_id))
        };
        let (_, first) = status_with(&ask, worker).await;
        reload(&ask).await.unwrap();
        let (restarts, second) = status_with(&ask, worker).await;
        assert_eq!(restarts, 0, "that was asked for");
        assert_ne!(second, first);
        let said = std::fs::read_to_string(&file).unwrap();
        assert!(said.contains(&format!("{first} drained\n")), "{said}");
        assert!(said.contains("gateway reload\n"), "{said}");
        ask.send(STOP).await.unwrap();
    };
    let (result, ()) = tokio::join!(supervise(plan, requests, |_, _| ()), operate);
    result.unwrap();
}

#[tokio::test]
async fn a_new_worker_that_does_not_start_leaves_the_old_one_where_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("here");
    let script = format!(
        "if [ -e {file} ]; then echo 'error: no database' >&2; exit 1; fi; touch {file}; echo ready >&0; cat > /dev/null",
        file = file.display()
    );
    let register = good("register", "0", &directory.path().join("r"));
    let plan = plan(register, [daemon("businessworker", &script)]);
    let (ask, requests) = mpsc::channel(2);
    let operate = async {
        ready(&ask).await;
        let worker = |status: &[DaemonStatus]| Some(status[1].processes[0].process_id);
        let before = status_with(&ask, worker).await;
        let problem = reload(&ask).await.unwrap_err();
        assert_eq!(
            problem,
            "the new businessworker ended by itself (exit status: 1; error: no database); the old one goes on"
        );
        assert_eq!(status_with(&ask, worker).await, before);
        ask.send(STOP).await.unwrap();
    };
    let (result, ()) = tokio::join!(supervise(plan, requests, |_, _| ()), operate);
    result.unwrap();
}

#[tokio::test]
async fn one_that_does_not_drain_is_killed_when_asked_to_end_at_once() {
    let stubborn = daemon("register", "echo ready x:1 >&0; exec sleep 1000");
    let (ask, requests) = mpsc::channel(2);
    let start = Instant::now();
    let result = supervise(plan(stubborn, []), requests, |_, _| {
        ask.try_send(STOP).unwrap();
        ask.try_send(Request::Stop { now: true }).unwrap();
    });
    result.await.unwrap();
    assert!(start.elapsed() < DRAIN_TIMEOUT);
}
