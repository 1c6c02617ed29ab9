//! The history of groups: the same in memory, over a real Redis and over a real NATS with JetStream.

use std::cell::RefCell;
use std::collections::BTreeSet;

use gatewayworker::businessworker::{Config, HistoryConfig};
use gatewayworker::history::{Entry, Error, Page, Position, Seen, Settings, Sight};
use gatewayworker::{ClientId, Gateway, History, OutMessage};
use gatewayworker_tests::metrics::Scrape;
use gatewayworker_tests::{Cluster, NatsServer, RedisServer, WsClient, eventually};
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// Where messages are kept: in a worker's memory, or a server that a test may kill.
enum Store {
    Memory,
    Redis(RedisServer),
    Nats(NatsServer),
}

impl Store {
    fn url(&self) -> String {
        match self {
            Self::Memory => "memory:".into(),
            Self::Redis(server) => server.url(),
            Self::Nats(server) => server.url(),
        }
    }

    /// The history of a worker, once the server is there.
    async fn open(&self, settings: Settings, gateway: &Gateway) -> History {
        let history = History::open_with(&self.url(), settings, gateway).unwrap();
        eventually("the store to answer", async || history.last("nobody", 1).await.is_ok()).await;
        history
    }
}

fn redis() -> Store {
    Store::Redis(RedisServer::start())
}

fn nats() -> Store {
    Store::Nats(NatsServer::with_jetstream())
}

/// A message as members get it: with its position.
fn with_position(entry: &Entry) -> OutMessage {
    format!("{} {}", entry.position, entry.text().unwrap()).into()
}

fn position_of(text: &str) -> Position {
    text.split(' ').next().unwrap().parse().unwrap()
}

fn texts(page: &Page) -> Vec<&str> {
    page.messages.iter().map(|entry| entry.text().unwrap()).collect()
}

/// Publishes the numbers one after the other, and returns the position of the last.
async fn publish(history: &History, group: &str, range: impl IntoIterator<Item = u64>) -> Position {
    let mut last = Position::default();
    for n in range {
        last = history.publish(group, n.to_string()).await.unwrap().position;
    }
    last
}

async fn member(cluster: &Cluster, history: &History, group: &str) -> (WsClient, ClientId) {
    let (client, id) = WsClient::greeted(cluster.listener()).await;
    history.join(id, group, None, 1).await.unwrap();
    (client, id)
}

/// Who returns gets what was missed, page by page, and is told whether that is all.
async fn gaps(store: Store) {
    let cluster = Cluster::start().await;
    let hour = 3_600_000;
    let settings = Settings::default().with_kept(10, hour).with_prefix("short-", 2, hour);
    let history = store.open(settings, &cluster.api().await).await;

    let nothing = history.last("room", 5).await.unwrap();
    assert_eq!((nothing.messages.len(), nothing.whole, nothing.position), (0, false, Position::default()));

    let third = publish(&history, "room", 1..=3).await;
    assert_eq!(third.offset, 3);
    let all = history.last("room", 5).await.unwrap();
    assert_eq!((texts(&all), all.whole, all.more, all.position), (vec!["1", "2", "3"], true, false, third));
    assert!(all.messages.iter().all(|entry| entry.time_ms.abs_diff(all.messages[0].time_ms) < 60_000));
    let gap = history.since("room", third, 5).await.unwrap();
    assert_eq!((gap.messages.len(), gap.whole, gap.more, gap.position), (0, true, false, third));

    let seventh = publish(&history, "room", 4..=7).await;
    let gap = history.since("room", third, 2).await.unwrap();
    assert_eq!((texts(&gap), gap.whole, gap.more), (vec!["4", "5"], true, true));
    let gap = history.since("room", gap.position, 2).await.unwrap();
    assert_eq!((texts(&gap), gap.whole, gap.more, gap.position), (vec!["6", "7"], true, false, seventh));

    // Ten are kept: the gap after 3 lacks nothing, and lacks the fourth when there is one more.
    publish(&history, "room", 8..=13).await;
    let gap = history.since("room", third, 100).await.unwrap();
    assert_eq!((gap.messages.len(), gap.whole), (10, true));
    publish(&history, "room", [14]).await;
    let gap = history.since("room", third, 100).await.unwrap();
    assert_eq!((texts(&gap)[0], gap.messages.len(), gap.whole), ("5", 10, false));

    let other = Position { epoch: third.epoch ^ 1, ..third };
    assert!(!history.since("room", other, 1).await.unwrap().whole);
    let beyond = Position { offset: 15, ..third };
    assert!(!history.since("room", beyond, 1).await.unwrap().whole);

    publish(&history, "short-1", 1..=3).await;
    assert_eq!(texts(&history.last("short-1", 5).await.unwrap()), ["2", "3"]);
}

