//! The case `scale` of the load generator: it starts gateways, workers and its own processes, measures, and leaves no
//! process behind, whatever happens.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use gatewayworker_tests::process::{load_generator, send_signal};
use serde_json::Value;

/// A run with parts of a second each, in several processes of each kind. A client that takes half of the ping interval for
/// its answer is closed: on a busy machine a second is too short for that.
const SHORT: [&str; 12] = [
    "scale",
    "--per-process",
    "2500",
    "--ping-interval",
    "4s",
    "--duration",
    "1s",
    "--broadcasts",
    "2",
    "--arrivals",
    "100",
    "--json",
];

/// A run, and the processes that it has started.
struct Running {
    bench: Child,
    log: BufReader<std::process::ChildStderr>,
}

impl Running {
    fn start(clients: &str) -> Self {
        let mut command = Command::new(load_generator());
        command.args(["scale", "--per-process", "2500", "--clients", clients]);
        let mut bench = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(bench.stderr.take().unwrap());
        Running { bench, log }
    }

    /// Waits until the log has a line with this text, and returns the line.
    fn wait_for_log(&mut self, text: &str) -> String {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            assert_ne!(self.log.read_line(&mut line).unwrap(), 0, "it has ended without {text:?}");
        }
        line
    }

    /// The processes that it has started: their ids and command lines.
    fn children(&self) -> Vec<(u32, String)> {
        let task = format!("/proc/{0}/task/{0}/children", self.bench.id());
        let ids = fs::read_to_string(task).unwrap();
        let ids = ids.split_ascii_whitespace().map(|id| id.parse().unwrap());
        ids.map(|id| (id, fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap())).collect()
    }
}

/// Waits until none of the processes is left.
async fn wait_until_gone(children: &[(u32, String)]) {
    let gone = async {
        while children.iter().any(|(id, _)| fs::exists(format!("/proc/{id}")).unwrap()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.expect("processes are left");
}

#[test]
fn ten_thousand_clients_on_four_gateways_are_measured_and_all_processes_end() {
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("figures.json");
    let output =
        Command::new(load_generator()).args(SHORT).arg(&json).args(["--clients", "10000"]).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{log}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("gateway_per_client (KB)"));
    let document: Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    let system = &document["systems"][0];
    let figure =
        |name: &str| system["median"][name].as_f64().unwrap_or_else(|| panic!("{name}: {document:#}"));
    assert_eq!((figure("clients"), figure("gateways"), figure("generators")), (10_000.0, 4.0, 4.0));
    for positive in [
        "gateway_per_client",
        "kernel_both_ends",
        "pings",
        "cpu_per_ping",
        "cpu_per_join",
        "cpu_per_group",
        "busy_group_p99",
        "cpu_per_delivery",
        "broadcast_max",
        "arrivals",
        "arrival_p99",
    ] {
        assert!(figure(positive) > 0.0, "{positive}: {document:#}");
    }
    assert!(figure("generator_per_client") < figure("gateway_per_client"), "{document:#}");
    for pid in system["pids"].as_array().unwrap() {
        assert!(!fs::exists(format!("/proc/{pid}")).unwrap(), "process {pid} is left");
    }
}

#[tokio::test]
async fn an_interrupted_run_ends_its_processes_and_says_so() {
    for signal in ["INT", "TERM"] {
        let mut running = Running::start("5000");
        running.wait_for_log("clients open");
        let children = running.children();
        assert_eq!(children.len(), 1 + 2 + 2 + 2, "{children:?}");
        assert!(send_signal(signal, running.bench.id()));
        running.wait_for_log(if signal == "INT" { "interrupted" } else { "terminated" });
        assert_eq!(running.bench.wait().unwrap().code(), Some(1));
        wait_until_gone(&children).await;
    }
}

#[tokio::test]
async fn a_killed_run_leaves_no_process() {
    let mut running = Running::start("5000");
    running.wait_for_log("clients open");
    let children = running.children();
    running.bench.kill().unwrap();
    running.bench.wait().unwrap();
    wait_until_gone(&children).await;
}

#[tokio::test]
async fn a_gateway_that_ends_stops_the_run_and_the_error_says_how_many_clients_were_open() {
    let mut running = Running::start("5000");
    running.wait_for_log("clients open");
    let children = running.children();
    let gateway = children.iter().find(|(_, line)| line.contains("/gateway")).expect("a gateway");
    assert!(send_signal("KILL", gateway.0));
    let stopped = running.wait_for_log("of 5000 clients were open");
    assert!(stopped.starts_with("bench: stopped: ") && stopped.contains("has ended"), "{stopped}");
    assert_eq!(running.bench.wait().unwrap().code(), Some(1));
    wait_until_gone(&children).await;
}

#[test]
fn a_limit_on_open_files_that_is_too_low_is_named_before_anything_starts() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 3000 && exec \"$0\" scale --clients 4000 --per-process 4000"]);
    let output = command.arg(load_generator()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(log.contains("open files: a process needs 4900, and may have 3000"), "{log}");
    assert!(log.contains("--per-process 2100"), "{log}");
    assert!(!log.contains("scale: "), "nothing has started: {log}");
}
