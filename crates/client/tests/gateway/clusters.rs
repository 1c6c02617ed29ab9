//! Questions that go to another cluster, too; the way there is played by the test.

use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gatewayworker_client::federation::{
    Asking, ClusterAnswer, Destination, Federation, Finishing, OwnCluster,
};
use gatewayworker_client::{AskError, ClusterName, Error, Gateway, Unreached};

use crate::fake::{FakeGateway, listed};
use crate::handle;

/// Asks the other cluster without a network between.
#[derive(Debug)]
struct Direct {
    other: OwnCluster,
    /// How long the other cluster has for an answer.
    within: Duration,
}

fn far() -> ClusterName {
    "far".parse().unwrap()
}

impl Federation for Direct {
    fn max_call_len(&self) -> usize {
        1024 * 1024
    }

    fn find_gateway(&self, _: SocketAddrV4) -> Option<(ClusterName, SocketAddrV4)> {
        None
    }

    fn alias(&self, _: Option<&ClusterName>, _: SocketAddrV4) -> Option<SocketAddrV4> {
        None
    }

    fn address_in_ids(&self, _: &ClusterName, gateway: SocketAddrV4, is_own: bool) -> Option<SocketAddrV4> {
        (!is_own).then_some(gateway)
    }

    fn publish(&self, _: Destination<'_>, _: Bytes) -> Result<(), Vec<(ClusterName, Unreached)>> {
        Ok(())
    }

    fn ask(&self, _: Destination<'_>, question: Bytes, _: Duration) -> Asking {
        let (other, within) = (self.other.clone(), self.within);
        Box::pin(async move {
            let answer = other.answer(question, within).await.map_err(|_| Unreached::BadAnswer);
            vec![ClusterAnswer { cluster: far(), answer }]
        })
    }

    fn finish(&self, _: Duration) -> Finishing {
        Box::pin(std::future::ready(Vec::new()))
    }
}

/// A handle of a cluster with this gateway, which asks the other cluster, too.
fn near(gateway: &FakeGateway, other: &Gateway, within: Duration) -> Gateway {
    let direct = Direct { other: OwnCluster::of(other), within };
    let federation: Arc<dyn Federation> = Arc::new(direct);
    Gateway::following(listed(&[gateway.address]).1)
        .question_timeout(Duration::from_secs(30))
        .federation(federation)
        .connect()
}

#[tokio::test]
async fn a_gateway_that_does_not_answer_is_named_and_the_rest_of_its_cluster_is_there_in_time() {
    let [own, good, silent] =
        [FakeGateway::start().await, FakeGateway::start().await, FakeGateway::start().await];
    own.answer_with(|_| Some(b"i:1;".to_vec()));
    good.answer_with(|_| Some(b"i:3;".to_vec()));
    silent.answer_with(|_| None);
    let other = Gateway::following(listed(&[good.address, silent.address]).1)
        .question_timeout(Duration::from_secs(30))
        .connect();
    let gateway = near(&own, &other, Duration::from_millis(300));
    let error = gateway.client_count().await.unwrap_err();
    let AskError::Incomplete { partial: 4, missing, missing_clusters } = error else { panic!("{error:?}") };
    assert_eq!((missing, missing_clusters), (vec![(silent.address, Unreached::TimedOut)], vec![]));
}

#[tokio::test]
async fn an_answer_of_another_cluster_for_an_own_gateway_is_none() {
    let own = FakeGateway::start().await;
    own.answer_with(|_| Some(b"i:1;".to_vec()));
    // Two clusters have a gateway with one address.
    let gateway = near(&own, &handle(&[own.address]), Duration::from_secs(3));
    let error = gateway.client_count().await.unwrap_err();
    let AskError::Incomplete { partial: 1, missing, missing_clusters } = error else { panic!("{error:?}") };
    assert_eq!((missing, missing_clusters), (vec![], vec![(far(), Unreached::BadAnswer)]));
}

#[tokio::test]
async fn a_question_that_other_clusters_cannot_be_asked_is_refused_with_both_numbers() {
    let own = FakeGateway::start().await;
    let other = Gateway::following(listed(&[]).1).connect();
    let gateway = near(&own, &other, Duration::from_millis(300));
    let uids: Vec<String> = (0..1024).map(|n| format!("{n:01024}")).collect();
    let error = gateway.batch_client_ids_by_uid(&uids).await.unwrap_err();
    let AskError::NotAsked(Error::TooLargeForClusters { len, limit }) = error else { panic!("{error:?}") };
    assert!(len > limit && limit == 1024 * 1024, "{len} and {limit}");
}
