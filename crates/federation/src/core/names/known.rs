//! [`KnownNames`]: what this process knows of the names of each cluster, its own included.
//!
//! `following_names.rs` tells it what clusters say. Each send to groups or uids asks [`may_have`](KnownNames::may_have).

use std::collections::BTreeMap;
use std::net::SocketAddrV4;

use bytes::BytesMut;
use gatewayworker_client::ClusterName;
use gatewayworker_protocol::interest::{Name, NameFilter};

use super::kept::News;
use super::update::{FilterPart, NamesUpdate, Step};
use super::{FRESH_MS, MAX_GATEWAYS};

/// How often a cluster is asked for everything at most, in ms.
const ASK_MS: u64 = 1_000;

/// A cluster whose summary has no room is asked again after so long, in ms.
const NO_ROOM_MS: u64 = 60_000;

/// All filters together have no more bytes. A cluster for which there is no room counts as having everything.
const MAX_BYTES: usize = 256 * 1024 * 1024;

/// So many clusters have a summary at most.
const MAX_CLUSTERS: usize = 256;

/// What a process knows of the names of clusters.
#[derive(Debug, Default)]
pub(crate) struct KnownNames {
    clusters: BTreeMap<ClusterName, Cluster>,
}

/// Who says something, and when by its own clock and count.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Said {
    pub(crate) process: u64,
    pub(crate) number: u64,
    pub(crate) unix_ms: u64,
}

/// What has become of an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It was taken.
    Taken {
        /// What calls that have left the cluster out have to know.
        news: News,
        /// The announcing worker of the cluster is to be asked for everything.
        asks: bool,
    },
    /// It was said before.
    Replayed,
}

#[derive(Debug, Default)]
struct Cluster {
    last: Option<Said>,
    heard_ms: u64,
    is_complete: bool,
    summary: Summary,
    ask_at_ms: u64,
}

/// The names that the gateways of a cluster have announced.
#[derive(Debug)]
enum Summary {
    /// Not known: nothing was heard, or a change was lost.
    Unknown { snapshot: Option<Snapshot> },
    /// Everything up to this change.
    Known { number: u64, filters: Filters, incoming: Option<Incoming> },
}

type Filters = BTreeMap<SocketAddrV4, NameFilter>;

/// A snapshot of which not all has come.
#[derive(Debug)]
struct Snapshot {
    number: u64,
    gateways: u16,
    filters: Filters,
    incoming: Option<Incoming>,
}

/// A filter of which not all parts have come.
#[derive(Debug)]
struct Incoming {
    gateway: SocketAddrV4,
    len: usize,
    bits: BytesMut,
}

/// The update makes no sense, or does not follow the one before: the summary cannot be trusted.
struct Broken;

impl KnownNames {
    /// Whether a cluster may have one of the names. False only by a summary that is whole, fresh and complete.
    pub(crate) fn may_have(&self, cluster: &ClusterName, names: &[Name], now_ms: u64) -> bool {
        let Some(cluster) = self.clusters.get(cluster) else { return true };
        match cluster.trusted(now_ms) {
            None => true,
            Some(filters) => names.iter().any(|name| filters.values().any(|filter| filter.may_have(*name))),
        }
    }

    /// Whether a cluster may have one of the names by what is new of it.
    pub(crate) fn may_have_now(
        &self,
        cluster: &ClusterName,
        news: &News,
        names: &[Name],
        now_ms: u64,
    ) -> bool {
        let gateways = match news {
            News::None => return false,
            News::More(gateways) => gateways,
            News::Other => return self.may_have(cluster, names, now_ms),
        };
        let filters = self.clusters.get(cluster).and_then(|cluster| cluster.trusted(now_ms));
        filters.is_none_or(|filters| {
            let mut changed = gateways.iter().filter_map(|gateway| filters.get(gateway));
            changed.any(|filter| names.iter().any(|name| filter.may_have(*name)))
        })
    }

