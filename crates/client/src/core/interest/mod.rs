//! Interest: which groups and uids a gateway may have, as far as this process knows.
//!
//! An [`InterestView`] belongs to one gateway. It is trusted only with a lease of the gateway's; until then, and
//! without an interest link, the gateway counts as having everything. `docs/decisions/0011-interest.md` has the rules.
//!
//! Plain data. The shell:
//!
//! 1. makes an interest link when the call link stands, and calls [`link_begins`](InterestView::link_begins); calls
//!    [`link_over`](InterestView::link_over) *before* it closes one, and when either link is over;
//! 2. gives it each [`InterestUpdate`], and says what it returns;
//! 3. calls [`note_join`](InterestView::note_join) for each join, before its caller goes on, and
//!    [`may_have`](InterestView::may_have) with the time of the send, read when the send has begun;
//! 4. calls [`advance`](InterestView::advance) when [`next_deadline`](InterestView::next_deadline) has come, and when
//!    [`note_send`](InterestView::note_send) says so;
//! 5. asks the gateway anything on the call link when [`begin_barrier`](InterestView::begin_barrier) says so, and
//!    calls [`end_barrier`](InterestView::end_barrier) with what became of it.
//!
//! Times are in ms, of one clock that only goes forward.

mod own_names;
#[cfg(test)]
mod tests;

use bytes::BytesMut;
use gatewayworker_protocol::interest::{FilterPiece, InterestReport, InterestUpdate, Name, NameFilter};

use own_names::OwnNames;

pub use own_names::BarrierId;

/// The view is kept trusted for so long after a send to names, in ms.
const USED_MS: u64 = 10_000;

/// How often RENEW is said while no grant has told the length of a lease, in ms.
const FIRST_RENEW_MS: u64 = 1_000;

/// How often RENEW is said at most, however short a lease is, in ms.
const MIN_RENEW_MS: u64 = 50;

/// What a process knows of the names of one gateway.
#[derive(Debug, Default)]
pub struct InterestView {
    /// There is an interest link.
    is_linked: bool,
    /// The names, as soon as a whole filter has come.
    filter: Option<NameFilter>,
    /// A filter of which not all pieces have come.
    incoming: Option<Incoming>,
    trusted_until_ms: Option<u64>,
    lease_ms: Option<u64>,
    /// When RENEW was said last on this link.
    renewed_ms: Option<u64>,
    /// When something was last sent to names.
    sent_ms: Option<u64>,
    own: OwnNames,
}

#[derive(Debug)]
struct Incoming {
    version: u64,
    len: usize,
    bits: BytesMut,
}

/// A gateway says what makes no sense: the interest link has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InterestError {
    /// A piece of a filter does not follow the one before, or the filter has an impossible length.
    #[error("a piece of the filter does not fit the piece before it")]
    Piece,
    /// Names came before a whole filter.
    #[error("it announced names before a whole filter")]
    NoFilter,
    /// A grant for a time that has not come.
    #[error("it granted a lease that was not asked for")]
    Grant,
}

impl InterestView {
    /// Notes that an interest link begins. What was joined before is not known: every name counts as joined until
    /// the first barrier.
    pub fn link_begins(&mut self) {
        self.link_over();
        self.is_linked = true;
        self.own.add_everything();
    }

    /// Notes that the interest link is over, or about to be closed: nothing that it said is trusted any more.
    pub fn link_over(&mut self) {
        (self.filter, self.incoming) = (None, None);
        (self.trusted_until_ms, self.renewed_ms) = (None, None);
        self.is_linked = false;
        self.own.clear();
    }

    /// Takes what the gateway says. Returns what to answer.
    ///
    /// # Errors
    /// When the link has to end.
    pub fn receive(
        &mut self,
        update: InterestUpdate,
        now_ms: u64,
    ) -> Result<Option<InterestReport>, InterestError> {
        match update {
            InterestUpdate::Filter(piece) => self.take_piece(piece),
            InterestUpdate::Names { .. } if self.incoming.is_some() => Err(InterestError::Piece),
            InterestUpdate::Names { version, names } => {
                let filter = self.filter.as_mut().ok_or(InterestError::NoFilter)?;
                names.into_iter().for_each(|name| filter.insert(name));
                Ok(Some(InterestReport::Applied(version)))
            }
            InterestUpdate::Grant { renewed_at_ms, lease_ms } => {
                if self.renewed_ms.is_none_or(|renewed_ms| renewed_at_ms > renewed_ms)
                    || renewed_at_ms > now_ms
                {
                    return Err(InterestError::Grant);
                }
                let lease_ms = u64::from(lease_ms);
                self.lease_ms = Some(lease_ms);
                // Clocks may run apart: the gateway's is ahead when its time is over first.
                let until_ms = renewed_at_ms + lease_ms - lease_ms / 16;
                self.trusted_until_ms = self.trusted_until_ms.max(Some(until_ms));
                Ok(None)
            }
        }
    }

