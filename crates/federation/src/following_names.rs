//! Following what clusters say of their names, in every process: who sends to groups and uids has to know.
//!
//! `federation.rs` starts [`follow`]. In each cluster `announcing_names.rs` says it. What is known is decided in `core/names`.

use std::sync::Arc;

use async_nats::Subscriber;
use futures_util::StreamExt;
use gatewayworker_client::ClusterName;

use crate::core::{Content, Envelope, Rejection, Said};
use crate::shared::{Shared, unix_ms};

/// Notes which names clusters have. Never returns while the connection is kept.
pub(crate) async fn follow(shared: Arc<Shared>, mut updates: Subscriber) {
    // The own cluster is no destination.
    let own = shared.subjects.names(&shared.own);
    while let Some(message) = updates.next().await {
        if message.subject.as_str() == own {
            continue;
        }
        let Some(envelope) = shared.open(message.payload) else { continue };
        if let Err(rejection) = envelope.check_age(unix_ms()) {
            shared.counts.note(rejection);
            continue;
        }
        hear(&shared, envelope);
    }
}

fn hear(shared: &Shared, envelope: Envelope) {
    let Envelope { unix_ms, process, number, cluster, content } = envelope;
    if cluster == shared.own {
        return shared.counts.note(Rejection::Misplaced);
    }
    match content {
        Content::Names(update) => {
            match shared.hear_names(&cluster, Said { process, number, unix_ms }, update) {
                Ok(true) => ask(shared, &cluster),
                Ok(false) => {}
                Err(rejection) => shared.counts.note(rejection),
            }
        }
        _ => shared.counts.note(Rejection::Misplaced),
    }
}

/// Asks the announcing worker of a cluster for everything.
fn ask(shared: &Shared, cluster: &ClusterName) {
    shared.publish(shared.subjects.names_wanted(cluster), Content::NamesWanted);
}