    /// Takes what the announcing worker of a cluster says. `is_used` says whether this process wants to know everything.
    pub(crate) fn hear(
        &mut self,
        name: &ClusterName,
        said: Said,
        update: NamesUpdate,
        is_used: bool,
        now_ms: u64,
    ) -> Heard {
        let room = MAX_BYTES.saturating_sub(self.bytes_of_others(name));
        let Some(cluster) = self.cluster(name) else { return Heard::Taken { news: News::None, asks: false } };
        // Also one that is not fresh any more: it was when calls of the last moment have left the cluster out.
        let was_known = cluster.is_complete && matches!(cluster.summary, Summary::Known { .. });
        let mut news = news(&update.step);
        match cluster.last {
            Some(last) if last.process == said.process => {
                if said.number <= last.number {
                    return Heard::Replayed;
                }
            }
            Some(last) if said.unix_ms < last.unix_ms => return Heard::Replayed,
            // Another worker announces. It counts its own changes.
            _ => cluster.forget(),
        }
        cluster.last = Some(said);
        cluster.heard_ms = now_ms;
        cluster.is_complete = update.is_complete;
        if cluster.take(update, is_used, room).is_err() {
            cluster.forget();
        }
        if cluster.bytes() > room {
            cluster.forget();
            cluster.ask_at_ms = now_ms + NO_ROOM_MS;
        }
        let is_unknown = matches!(cluster.summary, Summary::Unknown { .. });
        let asks = is_used && is_unknown && cluster.is_complete && now_ms >= cluster.ask_at_ms;
        if asks {
            cluster.ask_at_ms = now_ms + ASK_MS;
        }
        if was_known && cluster.trusted(now_ms).is_none() {
            news = News::Other;
        }
        Heard::Taken { news, asks }
    }

    /// Forgets everything that may have changed while NATS was not connected.
    pub(crate) fn connection_changed(&mut self) {
        self.clusters.values_mut().for_each(Cluster::forget);
    }

    /// Forgets clusters that are none any more.
    pub(crate) fn retain(&mut self, is_cluster: impl Fn(&ClusterName) -> bool) {
        self.clusters.retain(|name, _| is_cluster(name));
    }

    fn cluster(&mut self, name: &ClusterName) -> Option<&mut Cluster> {
        if !self.clusters.contains_key(name) {
            if self.clusters.len() >= MAX_CLUSTERS {
                return None;
            }
            self.clusters.insert(name.clone(), Cluster::default());
        }
        self.clusters.get_mut(name)
    }

    fn bytes_of_others(&self, name: &ClusterName) -> usize {
        self.clusters.iter().filter(|(other, _)| *other != name).map(|(_, cluster)| cluster.bytes()).sum()
    }
}

impl Cluster {
    fn is_fresh(&self, now_ms: u64) -> bool {
        self.last.is_some() && now_ms < self.heard_ms + FRESH_MS
    }

    /// The filters, if all that is in none of them is in none of the gateways.
    fn trusted(&self, now_ms: u64) -> Option<&Filters> {
        match &self.summary {
            Summary::Known { filters, .. } if self.is_complete && self.is_fresh(now_ms) => Some(filters),
            _ => None,
        }
    }

    fn forget(&mut self) {
        self.summary = Summary::default();
    }

    fn take(&mut self, update: NamesUpdate, is_used: bool, room: usize) -> Result<(), Broken> {
        let NamesUpdate { number, step, .. } = update;
        match &mut self.summary {
            Summary::Known { number: known, filters, incoming } => match step {
                // Others have asked for it. If it is newer, a change was lost.
                Step::Snapshot { .. } if number == *known => Ok(()),
                Step::Snapshot { .. } => Err(Broken),
                step if number == *known + u64::from(step.is_change()) => {
                    *known = number;
                    apply(step, filters, incoming, room)
                }
                _ => Err(Broken),
            },
            Summary::Unknown { snapshot } => match step {
                Step::Snapshot { gateways, part } if is_used => {
                    let begun =
                        snapshot.take().filter(|begun| begun.number == number && begun.gateways == gateways);
                    let mut begun = begun.unwrap_or_else(|| Snapshot::begin(number, gateways));
                    take_part(part, &mut begun.filters, &mut begun.incoming, room)?;
                    if begun.filters.len() < usize::from(gateways) {
                        *snapshot = Some(begun);
                    } else {
                        let filters = begun.filters;
                        self.summary = Summary::Known { number, filters, incoming: None };
                    }
                    Ok(())
                }
                Step::Alive => Ok(()),
                // What has come of a snapshot is older.
                _ => Err(Broken),
            },
        }
    }

    fn bytes(&self) -> usize {
        let (filters, incoming) = match &self.summary {
            Summary::Known { filters, incoming, .. } => (filters, incoming),
            Summary::Unknown { snapshot: Some(Snapshot { filters, incoming, .. }) } => (filters, incoming),
            Summary::Unknown { snapshot: None } => return 0,
        };
        let incoming = incoming.as_ref().map_or(0, |incoming| incoming.bits.len());
        filters.values().map(NameFilter::len).sum::<usize>() + incoming
    }
}

