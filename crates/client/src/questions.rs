//! The questions that an application may ask, but for those about rows: see `select`.

use bytes::Bytes;
use gatewayworker_protocol::php::{Key, Value};
use gatewayworker_protocol::{ClientId, Field, Filter, GroupId, IdError, Question, Select, Uid};
use indexmap::{IndexMap, IndexSet};

use crate::answer;
use crate::targets::{group_bytes, uid_bytes};
use crate::{AskError, Error, Gateway, SessionData, SessionError};

pub(crate) type Answer<T> = Result<T, AskError<T>>;

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
                let row = |(group, n): (&Key, _)| Some((group.to_bytes(), answer::unsigned(n)?));
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
                let row = |(id, session): (&Key, &Value)| {
                    let id = ClientId::new(gateway, answer::connection(id)?);
                    Some((id, SessionData::parse(session.as_bytes()?)))
                };
                rows.iter().map(row).collect::<Option<Vec<_>>>()
            },
            |all: &mut IndexMap<_, _>, rows| all.extend(rows),
        )
    }
}
