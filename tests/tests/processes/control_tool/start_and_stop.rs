//! `start`, `stop` and `status`: a cluster in the background, from its start to its stop.

use std::fs;

use gatewayworker_tests::process::{Process, binary};
use serde_json::json;

use super::site::{Site, text};

#[tokio::test]
async fn a_cluster_in_the_background_is_started_shown_and_stopped() {
    let site = Site::new();
    assert!(site.fails("status", 3).await.contains("nothing runs in"));
    assert!(site.fails("stop", 1).await.contains("nothing runs in"));

    let said = site.succeeds("start", &["-d"]).await;
    assert!(said.contains(&format!("ws://{}", site.listener)), "{said}");
    assert!(said.contains("gatewayworker.log"), "{said}");
    let mut client = site.greeted_client().await;
    let status = site.status().await;
    assert_eq!(
        status["process_id"],
        fs::read_to_string(site.run_dir().join("gatewayworker.pid")).unwrap().trim().parse::<u64>().unwrap()
    );
    let [register, worker, gateway] = [0, 1, 2].map(|n| status["daemons"][n].clone());
    assert_eq!(register["processes"][0]["stats"], json!({"gateways": 1, "connections": 2, "wrong_keys": 0}));
    assert_eq!(worker["processes"][0]["listens"], json!([format!("http://{}", site.http)]));
    let stats = &gateway["processes"][0]["stats"];
    for (name, figure) in [("clients", 1), ("workers", 1), ("closed", 0), ("rejected", 0)] {
        assert_eq!(stats[name], figure, "{name}");
    }
    assert!(stats["max_connections"].as_u64().is_some_and(|most| most > 0), "{stats}");
    for daemon in [register, worker, gateway] {
        assert_eq!((&daemon["restarts"], &daemon["processes"][0]["state"]), (&json!(0), &json!("ready")));
        if cfg!(target_os = "linux") {
            assert!(daemon["processes"][0]["memory_bytes"].as_u64().unwrap() > 1_000_000);
        }
    }
    assert_eq!((&status["ready"], &status["log_lines_dropped"]), (&json!(true), &json!(0)));
    let table = site.succeeds("status", &[]).await;
    assert!(
        table.contains(&format!("websocket://{}", site.listener)) && table.contains("clients 1"),
        "{table}"
    );

    let refused = site.fails("start", 1).await;
    assert!(refused.contains("a cluster runs here already, as process"), "{refused}");

    site.succeeds("stop", &[]).await;
    assert_eq!(client.close_code().await, 1001, "the gateway has drained");
    assert!(site.fails("status", 3).await.contains("nothing runs in"));
    assert!(site.log().contains("client-left=0") || site.log().contains("shutdown=1"), "{}", site.log());
}

#[tokio::test]
async fn a_cluster_that_cannot_start_names_the_reason_and_leaves_nothing_behind() {
    let site = Site::new();
    let _taken = std::net::TcpListener::bind(site.listener).unwrap();
    let refused = site.fails("start", 1).await;
    let output = site.run("start", &["-d"]).await;
    assert_eq!(output.status.code(), Some(1));
    let json = site.run("start", &["-d", "--log-format", "json"]).await;
    for said in [refused, text(&output.stderr), text(&json.stderr)] {
        assert!(said.contains(&site.listener.to_string()) && said.contains("in use"), "{said}");
    }
    assert!(site.fails("status", 3).await.contains("nothing runs in"));
}

#[tokio::test]
async fn start_checks_the_configuration_of_all_daemons() {
    let site = Site::new();
    assert_eq!(site.succeeds("start", &["--check-config"]).await, "configuration is valid\n");
    assert!(site.fails("status", 3).await.contains("nothing runs in"));
    site.write("register", "dance = true");
    site.write("gateway", "lan_prot = 1");
    let output = site.run("start", &["--check-config"]).await;
    assert_eq!(output.status.code(), Some(1));
    let errors = text(&output.stderr);
    let said: Vec<_> = errors.lines().collect();
    assert_eq!(said.len(), 2, "{errors}");
    assert!(said[0].starts_with("error: the register: ") && said[0].contains("dance"), "{errors}");
    assert!(said[1].starts_with("error: the gateway: ") && said[1].contains("lan_port"), "{errors}");
}

#[tokio::test]
async fn an_application_may_print_anything() {
    let site = Site::new();
    let worker = site.directory.path().join("worker");
    let tool = binary().display();
    let script =
        format!("#!/bin/sh\nprintf 'ready to go\\nstatus {{}}\\nand '\nexec {tool} businessworker \"$@\"\n");
    fs::write(&worker, script).unwrap();
    fs::set_permissions(&worker, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    site.succeeds("start", &["-d", "--businessworker", worker.to_str().unwrap()]).await;
    site.greeted_client().await;
    let worker = &site.status().await["daemons"][1]["processes"][0];
    assert_eq!(worker["listens"], json!([format!("http://{}", site.http)]));
    assert!(site.log().contains("businessworker | ready to go\n"), "{}", site.log());
}

#[tokio::test]
async fn a_cluster_without_a_worker_waits_for_those_of_others_and_a_restart_starts_none_either() {
    let site = Site::new();
    let said = site.succeeds("start", &["-d", "--no-worker"]).await;
    assert!(said.contains("start your workers  ") && !said.contains("client.html"), "{said}");
    let names = |status: &serde_json::Value| {
        let daemons = status["daemons"].as_array().unwrap().iter();
        daemons.map(|daemon| daemon["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let status = site.status().await;
    assert_eq!(names(&status), ["register", "gateway"]);
    assert_eq!(status["ready"], false, "clients wait");
    site.succeeds("restart", &[]).await;
    assert_eq!(names(&site.status().await), ["register", "gateway"]);
    let file = site.directory.path().join("businessworker.toml");
    let _worker = Process::start(&["businessworker", "--config", file.to_str().unwrap()]);
    site.greeted_client().await;
    site.succeeds("stop", &[]).await;
}

#[tokio::test]
async fn a_stale_socket_does_not_prevent_a_start_and_a_stop_removes_it() {
    let site = Site::new();
    fs::create_dir(site.run_dir()).unwrap();
    let socket = site.run_dir().join("control.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert!(site.fails("status", 3).await.contains("nothing runs in"));
    site.succeeds("start", &["-d"]).await;
    site.succeeds("status", &[]).await;
    site.succeeds("stop", &[]).await;
    assert!(!socket.exists());
}
