//! [`Subscribers`]: who is told what names there are, what each has applied, and until when it is waited for.

use std::collections::BTreeMap;

/// One interest link. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SubscriberId(u64);

/// How an interest link has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkOver {
    /// The subscriber has ended its side: it trusts its view no more, or its process has ended.
    ByPeer,
    /// Otherwise: it was reset, it failed, or the gateway has ended it. The subscriber may not know yet.
    Broken,
}

/// All subscribers, and those whose links are over and whose leases are not.
#[derive(Debug, Default)]
pub(super) struct Subscribers {
    by_id: BTreeMap<SubscriberId, Subscriber>,
    last: u64,
}

#[derive(Debug, Default)]
struct Subscriber {
    /// The version that it has said to have applied.
    applied: u64,
    /// Until when it may trust its view, in ms.
    leased_until_ms: Option<u64>,
    /// A RENEW that is answered when what was sent before it is applied.
    renewal: Option<Renewal>,
    /// It gets no lease until then, in ms.
    refused_until_ms: Option<u64>,
    link_is_over: bool,
}

#[derive(Debug, Clone, Copy)]
struct Renewal {
    renewed_at_ms: u64,
    read_ms: u64,
    /// What was sent when it was read.
    behind: u64,
}

impl Subscriber {
    /// Whether joins wait for it to apply this version.
    fn is_behind(&self, version: u64) -> bool {
        self.leased_until_ms.is_some() && self.applied < version
    }
}

impl Subscribers {
    pub(super) fn add(&mut self) -> SubscriberId {
        self.last += 1;
        let id = SubscriberId(self.last);
        self.by_id.insert(id, Subscriber::default());
        id
    }

    pub(super) fn applied(&mut self, id: SubscriberId, version: u64) {
        if let Some(subscriber) = self.by_id.get_mut(&id) {
            subscriber.applied = subscriber.applied.max(version);
        }
    }

    /// Takes a RENEW, with `sent` the version that was sent last. Until one is answered the next ones are passed over.
    pub(super) fn renew(&mut self, id: SubscriberId, renewed_at_ms: u64, sent: u64, now_ms: u64) {
        let Some(subscriber) = self.by_id.get_mut(&id) else { return };
        if subscriber.refused_until_ms.is_none_or(|until_ms| until_ms <= now_ms) {
            subscriber.refused_until_ms = None;
            subscriber.renewal.get_or_insert(Renewal { renewed_at_ms, read_ms: now_ms, behind: sent });
        }
    }

    /// Gives a lease, if the subscriber has asked and has applied what was sent before: one that is not reached any more
    /// says RENEW as well. The lease counts from when that was read. Returns the time to answer with.
    pub(super) fn take_renewed(&mut self, id: SubscriberId, lease_ms: u64) -> Option<u64> {
        let subscriber = self.by_id.get_mut(&id).filter(|subscriber| !subscriber.link_is_over)?;
        let applied = subscriber.applied;
        let renewal = subscriber.renewal.take_if(|renewal| renewal.behind <= applied)?;
        let until_ms = renewal.read_ms + lease_ms;
        subscriber.leased_until_ms = subscriber.leased_until_ms.max(Some(until_ms));
        Some(renewal.renewed_at_ms)
    }

    pub(super) fn link_over(&mut self, id: SubscriberId, how: LinkOver) {
        if let Some(subscriber) = self.by_id.get_mut(&id) {
            // A link that the gateway has cut off reads its end afterwards: that is not the peer's.
            let is_ended_by_peer = how == LinkOver::ByPeer && !subscriber.link_is_over;
            subscriber.link_is_over = true;
            if is_ended_by_peer || subscriber.leased_until_ms.is_none() {
                self.by_id.remove(&id);
            }
        }
    }

    /// Ends the leases whose time is over. Returns how many of these joins waited for, which want this version applied.
    pub(super) fn expire(&mut self, now_ms: u64, waiting: Option<u64>) -> u64 {
        let mut lost = 0;
        self.by_id.retain(|_, subscriber| {
            if subscriber.leased_until_ms.take_if(|until_ms| *until_ms <= now_ms).is_some() {
                lost += u64::from(waiting.is_some_and(|version| subscriber.applied < version));
            }
            subscriber.leased_until_ms.is_some() || !subscriber.link_is_over
        });
        lost
    }

    /// Gives those that have not applied this version no lease any more until then. The one that each has stays.
    pub(super) fn refuse_behind(&mut self, version: u64, until_ms: u64) {
        let behind = self.by_id.values_mut().filter(|subscriber| subscriber.is_behind(version));
        for subscriber in behind {
            subscriber.refused_until_ms.get_or_insert(until_ms);
            subscriber.renewal = None;
        }
    }

    /// Whether somebody that has not applied this version may have its lease renewed.
    pub(super) fn has_unrefused_behind(&self, version: u64) -> bool {
        let mut all = self.by_id.values();
        all.any(|subscriber| subscriber.is_behind(version) && subscriber.refused_until_ms.is_none())
    }

    /// When the first lease ends of those that have not applied this version.
    pub(super) fn first_expiry_behind(&self, version: u64) -> Option<u64> {
        let behind = self.by_id.values().filter(|subscriber| subscriber.is_behind(version));
        behind.filter_map(|subscriber| subscriber.leased_until_ms).min()
    }

    pub(super) fn is_any_leased(&self) -> bool {
        self.by_id.values().any(|subscriber| subscriber.leased_until_ms.is_some())
    }

    /// The version that all that are leased have applied; `None` where nobody is leased.
    pub(super) fn applied_by_leased(&self) -> Option<u64> {
        let leased = self.by_id.values().filter(|subscriber| subscriber.leased_until_ms.is_some());
        leased.map(|subscriber| subscriber.applied).min()
    }

    /// Those whose links stand.
    pub(super) fn linked(&self) -> impl Iterator<Item = SubscriberId> {
        self.by_id.iter().filter(|(_, subscriber)| !subscriber.link_is_over).map(|(id, _)| *id)
    }
}