pub(crate) async fn in_memory_who_returns_gets_what_was_missed_and_is_told_whether_that_is_all() {
    gaps(Store::Memory).await;
}

pub(crate) async fn in_redis_who_returns_gets_what_was_missed_and_is_told_whether_that_is_all() {
    gaps(redis()).await;
}

pub(crate) async fn in_nats_who_returns_gets_what_was_missed_and_is_told_whether_that_is_all() {
    gaps(nats()).await;
}

/// Old messages go, each group's after its own time.
async fn ages(store: &Store) {
    let cluster = Cluster::start().await;
    let settings = Settings::default().with_prefix("brief-", 100, 400);
    let history = store.open(settings, &cluster.api().await).await;
    let first = publish(&history, "brief-1", [1]).await;
    publish(&history, "room", [1]).await;
    let is_gone = async || history.last("brief-1", 5).await.unwrap().messages.is_empty();
    eventually("the message to be too old", is_gone).await;
    let again = publish(&history, "brief-1", [2]).await;
    let gap = history.since("brief-1", first, 5).await.unwrap();
    assert_eq!(texts(&gap), ["2"]);
    // JetStream keeps a message for the longest time of all groups, and remembers the number as long.
    assert_eq!(gap.whole, again == Position { offset: 2, ..first });
    assert_eq!(gap.whole, matches!(store, Store::Nats(_)));
    assert_eq!(texts(&history.last("room", 5).await.unwrap()), ["1"]);
}

/// A group without messages begins anew, and nobody takes it for the old one.
async fn forgets(store: &Store) {
    let cluster = Cluster::start().await;
    let settings = Settings::default().with_kept(100, 1000);
    let history = store.open(settings, &cluster.api().await).await;
    let first = publish(&history, "forgotten", [1]).await;
    let is_forgotten = async || publish(&history, "forgotten", [2]).await.epoch != first.epoch;
    // Each message would keep the group for another second.
    let is_gone = async || history.last("forgotten", 5).await.unwrap().messages.is_empty();
    eventually("the message to be too old", is_gone).await;
    eventually("the group to be forgotten", async || is_gone().await && is_forgotten().await).await;
    let gap = history.since("forgotten", first, 5).await.unwrap();
    assert_eq!((texts(&gap), gap.whole, gap.position.offset), (vec!["2"], false, 1));
}

pub(crate) async fn in_memory_old_messages_go_by_the_time_of_their_group() {
    ages(&Store::Memory).await;
}

pub(crate) async fn in_memory_a_group_of_which_nothing_is_kept_begins_a_new_epoch() {
    forgets(&Store::Memory).await;
}

pub(crate) async fn in_redis_old_messages_go_by_the_time_of_their_group() {
    ages(&redis()).await;
}

pub(crate) async fn in_redis_a_group_of_which_nothing_is_kept_begins_a_new_epoch() {
    forgets(&redis()).await;
}

pub(crate) async fn in_nats_old_messages_go_by_the_time_of_their_group() {
    ages(&nats()).await;
}

pub(crate) async fn in_nats_a_group_of_which_nothing_is_kept_begins_a_new_epoch() {
    forgets(&nats()).await;
}

