//! The questions an application may ask.

use std::net::SocketAddrV4;

use bytes::Bytes;
use gatewayworker_protocol::{ClientId, Field, Filter, GroupId, IdError, Question, Select, Uid};
use indexmap::{IndexMap, IndexSet};

use crate::answer;
use crate::send::{group_bytes, uid_bytes};
use crate::{AskError, Error, Gateway, SessionData, SessionError};

type Answer<T> = Result<T, AskError<T>>;

/// A column that [`Gateway::select`] may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// The uid.
    Uid,
    /// The groups.
    Groups,
    /// The session.
    Session,
}

/// Whom [`Gateway::select`] is about: clients that meet any of the conditions, or
/// everybody where there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Where {
    /// In one of these groups.
    pub groups: Vec<GroupId>,
    /// Bound to one of these uids.
    pub uids: Vec<Uid>,
    /// One of these.
    pub client_ids: Vec<ClientId>,
}

/// What [`Gateway::select`] says of one client. What was not asked for is empty.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Row {
    /// Its uid.
    pub uid: Option<Uid>,
    /// Its groups.
    pub groups: Vec<GroupId>,
    /// Its session, as stored.
    pub session: Bytes,
}

impl Row {
    /// The session.
    ///
    /// # Errors
    /// When it holds what is more than data.
    pub fn session(&self) -> Result<SessionData, SessionError> {
        SessionData::parse(&self.session)
    }
}

impl Where {
    fn is_empty(&self) -> bool {
        self.groups.is_empty() && self.uids.is_empty() && self.client_ids.is_empty()
    }

    /// The conditions as far as they concern one gateway; `None` if none does.
    fn at(&self, gateway: SocketAddrV4) -> Option<Vec<Filter>> {
        let ids = self.client_ids.iter().filter(|id| id.gateway() == gateway);
        let own: Vec<_> = ids.map(ClientId::connection_id).collect();
        let mut filters = Vec::new();
        if !self.groups.is_empty() {
            filters.push(Filter::groups(&self.groups));
        }
        if !self.uids.is_empty() {
            filters.push(Filter::uids(&self.uids));
        }
        if !own.is_empty() {
            filters.push(Filter::Connections(own));
        }
        (self.is_empty() || !filters.is_empty()).then_some(filters)
    }
}

/// Each of these asks all gateways at once and waits for the slowest, but never
/// longer than the question time-out. Where not all answered, the error carries
/// what did come.
///
/// Orders are the gateways' own (of connecting, joining, binding), one gateway
/// after the other by address.
impl Gateway {
    /// Whether a client is connected (`isOnline`). Only its own gateway is asked.
    ///
    /// # Errors
    /// When the gateway does not answer, or is not there.
    pub async fn is_online(&self, id: ClientId) -> Result<bool, Error> {
        let question = Question::IsOnline(id.connection_id());
        self.ask_one(id.gateway(), question, |answer| Some(answer::number(&answer)? != 0)).await
    }

    /// Whether any client is bound to a uid (`isUidOnline`). One gateway's yes is
    /// the whole answer, whoever else is silent.
    ///
    /// # Errors
    /// When no gateway says yes and not all say no.
    pub async fn is_uid_online(&self, uid: impl TryInto<Uid, Error: Into<IdError>>) -> Answer<bool> {
        match self.client_ids_by_uid(uid).await {
            Ok(ids) => Ok(!ids.is_empty()),
            Err(AskError::Incomplete { partial, .. }) if !partial.is_empty() => Ok(true),
            Err(error) => Err(error.map(|_| false)),
        }
    }

    /// The same for several (GatewayClient's `isUidsOnline`). Every uid that was
    /// asked for is in the answer.
    ///
    /// # Errors
    /// When a uid is none, or not all gateways answered.
    pub async fn are_uids_online<I>(&self, uids: I) -> Answer<IndexMap<Uid, bool>>
    where
        I: IntoIterator<Item: TryInto<Uid, Error: Into<IdError>>>,
    {
        let online = |ids: IndexMap<Uid, Vec<ClientId>>| {
            ids.into_iter().map(|(uid, ids)| (uid, !ids.is_empty())).collect()
        };
        self.batch_client_ids_by_uid(uids).await.map(online).map_err(|error| error.map(online))
    }

