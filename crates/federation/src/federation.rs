//! [`Federation`]: the handle, and the client library's port to other clusters.

use std::fmt;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::Subscriber;
use bytes::Bytes;
use futures_util::StreamExt;
use gatewayworker_client::federation::{self as port, Asking, Destination, Finishing};
use gatewayworker_client::{ClusterName, Unreached};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, info, warn};

use crate::asking;
use crate::connection::connect;
use crate::core::{Content, DropReport, Heard, Key, Partition, Rejection, Subjects};
use crate::durable::{self, Durable};
use crate::faults::Faults;
use crate::following_names;
use crate::options::{Error, Options};
use crate::shared::{Published, Shared, unix_ms};
use crate::stats::{Counts, Stats};

/// How long [`Federation::join`] waits for a connection: the first send shall not fail for that.
const FIRST_CONNECT: Duration = Duration::from_secs(1);

/// A process's part in a federation. Its connection ends with the last clone.
#[derive(Clone)]
pub struct Federation {
    pub(crate) shared: Arc<Shared>,
    tasks: Arc<Vec<AbortOnDropHandle<()>>>,
}

impl Federation {
    /// Joins a federation: sends and questions may go to other clusters from now on. Waits up to a second for the connection to NATS, which is made
    /// in the background, and made again whenever it is lost.
    ///
    /// A worker also [serves](Self::serve) the other clusters.
    ///
    /// Cancel safe.
    ///
    /// # Errors
    /// When the options cannot work.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn join(options: Options) -> Result<Self, Error> {
        options.validate()?;
        let counts = Arc::<Counts>::default();
        let (state, mut connected) = watch::channel(false);
        let state = Arc::new(state);
        let faults = Arc::<Faults>::default();
        let client = connect(&options, state.clone(), counts.clone(), faults.clone()).await?;
        let subjects = Subjects::new(&options.prefix);
        let key = Key::new(options.key.expose().as_bytes()).for_prefix(&options.prefix);
        let mut shared =
            Shared::new(client, key, subjects, options.cluster, connected.clone(), counts, faults);
        shared.durable = options.durable.then(|| Durable::new(shared.client.clone()));
        let shared = Arc::new(shared);
        let clusters = shared.client.subscribe(shared.subjects.clusters()).await?;
        let names = shared.client.subscribe(shared.subjects.all_names()).await?;
        let answers = shared.client.subscribe(shared.subjects.answers(shared.process)).await?;
        let mut tasks = vec![
            AbortOnDropHandle::new(tokio::spawn(follow_connection(shared.clone(), state))),
            AbortOnDropHandle::new(tokio::spawn(follow_clusters(shared.clone(), clusters))),
            AbortOnDropHandle::new(tokio::spawn(following_names::follow(shared.clone(), names))),
            AbortOnDropHandle::new(tokio::spawn(asking::follow_answers(shared.clone(), answers))),
        ];
        if shared.durable.is_some() {
            tasks.push(AbortOnDropHandle::new(tokio::spawn(durable::send(shared.clone()))));
        }
        let _ = timeout(FIRST_CONNECT, connected.wait_for(|connected| *connected)).await;
        Ok(Self { shared, tasks: Arc::new(tasks) })
    }

    /// What was sent and heard so far.
    pub fn stats(&self) -> Stats {
        let clusters = self.shared.clusters().others().map(ToString::to_string).collect();
        let missed = {
            let inbound = self.shared.inbound();
            (inbound.missed(), inbound.late())
        };
        let (missed_durable, durable_duplicates) = {
            let inbound = self.shared.durable_inbound();
            (inbound.missed(), inbound.duplicates())
        };
        let missed = (missed.0 + missed_durable, missed.1);
        let problems = self.problems();
        let durable_kept = self.shared.durable.as_ref().map_or(0, |durable| durable.kept() as u64);
        Stats {
            problems,
            durable_kept,
            durable_duplicates,
            ..self.shared.counts.read(self.shared.is_connected(), missed, clusters)
        }
    }

    /// What an operator has to mend.
    fn problems(&self) -> Vec<String> {
        let clusters = self.shared.clusters();
        let overlap = |cluster: &ClusterName| {
            format!(
                "federation: cluster {cluster} has a gateway of this cluster, or one with its address that does not say which it is, and is not heard"
            )
        };
        let mut problems: Vec<_> = clusters.overlapping().map(overlap).collect();
        problems.extend(clusters.alias_collisions().map(|gateways| {
            let gateways: Vec<_> =
                gateways.iter().map(|(cluster, gateway)| format!("{gateway} of {cluster}")).collect();
            let gateways = gateways.join(" and ");
            format!("federation: the gateways {gateways} have one alias, and no qualified ids: give one of them another port")
        }));
        if clusters.own_name_is_used_twice(self.shared.now_ms()) {
            problems.push(format!("federation: two clusters have the name {}", self.shared.own));
        }
        let off = self.shared.clock().off(self.shared.now_ms());
        if off > 0 {
            problems.push(format!(
                "federation: the clocks of {off} processes differ from this host's by more than 30 s"
            ));
        }
        problems.extend(self.shared.durable.iter().flat_map(Durable::problems));
        problems.extend(self.shared.faults.problem(self.shared.is_connected()));
        let (unheld, all) = (self.shared.unheld.load(Ordering::Relaxed), Partition::COUNT);
        if unheld > 0 {
            problems.push(format!(
                "federation: no worker of this cluster takes {unheld} of the {all} parts of what other clusters send"
            ));
        }
        let has_ended_serving = self.shared.has_ended_serving.load(Ordering::Relaxed);
        if has_ended_serving || self.tasks.iter().any(|task| task.is_finished()) {
            problems.push(
                "federation: a task of it has ended, start this process again: the log says why".into(),
            );
        }
        problems
    }

    /// Whether NATS is connected, and whenever that changes.
    pub fn connected(&self) -> watch::Receiver<bool> {
        self.shared.connected.clone()
    }
}

