//! Clusters in two networks with the same addresses, joined by NATS: their clients are told apart by qualified ids. And one mesh under
//! two names, which is found by the same gateway and not by its address.

use std::collections::BTreeSet;
use std::time::Duration;

use gatewayworker::{ClientId, Gateway};
use gatewayworker_tests::metrics::Scrape;
use gatewayworker_tests::{Cluster, Namespace, NatsServer, WsClient, eventually, soon};
use tokio::time::timeout;

use crate::federation::{Client, federate};

/// A cluster of one gateway and one worker, with one client.
struct Side {
    cluster: Cluster,
    client: Client,
    api: Gateway,
}

impl Side {
    async fn start(name: &str, nats: u16, inner_port: u16) -> Self {
        let urls = vec![format!("nats://127.0.0.1:{nats}")];
        let builder = Cluster::builder().metrics().inner_port(inner_port);
        let cluster = builder.worker(|config| federate(config, name, urls)).start().await;
        let (socket, id) = WsClient::greeted(cluster.listener()).await;
        let api = cluster.api().await;
        Self { cluster, client: Client { socket, id }, api }
    }

    /// The id of its client that is valid in all clusters.
    fn qualified(&self) -> ClientId {
        let id = self.api.qualified_id(self.client.id);
        assert_eq!((id.is_qualified(), id.connection_id()), (true, self.client.id.connection_id()));
        id
    }
}

/// Sends until it arrives.
async fn reaches(api: &Gateway, id: ClientId, client: &mut Client) {
    eventually("a client to be reached", async || {
        let _ = api.send_to_client(id, "probe").await;
        timeout(Duration::from_millis(200), client.socket.text()).await.is_ok_and(|text| text == "probe")
    })
    .await;
}

/// Two clusters whose gateways have the same address, each in its own network. They hear each other.
async fn two_networks(nats: &NatsServer) -> (Namespace, Side, Side) {
    let port = nats.port();
    let mut near = Side::start("sh-1", port, 0).await;
    let inner_port = near.cluster.gateways[0].inner.port();
    let network = Namespace::start().await;
    network.tunnel(port).await;
    let mut far = network.run(move || Side::start("bj-1", port, inner_port)).await;
    assert_eq!(near.client.id.gateway(), far.client.id.gateway());
    let (near_id, far_id) = (near.qualified(), far.qualified());
    reaches(&near.api, far_id, &mut far.client).await;
    reaches(&far.api, near_id, &mut near.client).await;
    (network, near, far)
}

/// How many messages of clusters that may be the own one a worker has dropped.
async fn overlapping(cluster: &Cluster, worker: usize) -> f64 {
    let scrape = Scrape::of(cluster.workers[worker].metrics.unwrap()).await;
    scrape.get("gatewayworker_federation_rejected_total{reason=\"overlapping\"}")
}

async fn lists(api: &Gateway, expected: [ClientId; 2]) {
    let expected = BTreeSet::from(expected);
    eventually("the clients of both clusters to be listed", async || {
        api.client_ids().await.is_ok_and(|ids| ids.len() == 2 && BTreeSet::from_iter(ids) == expected)
    })
    .await;
}

pub(crate) async fn clients_of_two_networks_with_the_same_addresses_are_told_apart_by_their_ids() {
    let nats = NatsServer::start();
    let (_network, mut near, mut far) = two_networks(&nats).await;
    let (near_id, far_id) = (near.qualified(), far.qualified());
    lists(&near.api, [near.client.id, far_id]).await;
    lists(&far.api, [near_id, far.client.id]).await;
    assert_eq!(near.api.client_count().await.unwrap(), 2);

    near.api.send_to_client(near.client.id, "by the id").await.unwrap();
    near.api.send_to_client(near_id, "by the qualified id").await.unwrap();
    far.api.send_to_client(near_id, "from the other network").await.unwrap();
    for expected in ["by the id", "by the qualified id", "from the other network"] {
        assert_eq!(near.client.text().await, expected);
    }

    near.api.bind_uid(far_id, "far").await.unwrap();
    near.api.bind_uid(near_id, "near").await.unwrap();
    near.api.join_group(far_id, "room").await.unwrap();
    near.api.set_session(far_id, &serde_json::json!({"city": "Beijing"})).await.unwrap();
    eventually("the commands to have their effect", async || {
        let session = far.api.session(far.client.id).await.unwrap().unwrap();
        session.get::<String>("city").unwrap().as_deref() == Some("Beijing")
    })
    .await;
    for (api, expected) in [(&near.api, far_id), (&far.api, far.client.id)] {
        assert_eq!(api.client_ids_by_uid("far").await.unwrap(), [expected]);
        assert_eq!(api.client_ids_by_group("room").await.unwrap(), [expected]);
        assert_eq!(api.uid_by_client_id(far_id).await.unwrap().unwrap().to_string(), "far");
        assert_eq!(api.uid_by_client_id(near_id).await.unwrap().unwrap().to_string(), "near");
        let sessions = api.sessions_by_group("room").await.unwrap();
        assert_eq!(sessions.into_keys().collect::<Vec<_>>(), [expected]);
    }

    near.api.close_client(far_id).last_message("bye").await.unwrap();
    assert_eq!(far.client.text().await, "bye");
    eventually("the client to be gone", async || !near.api.is_online(far_id).await.unwrap()).await;
    assert!(near.api.is_online(near_id).await.unwrap());
    assert_eq!(overlapping(&near.cluster, 0).await, 0.0);
}