    /// The clients bound to a uid (`getClientIdByUid`).
    ///
    /// # Errors
    /// When the uid is none, or not all gateways answered.
    pub async fn client_ids_by_uid(
        &self,
        uid: impl TryInto<Uid, Error: Into<IdError>>,
    ) -> Answer<Vec<ClientId>> {
        let uid = uid.try_into().map_err(Into::into)?;
        self.ask_all(Question::ConnectionsByUid(uid.as_bytes().clone())).await?.gather(
            |gateway, answer| {
                let ids = answer::connections(&answer::array(&answer)?.into())?;
                Some(ids.into_iter().map(move |id| ClientId::new(gateway, id)))
            },
            |all: &mut Vec<_>, ids| all.extend(ids),
        )
    }

    /// The same for several (GatewayClient's `batchGetClientIdByUid`). Every uid
    /// that was asked for is in the answer.
    ///
    /// # Errors
    /// When a uid is none, or not all gateways answered.
    pub async fn batch_client_ids_by_uid<I>(&self, uids: I) -> Answer<IndexMap<Uid, Vec<ClientId>>>
    where
        I: IntoIterator<Item: TryInto<Uid, Error: Into<IdError>>>,
    {
        let uids = uid_bytes(uids)?;
        let found = self.ask_all(Question::BatchConnectionsByUid(uids.clone())).await?.gather(
            |gateway, answer| {
                let rows = answer::array(&answer)?;
                let row = |(uid, ids)| Some((Bytes::clone(&uid), answer::connections(ids)?));
                let rows = rows.iter().map(|(uid, ids)| row((uid.to_bytes(), ids)));
                Some((gateway, rows.collect::<Option<Vec<_>>>()?))
            },
            |all: &mut IndexMap<Bytes, Vec<ClientId>>, (gateway, rows)| {
                for (uid, ids) in rows {
                    let ids = ids.into_iter().map(|id| ClientId::new(gateway, id));
                    all.entry(uid).or_default().extend(ids);
                }
            },
        );
        let name = |mut found: IndexMap<Bytes, Vec<ClientId>>| {
            let asked = uids.iter().filter_map(|uid| Uid::new(uid.clone()).ok());
            asked.map(|uid| (uid.clone(), found.swap_remove(uid.as_bytes()).unwrap_or_default())).collect()
        };
        match found {
            Ok(found) => Ok(name(found)),
            Err(error) => Err(error.map(name)),
        }
    }

    /// The uid that a client is bound to (`getUidByClientId`). Only its own
    /// gateway is asked.
    ///
    /// # Errors
    /// When the gateway does not answer, or is not there.
    pub async fn uid_by_client_id(&self, id: ClientId) -> Result<Option<Uid>, Error> {
        let filters = vec![Filter::Connections(vec![id.connection_id()])];
        let question = Question::Select(Some(Select { fields: vec![Field::Uid], filters }));
        let read = |answer: Bytes| {
            let rows = answer::array(&answer)?;
            Some(rows.values().next().and_then(|row| answer::uid(answer::column(row, "uid")?)))
        };
        self.ask_one(id.gateway(), question, read).await
    }

    /// How many clients there are (`getAllClientIdCount`, `getAllClientCount`).
    ///
    /// # Errors
    /// When not all gateways answered.
    pub async fn client_count(&self) -> Answer<u64> {
        self.count(None).await
    }

    /// How many clients a group has (`getClientIdCountByGroup`).
    ///
    /// # Errors
    /// When the group is none, or not all gateways answered.
    pub async fn client_count_by_group(
        &self,
        group: impl TryInto<GroupId, Error: Into<IdError>>,
    ) -> Answer<u64> {
        let group = group.try_into().map_err(Into::into)?;
        self.count(Some(group.as_bytes().clone())).await
    }

    async fn count(&self, group: Option<Bytes>) -> Answer<u64> {
        let answers = self.ask_all(Question::Count(group)).await?;
        answers.gather(|_, answer| answer::number(&answer), |all, n| *all += n)
    }

    /// How many clients each of these groups has (GatewayClient's
    /// `batchGetClientIdCountByGroup`).
    ///
    /// # Errors
    /// When a group is none, or not all gateways answered.
    pub async fn batch_client_count_by_group<I>(&self, groups: I) -> Answer<IndexMap<GroupId, u64>>
    where
        I: IntoIterator<Item: TryInto<GroupId, Error: Into<IdError>>>,
    {
        let groups = group_bytes(groups)?;
        let counts = self.ask_all(Question::BatchCount(groups.clone())).await?.gather(
            |_, answer| {
                let counts = answer::array(&answer)?;
                let row = |(group, n): (&crate::php::Key, _)| Some((group.to_bytes(), answer::unsigned(n)?));
                counts.iter().map(row).collect::<Option<Vec<_>>>()
            },
            |all: &mut IndexMap<Bytes, u64>, counts| {
                for (group, n) in counts {
                    *all.entry(group).or_default() += n;
                }
            },
        );
        let name = |counts: IndexMap<Bytes, u64>| {
            let asked = groups.iter().filter_map(|group| GroupId::new(group.clone()).ok());
            asked.map(|group| (group.clone(), counts.get(group.as_bytes()).copied().unwrap_or(0))).collect()
        };
        match counts {
            Ok(counts) => Ok(name(counts)),
            Err(error) => Err(error.map(name)),
        }
    }

