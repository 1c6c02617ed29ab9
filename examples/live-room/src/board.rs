//! The numbers of the rooms, told to those who are in them.
//!
//! How many people there are is asked of the gateways, which know it: a number kept
//! beside them would be wrong after the first crash. A room hears of changes once a
//! second at most, however many come and go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gatewayworker::{AskError, Gateway};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use crate::reply::{Numbers, Reply};
use crate::{Rooms, Views};

/// How often a room hears of changes at most.
const EVERY: Duration = Duration::from_secs(1);

/// How often is looked whether something changed unnoticed: a gateway died, another
/// process counted.
const LOOK: Duration = Duration::from_secs(30);

/// The same while not all could be found out.
const LOOK_AGAIN: Duration = Duration::from_secs(3);

/// A task for each room. They end with it.
#[derive(Debug)]
pub(crate) struct Board {
    changed: BTreeMap<String, Arc<Notify>>,
    _tasks: JoinSet<()>,
}

impl Board {
    pub(crate) fn start(gateway: &Gateway, views: &Views, rooms: &Rooms) -> Self {
        let mut tasks = JoinSet::new();
        let mut changed = BTreeMap::new();
        for room in rooms.iter() {
            let notify = Arc::new(Notify::new());
            tasks.spawn(keep_up(room.clone(), notify.clone(), gateway.clone(), views.clone()));
            changed.insert(room.clone(), notify);
        }
        Self { changed, _tasks: tasks }
    }

    /// Somebody came or went.
    pub(crate) fn changed(&self, room: &str) {
        if let Some(changed) = self.changed.get(room) {
            changed.notify_one();
        }
    }
}

async fn keep_up(room: String, changed: Arc<Notify>, gateway: Gateway, views: Views) {
    let mut last: Option<Numbers> = None;
    loop {
        let wait = if last.is_none_or(Numbers::is_whole) { LOOK } else { LOOK_AGAIN };
        let told = timeout(wait, changed.notified()).await.is_ok();
        let numbers = find_out(&room, &gateway, &views).await;
        // Who has just come in knows no number yet, be it the old one.
        if told || last.is_some_and(|last| last != numbers) {
            let delivery = gateway.send_to_group([&room], Reply::Room { id: &room, numbers }).await;
            debug!(room, ?numbers, ?delivery, "told");
        }
        last = Some(numbers);
        sleep(EVERY).await;
    }
}

/// A room's numbers, as far as they are known.
pub(crate) async fn find_out(room: &str, gateway: &Gateway, views: &Views) -> Numbers {
    let (people, exact) = match gateway.client_count_by_group(room).await {
        Ok(people) => (Some(people), true),
        Err(AskError::Incomplete { partial, missing }) => {
            warn!(room, ?missing, "not all gateways have counted");
            (Some(partial), false)
        }
        Err(AskError::NotAsked(_)) => (None, false),
    };
    Numbers { people, exact, views: views.of(room).await.ok() }
}
