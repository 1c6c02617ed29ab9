//! The Gateway API, from a worker, with two gateways.

use gatewayworker::{ClientId, Gateway, GroupId, Uid};
use gatewayworker_tests::{Cluster, WsClient, eventually};
use tokio_tungstenite::tungstenite::Message;

/// Two gateways, one worker, and two clients on each gateway.
struct Four {
    cluster: Cluster,
    api: Gateway,
    clients: Vec<WsClient>,
    ids: Vec<ClientId>,
}

async fn four() -> Four {
    let cluster = Cluster::builder().gateways(2).start().await;
    let api = cluster.api().await;
    let (mut clients, mut ids) = (Vec::new(), Vec::new());
    for gateway in [0, 0, 1, 1] {
        let (client, id) = WsClient::greeted(cluster.gateways[gateway].listener).await;
        clients.push(client);
        ids.push(id);
    }
    // A greeting is sent in on_connect, before its client is admitted.
    eventually("all four to be admitted", async || api.client_count().await.unwrap() == 4).await;
    Four { cluster, api, clients, ids }
}

impl Four {
    /// Returns which of the four clients have received `message`. A marker is sent to all after it, which shows that a
    /// client has not received it.
    async fn receivers(&mut self, message: &str) -> Vec<usize> {
        let delivery = self.api.send_to_all("marker").await.unwrap();
        assert!(delivery.is_complete());
        let mut receivers = Vec::new();
        for (n, client) in self.clients.iter_mut().enumerate() {
            loop {
                match client.text().await.as_str() {
                    "marker" => break,
                    text if text == message => receivers.push(n),
                    other => panic!("client {n} got {other:?}"),
                }
            }
        }
        receivers
    }
}

fn sorted<T: Ord>(items: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut items: Vec<T> = items.into_iter().collect();
    items.sort();
    items
}

#[tokio::test]
async fn messages_reach_their_recipients() {
    let mut t = four().await;
    let (api, ids) = (t.api.clone(), t.ids.clone());
    api.bind_uid(ids[0], "u1").await.unwrap();
    api.bind_uid(ids[2], "u1").await.unwrap();
    api.join_group(ids[1], "room").await.unwrap();
    api.join_group(ids[2], "room").await.unwrap();
    api.join_group(ids[2], 7).await.unwrap();

    api.send_to_all("all").await.unwrap();
    assert_eq!(t.receivers("all").await, [0, 1, 2, 3]);
    api.send_to_all("only").only([ids[1], ids[3]]).await.unwrap();
    assert_eq!(t.receivers("only").await, [1, 3]);
    api.send_to_all("except").except([ids[1], ids[3]]).await.unwrap();
    assert_eq!(t.receivers("except").await, [0, 2]);
    api.send_to_client(ids[3], "one").await.unwrap();
    assert_eq!(t.receivers("one").await, [3]);
    api.send_to_uid(["u1"], "uid").await.unwrap();
    assert_eq!(t.receivers("uid").await, [0, 2]);
    api.send_to_group(["room"], "group").await.unwrap();
    assert_eq!(t.receivers("group").await, [1, 2]);
    api.send_to_group(["room"], "others").except([ids[2]]).await.unwrap();
    assert_eq!(t.receivers("others").await, [1]);
    // A client in two of the groups gets the message twice, as in the original.
    api.send_to_group(["room", "7"], "twice").await.unwrap();
    assert_eq!(t.receivers("twice").await, [1, 2, 2]);
}

#[tokio::test]
async fn a_question_follows_the_commands_before_it() {
    let t = four().await;
    for round in 0..50 {
        let group = format!("group {round}");
        for id in &t.ids {
            t.api.join_group(*id, &group).await.unwrap();
        }
        assert_eq!(t.api.client_count_by_group(&group).await.unwrap(), 4, "round {round}");
        t.api.ungroup(&group).await.unwrap();
        assert_eq!(t.api.client_count_by_group(&group).await.unwrap(), 0, "round {round}");
    }
}