/// Members get messages in the order of their positions, and who joins meanwhile misses none.
async fn members(store: Store) {
    const MESSAGES: u64 = 400;
    let cluster = Cluster::builder().gateways(2).start().await;
    let settings = Settings::default().with_kept(MESSAGES, 3_600_000);
    let history = store.open(settings, &cluster.api().await).await;
    let (mut early, _) = member(&cluster, &history, "room").await;
    let (mut late, late_id) = WsClient::greeted(cluster.gateways[1].listener).await;

    let (tenth, half) = oneshot::channel();
    let publisher = history.clone();
    let publishing = tokio::spawn(async move {
        let mut tenth = Some(tenth);
        for n in 0..MESSAGES / 10 {
            // Ten at once: they are kept in some order, and sent in the same.
            let ten = (0..10).map(|m| publisher.publish_as("room", format!("{n}.{m}"), with_position));
            let ten = futures_util::future::join_all(ten).await;
            assert!(ten.into_iter().all(|published| published.unwrap().delivery.is_complete()));
            if n == 10 {
                let _ = tenth.take().map(|tenth| tenth.send(()));
            }
        }
    });
    half.await.unwrap();
    let page = history.join(late_id, "room", None, 50).await.unwrap();
    publishing.await.unwrap();

    for offset in 1..=MESSAGES {
        assert_eq!(position_of(&early.text().await).offset, offset);
    }
    let mut seen = Seen::after(page.position);
    let last = Position { offset: MESSAGES, epoch: page.position.epoch };
    while seen.last() != last {
        assert_ne!(seen.note(position_of(&late.text().await)), Sight::Gap);
    }
    let all: BTreeSet<_> =
        history.last("room", 1000).await.unwrap().messages.into_iter().map(|m| m.message).collect();
    assert_eq!(all.len() as u64, MESSAGES);
}

pub(crate) async fn in_memory_members_get_messages_in_order_and_who_joins_misses_none() {
    members(Store::Memory).await;
}

pub(crate) async fn in_redis_members_get_messages_in_order_and_who_joins_misses_none() {
    members(redis()).await;
}

pub(crate) async fn in_nats_members_get_messages_in_order_and_who_joins_misses_none() {
    members(nats()).await;
}

/// Any group and any message, as they were.
async fn odd_names(store: Store) {
    let cluster = Cluster::start().await;
    let history = store.open(Settings::default(), &cluster.api().await).await;
    let longest = "é".repeat(100);
    for group in ["room.*.>", "价格", "a b\n", "}{:m", "a.", "$", &longest] {
        let binary = OutMessage::from(vec![0, 255, b'\r', b'\n']).binary();
        history.publish(group, binary).await.unwrap();
        history.publish(group, "").await.unwrap();
        let page = history.last(group, 5).await.unwrap();
        let kept: Vec<_> = page.messages.iter().map(|entry| (entry.message.to_vec(), entry.binary)).collect();
        assert_eq!(kept, [(vec![0, 255, b'\r', b'\n'], true), (vec![], false)], "{group}");
    }
    let large = "x".repeat(64 * 1024);
    history.publish("large", large.clone()).await.unwrap();
    assert_eq!(texts(&history.last("large", 1).await.unwrap()), [large]);
}

pub(crate) async fn in_memory_groups_and_messages_are_any_bytes() {
    odd_names(Store::Memory).await;
}

pub(crate) async fn in_redis_groups_and_messages_are_any_bytes() {
    odd_names(redis()).await;
}

pub(crate) async fn in_nats_groups_and_messages_are_any_bytes() {
    odd_names(nats()).await;
}

pub(crate) async fn in_memory_a_second_worker_is_refused_until_the_first_has_no_history_any_more() {
    let cluster = Cluster::builder().workers(2).start().await;
    let open = async |worker: usize| {
        History::open("memory:", &cluster.workers[worker].events.gateway().await).unwrap()
    };
    let first = open(0).await;
    publish(&first, "room", 1..=2).await;
    let second = open(1).await;
    let is_refused = async || matches!(second.last("room", 1).await, Err(Error::SecondWorker));
    eventually("the second worker to be refused", is_refused).await;
    let refused = second.publish("room", "3").await.unwrap_err().to_string();
    assert!(refused.contains("redis:// or nats://"), "{refused}");
    publish(&first, "room", [3]).await;
    assert_eq!(texts(&first.last("room", 5).await.unwrap()), ["1", "2", "3"]);
    let problem = second.stats().problem.unwrap();
    assert!(problem.starts_with("history: another worker keeps the history in its memory"), "{problem}");
    assert_eq!(first.stats().problem, None);
    drop(first);
    eventually("the second worker to take over", async || second.last("room", 1).await.is_ok()).await;
    assert_eq!(second.stats().problem, None);
}

/// The numbers of the history of a cluster's first worker, by their names without `gatewayworker_history_`.
async fn numbers(cluster: &Cluster) -> impl Fn(&str) -> f64 {
    let scrape = Scrape::of(cluster.workers[0].metrics.unwrap()).await;
    move |name| scrape.get(&format!("gatewayworker_history_{name}"))
}