    fn take_piece(&mut self, piece: FilterPiece) -> Result<Option<InterestReport>, InterestError> {
        let FilterPiece { version, len, offset, bits } = piece;
        let len = len as usize;
        if offset == 0 && self.incoming.is_none() && NameFilter::is_len(len) {
            self.incoming = Some(Incoming { version, len, bits: BytesMut::new() });
        }
        let incoming = self.incoming.as_mut().ok_or(InterestError::Piece)?;
        let end = incoming.bits.len() + bits.len();
        if (incoming.version, incoming.len, incoming.bits.len()) != (version, len, offset as usize)
            || bits.is_empty()
            || end > len
        {
            return Err(InterestError::Piece);
        }
        incoming.bits.extend_from_slice(&bits);
        if end < len {
            return Ok(None);
        }
        let whole = self.incoming.take().map(|incoming| incoming.bits.freeze()).unwrap_or_default();
        self.filter = NameFilter::from_bytes(&whole);
        Ok(Some(InterestReport::Applied(version)))
    }

    /// Whether the gateway may have one of these names. `now_ms` is read when the send has begun, not earlier.
    pub fn may_have(&self, names: &[Name], now_ms: u64) -> bool {
        let Some(filter) = self.filter.as_ref().filter(|_| self.is_trusted(now_ms)) else { return true };
        names.iter().any(|name| filter.may_have(*name) || self.own.has(*name))
    }

    /// Whether the view is trusted.
    pub fn is_trusted(&self, now_ms: u64) -> bool {
        self.trusted_until_ms.is_some_and(|until_ms| now_ms < until_ms)
    }

    /// The names that the gateway has announced, as soon as a whole filter has come.
    pub fn filter(&self) -> Option<&NameFilter> {
        self.filter.as_ref()
    }

    /// Notes a send to names. Returns whether [`advance`](Self::advance) is due by that.
    pub fn note_send(&mut self, now_ms: u64) -> bool {
        self.sent_ms = Some(now_ms);
        self.renew_due_ms().is_some_and(|due_ms| due_ms <= now_ms)
    }

    /// When [`advance`](Self::advance) is due next, if ever.
    pub fn next_deadline(&self) -> Option<u64> {
        self.renew_due_ms().filter(|due_ms| self.is_used(*due_ms))
    }

    /// Returns what to say to the gateway now.
    pub fn advance(&mut self, now_ms: u64) -> Option<InterestReport> {
        let due_ms = self.renew_due_ms()?;
        if due_ms > now_ms {
            return None;
        }
        if !self.is_used(now_ms) {
            // This call is late: the deadline was within the time of use, and must not stay.
            self.sent_ms = None;
            return None;
        }
        self.renewed_ms = Some(now_ms);
        Some(InterestReport::Renew(now_ms))
    }

    fn renew_due_ms(&self) -> Option<u64> {
        self.filter.as_ref()?;
        let every_ms = self.lease_ms.map_or(FIRST_RENEW_MS, |lease_ms| (lease_ms / 3).max(MIN_RENEW_MS));
        Some(self.renewed_ms.map_or(0, |renewed_ms| renewed_ms + every_ms))
    }

    fn is_used(&self, now_ms: u64) -> bool {
        self.sent_ms.is_some_and(|sent_ms| now_ms < sent_ms + USED_MS)
    }

    /// Notes a name that this process is about to have joined at the gateway: the gateway may have it from now on.
    pub fn note_join(&mut self, name: Name) {
        // Without a link every name counts anyway.
        if self.is_linked {
            self.own.add(name);
        }
    }

    /// Begins a barrier, if one is of use: the gateway is to be asked anything on the call link, behind the joins before.
    /// Call it when the link has begun, and from time to time.
    pub fn begin_barrier(&mut self) -> Option<BarrierId> {
        self.own.begin_barrier()
    }

    /// Notes that the gateway has answered, or that it has not.
    pub fn end_barrier(&mut self, barrier: BarrierId, is_answered: bool) {
        self.own.end_barrier(barrier, is_answered);
    }
}
