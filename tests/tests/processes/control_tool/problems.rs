//! The problems that keep a cluster from its work: `start` and `status` name them.

use std::fs;

use gatewayworker_tests::eventually;
use gatewayworker_tests::process::{Process, free_port, send_signal};
use serde_json::Value;

use super::site::{Site, text};

/// Starts a cluster in the background, and returns the problems that `start` prints. Asserts that
/// `status` prints the same ones.
async fn problems_at_start(site: &Site) -> String {
    let output = site.run("start", &["-d"]).await;
    let error = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(error.starts_with("error: the cluster runs, as process "), "{error}");
    let output = site.run("status", &[]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stdout).contains("\n\nThe cluster cannot do its work:\n  the "));
    let status = site.status().await;
    assert_eq!(status["ready"], false);
    let daemons = status["daemons"].as_array().unwrap();
    let problems = daemons.iter().flat_map(|daemon| daemon["problems"].as_array().unwrap());
    for problem in problems {
        assert!(error.contains(problem.as_str().unwrap()), "{problem} is not in: {error}");
    }
    error
}

#[tokio::test]
async fn a_gateway_that_reaches_no_register_is_named_by_start_and_status() {
    let site = Site::new();
    let config = site.config("gateway");
    let nowhere = format!("127.0.0.1:{}", free_port());
    site.write("gateway", &site.with_register(&config, &nowhere));
    let why = problems_at_start(&site).await;
    assert!(
        why.contains(&format!(
            "the gateway has no worker, its clients wait: the register at {nowhere} cannot be reached"
        )),
        "{why}"
    );
    assert!(why.contains("the businessworker has no gateway: the register lists none"), "{why}");
    site.write("gateway", &config);
    site.succeeds("restart", &[]).await;
    site.succeeds("status", &[]).await;
}

#[tokio::test]
async fn a_worker_that_reaches_no_register_is_named_by_start_and_status() {
    let site = Site::new();
    let nowhere = format!("127.0.0.1:{}", free_port());
    site.write("businessworker", &site.with_register(&site.config("businessworker"), &nowhere));
    let why = problems_at_start(&site).await;
    assert!(
        why.contains(&format!(
            "the businessworker has no gateway: the register at {nowhere} cannot be reached"
        )),
        "{why}"
    );
    assert!(why.contains("the gateway has no worker, its clients wait: does a businessworker run"), "{why}");
}

#[tokio::test]
async fn a_register_that_refuses_a_key_is_named_by_start_and_status() {
    for daemon in ["gateway", "businessworker"] {
        let site = Site::new();
        site.write(daemon, &format!("secret_key = 'another'\n{}", site.config(daemon)));
        let why = problems_at_start(&site).await;
        assert!(why.contains("closed the connection at once: is the secret_key the same?"), "{why}");
        let refused = &site.status().await["daemons"][0]["processes"][0]["stats"]["wrong_keys"];
        assert!(refused.as_u64().unwrap() > 0, "{refused}");
        assert!(site.log().contains(" WARN the register at"), "{}", site.log());
    }
}

#[tokio::test]
async fn a_cluster_without_its_worker_is_not_ready_until_it_returns() {
    let site = Site::new();
    site.succeeds("start", &["-d"]).await;
    let config = site.config("businessworker");
    site.write("businessworker", "dance = true");
    let killed = site.worker().await;
    assert!(send_signal("KILL", killed));
    eventually("the status to say so", async || {
        let problems = &site.status().await["daemons"];
        let said =
            |n: usize, what: &str| problems[n]["problems"][0].as_str().unwrap_or_default().contains(what);
        said(1, "the businessworker is not running") && said(2, "the gateway has no worker")
    })
    .await;
    assert_eq!(site.run("status", &[]).await.status.code(), Some(1));
    site.write("businessworker", &config);
    eventually("the status to be good", async || site.run("status", &[]).await.status.success()).await;
}

#[tokio::test]
async fn a_daemon_that_does_not_answer_is_named() {
    let site = Site::new();
    site.succeeds("start", &["-d"]).await;
    let worker = site.worker().await.to_string();
    assert!(send_signal("STOP", &worker));
    let output = site.run("status", &[]).await;
    assert_eq!(output.status.code(), Some(1));
    let why = format!("the businessworker, process {worker}, does not answer");
    assert!(text(&output.stdout).contains(&why), "{}", text(&output.stdout));
    assert!(send_signal("CONT", &worker));
    eventually("it to answer", async || site.run("status", &[]).await.status.success()).await;
}

#[tokio::test]
async fn a_cluster_in_the_foreground_logs_its_problems() {
    let site = Site::new();
    let gateway = site.config("gateway");
    site.write("gateway", &format!("secret_key = 'another'\n{gateway}"));
    let log = site.directory.path().join("log");
    let _supervisor = Process::logging_to(&log, &site.arguments("start"));
    let read = || fs::read_to_string(&log).unwrap();
    let why = "gatewayworker | ";
    eventually("it to say why", async || {
        read().lines().any(|line| line.contains(why) && line.contains("WARN the cluster cannot do its work"))
    })
    .await;
}

#[tokio::test]
async fn a_history_whose_server_is_away_is_a_notice_and_the_worker_is_ready() {
    let site = Site::new();
    let nobody = free_port();
    let config = site.config("businessworker")
        + &format!("[history]\nurl = 'redis://me:secret@127.0.0.1:{nobody}/'\n");
    site.write("businessworker", &config);
    site.succeeds("start", &["-d"]).await;
    let mut worker = Value::Null;
    eventually("the notice", async || {
        let mut status = site.status().await;
        assert_eq!(status["ready"], true);
        let daemons = status["daemons"].as_array_mut().unwrap();
        worker = daemons.iter_mut().find(|daemon| daemon["name"] == "businessworker").unwrap().take();
        worker["notices"][0].is_string()
    })
    .await;
    let notice = worker["notices"][0].as_str().unwrap();
    assert!(notice.starts_with("history: redis cannot keep or return messages: "), "{notice}");
    assert_eq!(worker["processes"][0]["stats"]["history_redis"], 0);
    let shown = site.succeeds("status", &[]).await;
    assert!(shown.contains("\n\nNotices:\n  history: redis"), "{shown}");
    assert!(shown.contains("history redis 0 (published 0, read 0, failed 0)"), "{shown}");
    assert!(!(shown + &site.log()).contains("secret"));
}
