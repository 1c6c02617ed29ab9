//! Sends that leave gateways out which have no member: what happens after a join sees it, whoever sends.

use gatewayworker::{ClientId, Gateway};
use gatewayworker_tests::{Cluster, WsClient};

/// A cluster of five gateways and five workers, with a client on each gateway.
struct Mesh {
    _cluster: Cluster,
    apis: Vec<Gateway>,
    clients: Vec<WsClient>,
    ids: Vec<ClientId>,
}

async fn mesh(with_interest: bool) -> Mesh {
    let cluster = Cluster::builder().gateways(5).workers(5).gateway(|config| config.interest = with_interest);
    let cluster = cluster.start().await;
    let (mut apis, mut clients, mut ids) = (Vec::new(), Vec::new(), Vec::new());
    for worker in &cluster.workers {
        apis.push(worker.events.gateway().await);
    }
    for gateway in &cluster.gateways {
        let (client, id) = WsClient::greeted(gateway.listener).await;
        clients.push(client);
        ids.push(id);
    }
    Mesh { _cluster: cluster, apis, clients, ids }
}

/// Each round another worker joins another client to a new group, and binds it to a new uid. When a gateway has answered
/// behind that, any worker reaches the client by them, and finds it.
async fn joins_are_seen(with_interest: bool) {
    let mut mesh = mesh(with_interest).await;
    for round in 0..150 {
        let (joins, sends) = (&mesh.apis[round % 5], &mesh.apis[round / 5 % 5]);
        let (client, id) = (&mut mesh.clients[round % 5], mesh.ids[round % 5]);
        let (room, uid) = (format!("room {round}"), format!("uid {round}"));
        joins.join_group(id, &room).await.unwrap();
        joins.bind_uid(id, &uid).await.unwrap();
        joins.send_to_group([&room], format!("own {round}")).await.unwrap();
        assert_eq!(client.text().await, format!("own {round}"));
        sends.send_to_group([&room], format!("group {round}")).await.unwrap();
        assert_eq!(client.text().await, format!("group {round}"));
        sends.send_to_uid([&uid], format!("uid {round}")).await.unwrap();
        assert_eq!(client.text().await, format!("uid {round}"));
        assert_eq!(sends.client_ids_by_group(&room).await.unwrap(), [id], "round {round}");
        assert_eq!(sends.client_count_by_group(&room).await.unwrap(), 1, "round {round}");
        assert!(sends.is_uid_online(&uid).await.unwrap(), "round {round}");
        assert!(!sends.is_uid_online("nobody").await.unwrap(), "round {round}");
        assert_eq!(sends.client_count_by_group("nobody").await.unwrap(), 0, "round {round}");
    }
}

#[tokio::test]
async fn what_follows_a_join_sees_it_whoever_sends() {
    joins_are_seen(true).await;
}

#[tokio::test]
async fn what_follows_a_join_sees_it_without_interest() {
    joins_are_seen(false).await;
}
