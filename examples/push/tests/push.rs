//! The shop with a cluster.

#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

use std::process::{Command, Output};
use std::time::Duration;

use gatewayworker_client::Gateway;
use gatewayworker_tests::{Cluster, WsClient, eventually, register_as_gateway, soon};
use push::{Online, Shop};
use serde_json::json;
use tokio::net::TcpListener;

fn notice(text: &str) -> serde_json::Value {
    json!({"type": "system", "message": text})
}

/// Runs the program beside the cluster.
async fn run(cluster: &Cluster, arguments: &[String]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_push"));
    program.args(arguments).env("GATEWAYWORKER_REGISTER_ADDRESS", cluster.register.to_string());
    program.env("GATEWAYWORKER_SECRET_KEY", "k");
    let run = tokio::task::spawn_blocking(move || program.output().unwrap());
    soon("the program's end", run).await.unwrap()
}

#[tokio::test]
async fn a_day_at_the_shop() {
    let cluster = Cluster::builder().gateways(2).secret_key("k").start().await;
    let (mut customer, id) = WsClient::greeted(cluster.gateways[0].listener).await;
    let (mut passer_by, _) = WsClient::greeted(cluster.gateways[1].listener).await;
    let output = run(&cluster, &[id.to_string(), "bob".into()]).await;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        format!("{id} is bob\n1 customers are here\n"),
        "{output:?}"
    );
    for text in ["Your order 4711 is on its way", "Tea is half price until noon", "The shop closes at eight"]
    {
        assert_eq!(customer.json().await, notice(text));
    }
    assert_eq!(passer_by.json().await, notice("The shop closes at eight"));
}

#[tokio::test]
async fn a_push_without_a_client_is_an_error() {
    let cluster = Cluster::builder().secret_key("k").start().await;
    let output = run(&cluster, &[]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("nobody is there"), "{output:?}");
}

#[tokio::test]
async fn with_a_hanging_gateway_a_count_is_a_lower_bound() {
    let cluster = Cluster::start().await;
    let hung = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let _announced = register_as_gateway(cluster.register, hung.local_addr().unwrap()).await;
    let gateway = Gateway::builder([cluster.register.to_string()]);
    let gateway = gateway.question_timeout(Duration::from_millis(300)).connect();
    eventually("both gateways", async || gateway.connected_gateways().len() == 2).await;
    let shop = Shop::new(gateway);
    let (mut customer, id) = WsClient::greeted(cluster.listener()).await;
    shop.logged_in(id, "ann").await.unwrap();
    assert_eq!(soon("an answer", shop.online()).await.unwrap(), Online::AtLeast(1));
    shop.shipped("ann", 7).await.unwrap();
    assert_eq!(customer.json().await, notice("Your order 7 is on its way"));
}