pub(crate) async fn in_memory_metrics_count_what_is_published_read_and_kept() {
    let small = |config: &mut Config| {
        with_history(config);
        (config.history.max_messages, config.history.max_message_bytes) = (2, 10);
    };
    let cluster = Cluster::builder().metrics().worker(small).start().await;
    let history = History::of(&cluster.api().await).unwrap();
    let first = publish(&history, "room", 1..=4).await;
    assert!(history.publish("room", "eleven byte").await.is_err());
    let panics = history.publish_as("room", "5", |_| panic!("as asked")).await;
    assert!(panics.is_err());
    history.since("room", Position { offset: 3, ..first }, 5).await.unwrap();
    history.since("room", Position { offset: 1, ..first }, 5).await.unwrap();
    history.last("room", 5).await.unwrap();
    let (_client, _) = member(&cluster, &history, "room").await;

    let of = numbers(&cluster).await;
    let publishes = ["sent", "not_sent", "unknown", "refused"];
    let publishes = publishes.map(|result| of(&format!("publishes_total{{result=\"{result}\"}}")));
    assert_eq!(publishes, [4.0, 1.0, 0.0, 1.0]);
    let reads = [("since", "ok"), ("since", "gap"), ("last", "ok"), ("join", "ok"), ("join", "failed")];
    let reads =
        reads.map(|(call, result)| of(&format!("reads_total{{call=\"{call}\",result=\"{result}\"}}")));
    assert_eq!(reads, [1.0, 1.0, 1.0, 1.0, 0.0]);
    assert_eq!([of("kept_groups"), of("kept_messages"), of("up{store=\"memory\"}")], [1.0, 2.0, 1.0]);
    assert!((258.0..400.0).contains(&of("kept_bytes")), "{}", of("kept_bytes"));

    let without = Cluster::builder().metrics().start().await;
    let scrape = Scrape::of(without.workers[0].metrics.unwrap()).await;
    assert!(!scrape.text.contains("gatewayworker_history"), "{}", scrape.text);
}

pub(crate) async fn in_memory_of_two_workers_with_one_in_their_file_one_is_refused_and_shows_it() {
    let cluster = Cluster::builder().metrics().workers(2).worker(with_history).start().await;
    let up = async || {
        let of = |worker: usize| Scrape::of(cluster.workers[worker].metrics.unwrap());
        let [first, second] = [of(0).await, of(1).await];
        [first, second].map(|scrape| scrape.get("gatewayworker_history_up{store=\"memory\"}"))
    };
    eventually("one of them to be refused", async || up().await.iter().sum::<f64>() == 1.0).await;
    let owner = up().await.iter().position(|up| *up == 1.0).unwrap();
    let history = |worker: usize| {
        let api = cluster.workers[worker].events.gateway();
        async { History::of(&api.await).unwrap() }
    };
    publish(&history(owner).await, "room", [1]).await;
    let refused = history(1 - owner).await.publish("room", "2").await;
    assert!(matches!(refused, Err(Error::SecondWorker)), "{refused:?}");
    let scrape = Scrape::of(cluster.workers[1 - owner].metrics.unwrap()).await;
    let counted = |name: &str| scrape.get(&format!("gatewayworker_history_{name}"));
    assert_eq!(counted("errors_total{store=\"memory\",error=\"second_worker\"}"), 1.0);
    assert_eq!(counted("publishes_total{result=\"refused\"}"), 1.0);
}

/// Metrics and the notice of `status` name a server that is away, without a call, and until it is back.
async fn says_that_it_is_away(store: &str, url: String, kill: impl FnOnce(), start_again: impl FnOnce()) {
    let configure = |config: &mut Config| config.history = HistoryConfig::at(url);
    let cluster = Cluster::builder().metrics().worker(configure).start().await;
    let history = History::of(&cluster.api().await).unwrap();
    let up = async || numbers(&cluster).await(&format!("up{{store=\"{store}\"}}"));
    until_it_is_back(&history).await;
    assert_eq!((up().await, history.stats().problem), (1.0, None));
    kill();
    eventually("the server to be missed", async || up().await == 0.0).await;
    let problem = history.stats().problem.unwrap();
    assert!(problem.starts_with(&format!("history: {store} cannot keep or return messages: ")), "{problem}");
    assert!(history.publish("room", "1").await.is_err());
    let of = numbers(&cluster).await;
    assert_eq!(of("publishes_total{result=\"unknown\"}"), 1.0);
    let errors = ["server", "timed_out"];
    let errors = errors.map(|error| of(&format!("errors_total{{store=\"{store}\",error=\"{error}\"}}")));
    assert!(errors.iter().sum::<f64>() >= 1.0, "{errors:?}");
    start_again();
    eventually("the server to be found again", async || up().await == 1.0).await;
    assert_eq!(history.stats().problem, None);
}