#[tokio::test]
async fn uids_are_bound_rebound_and_unbound() {
    let t = four().await;
    let (api, ids) = (&t.api, &t.ids);
    let uid = |name: &str| Uid::try_from(name).unwrap();
    api.bind_uid(ids[0], "u1").await.unwrap();
    api.bind_uid(ids[2], "u1").await.unwrap();
    api.bind_uid(ids[1], 42).await.unwrap();

    assert_eq!(sorted(api.client_ids_by_uid("u1").await.unwrap()), sorted([ids[0], ids[2]]));
    assert_eq!(api.uid_by_client_id(ids[1]).await.unwrap(), Some(uid("42")));
    assert_eq!(api.uid_by_client_id(ids[3]).await.unwrap(), None);
    assert!(api.is_uid_online("u1").await.unwrap());
    assert!(!api.is_uid_online("nobody").await.unwrap());
    let online = api.are_uids_online(["u1", "nobody"]).await.unwrap();
    assert_eq!((online[&uid("u1")], online[&uid("nobody")]), (true, false));
    let batch = api.batch_client_ids_by_uid(["42", "nobody"]).await.unwrap();
    assert_eq!((&batch[&uid("42")], &batch[&uid("nobody")]), (&vec![ids[1]], &vec![]));
    assert_eq!(sorted(api.uids().await.unwrap()), [uid("42"), uid("u1")]);
    assert_eq!(api.uid_count().await.unwrap(), 2);

    api.bind_uid(ids[2], "u2").await.unwrap();
    assert_eq!(api.client_ids_by_uid("u1").await.unwrap(), [ids[0]]);
    assert_eq!(api.client_ids_by_uid("u2").await.unwrap(), [ids[2]]);
    api.unbind_uid(ids[0], "u1").await.unwrap();
    assert!(!api.is_uid_online("u1").await.unwrap());
}

#[tokio::test]
async fn groups_are_joined_left_counted_and_dissolved() {
    let t = four().await;
    let (api, ids) = (&t.api, &t.ids);
    let group = |name: &str| GroupId::try_from(name).unwrap();
    for id in &ids[..3] {
        api.join_group(*id, "room").await.unwrap();
    }
    // Joining twice is joining once.
    api.join_group(ids[0], "room").await.unwrap();
    api.join_group(ids[3], "7").await.unwrap();
    api.bind_uid(ids[0], "u1").await.unwrap();
    api.bind_uid(ids[1], "u1").await.unwrap();

    assert_eq!(api.client_count_by_group("room").await.unwrap(), 3);
    let counts = api.batch_client_count_by_group(["room", "7", "none"]).await.unwrap();
    assert_eq!([counts[&group("room")], counts[&group("7")], counts[&group("none")]], [3, 1, 0]);
    assert_eq!(sorted(api.client_ids_by_group("room").await.unwrap()), sorted(ids[..3].to_vec()));
    assert_eq!(api.uids_by_group("room").await.unwrap(), [Uid::try_from("u1").unwrap()]);
    assert_eq!(api.uid_count_by_group("room").await.unwrap(), 1);
    assert_eq!(sorted(api.group_ids().await.unwrap()), [group("7"), group("room")]);
    assert_eq!(api.client_counts_of_all_groups().await.unwrap()[&group("room")], 3);
    assert_eq!(api.client_ids_of_all_groups().await.unwrap()[&group("7")], [ids[3]]);
    // Two of the members have no uid: the original stops at the first of them.
    assert_eq!(api.uid_counts_of_all_groups().await.unwrap()[&group("room")], 1);
    assert_eq!(api.uids_of_all_groups().await.unwrap()[&group("room")], [Uid::try_from("u1").unwrap()]);

    api.leave_group(ids[0], "room").await.unwrap();
    assert_eq!(api.client_count_by_group("room").await.unwrap(), 2);
    api.ungroup("room").await.unwrap();
    assert_eq!(api.client_count_by_group("room").await.unwrap(), 0);
    assert_eq!(api.group_ids().await.unwrap(), [group("7")]);
}

#[tokio::test]
async fn clients_are_listed_in_the_order_of_connecting() {
    let t = four().await;
    let ids = t.api.client_ids().await.unwrap();
    // The order is each gateway's; which gateway comes first is nobody's promise.
    let of = |ids: &[ClientId], gateway| -> Vec<ClientId> {
        ids.iter().filter(|id| id.gateway() == gateway).copied().collect()
    };
    for gateway in &t.cluster.gateways {
        assert_eq!(of(&ids, gateway.inner), of(&t.ids, gateway.inner));
    }
    assert_eq!(t.api.client_count().await.unwrap(), 4);
    assert!(t.api.is_online(t.ids[3]).await.unwrap());
}

#[tokio::test]
async fn a_client_that_leaves_is_removed_from_uid_and_groups() {
    let mut t = four().await;
    let id = t.ids.remove(0);
    t.api.bind_uid(id, "u1").await.unwrap();
    t.api.join_group(id, "room").await.unwrap();
    t.clients.remove(0).close().await;
    eventually("the client to be gone", async || !t.api.is_online(id).await.unwrap()).await;
    assert!(!t.api.is_uid_online("u1").await.unwrap());
    assert_eq!(t.api.client_count_by_group("room").await.unwrap(), 0);
    assert_eq!(t.api.session(id).await.unwrap(), None);
}

