//! New tokens of connected clients: has one checked, and gives the core what it is worth.
//!
//! The core asks for it ([`Effect::NewToken`](crate::core::effects::Effect)), for one token of a client at a time.

use std::borrow::Cow;
use std::rc::Rc;
use std::time::Duration;

use gatewayworker_auth::Refusal;
use serde::Deserialize;
use tokio::time::timeout;

use super::ShardThread;
use crate::core::table::Key;
use crate::identity;

/// How long a check may take: a fetch of the keys, and until all workers know the groups.
const CHECK_LIMIT: Duration = Duration::from_secs(10);

/// The message of a client.
#[derive(Deserialize)]
struct NewToken<'m> {
    #[serde(borrow)]
    token: Cow<'m, str>,
}

impl ShardThread {
    /// Starts the task that checks a client's new token.
    pub(super) fn check_new_token(self: &Rc<Self>, key: Key, message: Box<[u8]>) {
        let shard = self.clone();
        tokio::task::spawn_local(async move {
            let new: Option<NewToken<'_>> = serde_json::from_slice(&message).ok();
            let token = new.as_ref().map_or(&b""[..], |new| new.token.as_bytes());
            // A stop does not wait for longer; the client may ask again.
            let checked = timeout(CHECK_LIMIT, identity::check(&shard.shared, Some(token), false)).await;
            let checked = checked.unwrap_or(Err(Refusal::KeysAway));
            let now_ms = shard.now_ms();
            let grant =
                checked.as_ref().map(|checked| checked.grant(now_ms)).map_err(|refusal| refusal.name());
            shard.input(|core| core.renew(key, grant, || shard.shared.next_seq(), now_ms));
        });
    }
}
