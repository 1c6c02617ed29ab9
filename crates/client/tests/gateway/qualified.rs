//! Two clusters whose gateways have the same address, and in each a client with the same connection id: what is said to one of them
//! never reaches the other. The other cluster is played by the test.

use std::net::SocketAddrV4;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use gatewayworker_client::federation::{
    Asking, ClusterAnswer, ClusterCall, ClusterQuestion, Destination, Federation, Finishing, ListedGateway,
    OwnCluster,
};
use gatewayworker_client::worker::WorkerHandle;
use gatewayworker_client::{ClientId, ClusterName, Column, Gateway, Unreached, Where};
use gatewayworker_protocol::{Audience, Command, Pairing, Question};

use crate::fake::{FakeGateway, listed, soon};
use crate::text;

/// The other cluster. Its gateway has the address of the own one, if nothing else is said.
#[derive(Debug)]
struct Far {
    gateway: SocketAddrV4,
    /// What its gateway answers.
    answer: &'static str,
    told: Mutex<Vec<(Option<ClusterName>, ClusterCall)>>,
    asked: Mutex<Vec<ClusterQuestion>>,
}

fn far() -> ClusterName {
    "far".parse().unwrap()
}

impl Far {
    fn own_alias(&self) -> SocketAddrV4 {
        SocketAddrV4::new([240, 0, 0, 1].into(), self.gateway.port())
    }

    fn alias(&self) -> SocketAddrV4 {
        SocketAddrV4::new([240, 0, 0, 2].into(), self.gateway.port())
    }

    /// The qualified id of the own client with this connection.
    fn own_id(&self, connection: u32) -> ClientId {
        ClientId::new(self.own_alias(), connection)
    }

    /// The id of the other cluster's client with this connection.
    fn id(&self, connection: u32) -> ClientId {
        ClientId::new(self.alias(), connection)
    }

    /// What the cluster was told by now. It is said at once.
    fn told(&self) -> Vec<(Option<ClusterName>, ClusterCall)> {
        std::mem::take(&mut self.told.lock().unwrap())
    }

    /// A command for its gateway.
    fn at_gateway(&self, command: Command) -> (Option<ClusterName>, ClusterCall) {
        (Some(far()), ClusterCall::AtGateway { gateway: self.gateway, command })
    }
}

impl Federation for Far {
    fn max_call_len(&self) -> usize {
        1024 * 1024
    }

    fn find_gateway(&self, gateway: SocketAddrV4) -> Option<(ClusterName, SocketAddrV4)> {
        (gateway == self.alias()).then_some((far(), self.gateway))
    }

    fn alias(&self, cluster: Option<&ClusterName>, gateway: SocketAddrV4) -> Option<SocketAddrV4> {
        let alias = if cluster.is_none() { self.own_alias() } else { self.alias() };
        (gateway == self.gateway).then_some(alias)
    }

    fn address_in_ids(&self, _: &ClusterName, gateway: SocketAddrV4, _: bool) -> Option<SocketAddrV4> {
        assert_eq!(gateway, self.gateway);
        Some(self.alias())
    }

    fn publish(&self, to: Destination<'_>, call: Bytes) -> Result<(), Vec<(ClusterName, Unreached)>> {
        let to = if let Destination::One(cluster) = to { Some(cluster.clone()) } else { None };
        self.told.lock().unwrap().push((to, ClusterCall::decode(call).unwrap()));
        Ok(())
    }

    fn ask(&self, _: Destination<'_>, question: Bytes, _: Duration) -> Asking {
        self.asked.lock().unwrap().push(ClusterQuestion::decode(question).unwrap());
        let mut answer = BytesMut::new();
        answer.put_slice(&self.gateway.ip().octets());
        answer.put_u16(self.gateway.port());
        answer.put_u8(0);
        answer.put_u32(self.answer.len() as u32);
        answer.put_slice(self.answer.as_bytes());
        let answer = ClusterAnswer { cluster: far(), answer: Ok(answer.freeze()) };
        Box::pin(std::future::ready(vec![answer]))
    }

    fn finish(&self, _: Duration) -> Finishing {
        Box::pin(std::future::ready(Vec::new()))
    }
}

