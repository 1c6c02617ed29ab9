//! A database that is missing, locked or crashes, and returns.

use crate::support::{Member, Postgres, Sqlite, settings, start, until_code};
use gatewayworker_tests::Cluster;
use group_chat::{GroupChat, Settings};
use serde_json::json;
use sqlx::Connection;

const LI_LEI: (i64, i64, i64, &str) = (1, 1, 2, "李雷");

pub(crate) async fn after_a_crash_postgresql_is_used_again() {
    let database = Postgres::start();
    let cluster = Cluster::builder().workers(0).start().await;
    let _chat = start(&cluster, &settings(&database.url())).await;
    let mut member = Member::join(&cluster, 0, LI_LEI).await;
    member.send("before").await;

    database.crash();
    let refusal = member.ask("send", json!({"content": "meanwhile"})).await;
    let expected =
        json!({"op": "send", "status": false, "code": 111, "msg": "Service unavailable", "action": "send"});
    assert_eq!(refusal, expected);
    assert_eq!(member.code("join", json!({})).await, 111);
    member.client.send("{\"action\":\"keep\"}").await;
    assert_eq!(member.client.json().await["op"], "keep", "what needs no database goes on");

    database.begin();
    until_code(&mut member, "join", json!({}), 100).await;
    member.send("after").await;
}

pub(crate) async fn a_worker_starts_without_its_database_and_connects_later() {
    let database = Sqlite::new();
    let missing = database.file().with_file_name("missing");
    let url = format!("sqlite:{}/chat.db?mode=rwc", missing.display());
    let cluster = Cluster::builder().workers(0).start().await;
    let _chat = start(&cluster, &settings(&url)).await;
    let mut member = Member::connect(&cluster, 0, LI_LEI).await;
    assert_eq!(member.code("join", json!({})).await, 111);
    std::fs::create_dir(&missing).unwrap();
    until_code(&mut member, "join", json!({}), 100).await;
}

pub(crate) async fn a_request_to_a_locked_database_fails_after_the_time_out() {
    let database = Sqlite::new();
    let settings =
        Settings { database_timeout_ms: 200, database_connections: 2, ..settings(&database.url()) };
    let cluster = Cluster::builder().workers(0).start().await;
    let _chat = start(&cluster, &settings).await;
    let mut member = Member::join(&cluster, 0, LI_LEI).await;

    sqlx::any::install_default_drivers();
    let mut other = sqlx::AnyConnection::connect(&database.url()).await.unwrap();
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    for _ in 0..5 {
        assert_eq!(member.code("send", json!({"content": "meanwhile"})).await, 111);
    }
    assert_eq!(member.ask("history", json!({})).await["op"], "history", "reading goes on");
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await.unwrap();
    let message = member.send("after").await;
    let history = member.ask("history", json!({})).await;
    assert_eq!(history["messages"].as_array().unwrap().len(), 2, "what was refused is not stored");
    assert_eq!(history["messages"][1], message);
}

/// Three workers at the same time, each of which has to find or make the schema.
async fn start_together(database: &str) {
    let settings = settings(database);
    let prepare = async || GroupChat::new(&settings).unwrap().prepare().await;
    let prepared = tokio::join!(prepare(), prepare(), prepare());
    prepared.0.and(prepared.1).and(prepared.2).unwrap();
}

pub(crate) async fn workers_that_start_together_make_one_schema_in_sqlite() {
    for _ in 0..10 {
        start_together(&Sqlite::new().url()).await;
    }
}

pub(crate) async fn workers_that_start_together_make_one_schema_in_postgresql() {
    let database = Postgres::start();
    start_together(&database.url()).await;
}
