//! Presence: what rooms hear of uids that come and go on two gateways, and who is asked for.

use gatewayworker::{ClientId, Gateway};
use gatewayworker_tests::process::{Process, free_port};
use gatewayworker_tests::{Cluster, ClusterBuilder, WsClient, eventually};
use serde_json::{Value, json};

fn two_gateways(linger_ms: u64) -> ClusterBuilder {
    Cluster::builder().gateways(2).gateway(|config| {
        config.presence.groups = vec!["room-*".into()];
        config.presence.data = vec!["name".into()];
        config.presence.linger_ms = linger_ms;
        config.presence.gateway_lost_after_ms = 1_000;
    })
}

/// The cluster and its API, with the clients of one gateway or another.
struct Rooms {
    cluster: Cluster,
    api: Gateway,
}

impl Rooms {
    async fn start(linger_ms: u64) -> Self {
        let cluster = two_gateways(linger_ms).start().await;
        let api = cluster.api().await;
        Self { cluster, api }
    }

    /// A client without a uid, which hears what is said in a room.
    async fn observer(&self, gateway: usize, room: &str) -> WsClient {
        let (client, id) = WsClient::greeted(self.cluster.gateways[gateway].listener).await;
        self.api.join_group(id, room).await.unwrap();
        eventually("it to be in the room", async || {
            self.api.client_ids_by_group(room).await.unwrap().contains(&id)
        })
        .await;
        client
    }

    /// A client with this uid in a room.
    async fn enter(&self, gateway: usize, room: &str, uid: &str) -> (WsClient, ClientId) {
        let (client, id) = WsClient::greeted(self.cluster.gateways[gateway].listener).await;
        self.api.set_session(id, &json!({"name": uid.to_uppercase(), "secret": 1})).await.unwrap();
        self.api.bind_uid(id, uid).await.unwrap();
        self.api.join_group(id, room).await.unwrap();
        (client, id)
    }
}

fn said(event: &str, room: &str, uid: &str) -> Value {
    json!({"gw": "presence", "event": event, "group": room, "uid": uid, "data": {"name": uid.to_uppercase()}})
}

#[tokio::test]
async fn a_room_hears_of_a_uids_first_client_and_of_its_last_one_on_whichever_gateway() {
    let rooms = Rooms::start(100).await;
    // Whoever owns the room: some are the first gateway's, some the second's.
    for room in ["room-1", "room-2", "room-3", "room-4"] {
        let mut observer = rooms.observer(0, room).await;
        let (first, _) = rooms.enter(0, room, "ann").await;
        assert_eq!(observer.json().await, said("join", room, "ann"));
        let (second, second_id) = rooms.enter(1, room, "ann").await;
        // Reports of one gateway are in order, so had the second client been announced, it were before this.
        let (bob, bob_id) = rooms.enter(1, room, "bob").await;
        assert_eq!(observer.json().await, said("join", room, "bob"));
        first.close().await;
        let (cat, _) = rooms.enter(0, room, "cat").await;
        assert_eq!(observer.json().await, said("join", room, "cat"));
        // Each way to leave: the group, the uid, the connection.
        rooms.api.leave_group(second_id, room).await.unwrap();
        assert_eq!(observer.json().await, said("leave", room, "ann"));
        rooms.api.unbind_uid(bob_id, "bob").await.unwrap();
        assert_eq!(observer.json().await, said("leave", room, "bob"));
        cat.close().await;
        assert_eq!(observer.json().await, said("leave", room, "cat"));
        drop((second, bob));
    }
}

#[tokio::test]
async fn a_uid_that_comes_back_within_linger_ms_has_not_left() {
    let rooms = Rooms::start(1_000).await;
    let mut observer = rooms.observer(0, "room-1").await;
    let (ann, _) = rooms.enter(0, "room-1", "ann").await;
    let (bob, _) = rooms.enter(0, "room-1", "bob").await;
    assert_eq!(observer.json().await, said("join", "room-1", "ann"));
    assert_eq!(observer.json().await, said("join", "room-1", "bob"));
    ann.close().await;
    let (_ann, _) = rooms.enter(1, "room-1", "ann").await;
    bob.close().await;
    // Had ann left, the room had heard of it before.
    assert_eq!(observer.json().await, said("leave", "room-1", "bob"));
}

#[tokio::test]
async fn other_groups_and_clients_without_a_uid_have_no_presence() {
    let rooms = Rooms::start(100).await;
    let mut observer = rooms.observer(0, "lobby").await;
    let (_ann, ann_id) = rooms.enter(0, "lobby", "ann").await;
    let _nobody = rooms.observer(1, "room-1").await;
    rooms.api.join_group(ann_id, "room-1").await.unwrap();
    eventually("ann to be in the room", async || {
        rooms.api.presence("room-1").await.unwrap().members.iter().any(|one| one.uid.to_string() == "ann")
    })
    .await;
    assert_eq!(rooms.api.presence("room-1").await.unwrap().total, 1);
    rooms.api.send_to_group(["lobby"], "marker").await.unwrap();
    assert_eq!(observer.text().await, "marker");
}

