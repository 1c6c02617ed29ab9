//! From a client's token to what the client is in its shard.
//!
//! [`check`] has the token verified, and announces the uid and the groups of its client: workers that do not know of
//! them yet would send nothing here. [`Checked`] holds the names until the shard has the client in them. `client`
//! calls it for a handshake, `shard::renewal` for a new token. A refusal is counted here, and a token never logged.

use std::sync::Arc;
use std::time::Duration;

use gatewayworker_auth::{Authenticator, Identity, Refusal};
use gatewayworker_protocol::interest::Name;

use crate::core::tokens::Grant;
use crate::gateway_state::GatewayState;
use crate::interest::{self, Hold};

/// A token that is accepted.
pub(crate) struct Checked {
    identity: Identity,
    authenticator: Arc<Authenticator>,
    /// Its names, until the client has them.
    _hold: Option<Hold>,
}

/// Checks the token of a client; `None` stands for a client that shows none. `is_new` says that the client may be one
/// more of its uid.
///
/// Cancel safe.
///
/// # Errors
/// Why it is refused, which is counted.
pub(crate) async fn check(
    shared: &Arc<GatewayState>,
    token: Option<&[u8]>,
    is_new: bool,
) -> Result<Checked, Refusal> {
    let checked = check_uncounted(shared, token, is_new).await;
    checked.inspect_err(|refusal| shared.token_counts.count(*refusal))
}

async fn check_uncounted(
    shared: &Arc<GatewayState>,
    token: Option<&[u8]>,
    is_new: bool,
) -> Result<Checked, Refusal> {
    let authenticator = shared.authenticator.clone().ok_or(Refusal::KeysAway)?;
    let token = std::str::from_utf8(token.ok_or(Refusal::Missing)?).map_err(|_| Refusal::Malformed)?;
    let identity = authenticator.check(token).await?;
    if is_new && identity.uid.as_ref().is_some_and(|uid| !shared.membership_limits.has_room(uid)) {
        return Err(Refusal::Claims("sub: the uid has as many clients as max_clients_per_uid lets it have"));
    }
    let _hold = announce(shared, &identity).await;
    Ok(Checked { identity, authenticator, _hold })
}

/// Waits until all subscribers know the uid and the groups.
async fn announce(shared: &Arc<GatewayState>, identity: &Identity) -> Option<Hold> {
    let groups = identity.groups.iter().map(|group| Name::group(group));
    let names: Vec<_> = groups.chain(identity.uid.iter().map(|uid| Name::uid(uid))).collect();
    if names.is_empty() || !shared.config.interest {
        return None;
    }
    let hold = interest::announce(shared, names);
    interest::announced(shared, &hold).await;
    Some(hold)
}

impl Checked {
    /// Returns what the token gives to its client, at a time of the shard's clock, in ms.
    pub(crate) fn grant(&self, now_ms: u64) -> Grant {
        let Identity { uid, groups, session, expires_at, .. } = self.identity.clone();
        // Far more than a clock counts to.
        const FOR_EVER: Duration = Duration::from_secs(1 << 40);
        let time_left = |at| self.authenticator.time_left(at).min(FOR_EVER).as_millis() as u64;
        let expires_ms = expires_at.map(|at| now_ms.saturating_add(time_left(at)));
        Grant { uid, groups, session, expires_ms, expires_at }
    }
}
