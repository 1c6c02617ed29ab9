//! A worker's part: it subscribes for its cluster, tells the other workers and clusters that it is there, and hands what comes to
//! tasks of `receiving.rs` and `answering.rs`.
//!
//! Which partitions it subscribes to is decided by [`Workers`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::Subscriber;
use futures_util::StreamExt;
use futures_util::future::join_all;
use gatewayworker_client::federation::OwnCluster;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, error, warn};

use crate::announcing_names::announce;
use crate::answering::Answering;
use crate::core::{Content, Hello, OwnGateways, Partition, Partitions, Presence, Rejection, Workers};
use crate::durable::ServingDurable;
use crate::receiving::{HeldAlone, receive};
use crate::shared::{Shared, unix_ms, until};
use crate::{Error, Federation};

/// How often a cluster is announced to others, whether it has changed or not: others judge by the time (`core/clusters.rs`), and a hearer of
/// what it knows does next to nothing.
const PRESENCE: Duration = Duration::from_secs(1);

/// How long a worker that stops waits for others to take its partitions, and then for what it still has to do.
const LEAVE: Duration = Duration::from_secs(2);

/// How long the NATS client may take to accept a subscription. It accepts nothing while as much waits in it as may.
const SUBSCRIBE: Duration = Duration::from_millis(500);

impl Federation {
    /// Serves the other clusters, together with all workers of the own cluster that do: takes what they send to its clients, and answers
    /// their questions. Ends when `stop` is cancelled and others have taken over, within some seconds.
    ///
    /// Dropped before its end, it loses what has come and is not handed on.
    ///
    /// # Errors
    /// When the NATS client has ended by itself.
    pub async fn serve(&self, own: OwnCluster, stop: CancellationToken) -> Result<(), Error> {
        let _end = End { shared: self.shared.clone(), stop: stop.clone() };
        tokio::select! {
            () = own.ready() => {}
            () = stop.cancelled() => return Ok(()),
        }
        let serving = tokio::select! {
            serving = Serving::begin(self, own) => serving?,
            () = stop.cancelled() => return Ok(()),
        };
        serving.run(stop).await
    }
}

/// Notes at its end whether serving has ended without being told to.
struct End {
    shared: Arc<Shared>,
    stop: CancellationToken,
}

impl Drop for End {
    fn drop(&mut self) {
        self.shared.has_ended_serving.store(!self.stop.is_cancelled(), Ordering::Relaxed);
    }
}

struct Serving {
    federation: Federation,
    own: OwnCluster,
    own_gateways: OwnGateways,
    workers: Workers,
    is_clock_wrong: bool,
    hellos: Subscriber,
    questions: Subscriber,
    answering: Answering,
    receiving: BTreeMap<Partition, Receiving>,
    /// Tasks of partitions that were given up, which end soon.
    ending: Vec<AbortOnDropHandle<()>>,
    held_alone: HeldAlone,
    /// Whether this worker announces the names of its cluster.
    announces: watch::Sender<bool>,
    announcing: AbortOnDropHandle<()>,
    durable: ServingDurable,
}