    /// All clients (`getAllClientIdList`).
    ///
    /// # Errors
    /// When not all gateways answered.
    pub async fn client_ids(&self) -> Answer<Vec<ClientId>> {
        let ids = |rows: IndexMap<ClientId, Row>| rows.into_keys().collect();
        // The original's gateway answers no rows where no field is asked for.
        self.select([Column::Uid], Where::default()).await.map(ids).map_err(|error| error.map(ids))
    }

    /// A group's members (`getClientIdListByGroup`).
    ///
    /// # Errors
    /// When the group is none, or not all gateways answered.
    pub async fn client_ids_by_group(
        &self,
        group: impl TryInto<GroupId, Error: Into<IdError>>,
    ) -> Answer<Vec<ClientId>> {
        let ids = |rows: IndexMap<ClientId, Row>| rows.into_keys().collect();
        self.members(group).await?.map(ids).map_err(|error| error.map(ids))
    }

    /// All uids that any client is bound to, once each (`getAllUidList`).
    ///
    /// # Errors
    /// When not all gateways answered.
    pub async fn uids(&self) -> Answer<Vec<Uid>> {
        self.select([Column::Uid], Where::default()).await.map(uids).map_err(|error| error.map(uids))
    }

    /// How many uids (`getAllUidCount`).
    ///
    /// # Errors
    /// When not all gateways answered.
    pub async fn uid_count(&self) -> Answer<u64> {
        self.uids().await.map(|uids| count(&uids)).map_err(|error| error.map(|uids| count(&uids)))
    }

    /// The uids of a group's members, once each (`getUidListByGroup`).
    ///
    /// # Errors
    /// When the group is none, or not all gateways answered.
    pub async fn uids_by_group(
        &self,
        group: impl TryInto<GroupId, Error: Into<IdError>>,
    ) -> Answer<Vec<Uid>> {
        self.members(group).await?.map(uids).map_err(|error| error.map(uids))
    }

    /// How many of them (`getUidCountByGroup`).
    ///
    /// # Errors
    /// When the group is none, or not all gateways answered.
    pub async fn uid_count_by_group(
        &self,
        group: impl TryInto<GroupId, Error: Into<IdError>>,
    ) -> Answer<u64> {
        self.uids_by_group(group).await.map(|u| count(&u)).map_err(|error| error.map(|u| count(&u)))
    }

    /// The rows of a group's members; the outer error is a group that is none.
    async fn members(
        &self,
        group: impl TryInto<GroupId, Error: Into<IdError>>,
    ) -> Result<Answer<IndexMap<ClientId, Row>>, Error> {
        let group = group.try_into().map_err(Into::into)?;
        Ok(self.select([Column::Uid], Where { groups: vec![group], ..Where::default() }).await)
    }

    /// All groups with anybody in them (`getAllGroupIdList`).
    ///
    /// # Errors
    /// When not all gateways answered.
    pub async fn group_ids(&self) -> Answer<Vec<GroupId>> {
        let ids = |groups: IndexSet<GroupId>| groups.into_iter().collect();
        let groups = self.ask_all(Question::GroupIds).await?.gather(
            |_, answer| answer::array(&answer)?.values().map(answer::group).collect::<Option<Vec<_>>>(),
            |all: &mut IndexSet<GroupId>, groups| all.extend(groups),
        );
        groups.map(ids).map_err(|error| error.map(ids))
    }

