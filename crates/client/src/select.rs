//! Questions about rows: which clients there are, with their uids, groups and sessions.
//!
//! `select` is the original's; the other methods here are made of it, as in the original.
//! `ask.rs` asks the gateways, and `decode.rs` reads PHP values.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use gatewayworker_protocol::php::{Key, Value};
use gatewayworker_protocol::{ClientId, Field, Filter, GroupId, IdError, Question, Select, Uid};
use indexmap::{IndexMap, IndexSet};

use crate::decode;
use crate::error::AskResult;
use crate::federation::ClusterQuestion;
use crate::link::Link;
use crate::names::Names;
use crate::{Error, Gateway, SessionData, SessionError};

/// A column of the rows of [`Gateway::select`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Column {
    /// The uid.
    Uid,
    /// The groups.
    Groups,
    /// The session.
    Session,
    /// Since when the client's connection has been cut, where it may come back (`gw.1`). Gateways of the original and of
    /// older versions do not say it.
    DetachedSince,
}

/// The clients that [`Gateway::select`] looks for: those that meet any of the conditions, or
/// all where there is none. A condition with an empty list is one that no client meets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Where {
    /// The members of these groups.
    pub groups: Vec<GroupId>,
    /// The clients that are bound to these uids.
    pub uids: Vec<Uid>,
    /// These clients.
    pub client_ids: Vec<ClientId>,
    /// A condition was added, perhaps with an empty list.
    has_condition: bool,
}

/// One client in the answer of [`Gateway::select`]. A column that was not asked for is empty.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Row {
    /// Its uid.
    pub uid: Option<Uid>,
    /// Its groups.
    pub groups: Vec<GroupId>,
    /// Its session, as it is stored.
    pub session: Bytes,
    /// Since when its connection has been cut, to a second; `None` while it is connected. Until it comes back, or its
    /// gateway gives it up, it is online as any other: what it is sent waits for it.
    pub detached_since: Option<SystemTime>,
}

impl Row {
    /// Reads the session.
    ///
    /// # Errors
    /// When it holds objects or references.
    pub fn session(&self) -> Result<SessionData, SessionError> {
        SessionData::parse(&self.session)
    }
}

impl Where {
    /// Adds the members of these groups.
    #[must_use]
    pub fn with_groups(mut self, groups: impl IntoIterator<Item = GroupId>) -> Self {
        self.groups.extend(groups);
        self.has_condition = true;
        self
    }

    /// Adds the clients that are bound to these uids.
    #[must_use]
    pub fn with_uids(mut self, uids: impl IntoIterator<Item = Uid>) -> Self {
        self.uids.extend(uids);
        self.has_condition = true;
        self
    }

    /// Adds these clients.
    #[must_use]
    pub fn with_client_ids(mut self, ids: impl IntoIterator<Item = ClientId>) -> Self {
        self.client_ids.extend(ids);
        self.has_condition = true;
        self
    }

    /// Whether all clients are looked for.
    fn is_unconditional(&self) -> bool {
        let Self { groups, uids, client_ids, has_condition } = self;
        !has_condition && groups.is_empty() && uids.is_empty() && client_ids.is_empty()
    }

    /// The groups and uids that are looked for.
    fn names(&self) -> Names {
        let groups = Names::groups(self.groups.iter().map(GroupId::as_bytes));
        groups.and(Names::uids(self.uids.iter().map(Uid::as_bytes)))
    }

    /// Returns the conditions that one gateway's clients may meet, or `None` if they can meet
    /// none. `may_have` says whether it may have one of the [names](Self::names).
    fn at(&self, gateway: SocketAddrV4, may_have: bool) -> Option<Vec<Filter>> {
        let ids = self.client_ids.iter().filter(|id| id.gateway() == gateway);
        let own: Vec<_> = ids.map(ClientId::connection_id).collect();
        let mut filters = Vec::new();
        if may_have && !self.groups.is_empty() {
            filters.push(Filter::groups(&self.groups));
        }
        if may_have && !self.uids.is_empty() {
            filters.push(Filter::uids(&self.uids));
        }
        if !own.is_empty() {
            filters.push(Filter::Connections(own));
        }
        (self.is_unconditional() || !filters.is_empty()).then_some(filters)
    }
}

