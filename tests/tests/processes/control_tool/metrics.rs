//! Metrics and health of a cluster's daemons: where `start` says they are, and what a reload does to scrapers.

use std::net::SocketAddr;

use gatewayworker_tests::eventually;
use gatewayworker_tests::metrics::{Scrape, get};
use gatewayworker_tests::process::free_port;

use super::site::Site;

const DAEMONS: [&str; 3] = ["register", "businessworker", "gateway"];

/// A site whose daemons show metrics, and where.
fn site() -> (Site, [SocketAddr; 3]) {
    let site = Site::new();
    let addresses = DAEMONS.map(|daemon| {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        site.write(daemon, &format!("metrics_listen = '{address}'\n{}", site.config(daemon)));
        address
    });
    (site, addresses)
}

#[tokio::test]
async fn start_says_where_metrics_are_and_ready_is_what_status_says() {
    let (site, addresses) = site();
    let said = site.succeeds("start", &["-d"]).await;
    for (daemon, address) in DAEMONS.into_iter().zip(addresses) {
        assert!(
            said.contains(&format!("metrics at          http://{address}/metrics  ({daemon})")),
            "{said}"
        );
        assert_eq!(get(address, "/readyz").await, (200, "ok\n".to_owned()), "{daemon}");
    }
    site.write("businessworker", "dance = true");
    assert!(gatewayworker_tests::process::send_signal("KILL", site.worker().await));
    eventually("the gateway not to be ready", async || get(addresses[2], "/readyz").await.0 == 503).await;
    let (_, said) = get(addresses[2], "/readyz").await;
    let problems = site.status().await["daemons"][2]["problems"].clone();
    assert_eq!(problems[0].as_str(), said.lines().next(), "status and readiness say the same");
}

#[tokio::test]
async fn a_reload_hands_the_listener_of_metrics_to_the_workers_next_process() {
    let (site, [_, worker, _]) = site();
    site.succeeds("start", &["-d"]).await;
    let started = async || Scrape::of(worker).await.get("process_start_time_seconds");
    let first = started().await;
    let reloading = site.succeeds("reload", &[]);
    // Each of these is answered: the listener is open all the time.
    let scraping = async {
        loop {
            started().await;
        }
    };
    tokio::select! {
        _ = reloading => {}
        () = scraping => {}
    }
    let second = started().await;
    assert!(second > first, "{first} {second}");
    for _ in 0..20 {
        assert_eq!(started().await, second, "the first process answers no more");
    }
}

#[tokio::test]
async fn a_port_of_metrics_that_is_in_use_is_named_with_its_key() {
    let (site, addresses) = site();
    for (daemon, address) in DAEMONS.into_iter().zip(addresses) {
        let _taken = std::net::TcpListener::bind(address).unwrap();
        let error = site.fails("start", 1).await;
        assert!(error.contains(daemon) && error.contains("metrics_listen: cannot listen on"), "{error}");
        assert!(error.contains(&address.to_string()) && error.contains("in use"), "{error}");
    }
}