    /// Each group's uids, once each (`getAllGroupUidList`). (The original stops at
    /// the first client without a uid or group; this goes on.)
    ///
    /// # Errors
    /// When not all gateways answered.
    pub async fn uids_of_all_groups(&self) -> Answer<IndexMap<GroupId, Vec<Uid>>> {
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

    /// How many uids each group has (`getAllGroupUidCount`).
    ///
    /// # Errors
    /// When not all gateways answered.
    pub async fn uid_counts_of_all_groups(&self) -> Answer<IndexMap<GroupId, u64>> {
        self.uids_of_all_groups().await.map(counts).map_err(|error| error.map(counts))
    }

    /// Each group's members (`getAllGroupClientIdList`). (The original stops at the
    /// first client without a group; this goes on.)
    ///
    /// # Errors
    /// When not all gateways answered.
    pub async fn client_ids_of_all_groups(&self) -> Answer<IndexMap<GroupId, Vec<ClientId>>> {
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

    /// How many members each group has (`getAllGroupClientIdCount`).
    ///
    /// # Errors
    /// When not all gateways answered.
    pub async fn client_counts_of_all_groups(&self) -> Answer<IndexMap<GroupId, u64>> {
        self.client_ids_of_all_groups().await.map(counts).map_err(|error| error.map(counts))
    }

    /// A client's session, or `None` if it is not connected (`getSession`). Only
    /// its own gateway is asked.
    ///
    /// # Errors
    /// When the gateway does not answer or is not there, or the session holds what
    /// is more than data.
    pub async fn session(&self, id: ClientId) -> Result<Option<SessionData>, Error> {
        let bytes = self.session_bytes(id).await?;
        Ok(bytes.map(|bytes| SessionData::parse(&bytes)).transpose()?)
    }

    /// A client's session as it is stored, or `None` if it is not connected. A
    /// client without one may be answered with an empty array.
    ///
    /// # Errors
    /// When the gateway does not answer, or is not there.
    pub async fn session_bytes(&self, id: ClientId) -> Result<Option<Bytes>, Error> {
        let question = Question::Session(id.connection_id());
        let read = |answer: Bytes| Some((answer.as_ref() != b"N;").then_some(answer));
        self.ask_one(id.gateway(), question, read).await
    }

    /// Everybody's sessions (`getAllClientSessions`). One that cannot be read
    /// spoils no other.
    ///
    /// # Errors
    /// When not all gateways answered.
    pub async fn sessions(&self) -> Answer<IndexMap<ClientId, Result<SessionData, SessionError>>> {
        self.sessions_of(Question::AllSessions).await
    }

    /// The sessions of a group's members (`getClientSessionsByGroup`).
    ///
    /// # Errors
    /// When the group is none, or not all gateways answered.
    pub async fn sessions_by_group(
        &self,
        group: impl TryInto<GroupId, Error: Into<IdError>>,
    ) -> Answer<IndexMap<ClientId, Result<SessionData, SessionError>>> {
        let group = group.try_into().map_err(Into::into)?;
        self.sessions_of(Question::SessionsByGroup(group.as_bytes().clone())).await
    }

    async fn sessions_of(
        &self,
        question: Question,
    ) -> Answer<IndexMap<ClientId, Result<SessionData, SessionError>>> {
        self.ask_all(question).await?.gather(
            |gateway, answer| {
                let rows = answer::array(&answer)?;
                let row = |(id, session): (&crate::php::Key, &crate::php::Value)| {
                    let id = ClientId::new(gateway, answer::connection(id)?);
                    Some((id, SessionData::parse(session.as_bytes()?)))
                };
                rows.iter().map(row).collect::<Option<Vec<_>>>()
            },
            |all: &mut IndexMap<_, _>, rows| all.extend(rows),
        )
    }

    /// What is known of the clients that meet a condition (`select`). A gateway is
    /// asked only if the condition may hold for one of its clients.
    ///
    /// # Errors
    /// When not all gateways answered.
    pub async fn select(
        &self,
        columns: impl IntoIterator<Item = Column>,
        clients: Where,
    ) -> Answer<IndexMap<ClientId, Row>> {
        let field = |column| match column {
            Column::Uid => Field::Uid,
            Column::Groups => Field::Groups,
            Column::Session => Field::Session,
        };
        let fields: Vec<_> = columns.into_iter().map(field).collect();
        let question = |gateway| {
            let filters = clients.at(gateway)?;
            Some(Question::Select(Some(Select { fields: fields.clone(), filters })))
        };
        self.ask_each(question).await?.gather(
            |gateway, answer| {
                let rows = answer::array(&answer)?;
                let row = |(id, row): (&crate::php::Key, &crate::php::Value)| {
                    let id = ClientId::new(gateway, answer::connection(id)?);
                    Some((id, read_row(row)))
                };
                rows.iter().map(row).collect::<Option<Vec<_>>>()
            },
            |all: &mut IndexMap<_, _>, rows| all.extend(rows),
        )
    }
}

fn read_row(row: &crate::php::Value) -> Row {
    Row {
        uid: answer::column(row, "uid").and_then(answer::uid),
        groups: answer::column(row, "groups").map(answer::groups).unwrap_or_default(),
        session: answer::column(row, "session").and_then(answer::text).unwrap_or_default(),
    }
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