/// Lists of clients, uids and groups. Each question goes to all gateways at once.
impl Gateway {
    /// Returns the rows of the clients that meet a condition (`select`). A gateway is asked
    /// only if one of its clients may meet it.
    ///
    /// # Errors
    /// When not all gateways have answered.
    pub async fn select(
        &self,
        columns: impl IntoIterator<Item = Column>,
        clients: Where,
    ) -> AskResult<IndexMap<ClientId, Row>> {
        let field = |column| match column {
            Column::Uid => Field::Uid,
            Column::Groups => Field::Groups,
            Column::Session => Field::Session,
            Column::DetachedSince => Field::DetachedSince,
        };
        self.select_fields(columns.into_iter().map(field).collect(), clients, read_row).await
    }

    /// Returns what `read_row` makes of the fields of each client that meets a condition.
    pub(crate) async fn select_fields<T>(
        &self,
        fields: Vec<Field>,
        mut clients: Where,
        read_row: impl Fn(&Value) -> T,
    ) -> AskResult<IndexMap<ClientId, T>> {
        if self.federation().is_some() {
            let mut one_form = self.one_form();
            clients.client_ids.iter_mut().for_each(|id| *id = one_form(*id));
        }
        let names = clients.names();
        let question = |gateway, link: &Link| {
            let filters = clients.at(gateway, link.interest.may_have(&names))?;
            Some(Question::Select(Some(Select { fields: fields.clone(), filters })))
        };
        let elsewhere = self.select_elsewhere(&clients, &fields);
        self.ask_each(question, elsewhere).await?.gather(
            |gateway, answer| {
                let rows = decode::array(&answer)?;
                let row = |(id, row): (&Key, &Value)| {
                    let id = ClientId::new(gateway, decode::connection(id)?);
                    Some((id, read_row(row)))
                };
                rows.iter().map(row).collect::<Option<Vec<_>>>()
            },
            |all: &mut IndexMap<_, _>, rows| all.extend(rows),
        )
    }

    /// The questions of a selection for other clusters: about groups and uids for all gateways, about clients for the gateways that
    /// the own cluster does not have.
    fn select_elsewhere(&self, clients: &Where, fields: &[Field]) -> Vec<ClusterQuestion> {
        if self.federation().is_none() {
            return Vec::new();
        }
        let select = |gateway, filters| {
            let question = Question::Select(Some(Select { fields: fields.to_vec(), filters }));
            ClusterQuestion { gateway, question }
        };
        let mut questions = Vec::new();
        let has_condition = !clients.is_unconditional();
        let by_name = Where { client_ids: Vec::new(), has_condition, ..clients.clone() };
        // No gateway has this address.
        let nobody = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
        questions.extend(by_name.at(nobody, true).map(|filters| select(None, filters)));
        let own = self.links().all();
        let others: BTreeSet<_> = clients.client_ids.iter().map(ClientId::gateway).collect();
        for gateway in others.into_iter().filter(|gateway| !own.contains_key(gateway)) {
            questions.extend(clients.at(gateway, false).map(|filters| select(Some(gateway), filters)));
        }
        questions
    }

    /// Returns all clients (`getAllClientIdList`).
    ///
    /// # Errors
    /// When not all gateways have answered.
    pub async fn client_ids(&self) -> AskResult<Vec<ClientId>> {
        let ids = |rows: IndexMap<ClientId, Row>| rows.into_keys().collect();
        // The original's gateway answers without rows if no field is asked for.
        self.select([Column::Uid], Where::default()).await.map(ids).map_err(|error| error.map(ids))
    }

    /// Returns a group's members (`getClientIdListByGroup`).
    ///
    /// # Errors
    /// When the group is empty or `"0"`, or not all gateways have answered.
    pub async fn client_ids_by_group(
        &self,
        group: impl TryInto<GroupId, Error: Into<IdError>>,
    ) -> AskResult<Vec<ClientId>> {
        let ids = |rows: IndexMap<ClientId, Row>| rows.into_keys().collect();
        self.members(group).await?.map(ids).map_err(|error| error.map(ids))
    }

    /// Returns all uids that any client is bound to, once each (`getAllUidList`).
    ///
    /// # Errors
    /// When not all gateways have answered.
    pub async fn uids(&self) -> AskResult<Vec<Uid>> {
        self.select([Column::Uid], Where::default()).await.map(uids).map_err(|error| error.map(uids))
    }

    /// Counts the uids that any client is bound to (`getAllUidCount`).
    ///
    /// # Errors
    /// When not all gateways have answered.
    pub async fn uid_count(&self) -> AskResult<u64> {
        self.uids().await.map(|uids| count(&uids)).map_err(|error| error.map(|uids| count(&uids)))
    }

