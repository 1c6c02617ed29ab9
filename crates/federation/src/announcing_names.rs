//! Announcing the names of the own cluster to all processes of all clusters, if that is for this worker to do.
//!
//! `serving.rs` starts [`announce`] and says who announces; `following_names.rs` hears it. What is said when is decided by [`Announcer`].

use std::net::SocketAddrV4;
use std::sync::Arc;

use async_nats::Subscriber;
use bytes::Bytes;
use futures_util::StreamExt;
use gatewayworker_client::federation::{ClusterNames, NamesChange, OwnCluster};
use tokio::sync::watch;
use tokio::time::sleep_until;

use crate::core::{Announcer, Content, NamesSource, NamesUpdate, Rejection};
use crate::shared::{Shared, unix_ms};

impl NamesSource for ClusterNames {
    fn take(&mut self) -> NamesChange {
        Self::take(self)
    }

    fn filters(&mut self) -> Vec<(SocketAddrV4, Bytes)> {
        Self::filters(self)
    }
}

/// Announces the names of the cluster while `announces` is true. Ends when its sender is dropped.
pub(crate) async fn announce(
    shared: Arc<Shared>,
    own: OwnCluster,
    mut announces: watch::Receiver<bool>,
    mut wanted: Subscriber,
) {
    let mut announcer = Announcer::default();
    let mut names: Option<ClusterNames> = None;
    loop {
        let deadline = announcer.next_deadline().map(|at_ms| shared.instant(at_ms));
        tokio::select! {
            changed = announces.changed() => {
                let is_announcing = changed.is_ok() && *announces.borrow_and_update();
                // It may be another time: what was announced between is not known.
                names = None;
                publish(&shared, announcer.set_announcing(false, shared.now_ms()));
                if changed.is_err() {
                    return;
                }
                if is_announcing {
                    names = Some(own.names());
                    announcer.set_announcing(true, shared.now_ms());
                }
            }
            message = wanted.next() => {
                let Some(message) = message else { return };
                if is_wanted(&shared, message.payload) {
                    announcer.want();
                }
            }
            () = changed(names.as_ref()) => announcer.note_change(),
            () = sleep_until(deadline.unwrap_or_else(|| shared.instant(0))), if deadline.is_some() => {}
        }
        if let Some(names) = &mut names {
            publish(&shared, announcer.advance(names, shared.max_call_len(), shared.now_ms()));
        }
    }
}

async fn changed(names: Option<&ClusterNames>) {
    match names {
        Some(names) => names.changed().await,
        None => std::future::pending().await,
    }
}

/// Whether somebody asks for everything. To be asked again costs nothing, as the answer is given once a second at most.
fn is_wanted(shared: &Shared, message: Bytes) -> bool {
    let Some(envelope) = shared.open(message) else { return false };
    if let Err(rejection) = envelope.check_age(unix_ms()) {
        shared.counts.note(rejection);
        return false;
    }
    let is_wanted = envelope.content == Content::NamesWanted;
    if !is_wanted {
        shared.counts.note(Rejection::Misplaced);
    }
    is_wanted
}

fn publish(shared: &Shared, updates: impl IntoIterator<Item = NamesUpdate>) {
    for update in updates {
        // Who misses one of them finds a gap.
        let _ = shared.publish_long(shared.subjects.names(&shared.own), Content::Names(update));
    }
}
