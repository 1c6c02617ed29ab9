//! The page for operators of a cluster of processes: `start` serves it, and so do the daemons where they are told to.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;

use gatewayworker_tests::process::{free_port, send_signal};
use gatewayworker_tests::{HttpRequest, eventually};
use serde_json::{Value, json};

use super::site::Site;

const DAEMONS: [&str; 3] = ["register", "businessworker", "gateway"];

fn any_address() -> SocketAddr {
    ([127, 0, 0, 1], free_port()).into()
}

async fn get(page: SocketAddr, path: &str, token: &str) -> Value {
    let answer = HttpRequest::new(page, "GET", path).token(token).send().await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

/// The token that the start has drawn.
fn token(site: &Site) -> String {
    fs::read_to_string(site.run_dir().join("admin-token")).unwrap().trim().to_owned()
}

#[tokio::test]
async fn start_says_where_the_page_is_and_keeps_its_token_in_a_file_for_this_user_alone() {
    let site = Site::new();
    let page = any_address();
    let listen = page.to_string();
    let said = site.succeeds("start", &["-d", "--admin-listen", &listen]).await;
    let file = site.run_dir().join("admin-token");
    let line = format!("page for operators  http://{page}/  (token: in {})", file.display());
    assert!(said.contains(&line), "{said}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let token = token(&site);
    assert_eq!(token.len(), 48);
    assert_eq!(get(page, "/api/cluster", &token).await["token"], "good");
    let status = site.status().await;
    assert_eq!(status["page"]["url"], format!("http://{page}/"));
    // It stands in no log, and on no command line.
    let process = status["process_id"].as_u64().unwrap();
    let command_line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    for text in [said, site.log(), status.to_string(), String::from_utf8_lossy(&command_line).into_owned()] {
        assert!(!text.contains(&token), "{text}");
    }
    // A restart has the same page, and the same token.
    site.succeeds("restart", &["--admin-listen", &listen]).await;
    assert_eq!(get(page, "/api/cluster", &token).await["token"], "good");
}

#[tokio::test]
async fn the_page_has_the_supervisors_daemons_and_a_killed_gateway_is_a_problem_until_it_is_back() {
    let site = Site::new();
    let page = any_address();
    site.succeeds("start", &["-d", "--admin-listen", &page.to_string()]).await;
    let token = token(&site);
    let cluster = async || get(page, "/api/cluster", &token).await;
    let daemon = |cluster: &Value, name: &str| -> Value {
        let daemons = cluster["daemons"].as_array().unwrap().clone();
        daemons.into_iter().find(|daemon| daemon["name"] == name).unwrap_or_default()
    };
    eventually("all daemons to be ready, and their processor time to be known", async || {
        let cluster = cluster().await;
        let is_known = |name: &&str| {
            let daemon = daemon(&cluster, name);
            daemon["state"] == "ready"
                && daemon["cpu_percent"].is_number()
                && daemon["memory_bytes"].is_number()
        };
        cluster["problems"] == json!([]) && DAEMONS.iter().all(is_known)
    })
    .await;
    let before = cluster().await;
    assert_eq!(
        (&before["served_by"], &before["warnings"]["count"]),
        (&json!("gatewayworker start"), &json!(0))
    );
    let process = daemon(&before, "gateway")["pid"].as_u64().unwrap();
    assert_eq!(process, site.processes("gateway").await[0]);
    // It cannot start again: its file is wrong.
    site.write("gateway", "dance = true");
    assert!(send_signal("KILL", process));
    eventually("the problem", async || {
        let cluster = cluster().await;
        let problems = cluster["problems"].as_array().unwrap().clone();
        problems.iter().any(|problem| problem.as_str().unwrap().starts_with("the gateway"))
            && cluster["gateways"][0]["error"].is_string()
            && daemon(&cluster, "gateway")["state"] != "ready"
    })
    .await;
    let warnings = get(page, "/api/warnings", &token).await;
    let warnings = warnings["warnings"].as_array().unwrap();
    assert!(warnings.iter().any(|one| one["daemon"].is_null()), "the supervisor's own: {warnings:?}");
    eventually("the gateway's own", async || {
        let warnings = get(page, "/api/warnings", &token).await;
        let warnings = warnings["warnings"].as_array().unwrap().clone();
        warnings
            .iter()
            .any(|one| one["daemon"] == "gateway" && one["line"].as_str().unwrap().contains("dance"))
    })
    .await;
}

#[tokio::test]
async fn each_daemon_serves_the_page_where_its_file_says_so() {
    const TOKEN: &str = "a-token-of-operators";
    let site = Site::new();
    let pages = DAEMONS.map(|daemon| {
        let page = any_address();
        let admin = format!("\n[admin]\nlisten = '{page}'\ntoken_file = 'page-token'\n");
        // Behind the keys, and before the tables.
        let config = site.config(daemon);
        let (keys, tables) = config.split_at(config.find('[').unwrap_or(config.len()));
        site.write(daemon, &format!("{keys}{admin}{tables}"));
        page
    });
    fs::write(site.directory.path().join("page-token"), format!("{TOKEN}\n")).unwrap();
    let said = site.succeeds("start", &["-d"]).await;
    for (daemon, page) in DAEMONS.into_iter().zip(pages) {
        assert!(said.contains(&format!("page for operators  http://{page}/  ({daemon})\n")), "{said}");
        eventually("the page to know the gateway", async || {
            let cluster = get(page, "/api/cluster", TOKEN).await;
            cluster["gateways"][0]["answer"]["stats"]["clients"] == 0
        })
        .await;
        let cluster = get(page, "/api/cluster", TOKEN).await;
        assert_eq!((&cluster["served_by"], &cluster["daemons"]), (&json!(daemon), &Value::Null));
        assert_eq!(cluster["token"], "good");
    }
    let mut client = site.greeted_client().await;
    let call = json!({"call": "send_to_all", "params": {"message": "hello"}});
    for page in pages {
        let answer = HttpRequest::post(page, "/api/call", &call).token(TOKEN).send().await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(client.text().await, "hello");
    }
    let log = site.log();
    assert_eq!(log.matches("an operator makes a call from the page").count(), 3, "{log}");
    assert!(!log.contains(TOKEN) && !log.contains("hello"), "{log}");
    // The process that takes the worker's place answers at the same address.
    site.succeeds("reload", &[]).await;
    assert_eq!(get(pages[1], "/api/cluster", TOKEN).await["served_by"], "businessworker");
}

#[tokio::test]
async fn an_address_that_was_chosen_and_is_taken_is_an_error_and_the_default_is_left_out() {
    let site = Site::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = site.run("start", &["-d", "--admin-listen", &address]).await;
    let error = super::site::text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(
        error.contains(&format!("admin.listen: cannot listen on {address}: address already in use")),
        "{error}"
    );
    let output = site.run("start", &["-d", "--admin-listen", "0.0.0.0:0", "--admin-token", "short"]).await;
    let error = super::site::text(&output.stderr);
    assert!(error.contains("admin.token: must have at least 16 characters"), "{error}");
    assert_eq!(error.matches("must have at least 16 characters").count(), 1, "{error}");
    // Taken by this test, or by another program.
    let _taken = std::net::TcpListener::bind("127.0.0.1:9600");
    let said = site.succeeds_with_defaults("start", &["-d"]).await;
    assert!(!said.contains("page for operators"), "{said}");
    let log = site.log();
    assert!(
        log.contains("the page for operators is not served: admin.listen: cannot listen on 127.0.0.1:9600"),
        "{log}"
    );
    assert_eq!(site.status().await["page"], Value::Null);
}