impl Default for Summary {
    fn default() -> Self {
        Self::Unknown { snapshot: None }
    }
}

impl Snapshot {
    fn begin(number: u64, gateways: u16) -> Self {
        Self { number, gateways, filters: Filters::new(), incoming: None }
    }
}

/// What a step means for calls that have left the cluster out, where the summary is trusted before and after it.
fn news(step: &Step) -> News {
    match step {
        Step::Names(all) => News::More(all.iter().map(|(gateway, _)| *gateway).collect()),
        Step::Part(part) if part.offset as usize + part.bits.len() == part.len as usize => News::Other,
        Step::Alive | Step::Part(_) | Step::Gone(_) | Step::Snapshot { .. } => News::None,
    }
}

/// Makes a change.
fn apply(
    step: Step,
    filters: &mut Filters,
    incoming: &mut Option<Incoming>,
    room: usize,
) -> Result<(), Broken> {
    match step {
        Step::Alive | Step::Snapshot { .. } => Ok(()),
        Step::Names(all) => all.into_iter().try_for_each(|(gateway, names)| {
            let filter = filters.get_mut(&gateway).ok_or(Broken)?;
            names.into_iter().for_each(|name| filter.insert(name));
            Ok(())
        }),
        Step::Part(part) => take_part(part, filters, incoming, room),
        Step::Gone(gateways) => {
            gateways.iter().for_each(|gateway| drop(filters.remove(gateway)));
            Ok(())
        }
    }
}

/// Adds a part to a filter, and the filter to the others when it is whole.
fn take_part(
    part: FilterPart,
    filters: &mut Filters,
    incoming: &mut Option<Incoming>,
    room: usize,
) -> Result<(), Broken> {
    let FilterPart { gateway, len, offset, bits } = part;
    let len = len as usize;
    if offset == 0 && incoming.is_none() && NameFilter::is_len(len) && len <= room {
        *incoming = Some(Incoming { gateway, len, bits: BytesMut::new() });
    }
    let filter = incoming.as_mut().ok_or(Broken)?;
    let end = filter.bits.len() + bits.len();
    if (filter.gateway, filter.len, filter.bits.len()) != (gateway, len, offset as usize)
        || bits.is_empty()
        || end > len
    {
        return Err(Broken);
    }
    filter.bits.extend_from_slice(&bits);
    if end == len {
        let whole = NameFilter::from_bytes(&filter.bits).ok_or(Broken)?;
        *incoming = None;
        filters.insert(gateway, whole);
        if filters.len() > MAX_GATEWAYS {
            return Err(Broken);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> ClusterName {
        "a".parse().unwrap()
    }

    /// A process that knows the cluster by a snapshot with one gateway, as of change 1 and the time 0.
    fn knows() -> KnownNames {
        let mut known = KnownNames::default();
        hear(&mut known, 1, 1, snapshot(), 0);
        assert!(!known.may_have(&cluster(), &[Name::from_bits(1)], 0));
        known
    }

    fn snapshot() -> Step {
        let gateway = SocketAddrV4::new([10, 0, 0, 1].into(), 1);
        let part = FilterPart { gateway, len: 4096, offset: 0, bits: vec![0; 4096].into() };
        Step::Snapshot { gateways: 1, part }
    }

    /// Hears the `said`th message, with this change.
    fn hear(known: &mut KnownNames, said: u64, number: u64, step: Step, now_ms: u64) -> Heard {
        let update = NamesUpdate { number, is_complete: true, step };
        known.hear(&cluster(), Said { process: 1, number: said, unix_ms: 1 }, update, true, now_ms)
    }

    #[test]
    fn a_snapshot_for_others_shows_that_a_change_was_lost() {
        let mut known = knows();
        hear(&mut known, 2, 1, snapshot(), 100);
        assert!(!known.may_have(&cluster(), &[Name::from_bits(1)], 100));
        hear(&mut known, 4, 2, snapshot(), 200);
        assert!(known.may_have(&cluster(), &[Name::from_bits(1)], 200));
    }

    #[test]
    fn what_has_left_a_cluster_out_at_the_end_of_its_trust_goes_there_if_a_change_was_lost() {
        let mut known = knows();
        assert!(!known.may_have(&cluster(), &[Name::from_bits(1)], FRESH_MS - 50));
        let heard = hear(&mut known, 3, 2, Step::Alive, FRESH_MS + 50);
        assert_eq!(heard, Heard::Taken { news: News::Other, asks: true });
    }
}