pub(crate) async fn a_redis_that_is_away_is_named_until_it_is_back() {
    let server = RefCell::new(RedisServer::start());
    let url = server.borrow().url();
    let (kill, start) = (|| server.borrow_mut().kill(), || server.borrow_mut().start_again());
    says_that_it_is_away("redis", url, kill, start).await;
}

pub(crate) async fn a_nats_that_is_away_is_named_until_it_is_back() {
    let server = RefCell::new(NatsServer::with_jetstream());
    let url = server.borrow().url();
    let (kill, start) = (|| server.borrow_mut().kill(), || server.borrow_mut().start_again());
    says_that_it_is_away("nats", url, kill, start).await;
}

/// Two workers publish to one group: one sequence, and both read the same.
async fn two_workers(store: Store) {
    let cluster = Cluster::builder().workers(2).start().await;
    let mut histories = Vec::new();
    for worker in &cluster.workers {
        histories.push(
            store.open(Settings::default().with_kept(200, 3_600_000), &worker.events.gateway().await).await,
        );
    }
    let (mut client, _) = member(&cluster, &histories[0], "room").await;
    let publish = histories.iter().map(async |history| {
        for n in 0..50_u64 {
            history.publish_as("room", n.to_string(), with_position).await.unwrap();
        }
    });
    futures_util::future::join_all(publish).await;
    let mut received = Vec::new();
    for _ in 0..100 {
        received.push(position_of(&client.text().await));
    }
    let epochs: BTreeSet<_> = received.iter().map(|position| position.epoch).collect();
    assert_eq!(epochs.len(), 1);
    received.sort_by_key(|position| position.offset);
    assert_eq!(
        received.iter().map(|position| position.offset).collect::<Vec<_>>(),
        (1..=100).collect::<Vec<_>>()
    );
    let [one, other] =
        [histories[0].last("room", 200).await.unwrap(), histories[1].last("room", 200).await.unwrap()];
    assert_eq!(one, other);
    assert_eq!((one.messages.len(), one.whole), (100, true));
}

pub(crate) async fn in_redis_two_workers_publish_one_sequence() {
    two_workers(redis()).await;
}

pub(crate) async fn in_nats_two_workers_publish_one_sequence() {
    two_workers(nats()).await;
}

/// A history on a server that goes and comes back: calls fail meanwhile, and work again.
async fn until_it_is_back(history: &History) {
    eventually("the store to be back", async || history.last("nobody", 1).await.is_ok()).await;
}

pub(crate) async fn after_redis_has_lost_everything_or_may_have_a_gap_is_not_whole() {
    let mut server = RedisServer::start();
    let cluster = Cluster::start().await;
    let history = History::open(&server.url(), &cluster.api().await).unwrap();
    until_it_is_back(&history).await;
    let third = publish(&history, "room", 1..=3).await;

    // Everything was saved, and nothing is lost. Only Redis cannot know.
    server.save_and_start_again();
    until_it_is_back(&history).await;
    let gap = history.since("room", third, 5).await.unwrap();
    assert_eq!((texts(&gap), gap.whole), (vec!["1", "2", "3"], false));
    assert_ne!(gap.position.epoch, third.epoch);
    assert!(history.since("room", gap.position, 5).await.unwrap().whole);
    let fourth = publish(&history, "room", [4]).await;
    assert_eq!(fourth, Position { offset: 4, epoch: gap.position.epoch });

    // The fourth is lost: the next message takes its number, and another epoch.
    server.kill();
    assert!(history.publish("room", "lost").await.is_err());
    assert!(history.last("room", 1).await.is_err());
    server.start_again();
    until_it_is_back(&history).await;
    let fourth_again = publish(&history, "room", [4]).await;
    assert_eq!(fourth_again.offset, 4);
    assert_ne!(fourth_again.epoch, fourth.epoch);
    assert!(!history.since("room", fourth, 5).await.unwrap().whole);
}

