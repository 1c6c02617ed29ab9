//! The numbers of the rooms: how many people and page views. A publisher sends them to the clients of a room.
//!
//! The gateways count the people, because a number of our own would be wrong after the first crash. However many
//! clients join and leave, a room gets its numbers at most once a second. Worker and backend start a publisher each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gatewayworker::{AskError, Gateway};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use crate::reply::{Numbers, Reply};
use crate::settings::Rooms;
use crate::views::Views;

/// The shortest time between two messages to a room.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// How often the numbers are checked without a notice: a gateway may have died, or another process may have counted.
const CHECK_INTERVAL: Duration = Duration::from_secs(30);

/// How often the numbers are checked while they are incomplete.
const RETRY_INTERVAL: Duration = Duration::from_secs(3);

/// A task for each room. Dropping the publisher ends them.
#[derive(Debug)]
pub(crate) struct NumbersPublisher {
    changed: BTreeMap<String, Arc<Notify>>,
    _tasks: JoinSet<()>,
}

impl NumbersPublisher {
    /// Starts the tasks.
    pub(crate) fn start(gateway: &Gateway, views: &Views, rooms: &Rooms) -> Self {
        let mut tasks = JoinSet::new();
        let mut changed = BTreeMap::new();
        for room in rooms.iter() {
            let notify = Arc::new(Notify::new());
            tasks.spawn(publish_changes(room.clone(), notify.clone(), gateway.clone(), views.clone()));
            changed.insert(room.clone(), notify);
        }
        Self { changed, _tasks: tasks }
    }

    /// Tells the room's task that a client has joined or left.
    pub(crate) fn changed(&self, room: &str) {
        if let Some(changed) = self.changed.get(room) {
            changed.notify_one();
        }
    }
}

/// Sends a room its numbers when they have changed, or when a client has joined.
async fn publish_changes(room: String, changed: Arc<Notify>, gateway: Gateway, views: Views) {
    let mut last: Option<Numbers> = None;
    loop {
        let wait = if last.is_none_or(Numbers::is_whole) { CHECK_INTERVAL } else { RETRY_INTERVAL };
        let notified = timeout(wait, changed.notified()).await.is_ok();
        let numbers = room_numbers(&room, &gateway, &views).await;
        // After a notice, always send: a client that has just joined has no numbers yet.
        if notified || last.is_some_and(|last| last != numbers) {
            let delivery = gateway.send_to_group([&room], Reply::Room { id: &room, numbers }).await;
            debug!(room, ?numbers, ?delivery, "numbers sent");
        }
        last = Some(numbers);
        sleep(MIN_INTERVAL).await;
    }
}

/// Returns a room's numbers, as far as they are known.
pub(crate) async fn room_numbers(room: &str, gateway: &Gateway, views: &Views) -> Numbers {
    let (people, exact) = match gateway.client_count_by_group(room).await {
        Ok(people) => (Some(people), true),
        Err(AskError::Incomplete { partial, missing, .. }) => {
            warn!(room, ?missing, "not all gateways have counted");
            (Some(partial), false)
        }
        Err(AskError::NotAsked(_)) => (None, false),
    };
    Numbers { people, exact, views: views.of(room).await.ok() }
}
