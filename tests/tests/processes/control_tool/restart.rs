//! `restart`: with the options of the running cluster, and never by stopping what cannot start again.

use std::fs;

use gatewayworker_tests::eventually;
use gatewayworker_tests::process::{Process, binary};
use serde_json::Value;

use super::site::{Site, exists};

#[tokio::test]
async fn a_restart_keeps_earlier_options_and_does_not_stop_a_cluster_that_cannot_start_again() {
    let site = Site::new();
    let log = site.directory.path().join("mine.log");
    site.succeeds("restart", &["-d", "--log-file", log.to_str().unwrap()]).await;
    let first = site.worker().await;
    site.succeeds("restart", &[]).await;
    assert!(!exists(first));
    let status = site.status().await;
    assert_eq!(status["log_file"], log.to_str().unwrap(), "it is in the background again");
    let second = site.worker().await;
    site.write("businessworker", "dance = true");
    let refused = site.fails("restart", 1).await;
    assert!(refused.contains("dance") && refused.ends_with("what runs goes on"), "{refused}");
    assert_eq!(site.worker().await, second);
    site.greeted_client().await;
}

#[tokio::test]
async fn own_programs_replace_the_daemons_and_a_restart_keeps_them() {
    let site = Site::new();
    let mut arguments = vec!["-d".to_owned()];
    for daemon in ["register", "businessworker", "gateway"] {
        let program = site.directory.path().join(daemon);
        let script = format!("#!/bin/sh\nexec {} {daemon} \"$@\"\n", binary().display());
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        arguments.extend([format!("--{daemon}"), program.to_str().unwrap().to_owned()]);
    }
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    site.succeeds("start", &arguments).await;
    for again in [false, true] {
        if again {
            site.succeeds("restart", &[]).await;
        }
        let status = site.status().await;
        for daemon in ["register", "businessworker", "gateway"] {
            assert_eq!(status[daemon], site.directory.path().join(daemon).to_str().unwrap());
        }
    }
}

#[tokio::test]
async fn a_restart_without_a_cluster_starts_one_in_the_background() {
    let site = Site::new();
    let said = site.succeeds("restart", &[]).await;
    assert!(said.contains("GatewayWorker is running") && said.contains("Next: status"), "{said}");
    site.succeeds("status", &[]).await;
    site.succeeds("stop", &[]).await;
    let arguments = [&site.arguments("restart")[..], &["--foreground"]].concat();
    let mut here = Process::start(&arguments);
    site.greeted_client().await;
    assert_eq!(site.status().await["log_file"], Value::Null);
    site.succeeds("stop", &[]).await;
    eventually("it to end", async || here.has_ended()).await;
}