pub(crate) async fn after_nats_was_killed_the_gap_is_whole_and_without_its_disk_it_is_not() {
    let mut server = NatsServer::with_jetstream();
    let cluster = Cluster::start().await;
    let history = History::open(&server.url(), &cluster.api().await).unwrap();
    until_it_is_back(&history).await;
    let third = publish(&history, "room", 1..=3).await;
    server.kill();
    let is_refused = async || history.publish("room", "lost").await.is_err();
    eventually("a message to be refused", is_refused).await;
    server.start_again();
    until_it_is_back(&history).await;
    let fourth = publish(&history, "room", [4]).await;
    assert_eq!(fourth, Position { offset: 4, ..third });
    let gap = history.since("room", third, 5).await.unwrap();
    assert_eq!((texts(&gap), gap.whole), (vec!["4"], true));

    assert!(
        server.ask_jetstream("STREAM.DELETE.gatewayworker-history", "{}").await.unwrap().contains("true")
    );
    eventually("the stream to be made again", async || history.publish("room", "5").await.is_ok()).await;
    let gap = history.since("room", fourth, 5).await.unwrap();
    assert_eq!((texts(&gap), gap.whole), (vec!["5"], false));
    assert_ne!(gap.position.epoch, fourth.epoch);
}

pub(crate) async fn without_jetstream_nats_says_what_to_do() {
    let server = NatsServer::start();
    let cluster = Cluster::start().await;
    let history = History::open(&server.url(), &cluster.api().await).unwrap();
    let says_so = async || {
        let refused = history.publish("room", "1").await.unwrap_err().to_string();
        refused.contains("start nats-server with -js")
    };
    eventually("the refusal to say why", says_so).await;
}

fn with_history(config: &mut Config) {
    config.history = HistoryConfig::at("memory:");
}

pub(crate) async fn over_http_and_in_handlers_it_is_the_one_of_the_workers_file() {
    let cluster = Cluster::builder().http().worker(with_history).start().await;
    let history = History::of(&cluster.api().await).expect("the worker has a history");
    let (mut client, _) = member(&cluster, &history, "room").await;
    let push = async |call: &str, params: Value| cluster.push(call, &params).send().await.body;

    let message = json!({"group": "room", "message": "hello"});
    let published = push("publish", message).await["result"].take();
    assert_eq!(client.text().await, "hello");
    let position: Position = published["position"].as_str().unwrap().parse().unwrap();
    assert_eq!((position.offset, &published["unreached"]), (1, &json!([])));

    let message = json!({"group": "room", "message": {"n": 1}, "with_position": true});
    let second = push("publish", message).await["result"]["position"].take();
    let live = client.json().await;
    assert_eq!((&live["position"], &live["message"]), (&second, &json!("{\"n\":1}")));
    assert_eq!((&live["gw"], &live["group"]), (&json!("message"), &json!("room")));

    let since = json!({"group": "room", "position": published["position"], "limit": 5});
    let page = push("history_since", since).await["result"].take();
    assert_eq!((&page["whole"], &page["messages"][0]["position"]), (&json!(true), &second));
    let page = push("history_last", json!({"group": "room"})).await["result"].take();
    assert_eq!(page["messages"].as_array().unwrap().len(), 2);
    assert_eq!(texts(&history.last("room", 5).await.unwrap()), ["hello", "{\"n\":1}"]);

    let long = json!({"group": "room", "message": "x".repeat(65_537)});
    assert_eq!(push("publish", long).await["error"]["code"], "bad_params");
}

pub(crate) async fn a_worker_without_one_says_so() {
    let cluster = Cluster::builder().http().start().await;
    assert!(History::of(&cluster.api().await).is_none());
    for (call, params) in [
        ("publish", json!({"group": "room", "message": "hello"})),
        ("history_last", json!({"group": "room"})),
        ("history_since", json!({"group": "room", "position": "1-a"})),
    ] {
        let answer = cluster.push(call, &params).send().await;
        assert_eq!((answer.status, &answer.body["error"]["code"]), (501, &json!("no_history")), "{call}");
    }
}