pub(crate) async fn what_is_said_by_an_id_or_except_an_id_concerns_nobody_in_the_other_network() {
    let nats = NatsServer::start();
    let (_network, mut near, mut far) = two_networks(&nats).await;
    let (near_id, far_id) = (near.qualified(), far.qualified());
    for (side, id) in [(&near, near.client.id), (&far, far.client.id)] {
        side.api.join_group(id, "room").await.unwrap();
        side.api.bind_uid(id, "u").await.unwrap();
        // They are executed when this is answered.
        side.api.uid_by_client_id(id).await.unwrap();
    }
    let api = near.api.clone();
    for excepted in [near.client.id, near_id] {
        api.send_to_all("all but near").except([excepted]).await.unwrap();
        api.send_to_group(["room"], "room but near").except([excepted]).await.unwrap();
        api.send_to_uid(["u"], "u but near").except([excepted]).await.unwrap();
    }
    api.send_to_all("all but far").except([far_id]).await.unwrap();
    api.send_to_group(["room"], "room but far").except([far_id]).await.unwrap();
    api.send_to_uid(["u"], "u but far").except([far_id]).await.unwrap();
    for _ in 0..2 {
        for expected in ["all but near", "room but near", "u but near"] {
            assert_eq!(far.client.text().await, expected);
        }
    }
    for expected in ["all but far", "room but far", "u but far"] {
        assert_eq!(near.client.text().await, expected);
    }
    far.api.send_to_all("all but near, from far").except([near_id]).await.unwrap();
    far.api.send_to_client(near_id, "to near").await.unwrap();
    assert_eq!(far.client.text().await, "all but near, from far");
    assert_eq!(near.client.text().await, "to near");

    api.close_uid(["u"]).except([near.client.id]).last_message("bye").await.unwrap();
    assert_eq!(far.client.text().await, "bye");
    assert!(soon("the close", far.client.socket.next()).await.is_none_or(|message| message.is_close()));
    api.send_to_all("only near").await.unwrap();
    assert_eq!(near.client.text().await, "only near");
    api.close_group(["room"]).last_message("bye").await.unwrap();
    assert_eq!(near.client.text().await, "bye");
}

pub(crate) async fn a_gateway_that_starts_again_is_still_one_of_its_own_network() {
    let nats = NatsServer::start();
    let (network, mut near, mut far) = two_networks(&nats).await;
    far = network
        .run(async move || {
            far.cluster.restart_gateway(0).await;
            far.cluster.linked().await;
            let (socket, id) = WsClient::greeted(far.cluster.listener()).await;
            far.client = Client { socket, id };
            far
        })
        .await;
    let (near_id, far_id) = (near.qualified(), far.qualified());
    reaches(&near.api, far_id, &mut far.client).await;
    reaches(&far.api, near_id, &mut near.client).await;
    lists(&near.api, [near.client.id, far_id]).await;
    assert_eq!(overlapping(&near.cluster, 0).await, 0.0, "they never were one cluster");
}

pub(crate) async fn one_mesh_under_two_names_is_refused_and_nobody_gets_a_message_twice() {
    let nats = NatsServer::start();
    let mut mesh = Side::start("one", nats.port(), 0).await;
    mesh.cluster.change_workers(|config| config.cluster_name = Some("two".into()));
    mesh.cluster.start_worker().await;
    let apis = [mesh.api.clone(), mesh.cluster.workers[1].events.gateway().await];
    for (sender, receiver) in [(0, 1), (1, 0)] {
        eventually("each of the names to be refused by the other's worker", async || {
            apis[sender].send_to_all("probe").await.unwrap();
            overlapping(&mesh.cluster, receiver).await > 0.0
        })
        .await;
    }
    for (sender, receiver) in [(0, 1), (1, 0)] {
        let before = overlapping(&mesh.cluster, receiver).await;
        apis[sender].send_to_all("once").await.unwrap();
        // What one process says is heard in its order. Some of the first probes may still be on their way.
        for _ in 0..20 {
            apis[sender].send_to_all("probe").await.unwrap();
        }
        eventually("the other name's worker to have heard it", async || {
            overlapping(&mesh.cluster, receiver).await >= before + 15.0
        })
        .await;
        mesh.api.send_to_client(mesh.client.id, "last").await.unwrap();
        assert_eq!(mesh.client.text().await, "once");
        assert_eq!(mesh.client.text().await, "last");
    }
}