struct Receiving {
    end: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Serving {
    async fn begin(federation: &Federation, own: OwnCluster) -> Result<Self, Error> {
        let shared = &federation.shared;
        let group = shared.own.to_string();
        let wanted = shared.client.subscribe(shared.subjects.names_wanted(&shared.own)).await?;
        let announces = watch::Sender::new(false);
        let announcing = announce(shared.clone(), own.clone(), announces.subscribe(), wanted);
        Ok(Self {
            announces,
            announcing: AbortOnDropHandle::new(tokio::spawn(announcing)),
            workers: Workers::new(shared.process),
            is_clock_wrong: false,
            hellos: shared.client.subscribe(shared.subjects.workers(&shared.own)).await?,
            questions: shared.client.queue_subscribe(shared.subjects.ask(&shared.own), group).await?,
            answering: Answering::new(shared.clone(), own.clone()),
            receiving: BTreeMap::new(),
            ending: Vec::new(),
            held_alone: HeldAlone::default(),
            durable: ServingDurable::new(shared.clone(), own.clone()),
            federation: federation.clone(),
            own,
            own_gateways: OwnGateways::default(),
        })
    }

    async fn run(mut self, stop: CancellationToken) -> Result<(), Error> {
        let shared = self.federation.shared.clone();
        let mut connected = shared.connected.clone();
        connected.mark_changed();
        let mut presence = interval(PRESENCE);
        presence.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut leaves_at = None;
        loop {
            let deadline = self.workers.next_deadline().map(|at_ms| shared.instant(at_ms));
            tokio::select! {
                () = stop.cancelled(), if leaves_at.is_none() => {
                    // Before another worker begins with it.
                    self.durable.end().await;
                    self.workers.leave(shared.now_ms());
                    leaves_at = Some(Instant::now() + LEAVE);
                }
                Ok(()) = connected.changed() => {
                    let is_connected = *connected.borrow_and_update();
                    self.workers.set_connected(is_connected, shared.now_ms());
                    if is_connected {
                        // After a long break others know the cluster by that only.
                        self.say_presence();
                    }
                }
                hello = self.hellos.next() => match hello {
                    Some(message) => self.hear(message.payload),
                    None => return Err(Error::Ended),
                },
                question = self.questions.next() => match question {
                    Some(message) => self.answering.begin(message.payload),
                    None => return Err(Error::Ended),
                },
                () = until(deadline), if deadline.is_some() => {}
                _ = presence.tick() => {
                    self.find_ended();
                    self.say_presence();
                }
                () = until(leaves_at), if leaves_at.is_some() => break,
            }
            self.advance().await?;
            if leaves_at.is_some() && (self.workers.has_left() || !shared.is_connected()) {
                break;
            }
        }
        self.leave().await;
        Ok(())
    }

    fn hear(&mut self, message: bytes::Bytes) {
        let shared = &self.federation.shared;
        let Some(envelope) = shared.open(message) else { return };
        shared.hear_time(&envelope);
        if let Err(rejection) = envelope.check_age(unix_ms()) {
            return shared.counts.note(rejection);
        }
        match envelope.content {
            Content::Worker(hello) if envelope.cluster == shared.own => {
                if !self.workers.hear(envelope.process, envelope.number, hello, shared.now_ms()) {
                    shared.counts.note(Rejection::Replayed);
                }
            }
            _ => shared.counts.misplaced.add_one(),
        }
    }

    /// Does what the core decides.
    async fn advance(&mut self) -> Result<(), Error> {
        let shared = self.federation.shared.clone();
        let is_wrong = shared.clock().own_is_wrong(shared.now_ms());
        if is_wrong && !self.is_clock_wrong {
            error!(
                "the clock of this host differs from those of most others by more than 30 s: the worker takes nothing for its cluster until it is right"
            );
        }
        self.is_clock_wrong = is_wrong;
        self.workers.set_holds_nothing(is_wrong);
        self.workers.set_reaches_gateways(self.own.has_gateway(), shared.now_ms());
        let changes = self.workers.advance(shared.now_ms());
        let subscribe_until = Instant::now() + SUBSCRIBE;
        for partition in changes.subscribe.iter() {
            debug!(?partition, "the worker subscribes to a partition of the federation");
            let (own, is_durable) = (shared.clusters().own_slot(), shared.durable.is_some());
            let subject = shared.subjects.sent_to(partition, own, is_durable);
            let subscribe = shared.client.queue_subscribe(subject, shared.own.to_string());
            let Ok(messages) = timeout_at(subscribe_until, subscribe).await else {
                self.workers.not_subscribed(partition);
                continue;
            };
            let messages = messages?;
            let end = CancellationToken::new();
            let receive = receive(
                shared.clone(),
                self.own.clone(),
                partition,
                messages,
                self.held_alone.clone(),
                end.clone(),
            );
            let task = AbortOnDropHandle::new(tokio::spawn(receive));
            self.receiving.insert(partition, Receiving { end, task });
        }
        for partition in changes.unsubscribe.iter() {
            debug!(?partition, "the worker leaves a partition of the federation to another");
            shared.inbound().stop_counting(partition);
            if let Some(Receiving { end, task }) = self.receiving.remove(&partition) {
                end.cancel();
                self.ending.retain(|task| !task.is_finished());
                self.ending.push(task);
            }
        }
        self.durable.set_held(self.workers.holds().has(Partition::FIRST));
        let mut alone = Partitions::default();
        self.workers.holds().iter().filter(|p| self.workers.holds_alone(*p)).for_each(|p| alone.insert(p));
        self.held_alone.set(alone);
        self.announce_names(self.workers.holds().has(Partition::FIRST));
        shared.unheld.store(self.workers.unheld(shared.now_ms()), Ordering::Relaxed);
        if let Some(hello) = changes.hello {
            let hello = Hello { holds: self.workers.holds(), ..hello };
            shared.publish(shared.subjects.workers(&shared.own), Content::Worker(hello));
        }
        if changes.subscribe.has(Partition::FIRST) {
            self.say_presence();
        }
        Ok(())
    }

    /// Finds partitions whose task has ended though it should not, and leaves them to be subscribed to again; and whether names are announced.
    fn find_ended(&mut self) {
        if self.announcing.is_finished() {
            self.federation.shared.has_ended_serving.store(true, Ordering::Relaxed);
        }
        let workers = &mut self.workers;
        self.receiving.retain(|partition, receiving| {
            let has_ended = receiving.task.is_finished();
            if has_ended {
                error!(
                    ?partition,
                    "the task that receives a partition of the federation has ended: it begins anew"
                );
                workers.not_subscribed(*partition);
            }
            !has_ended
        });
    }

    fn announce_names(&self, announces: bool) {
        self.announces.send_if_modified(|before| std::mem::replace(before, announces) != announces);
    }

    /// Announces the cluster, if that is for this worker to do.
    fn say_presence(&mut self) {
        if self.workers.holds().has(Partition::FIRST) {
            self.announce(false);
        }
    }

    fn announce(&mut self, is_leaving: bool) {
        let shared = &self.federation.shared;
        // A gateway that goes meanwhile is connected, and not listed any more.
        let connected = self.own.gateways();
        let gateways = self.own_gateways.announced(connected, &self.own.listed(), shared.now_ms());
        let presence = Presence { gateways, is_leaving };
        shared.publish(shared.subjects.cluster(&shared.own), Content::Cluster(presence));
    }

    /// Ends the subscriptions, and does what has come on them.
    async fn leave(mut self) {
        let shared = self.federation.shared.clone();
        // A worker of another time is not heard, and may be there.
        if self.workers.is_last() && shared.clock().off(shared.now_ms()) == 0 {
            self.announce(true);
        }
        // Says at its end that nobody is to trust it any more.
        drop(self.announces);
        let hello = Hello { holds: Partitions::default(), is_leaving: true };
        let mut tasks: Vec<AbortOnDropHandle<()>> = std::mem::take(&mut self.ending);
        for Receiving { end, task } in std::mem::take(&mut self.receiving).into_values() {
            end.cancel();
            tasks.push(task);
        }
        let finish = async {
            let _ = self.questions.drain().await;
            while let Some(message) = self.questions.next().await {
                self.answering.begin(message.payload);
            }
            join_all(tasks).await;
            let _ = self.announcing.await;
            self.answering.finish().await;
            shared.publish(shared.subjects.workers(&shared.own), Content::Worker(hello));
            let _ = shared.client.flush().await;
        };
        // Without NATS a subscription does not end.
        if timeout(LEAVE, finish).await.is_err() && shared.is_connected() {
            warn!("the worker has left the federation before it had done all that other clusters had sent");
        }
    }
}
