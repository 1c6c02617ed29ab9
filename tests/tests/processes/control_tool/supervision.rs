//! The supervisor: it starts a killed daemon again, and ends together with its daemons.

use gatewayworker_tests::eventually;
use gatewayworker_tests::process::{Process, send_signal};

use super::site::{Site, exists};

#[tokio::test]
async fn a_daemon_that_is_killed_is_started_again() {
    let site = Site::new();
    site.succeeds("start", &["-d"]).await;
    for daemon in ["register", "businessworker", "gateway"] {
        let killed = site.processes(daemon).await[0];
        assert!(send_signal("KILL", killed));
        eventually("another one", async || {
            let processes = site.processes(daemon).await;
            !processes.is_empty() && processes[0] != killed
        })
        .await;
    }
    site.greeted_client().await;
    let status = site.status().await;
    assert!(status["daemons"].as_array().unwrap().iter().all(|daemon| daemon["restarts"] == 1), "{status}");
}

#[tokio::test]
async fn daemons_terminated_together_with_their_supervisor_are_not_started_again() {
    let site = Site::new();
    site.succeeds("start", &["-d"]).await;
    let status = site.status().await;
    let mut processes = vec![status["process_id"].to_string()];
    for daemon in ["register", "businessworker", "gateway"] {
        processes.push(site.processes(daemon).await[0].to_string());
    }
    // As systemd does to all of a unit. Some may have drained before their turn.
    for process in &processes {
        send_signal("TERM", process);
    }
    eventually("all to end", async || !processes.iter().any(|id| exists(id.parse().unwrap()))).await;
    assert_eq!(site.log().matches("the worker has started").count(), 1, "{}", site.log());
}

#[tokio::test]
async fn a_supervisor_in_the_foreground_answers_the_tool_and_reloads_at_sighup() {
    let site = Site::new();
    let log = site.directory.path().join("log");
    let mut supervisor = Process::logging_to(&log, &site.arguments("start"));
    site.greeted_client().await;
    let worker = site.worker().await;
    supervisor.signal("HUP");
    eventually("another worker", async || site.processes("businessworker").await.first() != Some(&worker))
        .await;
    site.succeeds("stop", &[]).await;
    eventually("the supervisor to end", async || supervisor.has_ended()).await;
}

#[tokio::test]
async fn a_killed_supervisor_ends_its_daemons_and_a_new_one_can_start() {
    let site = Site::new();
    let supervisor = Process::start(&site.arguments("start"));
    site.greeted_client().await;
    let worker = site.worker().await;
    supervisor.kill();
    eventually("its worker to end", async || !exists(worker)).await;
    assert!(site.fails("status", 3).await.contains("nothing runs in"));
    eventually("the next one to start", async || site.run("start", &["-d"]).await.status.success()).await;
    assert_ne!(site.worker().await, worker);
}
