//! What a worker reports about itself to its gateways.

use gatewayworker_protocol::report::{Report, RunningHandler};
use gatewayworker_protocol::{ClientId, Command, Features};

use crate::fake::FakeGateway;
use crate::support::{INSTANCE, Worker, pair_with};

/// Returns the next report, and its number.
async fn report(fake: &mut FakeGateway) -> (u32, Report) {
    loop {
        if let Command::Report { number, body } = fake.told().await {
            return (number, Report::from_json(&body).unwrap());
        }
    }
}

/// Pairs and returns the first report: it is sent by a task of its own, before the ATTACH or behind it.
async fn pair_and_report(fake: &mut FakeGateway) -> (u32, Report) {
    let before = pair_with(fake, Features::ALL, INSTANCE, 1).await;
    for command in before {
        if let Command::Report { number, body } = command {
            return (number, Report::from_json(&body).unwrap());
        }
    }
    report(fake).await
}

#[tokio::test]
async fn a_worker_reports_itself_at_once_and_then_how_long_the_answer_took() {
    let mut worker = Worker::start(|_| {}).await;
    let (number, first) = pair_and_report(&mut worker.fake).await;
    assert_eq!((number, first.version.as_str(), first.round_trip_us), (1, env!("CARGO_PKG_VERSION"), None));
    worker.fake.events([Command::Reported(1)]).await;
    let (number, second) = report(&mut worker.fake).await;
    assert_eq!((number, second.answered, second.unanswered_ms), (2, 1, 0));
    assert!(second.round_trip_us.is_some_and(|us| us > 0), "{second:?}");
    assert!(second.uptime_ms > first.uptime_ms);
}

#[tokio::test]
async fn a_gateway_that_does_not_answer_hears_for_how_long() {
    let mut worker = Worker::start(|_| {}).await;
    pair_and_report(&mut worker.fake).await;
    // Answers to reports that it has not sent.
    worker.fake.events([Command::Reported(0), Command::Reported(9)]).await;
    let (_, second) = report(&mut worker.fake).await;
    assert_eq!((second.round_trip_us, second.answered), (None, 0));
    assert!(second.unanswered_ms >= 900, "{second:?}");
}

#[tokio::test]
async fn a_report_has_the_handlers_that_ran_and_those_that_run_for_long() {
    let mut worker = Worker::start(|_| {}).await;
    pair_with(&mut worker.fake, Features::ALL, INSTANCE, 1).await;
    worker.fake.events([worker.fake.connect(7)]).await;
    assert_eq!(worker.sees().await, "connect 7");
    for text in ["one", "two"] {
        worker.say(7, text).await;
        assert_eq!(worker.sees().await, format!("7: {text}"));
    }
    worker.say(7, "wait").await;
    assert_eq!(worker.sees().await, "waiting 7");
    let client = Some(ClientId::new(worker.fake.address, 7).to_string());
    let handlers = loop {
        let (_, report) = report(&mut worker.fake).await;
        if !report.handlers.longest.is_empty() {
            break report.handlers;
        }
    };
    let [RunningHandler { event, client: named, ms }] = &*handlers.longest else { panic!("{handlers:?}") };
    assert_eq!((event.as_str(), named), ("on_message", &client));
    assert!(*ms >= 1000, "{handlers:?}");
    assert_eq!(
        (handlers.running, handlers.events["on_connect"].count, handlers.events["on_message"].count),
        (1, 1, 3)
    );
    worker.gate.notify_waiters();
    assert_eq!(worker.sees().await, "waited 7");
    let (_, last) = report(&mut worker.fake).await;
    assert_eq!((last.handlers.running, last.handlers.longest.len()), (0, 0));
    assert!(last.handlers.events["on_message"].max_ms >= 1000, "{last:?}");
}

#[tokio::test]
async fn a_gateway_that_does_not_take_reports_gets_none() {
    let mut worker = Worker::start(|config| config.link_ping_interval_ms = 10).await;
    worker.pair(INSTANCE, 1).await;
    // A report would come at once, and again a second later.
    for _ in 0..150 {
        let told = worker.fake.told().await;
        assert_eq!(told, Command::Ping(Default::default()));
    }
}
