//! Following what clusters say of their names, in every process: who sends to groups and uids has to know.
//!
//! `federation.rs` starts [`follow`]. In each cluster `announcing_names.rs` says it. What is known is decided in `core/names`.

use std::sync::Arc;

use async_nats::Subscriber;
use futures_util::StreamExt;
use gatewayworker_client::ClusterName;

use crate::core::{Content, Envelope, HeardNames, Rejection, Said};
use crate::shared::{Shared, unix_ms};

/// Notes which names clusters have. Never returns while the connection is kept.
pub(crate) async fn follow(shared: Arc<Shared>, mut updates: Subscriber) {
    while let Some(message) = updates.next().await {
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
    let now_ms = shared.now_ms();
    match content {
        Content::Names(update) => {
            let said = Said { process, number, unix_ms };
            let is_used = shared.names.is_used();
            let heard = shared.names.known_mut().hear(&cluster, said, update, is_used, now_ms);
            match heard {
                HeardNames::Taken => {}
                HeardNames::Ask => ask(shared, &cluster),
                HeardNames::Replayed => shared.counts.note(Rejection::Replayed),
            }
        }
        // A claim is of use to the process itself, too, but it has noted it before.
        Content::Claim { .. } if process == shared.process => {}
        Content::Claim { cluster, names } => shared.names.known_mut().claim(&cluster, names, now_ms),
        _ => shared.counts.note(Rejection::Misplaced),
    }
}

/// Asks the announcing worker of a cluster for everything.
fn ask(shared: &Shared, cluster: &ClusterName) {
    shared.publish(shared.subjects.names_wanted(cluster), Content::NamesWanted);
}
