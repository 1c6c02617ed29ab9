//! The shipped configuration: its defaults, its errors and its heartbeat.

#![allow(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod support;

use gatewayworker::{businessworker, gateway};
use gatewayworker_tests::Cluster;
use group_chat::Settings;
use serde_json::json;
use support::{Member, Sqlite, here, settings, start};

fn read(file: &str) -> String {
    std::fs::read_to_string(here("config").join(file)).unwrap()
}

#[test]
fn the_shipped_file_has_the_defaults_and_demo_data() {
    let config: businessworker::Config<Settings> = toml::from_str(&read("businessworker.toml")).unwrap();
    assert_eq!(config.app, Settings { demo_data: true, ..Settings::default() });
    assert_eq!(config.app.validate(), Ok(()));
}

#[test]
fn an_invalid_setting_is_named_by_its_key() {
    for (wrong, key) in [
        (Settings { burst: 0, ..Settings::default() }, "app.burst"),
        (Settings { history_page: 51, ..Settings::default() }, "app.history_page"),
        (Settings { database: "mysql://here".into(), ..Settings::default() }, "app.database"),
        (Settings { database: "postgres://[".into(), ..Settings::default() }, "app.database"),
    ] {
        let error = group_chat::GroupChat::new(&wrong).unwrap_err().to_string();
        assert!(error.starts_with(key), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_client_receives_the_heartbeat_of_the_application() {
    let file: gateway::Config = toml::from_str(&read("gateway.toml")).unwrap();
    assert_eq!(file.ping_interval, 55.0);
    let database = Sqlite::new();
    let heartbeat = |config: &mut gateway::Config| {
        config.ping_data = file.ping_data.clone();
        config.ping_interval = 0.2;
        config.ping_not_response_limit = 0;
    };
    let cluster = Cluster::builder().workers(0).gateway(heartbeat).start().await;
    let _chat = start(&cluster, &settings(&database.url())).await;
    let mut member = Member::connect(&cluster, 0, (1, 1, 2, "李雷")).await;
    assert_eq!(member.client.json().await, json!({"op": "keep"}));
}
