//! Receiving what is sent to the own cluster on one partition: a task for each that this worker holds.
//!
//! `serving.rs` starts and ends it. One task takes all messages of a partition one after the other, so they stay in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use async_nats::Subscriber;
use bytes::Bytes;
use futures_util::StreamExt;
use gatewayworker_client::ClusterName;
use gatewayworker_client::federation::OwnCluster;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::core::{Content, Envelope, Partition, Partitions, Rejection};
use crate::durable::MAX_AGE;
use crate::shared::{Shared, unix_ms};

/// The partitions that this worker holds and no other.
#[derive(Debug, Clone, Default)]
pub(crate) struct HeldAlone(Arc<AtomicU16>);

impl HeldAlone {
    pub(crate) fn set(&self, partitions: Partitions) {
        self.0.store(partitions.bits(), Ordering::Relaxed);
    }

    fn has(&self, partition: Partition) -> bool {
        Partitions::from_bits(self.0.load(Ordering::Relaxed)).has(partition)
    }
}

/// Takes what comes until `end` is cancelled, and what has come by then.
pub(crate) async fn receive(
    shared: Arc<Shared>,
    own: OwnCluster,
    partition: Partition,
    mut messages: Subscriber,
    held_alone: HeldAlone,
    end: CancellationToken,
) {
    let mut is_ending = false;
    loop {
        let message = tokio::select! {
            message = messages.next() => message,
            () = end.cancelled(), if !is_ending => {
                is_ending = true;
                // What NATS has sent before and has not come yet is lost: async-nats forgets the subscription at once.
                if messages.drain().await.is_err() {
                    return;
                }
                continue;
            }
        };
        let Some(message) = message else { return };
        take(&shared, &own, partition, held_alone.has(partition), message.payload);
    }
}

fn take(shared: &Shared, own: &OwnCluster, partition: Partition, is_alone: bool, message: Bytes) {
    let Some(envelope) = shared.open(message) else { return };
    let cluster = envelope.cluster.clone();
    let accepted = match envelope.content {
        Content::Bundle(_) => take_bundle(shared, envelope, partition, is_alone),
        _ => shared
            .inbound()
            .accept_send(envelope, partition, is_alone, unix_ms())
            .map(|content| vec![content.call]),
    };
    let accepted = accepted.and_then(|calls| {
        if shared.clusters().overlaps(&cluster) { Err(Rejection::Overlapping) } else { Ok(calls) }
    });
    match accepted {
        Ok(calls) => calls.into_iter().for_each(|call| obey(shared, own, &cluster, call)),
        Err(rejection) => shared.counts.note(rejection),
    }
}

/// Takes what another cluster has sent over JetStream, where this one does not read the stream: NATS gives it to subscribers, too.
fn take_bundle(
    shared: &Shared,
    envelope: Envelope,
    partition: Partition,
    is_alone: bool,
) -> Result<Vec<Bytes>, Rejection> {
    // A cluster that reads the stream gets bundles there, and nowhere else.
    if shared.durable.is_some() || Partition::of(envelope.process) != partition {
        return Err(Rejection::Misplaced);
    }
    let accepted = shared.durable_inbound().accept(envelope, is_alone, MAX_AGE, unix_ms())?;
    shared.counts.stale.add(accepted.stale as u64);
    Ok(accepted.calls)
}

/// Does at the own gateways what another cluster says.
pub(crate) fn obey(shared: &Shared, own: &OwnCluster, cluster: &ClusterName, call: Bytes) {
    match own.obey(call) {
        Ok(Ok(delivery)) => {
            shared.counts.received.add_one();
            if !delivery.is_complete() {
                shared.counts.undelivered.add_one();
            }
        }
        Ok(Err(error)) => {
            shared.counts.received.add_one();
            shared.counts.undelivered.add_one();
            debug!(%cluster, %error, "a call of another cluster could not be obeyed");
        }
        Err(error) => {
            shared.counts.unreadable.add_one();
            debug!(%cluster, %error, "another cluster has said what this one does not understand");
        }
    }
}
