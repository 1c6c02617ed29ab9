//! How a worker starts, links, drains and stops.

use std::sync::Arc;

use gatewayworker_businessworker::{
    self as businessworker, CancellationToken, Client, Config, Events, Gateway, HttpConfig, Result, Start,
    serve,
};
use gatewayworker_protocol::{Command, SecretKey};
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use crate::fake::{FakeGateway, PATIENCE, register, soon};
use crate::support::{Worker, to_one};

#[tokio::test]
async fn a_worker_sends_its_name_and_the_key_on_its_links() {
    let mut fake = FakeGateway::start().await;
    let (register, _running) = register(&[fake.address]).await;
    let key = SecretKey::new("k");
    let config =
        Config::default().with_name("Chat").with_register_address([register]).with_secret_key(key.clone());
    struct Nothing;
    impl Events for Nothing {}
    let _serving = AbortOnDropHandle::new(tokio::spawn(serve(config, Nothing, CancellationToken::new())));
    let hello = fake.worker().await;
    assert!(hello.worker_key.unwrap().starts_with("Chat:"));
    assert_eq!(hello.secret_key, Some(key.clone()));
    let Command::ClientConnect(hello) = fake.told().await else { panic!("the call link says nothing") };
    assert_eq!(hello.secret_key, Some(key));
}

#[tokio::test]
async fn a_lost_event_link_is_made_again_under_another_key() {
    let mut fake = FakeGateway::start().await;
    let (register, _running) = register(&[fake.address]).await;
    let config = Config::default().with_register_address([register]);
    struct Nothing;
    impl Events for Nothing {}
    let _serving = AbortOnDropHandle::new(tokio::spawn(serve(config, Nothing, CancellationToken::new())));
    let first = fake.worker().await.worker_key;
    fake.close_event_link().await;
    assert_ne!(fake.worker().await.worker_key, first);
}

#[tokio::test]
async fn a_stopping_worker_handles_the_events_it_has_and_writes_what_handlers_sent() {
    let mut worker = Worker::start(|_| ()).await;
    let fake = &worker.fake;
    fake.events([fake.message(1, "wait"), fake.message(1, "echo last"), fake.message(2, "wait")]).await;
    fake.send_last([fake.message(3, "echo on its way")]);
    worker.sees().await;
    worker.sees().await;
    worker.shutdown.cancel();
    worker.fake.link_ended().await;
    assert_eq!(worker.fake.told().await, to_one(3, "echo on its way"));
    // A worker that waited for nobody would have stopped by now.
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    worker.gate.notify_waiters();
    let mut waited = [worker.sees().await, worker.sees().await];
    waited.sort();
    assert_eq!(waited, ["waited 1", "waited 2"]);
    let (mut fake, mut seen) = worker.stop().await;
    assert_eq!(soon(seen.recv()).await.unwrap(), "stop");
    assert_eq!(fake.told().await, to_one(1, "echo last"));
    assert!(matches!(fake.told().await, Command::SendToAll { .. }));
    fake.link_ended().await;
}

#[tokio::test]
async fn a_handler_that_never_ends_does_not_keep_the_worker() {
    let worker = Worker::start(|config| config.shutdown_timeout_ms = 100).await;
    worker.say(1, "forever").await;
    let started = std::time::Instant::now();
    worker.stop().await;
    assert!(started.elapsed() < PATIENCE);
}

#[tokio::test]
async fn an_application_that_cannot_start_is_an_error() {
    struct Broken;
    impl Events for Broken {
        async fn on_worker_start(&self, _: &Gateway) -> Result {
            Err("no database".into())
        }
    }
    let config = Config::default().with_register_address(["127.0.0.1:9"]);
    let error = serve(config, Broken, CancellationToken::new()).await.unwrap_err();
    assert_eq!(error.to_string(), "on_worker_start: no database");
}

#[tokio::test]
async fn a_port_for_http_that_is_taken_is_an_error_before_the_application_starts() {
    struct Unstarted;
    impl Events for Unstarted {
        async fn on_worker_start(&self, _: &Gateway) -> Result {
            panic!("it was started")
        }
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let config = Config::default()
        .with_register_address(["127.0.0.1:9"])
        .with_http(HttpConfig::new(&address, SecretKey::default()));
    let error = serve(config, Unstarted, CancellationToken::new()).await.unwrap_err().to_string();
    assert!(error.starts_with(&format!("http.listen: cannot listen on {address}: ")), "{error}");
}

#[tokio::test]
async fn an_application_that_takes_for_ever_to_start_can_be_stopped() {
    struct Stuck(Arc<Notify>);
    impl Events for Stuck {
        async fn on_worker_start(&self, _: &Gateway) -> Result {
            self.0.notify_one();
            std::future::pending().await
        }
    }
    let begun = Arc::new(Notify::new());
    let config = Config::default().with_register_address(["127.0.0.1:9"]);
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(serve(config, Stuck(begun.clone()), shutdown.clone()));
    soon(begun.notified()).await;
    shutdown.cancel();
    soon(serving).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_worker_of_several_gateways_stops_as_soon_as_nothing_is_left_to_do() {
    let mut fakes = Vec::new();
    for _ in 0..4 {
        fakes.push(FakeGateway::start().await);
    }
    let addresses: Vec<_> = fakes.iter().map(|fake| fake.address).collect();
    let (register, _running) = register(&addresses).await;
    // More than `soon` waits.
    let config = Config::default().with_register_address([register]).with_shutdown_timeout_ms(60_000);
    let shutdown = CancellationToken::new();
    struct Nothing;
    impl Events for Nothing {}
    let serving = tokio::spawn(serve(config, Nothing, shutdown.clone()));
    for fake in &mut fakes {
        fake.worker().await;
    }
    shutdown.cancel();
    soon(serving).await.unwrap().unwrap();
}

/// Compiling is the test: an application is made by an async closure or by a
/// function, from settings of its own.
#[test]
fn an_application_is_made_from_its_own_settings() {
    #[derive(Default, serde::Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct AppConfig {
        greeting: String,
    }
    struct App(String);
    impl Events for App {
        async fn on_connect(&self, client: &Client) -> Result {
            client.send(self.0.as_str()).await?;
            Ok(())
        }
    }
    async fn make(start: Start<AppConfig>) -> Result<App> {
        Ok(App(start.app.greeting))
    }
    let _function = || businessworker::main(make);
    let _closure = || businessworker::main(async |start: Start<AppConfig>| Ok(App(start.app.greeting)));
}
