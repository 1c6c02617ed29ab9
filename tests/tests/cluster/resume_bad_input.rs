//! Clients of `gw.1` that make mistakes, or mean it: each ends itself, and nobody else.

use futures_util::future::join_all;
use gatewayworker_tests::metrics::Scrape;
use gatewayworker_tests::{Cluster, Line, eventually};
use serde_json::{Value, json};

use crate::resume::{builder, cut, start};

/// What a client of its own hears back from the worker while others do what they do.
async fn is_served(line: &mut Line, said: &str) {
    line.0.send(said).await;
    assert_eq!(line.data().await, said);
}

/// Whether the client of a token can be had, from a new connection that has heard so many messages.
async fn comes_back(cluster: &Cluster, token: &str, attempt: u64, got: u64) -> bool {
    let mut line = Line::open(cluster.listener()).await;
    line.resume(token, attempt, got).await;
    line.expect_control().await["resumed"].is_object()
}

#[tokio::test]
async fn numbers_of_messages_that_were_never_sent_end_the_connection_that_names_them() {
    let cluster = builder().start().await;
    let (mut other, _, _) = start(&cluster).await;

    let (mut line, token, _) = start(&cluster).await;
    line.control(json!({"ack": 2})).await;
    assert_eq!(line.close_code().await, 1002);
    assert!(!comes_back(&cluster, &token, 1, 1).await, "its counts are worth nothing");

    let (line, token, _) = start(&cluster).await;
    drop(line);
    for (attempt, got) in [(1, 2), (2, u64::MAX)] {
        let mut line = Line::open(cluster.listener()).await;
        line.resume(&token, attempt, got).await;
        assert_eq!(line.close_code().await, 1002);
    }
    assert!(comes_back(&cluster, &token, 3, 1).await, "whoever named them was not let in");
    // It has acknowledged one message, and asks for it.
    assert!(!comes_back(&cluster, &token, 4, 0).await);
    is_served(&mut other, "still here").await;
}

#[tokio::test]
async fn a_lower_number_than_before_says_nothing() {
    let cluster = builder().start().await;
    let (mut line, token, _) = start(&cluster).await;
    for n in 0..40 {
        is_served(&mut line, &n.to_string()).await;
    }
    line.control(json!({"ack": 41})).await;
    line.control(json!({"ack": 7})).await;
    line.control(json!({"ack": 0})).await;
    is_served(&mut line, "on").await;
    drop(line);
    assert!(comes_back(&cluster, &token, 1, 41).await);
}

#[tokio::test]
async fn a_huge_control_message_ends_its_client_alone() {
    let cluster = builder().start().await;
    let (mut other, _, _) = start(&cluster).await;
    let open = "[".repeat(1 << 20);
    let huge = [
        format!("\u{1}{{\"ack\":{}}}", "1".repeat(1 << 20)),
        format!("\u{1}{{\"token\":{{\"auth\":\"{}\"}}}}", "x".repeat(1 << 20)),
        format!("\u{1}{open}"),
        format!("\u{1}{{\"unknown\":{}", &open[..4000]),
    ];
    for control in huge {
        let (mut line, _, _) = start(&cluster).await;
        line.0.send(&control).await;
        assert_eq!(line.close_code().await, 1002, "{control:.30}");
    }
    is_served(&mut other, "still here").await;
}

#[tokio::test]
async fn of_a_thousand_resumes_of_one_token_the_newest_has_the_client() {
    let cluster = builder().start().await;
    let (mut other, _, _) = start(&cluster).await;
    let (line, token, id) = start(&cluster).await;
    drop(line);
    for attempts in (1..=1000u64).collect::<Vec<_>>().chunks(50) {
        let resuming = attempts.iter().map(async |attempt| {
            let mut line = Line::open(cluster.listener()).await;
            line.resume(&token, *attempt, 1).await;
            line
        });
        drop(join_all(resuming).await);
    }
    is_served(&mut other, "still here").await;
    let mut line = Line::open(cluster.listener()).await;
    line.resume(&token, 1001, 1).await;
    assert_eq!(line.expect_control().await["resumed"]["client"], id);
    is_served(&mut line, "mine").await;
    let mut late = Line::open(cluster.listener()).await;
    late.resume(&token, 1000, 1).await;
    assert_eq!(late.close_code().await, 4409);
    is_served(&mut line, "still mine").await;
}

#[tokio::test]
async fn a_client_that_never_acknowledges_is_served_and_no_more_is_kept_than_is_set() {
    let cluster = builder().gateway(|config| config.resume_bytes = 100_000).start().await;
    let (mut line, token, _) = start(&cluster).await;
    let long = "x".repeat(10_000);
    for _ in 0..50 {
        is_served(&mut line, &long).await;
    }
    let kept =
        async || Scrape::of(cluster.gateways[0].metrics.unwrap()).await.get("gatewayworker_resume_bytes");
    let bytes = kept().await;
    assert!((50_000.0..=100_000.0).contains(&bytes), "{bytes}");
    drop(line);
    cut(&cluster).await;
    let mut line = Line::open(cluster.listener()).await;
    line.resume(&token, 1, 1).await;
    assert_eq!(line.expect_control().await, json!({"lost": {"why": "behind"}}));
    eventually("what was kept to be forgotten", async || kept().await < 1000.0).await;
}

#[tokio::test]
async fn many_phones_that_lose_their_network_at_once_come_back_and_have_missed_nothing() {
    let phones = std::env::var("RESUME_PHONES").map_or(200, |phones| phones.parse().unwrap());
    let cluster = builder().start().await;
    let mut lines = Vec::new();
    for _ in 0..phones {
        lines.push(start(&cluster).await);
    }
    // Half of the lines end, and of the other half the gateway does not notice it.
    let mut half_open = Vec::new();
    let mut away = Vec::new();
    for (n, (line, token, id)) in lines.into_iter().enumerate() {
        match n % 2 {
            0 => drop(line),
            _ => half_open.push(line),
        }
        away.push((token, id));
    }
    cut(&cluster).await;
    let api = cluster.api().await;
    for n in 0..20 {
        api.send_to_all(format!("news {n}")).await.unwrap();
    }
    for (_, id) in &away {
        api.send_to_client(id.parse().unwrap(), format!("for {id}")).await.unwrap();
    }
    let back = away.iter().map(async |(token, id)| {
        let begun = std::time::Instant::now();
        let mut line = Line::open(cluster.listener()).await;
        line.resume(token, 1, 1).await;
        let answer: Value = line.expect_control().await;
        assert_eq!(answer["resumed"]["client"], *id);
        let took = begun.elapsed();
        for n in 0..20 {
            assert_eq!(line.data().await, format!("news {n}"));
        }
        assert_eq!(line.data().await, format!("for {id}"));
        took
    });
    let mut took = join_all(back).await;
    took.sort_unstable();
    let p99 = took[took.len() * 99 / 100];
    println!("{phones} phones were back, p50 {:?}, p99 {p99:?}", took[took.len() / 2]);
    drop(half_open);
    let mut came = 0;
    while !cluster.events().is_quiet().await {
        match cluster.events().next().await {
            gatewayworker_tests::Happened::Close(..) => panic!("no handler runs for a cut"),
            _ => came += 1,
        }
    }
    assert!(came >= phones, "{came}");
}
