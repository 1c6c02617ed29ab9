//! Limits on what workers' commands give to clients: groups, uids, and the length of their names.
//!
//! They keep a defect of an application, or a person who makes it join one group after another,
//! from filling the gateway's memory. The table asks them at each join and bind; a command beyond a
//! limit is not executed, and `commands` notes it.

use std::sync::Arc;

use super::keyed_limit::KeyedLimit;

/// The limits of a gateway. By default there is none.
#[derive(Debug, Clone)]
pub struct MembershipLimits {
    /// The most groups of one client.
    pub max_groups_per_client: usize,
    /// The longest name of a group or uid, in bytes.
    pub max_name_bytes: usize,
    /// The clients of each uid, on all shards; `None` where their number is not limited.
    uids: Option<Arc<KeyedLimit<Box<[u8]>>>>,
}

/// A limit that a command would have exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MembershipLimit {
    /// The client is in as many groups as it may be in.
    GroupsPerClient,
    /// The uid has as many clients as it may have.
    ClientsPerUid,
    /// The name of the group or uid is too long.
    NameBytes,
}

impl MembershipLimit {
    /// Each limit with its setting and the name of its count in `status`. In the order of the enum.
    pub(crate) const NAMES: [(Self, &'static str, &'static str); 3] = [
        (Self::GroupsPerClient, "max_groups_per_client", "commands_refused_groups_per_client"),
        (Self::ClientsPerUid, "max_clients_per_uid", "commands_refused_clients_per_uid"),
        (Self::NameBytes, "max_name_bytes", "commands_refused_name_bytes"),
    ];

    /// Returns the setting.
    pub(crate) fn setting(self) -> &'static str {
        Self::NAMES[self as usize].1
    }
}

impl Default for MembershipLimits {
    fn default() -> Self {
        Self::new(usize::MAX, usize::MAX, usize::MAX)
    }
}

impl MembershipLimits {
    /// The limits of a gateway; `usize::MAX` stands for none. Its shards get clones.
    pub fn new(max_groups_per_client: usize, max_clients_per_uid: usize, max_name_bytes: usize) -> Self {
        let is_limited = max_clients_per_uid < usize::MAX;
        let uids = is_limited.then(|| Arc::new(KeyedLimit::new(max_clients_per_uid)));
        Self { max_groups_per_client, max_name_bytes, uids }
    }

    /// Checks the length of a name.
    pub(super) fn check_name(&self, name: &[u8]) -> Result<(), MembershipLimit> {
        if name.len() > self.max_name_bytes { Err(MembershipLimit::NameBytes) } else { Ok(()) }
    }

    /// Whether a uid may have one more client now. Another client may come before it does.
    pub(crate) fn has_room(&self, uid: &[u8]) -> bool {
        self.uids.as_ref().is_none_or(|uids| uids.has_room(uid))
    }

    /// Counts one more client of a uid.
    pub(super) fn acquire_uid(&self, uid: &[u8]) -> Result<(), MembershipLimit> {
        match &self.uids {
            Some(uids) if !uids.acquire(uid.into()) => Err(MembershipLimit::ClientsPerUid),
            _ => Ok(()),
        }
    }

    /// Counts one client of a uid less.
    pub(super) fn release_uid(&self, uid: &[u8]) {
        if let Some(uids) = &self.uids {
            uids.release(uid);
        }
    }
}