#[tokio::test]
async fn a_kicked_client_gets_its_last_message_and_a_close_frame() {
    let mut t = four().await;
    t.api.close_client(t.ids[0]).last_message("bye").await.unwrap();
    assert_eq!(t.clients[0].text().await, "bye");
    assert_eq!(t.clients[0].close_code().await, 1000);
    t.api.close_client(t.ids[1]).await.unwrap();
    assert_eq!(t.clients[1].close_code().await, 1000);
    assert!(!t.api.is_online(t.ids[0]).await.unwrap());
}

#[tokio::test]
async fn closing_a_uid_or_a_group_closes_its_clients_on_every_gateway_and_no_other() {
    let mut t = four().await;
    for n in [0, 2, 3] {
        t.api.bind_uid(t.ids[n], "u1").await.unwrap();
    }
    let closing = t.api.close_uid(["u1"]).except([t.ids[3]]).last_message("signed in elsewhere");
    assert!(closing.await.unwrap().is_complete());
    for n in [0, 2] {
        assert_eq!(t.clients[n].text().await, "signed in elsewhere");
        assert_eq!(t.clients[n].close_code().await, 1000);
    }
    t.api.send_to_uid(["u1"], "you are left").except([t.ids[1]]).await.unwrap();
    assert_eq!(t.clients[3].text().await, "you are left");

    for n in [1, 3] {
        t.api.join_group(t.ids[n], "room").await.unwrap();
    }
    assert!(t.api.close_group(["room"]).await.unwrap().is_complete());
    for n in [1, 3] {
        assert_eq!(t.clients[n].close_code().await, 1000);
    }
}

#[tokio::test]
async fn a_destroyed_client_gets_earlier_messages_and_no_close_frame() {
    let mut t = four().await;
    t.api.send_to_client(t.ids[0], "before").await.unwrap();
    t.api.destroy_client(t.ids[0]).await.unwrap();
    assert_eq!(t.clients[0].text().await, "before");
    assert_eq!(t.clients[0].close_code().await, 0);
}

#[tokio::test]
async fn binary_stays_binary_and_raw_is_sent_unchanged() {
    let mut t = four().await;
    t.api.send_to_client(t.ids[0], &b"\xff\x00"[..]).await.unwrap();
    assert_eq!(t.clients[0].next().await, Some(Message::binary(&b"\xff\x00"[..])));
    t.api.send_to_client(t.ids[0], "text").binary().await.unwrap();
    assert_eq!(t.clients[0].next().await, Some(Message::binary("text")));
    t.api.send_to_client(t.ids[0], &b"\x81\x02hi"[..]).raw().await.unwrap();
    assert_eq!(t.clients[0].text().await, "hi");
    // A binary message is echoed as binary.
    t.clients[0].send_message(Message::binary("echo")).await;
    assert_eq!(t.clients[0].next().await, Some(Message::binary("echo")));
}

#[tokio::test]
async fn empty_names_are_refused() {
    let t = four().await;
    assert!(t.api.bind_uid(t.ids[0], "").await.is_err());
    assert!(t.api.join_group(t.ids[0], "0").await.is_err());
}

#[tokio::test]
async fn a_stopped_gateway_is_named_and_others_are_reached() {
    let mut t = four().await;
    let gone = t.cluster.gateways[0].inner;
    t.cluster.gateways[0].stop().await;
    // The worker finds out when the link's end has come to it.
    let mut unreached = Vec::new();
    eventually("the gateway to be missed", async || {
        unreached = t.api.send_to_client(t.ids[0], "lost").await.unwrap().unreached;
        !unreached.is_empty()
    })
    .await;
    assert_eq!(unreached.iter().map(|(gateway, _)| *gateway).collect::<Vec<_>>(), [gone]);
    t.api.send_to_all("still there").await.unwrap();
    assert_eq!(t.clients[2].text().await, "still there");
    // It has left the register, so that it is not asked any more.
    eventually("the gateway to be forgotten", async || t.api.client_count().await.is_ok_and(|n| n == 2))
        .await;
}

#[tokio::test]
async fn a_handle_outside_of_a_worker_works_the_same() {
    let mut cluster = Cluster::builder().secret_key("quote\"d").start().await;
    let registers = [cluster.register.to_string()];
    let key = gatewayworker_protocol::SecretKey::new("quote\"d");
    let api = Gateway::builder(registers).secret_key(key).connect();
    let (mut client, id) = WsClient::greeted(cluster.listener()).await;
    assert_eq!(api.client_count().await.unwrap(), 1);
    api.send_to_client(id, "from outside").await.unwrap();
    assert_eq!(client.text().await, "from outside");
    cluster.start_gateway().await;
    let (_other, _) = WsClient::greeted(cluster.gateways[1].listener).await;
    eventually("the new gateway to be known", async || api.client_count().await.is_ok_and(|n| n == 2)).await;
}