    /// Returns the uids of a group's members, once each (`getUidListByGroup`).
    ///
    /// # Errors
    /// When the group is empty or `"0"`, or not all gateways have answered.
    pub async fn uids_by_group(
        &self,
        group: impl TryInto<GroupId, Error: Into<IdError>>,
    ) -> AskResult<Vec<Uid>> {
        self.members(group).await?.map(uids).map_err(|error| error.map(uids))
    }

    /// Counts the uids of a group's members (`getUidCountByGroup`).
    ///
    /// # Errors
    /// When the group is empty or `"0"`, or not all gateways have answered.
    pub async fn uid_count_by_group(
        &self,
        group: impl TryInto<GroupId, Error: Into<IdError>>,
    ) -> AskResult<u64> {
        self.uids_by_group(group).await.map(|u| count(&u)).map_err(|error| error.map(|u| count(&u)))
    }

    /// Returns the rows of a group's members. The outer error is an invalid group.
    async fn members(
        &self,
        group: impl TryInto<GroupId, Error: Into<IdError>>,
    ) -> Result<AskResult<IndexMap<ClientId, Row>>, Error> {
        let group = group.try_into().map_err(Into::into)?;
        Ok(self.select([Column::Uid], Where::default().with_groups([group])).await)
    }

    /// Returns each group's uids, once each (`getAllGroupUidList`). (The original stops at
    /// the first client without a uid or group; this goes on.)
    ///
    /// # Errors
    /// When not all gateways have answered.
    pub async fn uids_of_all_groups(&self) -> AskResult<IndexMap<GroupId, Vec<Uid>>> {
        let by_group = |rows: IndexMap<ClientId, Row>| {
            let mut groups = IndexMap::<GroupId, IndexSet<Uid>>::new();
            for row in rows.into_values() {
                let Some(uid) = row.uid else { continue };
                for group in row.groups {
                    groups.entry(group).or_default().insert(uid.clone());
                }
            }
            groups.into_iter().map(|(group, uids)| (group, uids.into_iter().collect())).collect()
        };
        let rows = self.select([Column::Uid, Column::Groups], Where::default()).await;
        rows.map(by_group).map_err(|error| error.map(by_group))
    }

    /// Counts each group's uids (`getAllGroupUidCount`).
    ///
    /// # Errors
    /// When not all gateways have answered.
    pub async fn uid_counts_of_all_groups(&self) -> AskResult<IndexMap<GroupId, u64>> {
        self.uids_of_all_groups().await.map(counts).map_err(|error| error.map(counts))
    }

    /// Returns each group's members (`getAllGroupClientIdList`). (The original stops at the
    /// first client without a group; this goes on.)
    ///
    /// # Errors
    /// When not all gateways have answered.
    pub async fn client_ids_of_all_groups(&self) -> AskResult<IndexMap<GroupId, Vec<ClientId>>> {
        let by_group = |rows: IndexMap<ClientId, Row>| {
            let mut groups = IndexMap::<GroupId, Vec<ClientId>>::new();
            for (id, row) in rows {
                for group in row.groups {
                    groups.entry(group).or_default().push(id);
                }
            }
            groups
        };
        let rows = self.select([Column::Groups], Where::default()).await;
        rows.map(by_group).map_err(|error| error.map(by_group))
    }

    /// Counts each group's members (`getAllGroupClientIdCount`).
    ///
    /// # Errors
    /// When not all gateways have answered.
    pub async fn client_counts_of_all_groups(&self) -> AskResult<IndexMap<GroupId, u64>> {
        self.client_ids_of_all_groups().await.map(counts).map_err(|error| error.map(counts))
    }
}

fn read_row(row: &Value) -> Row {
    Row {
        uid: decode::column(row, "uid").and_then(decode::uid),
        groups: decode::column(row, "groups").map(decode::groups).unwrap_or_default(),
        session: decode::column(row, "session").and_then(decode::text).unwrap_or_default(),
        detached_since: decode::column(row, "detached_since").and_then(time),
    }
}

/// A time in seconds since 1970.
fn time(value: &Value) -> Option<SystemTime> {
    let seconds = u64::try_from(value.as_int()?).ok()?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

fn uids(rows: IndexMap<ClientId, Row>) -> Vec<Uid> {
    let unique: IndexSet<Uid> = rows.into_values().filter_map(|row| row.uid).collect();
    unique.into_iter().collect()
}

fn count<T>(list: &[T]) -> u64 {
    list.len() as u64
}

fn counts<T>(groups: IndexMap<GroupId, Vec<T>>) -> IndexMap<GroupId, u64> {
    groups.into_iter().map(|(group, list)| (group, count(&list))).collect()
}
