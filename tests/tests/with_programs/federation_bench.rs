//! The case `federation` of the load generator, and `scale` with clusters that NATS joins: small runs with a real
//! nats-server, which deliver everything and leave no process behind.

use std::fs;
use std::process::Output;

use gatewayworker_tests::process::load_generator;
use serde_json::Value;
use tokio::process::Command;

/// Runs the load generator, and returns what it has written as JSON.
async fn run(flags: &str) -> Value {
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("figures.json");
    let mut command = Command::new(load_generator());
    command.args(flags.split_whitespace()).arg("--json").arg(&json).kill_on_drop(true);
    let Output { status, stderr, .. } = command.output().await.unwrap();
    let log = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{flags}: {log}");
    let document: Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    for pid in document["systems"].as_array().unwrap().iter().flat_map(|one| one["pids"].as_array().unwrap())
    {
        assert!(!fs::exists(format!("/proc/{pid}")).unwrap(), "process {pid} is left");
    }
    document
}

fn figure(document: &Value, system: usize, name: &str) -> f64 {
    let figure = document["systems"][system]["median"][name].as_f64();
    figure.unwrap_or_else(|| panic!("{name} of system {system}: {document:#}"))
}

pub(crate) async fn two_clusters_and_their_plain_mesh_are_measured() {
    let document =
        run("federation --clients 10 --in-flight 20 --duration 200ms --warmup 200ms --idle 200ms --rounds 1")
            .await;
    for system in 0..2 {
        for name in ["cpu_per_group_in_1", "busy_uid_in_2_p99", "broadcast_p50"] {
            assert!(figure(&document, system, name) > 0.0, "{name}: {document:#}");
        }
        // In so short a time a mesh without load may not run at all.
        assert!(figure(&document, system, "idle_cpu") >= 0.0);
        assert_eq!(figure(&document, system, "lost"), 0.0);
    }
    assert!(figure(&document, 0, "nats_per_group_in_2") > 0.0);
    assert!(document["systems"][1]["median"]["nats_per_group_in_2"].is_null(), "the plain mesh has no NATS");
}

pub(crate) async fn what_a_killed_nats_server_loses_is_measured() {
    let flags = "--nats-nodes 2 --clients 2 --rate 200 --duration 1s --warmup 0s --fault-time 2s";
    let document = run(&format!("federation --fault nats-kill {flags}")).await;
    for system in 0..2 {
        assert!(figure(&document, system, "sent") > 1000.0);
        assert_eq!(figure(&document, system, "own_cluster_missing"), 0.0);
        assert_eq!(figure(&document, system, "twice"), 0.0);
        let counted =
            figure(&document, system, "counted_as_missed") - figure(&document, system, "counted_as_late");
        assert_eq!(figure(&document, system, "lost_though_taken"), counted, "{document:#}");
        assert!(figure(&document, system, "others_after_p50") > 0.0);
    }
}

pub(crate) async fn a_leaf_node_that_is_cut_off_delivers_late_and_loses_nothing() {
    let flags = "--clients 2 --rate 200 --duration 1s --warmup 0s --fault-time 2s";
    let document = run(&format!("federation --fault leaf-cut {flags}")).await;
    assert_eq!(figure(&document, 0, "lost_though_taken"), 0.0, "{document:#}");
    assert_eq!(figure(&document, 0, "sends_that_said_unreached"), 0.0, "{document:#}");
    assert!(figure(&document, 0, "others_meanwhile_max") > 1000.0, "{document:#}");
    assert!(figure(&document, 0, "own_meanwhile_max") < 1000.0, "{document:#}");
}

pub(crate) async fn groups_and_broadcasts_of_many_clients_reach_all_clusters() {
    let flags = "--clients 1000 --per-process 300 --clusters 3 --workers 1 --ping-interval 2s --duration 1s --broadcasts 2 --arrivals 100";
    let document = run(&format!("scale --federation {flags}")).await;
    assert_eq!((figure(&document, 0, "clients"), figure(&document, 0, "gateways")), (1000.0, 6.0));
    for name in ["nats_per_group", "busy_group_p99", "broadcast_max", "heartbeat_cpu_nats"] {
        assert!(figure(&document, 0, name) > 0.0, "{name}: {document:#}");
    }
}