/// The own gateway, a handle, and the other cluster. The gateways of both answer questions so.
async fn two_clusters(answer: &'static str) -> (FakeGateway, Gateway, Arc<Far>) {
    let own = FakeGateway::start().await;
    let address = own.address;
    two_clusters_with(own, address, answer).await
}

/// The same with another address of the other cluster's gateway. Its ids are qualified, as if a third cluster had the address, too.
async fn two_clusters_with(
    own: FakeGateway,
    far: SocketAddrV4,
    answer: &'static str,
) -> (FakeGateway, Gateway, Arc<Far>) {
    own.answer_with(move |_| Some(answer.as_bytes().to_vec()));
    let far = Far { gateway: far, answer, told: Mutex::default(), asked: Mutex::default() };
    let far = Arc::new(far);
    let federation: Arc<dyn Federation> = far.clone();
    let gateway = Gateway::following(listed(&[own.address]).1)
        .question_timeout(Duration::from_secs(10))
        .federation(federation)
        .connect();
    // Questions wait until the gateway is connected.
    let _ = gateway.client_count().await;
    (own, gateway, far)
}

/// What the own gateway is told, but for questions.
fn told(own: &mut FakeGateway) -> Vec<Command> {
    own.told_already().into_iter().filter(|command| !matches!(command, Command::Ask(_))).collect()
}

/// Waits until the own gateway has been told everything.
async fn told_all(own: &mut FakeGateway, gateway: &Gateway) -> Vec<Command> {
    // A question sees what was said before it.
    let _ = gateway.is_online(own.id(99)).await;
    told(own)
}

fn kick(connection_id: u32) -> Command {
    Command::Kick { connection_id, message: None }
}

/// Connection 7 is bound to uid "u".
const U: &str = r#"a:1:{s:1:"u";a:1:{i:0;i:7;}}"#;

#[tokio::test]
async fn closing_a_uid_closes_its_clients_in_both_clusters() {
    let (mut own, gateway, far) = two_clusters(U).await;
    gateway.close_uid(["u"]).await.unwrap();
    assert_eq!(told_all(&mut own, &gateway).await, [kick(7)]);
    assert_eq!(far.told(), [far.at_gateway(kick(7))]);
}

#[tokio::test]
async fn closing_a_uid_spares_the_excepted_client_and_not_the_one_with_the_same_connection() {
    let (mut own, gateway, far) = two_clusters(U).await;
    for spared in [own.id(7), far.own_id(7)] {
        gateway.close_uid(["u"]).except([spared]).await.unwrap();
        assert_eq!(told_all(&mut own, &gateway).await, []);
        assert_eq!(far.told(), [far.at_gateway(kick(7))], "{spared}");
    }
    gateway.close_uid(["u"]).except([far.id(7)]).await.unwrap();
    assert_eq!(told_all(&mut own, &gateway).await, [kick(7)]);
    assert_eq!(far.told(), []);
}

#[tokio::test]
async fn a_send_to_a_uid_spares_the_excepted_client_and_not_the_one_with_the_same_connection() {
    let (mut own, gateway, far) = two_clusters(U).await;
    let send = || Command::SendToAll { to: Audience::Only(vec![7]), message: text("m") };
    gateway.send_to_uid(["u"], "m").except([far.own_id(7)]).await.unwrap();
    assert_eq!(told_all(&mut own, &gateway).await, []);
    assert_eq!(far.told(), [far.at_gateway(send())]);
    gateway.send_to_uid(["u"], "m").except([far.id(7)]).await.unwrap();
    assert_eq!(told_all(&mut own, &gateway).await, [send()]);
    assert_eq!(far.told(), []);
}

#[tokio::test]
async fn a_plain_id_with_an_address_that_other_clusters_share_spares_their_clients() {
    let shared = "10.9.9.9:2300".parse().unwrap();
    let (mut own, gateway, far) = two_clusters_with(FakeGateway::start().await, shared, U).await;
    let send = || Command::SendToAll { to: Audience::Only(vec![7]), message: text("m") };
    let spared = ClientId::new(shared, 7);
    gateway.close_uid(["u"]).except([spared]).await.unwrap();
    gateway.send_to_uid(["u"], "m").except([spared]).await.unwrap();
    assert_eq!(told_all(&mut own, &gateway).await, [kick(7), send()]);
    assert_eq!(far.told(), []);
    gateway.close_uid(["u"]).except([ClientId::new(shared, 8)]).await.unwrap();
    assert_eq!(told_all(&mut own, &gateway).await, [kick(7)]);
    assert_eq!(far.told(), [far.at_gateway(kick(7))]);
}

