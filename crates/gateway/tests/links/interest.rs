//! Interest links: what a subscriber is told, and joins that wait for it.

use gatewayworker_protocol::interest::{InterestReport, InterestUpdate, Name, NameFilter};
use gatewayworker_protocol::php::Value;
use gatewayworker_protocol::{Command, Features, Hello, PingBody, Question};

use crate::harness::{Gateway, Peer, client, connected, gateway, hello};

/// A subscriber that has read the whole filter.
struct Subscriber {
    peer: Peer,
    version: u64,
    filter: NameFilter,
}

impl Subscriber {
    async fn connect(gateway: &Gateway) -> Self {
        let mut peer = subscribe(gateway).await;
        let Some(Command::Ping(body)) = peer.command().await.unwrap() else { panic!("no welcome") };
        let Some(PingBody::Welcome { features, .. }) = PingBody::parse(&body) else { panic!("{body:?}") };
        assert!(features.interest);
        let mut bits = Vec::new();
        loop {
            let InterestUpdate::Filter(piece) = update(&mut peer).await else { panic!("no filter") };
            bits.extend_from_slice(&piece.bits);
            if bits.len() == piece.len as usize {
                let filter = NameFilter::from_bytes(&bits).unwrap();
                return Self { peer, version: piece.version, filter };
            }
        }
    }

    async fn say(&mut self, report: InterestReport) {
        self.peer.send([Command::InterestReport(report)]).await;
    }

    /// Gets a lease.
    async fn lease(&mut self) {
        self.say(InterestReport::Applied(self.version)).await;
        self.say(InterestReport::Renew(77)).await;
        let InterestUpdate::Grant { renewed_at_ms: 77, lease_ms } = update(&mut self.peer).await else {
            panic!("no grant")
        };
        assert_eq!(lease_ms, 3_000);
    }

    /// Reads an announcement, and says that it is applied.
    async fn apply(&mut self) -> Vec<Name> {
        let InterestUpdate::Names { version, names } = update(&mut self.peer).await else {
            panic!("no names")
        };
        self.say(InterestReport::Applied(version)).await;
        names
    }
}

async fn subscribe(gateway: &Gateway) -> Peer {
    let features = Some(Features { interest: true, ..Features::default() });
    let mut peer = Peer::connect(gateway).await;
    peer.send([Command::ClientConnect(Hello { features, worker_key: None, ..hello("", "") })]).await;
    peer
}

async fn update(peer: &mut Peer) -> InterestUpdate {
    match peer.command().await.unwrap() {
        Some(Command::Interest(update)) => update,
        other => panic!("{other:?}"),
    }
}

/// A worker and a client of it.
async fn member(gateway: &Gateway) -> (Peer, tokio::net::TcpStream, u32) {
    let mut worker = Peer::worker(gateway, "W:0").await;
    let client = client(gateway).await;
    let id = connected(&mut worker).await;
    (worker, client, id)
}

fn count(group: &str) -> Question {
    Question::Count(Some(group.to_owned().into()))
}

#[tokio::test]
async fn a_first_join_takes_effect_when_the_subscriber_has_applied_it() {
    let gateway = gateway(|_| ()).await;
    let (_worker, _client, id) = member(&gateway).await;
    let mut subscriber = Subscriber::connect(&gateway).await;
    subscriber.lease().await;
    let (mut joins, mut asks) = (Peer::connect(&gateway).await, Peer::connect(&gateway).await);
    joins.send([Command::JoinGroup { connection_id: id, group: "a".into() }]).await;
    joins.send([Command::BindUid { connection_id: id, uid: "b".into() }]).await;
    let InterestUpdate::Names { version, mut names } = update(&mut subscriber.peer).await else { panic!() };
    // The other link's question is answered: nobody is a member yet.
    assert_eq!(asks.ask(count("a")).await, Value::Int(0));
    subscriber.say(InterestReport::Applied(version)).await;
    if names.len() == 1 {
        // The second command came in another read.
        names.extend(subscriber.apply().await);
    }
    assert_eq!(names, [Name::group(b"a"), Name::uid(b"b")]);
    assert_eq!(joins.ask(count("a")).await, Value::Int(1));
    assert_eq!(asks.ask(count("a")).await, Value::Int(1));
    // A second join is no news.
    asks.send([Command::JoinGroup { connection_id: id, group: "a".into() }]).await;
    assert_eq!(asks.ask(count("a")).await, Value::Int(1));
}

#[tokio::test]
async fn a_join_waits_for_no_subscriber_without_a_lease_or_one_that_has_left() {
    let gateway = gateway(|_| ()).await;
    let (mut worker, _client, id) = member(&gateway).await;
    let _never_renews = Subscriber::connect(&gateway).await;
    let mut leaves = Subscriber::connect(&gateway).await;
    leaves.lease().await;
    drop(leaves);
    worker.send([Command::JoinGroup { connection_id: id, group: "a".into() }]).await;
    let mut asks = Peer::connect(&gateway).await;
    while asks.ask(count("a")).await != Value::Int(1) {}
}

#[tokio::test]
async fn a_new_subscriber_is_told_of_what_there_is() {
    let gateway = gateway(|_| ()).await;
    let (_worker, _client, id) = member(&gateway).await;
    let mut joins = Peer::connect(&gateway).await;
    joins.send([Command::JoinGroup { connection_id: id, group: "a".into() }]).await;
    assert_eq!(joins.ask(count("a")).await, Value::Int(1));
    let subscriber = Subscriber::connect(&gateway).await;
    assert!(subscriber.filter.may_have(Name::group(b"a")) && !subscriber.filter.may_have(Name::group(b"b")));
}

#[tokio::test]
async fn without_interest_nobody_is_told() {
    let gateway = gateway(|config| config.interest = false).await;
    let mut peer = subscribe(&gateway).await;
    // The link is a client library's: it has questions answered.
    assert_eq!(peer.ask(count("a")).await, Value::Int(0));
}