#[tokio::test]
async fn who_is_in_a_group_is_asked_for_in_every_way() {
    let cluster = two_gateways(100).http().start().await;
    let api = cluster.api().await;
    let rooms = Rooms { cluster, api };
    let (_ann, ann_id) = rooms.enter(0, "room-1", "ann").await;
    let (_again, _) = rooms.enter(1, "room-1", "ann").await;
    let (_bob, _) = rooms.enter(1, "room-1", "bob").await;
    let expected = |name: &str| {
        let members =
            [("ann", name), ("bob", "BOB")].map(|(uid, name)| json!({"uid": uid, "data": {"name": name}}));
        json!({"members": members, "total": 2})
    };
    let push = async || {
        let mut answer =
            rooms.cluster.push("presence", &json!({"group": "room-1"})).send().await.result().clone();
        answer["members"].as_array_mut().unwrap().sort_by_key(|one| one["uid"].to_string());
        answer
    };
    assert_eq!(push().await, expected("ANN"));
    let called = rooms.api.call("presence", json!({"group": "room-1"})).await.unwrap();
    assert_eq!(called["total"], 2);
    let (_dan, dan_id) = rooms.enter(0, "lobby", "dan").await;
    let lobby = rooms.api.presence("lobby").await.unwrap();
    assert_eq!(
        (lobby.total, lobby.members[0].uid.to_string()),
        (1, "dan".into()),
        "any group may be asked for"
    );
    for id in [ann_id, dan_id] {
        rooms.api.update_session(id, &json!({"name": "Ann!"})).await.unwrap();
    }
    let lobby = rooms.api.presence("lobby").await.unwrap();
    assert_eq!(lobby.members[0].data["name"], "Ann!", "a change of the session is seen");
    assert_eq!(rooms.api.presence("empty").await.unwrap().total, 0);
}

#[tokio::test]
async fn the_uids_of_a_killed_gateway_leave_and_those_that_are_elsewhere_stay() {
    let rooms = Rooms::start(100).await;
    let (inner, listener) = (free_port(), free_port());
    let (lan_port, url) = (inner.to_string(), format!("websocket://127.0.0.1:{listener}"));
    let register = rooms.cluster.register.to_string();
    let presence = ["--presence-groups", "room-*", "--presence-data", "name", "--presence-linger-ms", "100"];
    let arguments = ["gateway", "--listen", &url, "--lan-port", &lan_port, "--register-address", &register];
    let third = Process::start(&[&arguments[..], &presence].concat());
    let listener = ([127, 0, 0, 1], listener).into();
    eventually("the third gateway", async || WsClient::try_connect(listener, "/").await.is_ok()).await;

    let names: Vec<_> = (1..=6).map(|n| format!("room-{n}")).collect();
    let mut heard = Vec::new();
    let mut clients = Vec::new();
    let (gone, gone_id) = WsClient::greeted(listener).await;
    let (both, both_id) = WsClient::greeted(listener).await;
    rooms.api.set_session(gone_id, &json!({"name": "GONE"})).await.unwrap();
    rooms.api.bind_uid(gone_id, "gone").await.unwrap();
    rooms.api.bind_uid(both_id, "both").await.unwrap();
    for room in &names {
        let mut observer = rooms.observer(0, room).await;
        clients.push(rooms.enter(1, room, "both").await);
        assert_eq!(observer.json().await, said("join", room, "both"));
        rooms.api.join_group(both_id, room).await.unwrap();
        rooms.api.join_group(gone_id, room).await.unwrap();
        assert_eq!(observer.json().await, said("join", room, "gone"));
        heard.push(observer);
    }
    third.kill();
    for (room, observer) in names.iter().zip(&mut heard) {
        assert_eq!(observer.json().await, said("leave", room, "gone"));
    }
    // The rooms that it owned have other owners now, which know who is there.
    for ((room, observer), (client, _)) in names.iter().zip(&mut heard).zip(clients) {
        client.close().await;
        assert_eq!(observer.json().await, said("leave", room, "both"));
    }
    drop((gone, both));
}

#[tokio::test]
async fn the_uids_of_a_gateway_that_stops_leave_at_once() {
    let cluster = two_gateways(100).gateway(|config| config.presence.gateway_lost_after_ms = 3_600_000);
    let cluster = cluster.start().await;
    let api = cluster.api().await;
    let mut rooms = Rooms { cluster, api };
    let names = ["room-1", "room-2", "room-3", "room-4"];
    let (mut heard, mut clients) = (Vec::new(), Vec::new());
    for room in names {
        let mut observer = rooms.observer(0, room).await;
        clients.push(rooms.enter(1, room, "ann").await);
        assert_eq!(observer.json().await, said("join", room, "ann"));
        heard.push(observer);
    }
    rooms.cluster.gateways[1].stop().await;
    for (room, observer) in names.iter().zip(&mut heard) {
        let mut next = observer.json().await;
        if next == said("join", room, "ann") {
            // The gateway owned the room, and stopped before the next owner knew that this was said.
            next = observer.json().await;
        }
        assert_eq!(next, said("leave", room, "ann"));
    }
}

#[tokio::test]
async fn a_gateway_that_comes_later_takes_rooms_over_and_repeats_nothing() {
    let mut rooms = Rooms::start(100).await;
    let names: Vec<_> = (1..=8).map(|n| format!("room-{n}")).collect();
    let (mut heard, mut clients) = (Vec::new(), Vec::new());
    for room in &names {
        let mut observer = rooms.observer(0, room).await;
        clients.push(rooms.enter(1, room, "ann").await);
        assert_eq!(observer.json().await, said("join", room, "ann"));
        heard.push(observer);
    }
    rooms.cluster.start_gateway().await;
    for (room, observer) in names.iter().zip(&mut heard) {
        let (bob, _) = rooms.enter(2, room, "bob").await;
        assert_eq!(observer.json().await, said("join", room, "bob"));
        bob.close().await;
        assert_eq!(observer.json().await, said("leave", room, "bob"));
    }
    for ((room, observer), (client, _)) in names.iter().zip(&mut heard).zip(clients) {
        client.close().await;
        assert_eq!(observer.json().await, said("leave", room, "ann"));
    }
}