#[tokio::test]
async fn the_ids_of_another_clusters_clients_are_not_those_of_own_clients() {
    let (own, gateway, far) = two_clusters("a:1:{i:0;i:7;}").await;
    assert_eq!(gateway.client_ids_by_uid("u").await.unwrap(), [own.id(7), far.id(7)]);
    let (own, gateway, far) = two_clusters(U).await;
    let ids = gateway.batch_client_ids_by_uid(["u"]).await.unwrap();
    assert_eq!(ids.into_values().collect::<Vec<_>>(), [[own.id(7), far.id(7)]]);
    let (own, gateway, far) = two_clusters(r#"a:1:{i:7;a:1:{s:3:"uid";s:1:"u";}}"#).await;
    assert_eq!(gateway.client_ids().await.unwrap(), [own.id(7), far.id(7)]);
    let (own, gateway, far) = two_clusters(r#"a:1:{i:7;s:6:"a:0:{}";}"#).await;
    let sessions = gateway.sessions_by_group("news").await.unwrap();
    assert_eq!(sessions.into_keys().collect::<Vec<_>>(), [own.id(7), far.id(7)]);
}

#[tokio::test]
async fn a_send_to_a_client_reaches_it_by_each_of_its_ids() {
    let (mut own, gateway, far) = two_clusters("i:0;").await;
    let send = |to, message| Command::SendToOne { to, message: text(message) };
    gateway.send_to_client(own.id(7), "plain").await.unwrap();
    gateway.send_to_client(far.own_id(7), "qualified").await.unwrap();
    gateway.send_to_client(far.id(7), "far").await.unwrap();
    assert_eq!(told_all(&mut own, &gateway).await, [send(7, "plain"), send(7, "qualified")]);
    assert_eq!(far.told(), [far.at_gateway(send(7, "far"))]);

    let only = [own.id(7), far.own_id(8), far.id(7), far.id(9)];
    gateway.send_to_all("m").only(only).except([far.own_id(7), far.id(9)]).await.unwrap();
    let send = |ids| Command::SendToAll { to: Audience::Only(ids), message: text("m") };
    assert_eq!(told_all(&mut own, &gateway).await, [send(vec![8])]);
    assert_eq!(far.told(), [far.at_gateway(send(vec![7]))]);
}

#[tokio::test]
async fn commands_about_a_client_go_to_it_by_each_of_its_ids() {
    let (mut own, gateway, far) = two_clusters("i:0;").await;
    let join = |connection_id| Command::JoinGroup { connection_id, group: "news".into() };
    let session =
        |connection_id| Command::SetSession { connection_id, session: Bytes::from_static(b"a:0:{}") };
    for id in [far.own_id(7), far.id(8)] {
        gateway.join_group(id, "news").await.unwrap();
        gateway.set_session_bytes(id, Bytes::from_static(b"a:0:{}")).await.unwrap();
        gateway.close_client(id).await.unwrap();
    }
    assert_eq!(told_all(&mut own, &gateway).await, [join(7), session(7), kick(7)]);
    assert_eq!(far.told(), [join(8), session(8), kick(8)].map(|command| far.at_gateway(command)));
}

#[tokio::test]
async fn a_question_about_a_client_asks_its_gateway_alone() {
    let (mut own, gateway, far) = two_clusters("i:1;").await;
    far.asked.lock().unwrap().clear();
    own.told_already();
    assert!(gateway.is_online(far.own_id(7)).await.unwrap());
    assert_eq!(own.told().await, Command::Ask(Question::IsOnline(7)));
    assert_eq!(*far.asked.lock().unwrap(), []);
    assert!(gateway.is_online(far.id(7)).await.unwrap());
    assert_eq!(own.told_already(), []);
    let asked = ClusterQuestion { gateway: Some(own.address), question: Question::IsOnline(7) };
    assert_eq!(*far.asked.lock().unwrap(), [asked]);
}

#[tokio::test]
async fn a_selection_of_clients_asks_each_at_its_own_gateway() {
    let (own, gateway, far) = two_clusters(r#"a:1:{i:7;a:1:{s:3:"uid";s:1:"u";}}"#).await;
    far.asked.lock().unwrap().clear();
    let select = async |ids: &[ClientId]| {
        let clients = Where::default().with_client_ids(ids.iter().copied());
        let rows = gateway.select([Column::Uid], clients).await.unwrap();
        rows.into_keys().collect::<Vec<_>>()
    };
    assert_eq!(select(&[far.own_id(7)]).await, [own.id(7)]);
    assert_eq!(*far.asked.lock().unwrap(), []);
    assert_eq!(select(&[far.id(7)]).await, [far.id(7)]);
    assert_eq!(select(&[far.id(7), own.id(7)]).await, [own.id(7), far.id(7)]);
    assert!(far.asked.lock().unwrap().iter().all(|asked| asked.gateway == Some(own.address)));
}

#[tokio::test]
async fn a_send_to_all_excepts_each_client_in_its_own_cluster() {
    let (mut own, gateway, far) = two_clusters("i:0;").await;
    gateway.send_to_all("m").except([own.id(7), far.own_id(8), far.id(9)]).await.unwrap();
    let except = Command::SendToAll { to: Audience::Except(vec![7, 8]), message: text("m") };
    assert_eq!(told_all(&mut own, &gateway).await, [except]);
    let command = Command::SendToAll { to: Audience::Everyone, message: text("m") };
    assert_eq!(far.told(), [(None, ClusterCall::Everywhere { command, except: vec![far.id(9)] })]);
}

#[tokio::test]
async fn what_another_cluster_excepts_by_qualified_ids_is_excepted_and_nobody_else() {
    let (mut own, gateway, far) = two_clusters("i:0;").await;
    let command = Command::SendToAll { to: Audience::Everyone, message: text("m") };
    let call = ClusterCall::Everywhere { command, except: vec![far.own_id(7), far.id(8)] };
    let delivery = OwnCluster::of(&gateway).obey(call.encode()).unwrap().unwrap();
    assert!(delivery.is_complete());
    let except = Command::SendToAll { to: Audience::Except(vec![7]), message: text("m") };
    assert_eq!(told_all(&mut own, &gateway).await, [except]);
    assert_eq!(far.told(), []);
}

#[tokio::test]
async fn a_gateway_has_an_instance_while_the_worker_is_attached_to_it() {
    let fake = FakeGateway::start().await;
    let worker = WorkerHandle::builder(listed(&[fake.address]).1).connect();
    let own = OwnCluster::of(worker.gateway());
    let listed = |instance| [ListedGateway { address: fake.address, instance }];
    soon(worker.gateway().connected(fake.address)).await;
    assert_eq!(own.gateways(), listed(None));
    let end = worker.attach(fake.address, Pairing { instance: 7, epoch: 1 }, &[]).unwrap();
    assert_eq!(own.gateways(), listed(Some(7)));
    worker.end_call_link(fake.address, 1);
    soon(end.ended()).await;
    assert_eq!((own.gateways(), own.listed()), (vec![], vec![fake.address]));
    soon(worker.gateway().connected(fake.address)).await;
    assert_eq!(own.gateways(), listed(None), "it may be another process now");
}

#[tokio::test]
async fn a_qualified_id_is_the_same_in_all_clusters_and_without_a_federation_it_is_the_id() {
    let (own, gateway, far) = two_clusters("i:0;").await;
    assert_eq!(gateway.qualified_id(own.id(7)), far.own_id(7));
    assert_eq!(gateway.qualified_id(far.own_id(7)), far.own_id(7));
    assert_eq!(gateway.qualified_id(far.id(7)), far.id(7));
    let unknown = ClientId::new("10.9.9.9:1".parse().unwrap(), 7);
    assert_eq!(gateway.qualified_id(unknown), unknown);
    assert_eq!(crate::handle(&[own.address]).qualified_id(own.id(7)), own.id(7));
}