impl port::Federation for Federation {
    fn max_call_len(&self) -> usize {
        self.shared.max_sent_len()
    }

    fn find_gateway(&self, gateway: SocketAddrV4) -> Option<(ClusterName, SocketAddrV4)> {
        self.shared.clusters().find_gateway(gateway)
    }

    fn alias(&self, cluster: Option<&ClusterName>, gateway: SocketAddrV4) -> Option<SocketAddrV4> {
        self.shared.clusters().alias(cluster, gateway)
    }

    fn address_in_ids(
        &self,
        cluster: &ClusterName,
        gateway: SocketAddrV4,
        is_own: bool,
    ) -> Option<SocketAddrV4> {
        self.shared.clusters().address_in_ids(cluster, gateway, is_own)
    }

    fn publish(&self, to: Destination<'_>, call: Bytes) -> Result<(), Vec<(ClusterName, Unreached)>> {
        match self.shared.publish_call(to, call) {
            Ok(published) => {
                match published {
                    Published::Sent => self.shared.counts.published.add_one(),
                    Published::LeftOut => self.shared.counts.left_out.add_one(),
                    // It is counted when JetStream has it.
                    Published::Kept => {}
                }
                Ok(())
            }
            Err(why) => {
                self.shared.counts.not_published.add_one();
                Err(match to {
                    Destination::One(cluster) => vec![(cluster.clone(), why)],
                    Destination::All | Destination::Names(_) => self.shared.all_missed(why),
                })
            }
        }
    }

    fn ask(&self, to: Destination<'_>, question: Bytes, within: Duration) -> Asking {
        let to = match to {
            Destination::One(cluster) => Some(cluster.clone()),
            Destination::All | Destination::Names(_) => None,
        };
        Box::pin(asking::ask(self.shared.clone(), to, question, within))
    }

    fn finish(&self, within: Duration) -> Finishing {
        let shared = self.shared.clone();
        Box::pin(async move {
            if let Some(durable) = &shared.durable {
                let left = durable.finish(within).await;
                return shared.missed(left, Unreached::Overloaded);
            }
            if !shared.is_connected() {
                // What is sent now is refused. What was sent before may still wait for a connection.
                let is_written = shared.is_written();
                return if is_written { Vec::new() } else { shared.all_missed(Unreached::NotConnected) };
            }
            if matches!(timeout(within, shared.client.flush()).await, Ok(Ok(()))) {
                return Vec::new();
            }
            shared.all_missed(Unreached::Overloaded)
        })
    }
}

impl fmt::Debug for Federation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shared { own, subjects, .. } = &*self.shared;
        f.debug_struct("Federation").field("cluster", own).field("subjects", subjects).finish_non_exhaustive()
    }
}

/// Follows the state of the connection. The events of async-nats alone do not tell it: they are dropped when many come at once.
async fn follow_connection(shared: Arc<Shared>, state: Arc<watch::Sender<bool>>) {
    let mut connected = shared.connected.clone();
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut was_connected = None;
    let mut drops = DropReport::new();
    loop {
        tokio::select! {
            changed = connected.changed() => {
                if changed.is_err() {
                    return;
                }
                // It may be connected anew since it was last looked.
                was_connected = None;
            }
            _ = ticks.tick() => {
                let now = shared.is_connected();
                let is_new = state.send_if_modified(|before| std::mem::replace(before, now) != now);
                if is_new && now {
                    // Its event was dropped.
                    shared.faults.note_connected();
                }
                if let Some(dropped) = drops.due(shared.counts.dropped(), shared.now_ms()) {
                    warn!(%dropped, "the federation has dropped messages that came over NATS");
                }
            }
        }
        let is_connected = *connected.borrow_and_update();
        if was_connected.replace(is_connected) != Some(is_connected) {
            shared.clusters_mut().set_connected(is_connected, shared.now_ms());
            shared.names.known_mut().connection_changed();
        }
    }
}

/// Notes which clusters there are.
async fn follow_clusters(shared: Arc<Shared>, mut clusters: Subscriber) {
    let mut ticks = interval(Duration::from_secs(10));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            message = clusters.next() => {
                let Some(message) = message else { return };
                let Some(envelope) = shared.open(message.payload) else { continue };
                shared.hear_time(&envelope);
                if let Err(rejection) = envelope.check_age(unix_ms()) {
                    shared.counts.note(rejection);
                    continue;
                }
                let Content::Cluster(presence) = envelope.content else { continue };
                let cluster = envelope.cluster;
                let heard = shared.clusters_mut().hear(cluster.clone(), envelope.process, envelope.number, presence, shared.now_ms());
                match heard {
                    Heard::Known => {}
                    Heard::Replayed => shared.counts.note(Rejection::Replayed),
                    Heard::New => info!(%cluster, "the federation has found a cluster"),
                    Heard::Overlaps => error!(
                        %cluster,
                        "a cluster has a gateway of this cluster, or a PHP gateway may be one by its address: nothing that it says is obeyed, and it \
                         is not asked. If it is this cluster, give all workers the same cluster_name; otherwise give the PHP gateways other addresses"
                    ),
                }
            }
            _ = ticks.tick() => {
                for cluster in shared.clusters_mut().forget(shared.now_ms()) {
                    info!(%cluster, "the federation has not heard of a cluster for 10 minutes and forgets it");
                }
                let clusters = shared.clusters();
                shared.names.known_mut().retain(|cluster| clusters.is_cluster(cluster));
            }
        }
    }
}
