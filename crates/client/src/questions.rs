//! The questions of an application, except those about rows (see `select.rs`).
//!
//! Each method says what to ask, how to read one gateway's answer and how to put the answers
//! together; `ask.rs` asks, and `decode.rs` reads PHP values.

use bytes::Bytes;
use gatewayworker_protocol::php::{Key, Value};
use gatewayworker_protocol::{ClientId, Field, Filter, GroupId, IdError, Question, Select, Uid};
use indexmap::{IndexMap, IndexSet};

use crate::decode;
use crate::error::AskResult;
use crate::names::Names;
use crate::targets::{group_bytes, uid_bytes};
use crate::{AskError, Error, Gateway, SessionData, SessionError};

/// Unless a question says otherwise, it goes to all gateways at once, and waits for the
/// slowest, but never longer than the question time-out. Where not all gateways have
/// answered, the error carries the answer of the others.
///
/// Lists are in the order of the gateways' addresses, and for each gateway in its own order
/// (of connecting, joining, binding).
impl Gateway {
    /// Whether a client is connected (`isOnline`). Only its own gateway is asked.
    ///
    /// # Errors
    /// When the gateway does not answer, or is not connected.
    pub async fn is_online(&self, id: ClientId) -> Result<bool, Error> {
        let question = Question::IsOnline(id.connection_id());
        self.ask_one(id.gateway(), question, |answer| Some(decode::number(&answer)? != 0)).await
    }

    /// Whether any client is bound to a uid (`isUidOnline`). One gateway's yes is
    /// the whole answer, even if others do not answer.
    ///
    /// # Errors
    /// When no gateway says yes, and not all of them say no.
    pub async fn is_uid_online(&self, uid: impl TryInto<Uid, Error: Into<IdError>>) -> AskResult<bool> {
        match self.client_ids_by_uid(uid).await {
            Ok(ids) => Ok(!ids.is_empty()),
            Err(AskError::Incomplete { partial, .. }) if !partial.is_empty() => Ok(true),
            Err(error) => Err(error.map(|_| false)),
        }
    }

    /// Whether any client is bound to each of these uids (GatewayClient's `isUidsOnline`).
    /// The answer has every uid that was asked for.
    ///
    /// # Errors
    /// When a uid is empty or `"0"`, or not all gateways have answered.
    pub async fn are_uids_online<I>(&self, uids: I) -> AskResult<IndexMap<Uid, bool>>
    where
        I: IntoIterator<Item: TryInto<Uid, Error: Into<IdError>>>,
    {
        let online = |ids: IndexMap<Uid, Vec<ClientId>>| {
            ids.into_iter().map(|(uid, ids)| (uid, !ids.is_empty())).collect()
        };
        self.batch_client_ids_by_uid(uids).await.map(online).map_err(|error| error.map(online))
    }

    /// Returns the clients that are bound to a uid (`getClientIdByUid`).
    ///
    /// # Errors
    /// When the uid is empty or `"0"`, or not all gateways have answered.
    pub async fn client_ids_by_uid(
        &self,
        uid: impl TryInto<Uid, Error: Into<IdError>>,
    ) -> AskResult<Vec<ClientId>> {
        let uid = uid.try_into().map_err(Into::into)?;
        self.ask_named(Names::uids([uid.as_bytes()]), Question::ConnectionsByUid(uid.as_bytes().clone()))
            .await?
            .gather(
                |gateway, answer| {
                    let ids = decode::connections(&decode::array(&answer)?.into())?;
                    Some(ids.into_iter().map(move |id| ClientId::new(gateway, id)))
                },
                |all: &mut Vec<_>, ids| all.extend(ids),
            )
    }

    /// Returns the clients that are bound to each of these uids (GatewayClient's
    /// `batchGetClientIdByUid`). The answer has every uid that was asked for.
    ///
    /// # Errors
    /// When a uid is empty or `"0"`, or not all gateways have answered.
    pub async fn batch_client_ids_by_uid<I>(&self, uids: I) -> AskResult<IndexMap<Uid, Vec<ClientId>>>
    where
        I: IntoIterator<Item: TryInto<Uid, Error: Into<IdError>>>,
    {
        let uids = uid_bytes(uids)?;
        let found =
            self.ask_named(Names::uids(&uids), Question::BatchConnectionsByUid(uids.clone())).await?.gather(
                |gateway, answer| {
                    let rows = decode::array(&answer)?;
                    let row = |(uid, ids)| Some((Bytes::clone(&uid), decode::connections(ids)?));
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

    /// Returns the uid that a client is bound to (`getUidByClientId`). Only its own
    /// gateway is asked.
    ///
    /// # Errors
    /// When the gateway does not answer, or is not connected.
    pub async fn uid_by_client_id(&self, id: ClientId) -> Result<Option<Uid>, Error> {
        let filters = vec![Filter::Connections(vec![id.connection_id()])];
        let question = Question::Select(Some(Select { fields: vec![Field::Uid], filters }));
        let read = |answer: Bytes| {
            let rows = decode::array(&answer)?;
            Some(rows.values().next().and_then(|row| decode::uid(decode::column(row, "uid")?)))
        };
        self.ask_one(id.gateway(), question, read).await
    }

    /// Counts all clients (`getAllClientIdCount`, `getAllClientCount`).
    ///
    /// # Errors
    /// When not all gateways have answered.
    pub async fn client_count(&self) -> AskResult<u64> {
        self.count(None).await
    }

    /// Counts a group's members (`getClientIdCountByGroup`).
    ///
    /// # Errors
    /// When the group is empty or `"0"`, or not all gateways have answered.
    pub async fn client_count_by_group(
        &self,
        group: impl TryInto<GroupId, Error: Into<IdError>>,
    ) -> AskResult<u64> {
        let group = group.try_into().map_err(Into::into)?;
        self.count(Some(group.as_bytes().clone())).await
    }

    async fn count(&self, group: Option<Bytes>) -> AskResult<u64> {
        let names = group.as_ref().map_or(Names::Any, |group| Names::groups([group]));
        let answers = self.ask_named(names, Question::Count(group)).await?;
        answers.gather(|_, answer| decode::number(&answer), |all, n| *all += n)
    }

    /// Counts the members of each of these groups (GatewayClient's
    /// `batchGetClientIdCountByGroup`). The answer has every group that was asked for.
    ///
    /// # Errors
    /// When a group is empty or `"0"`, or not all gateways have answered.
    pub async fn batch_client_count_by_group<I>(&self, groups: I) -> AskResult<IndexMap<GroupId, u64>>
    where
        I: IntoIterator<Item: TryInto<GroupId, Error: Into<IdError>>>,
    {
        let groups = group_bytes(groups)?;
        let counts =
            self.ask_named(Names::groups(&groups), Question::BatchCount(groups.clone())).await?.gather(
                |_, answer| {
                    let counts = decode::array(&answer)?;
                    let row = |(group, n): (&Key, _)| Some((group.to_bytes(), decode::unsigned(n)?));
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

    /// Returns all groups that have members (`getAllGroupIdList`).
    ///
    /// # Errors
    /// When not all gateways have answered.
    pub async fn group_ids(&self) -> AskResult<Vec<GroupId>> {
        let ids = |groups: IndexSet<GroupId>| groups.into_iter().collect();
        let groups = self.ask_all(Question::GroupIds).await?.gather(
            |_, answer| decode::array(&answer)?.values().map(decode::group).collect::<Option<Vec<_>>>(),
            |all: &mut IndexSet<GroupId>, groups| all.extend(groups),
        );
        groups.map(ids).map_err(|error| error.map(ids))
    }

    /// Returns a client's session, or `None` if the client is not connected (`getSession`).
    /// Only its own gateway is asked.
    ///
    /// # Errors
    /// When the gateway does not answer or is not connected, or the session holds objects or
    /// references.
    pub async fn session(&self, id: ClientId) -> Result<Option<SessionData>, Error> {
        let bytes = self.session_bytes(id).await?;
        Ok(bytes.map(|bytes| SessionData::parse(&bytes)).transpose()?)
    }

    /// Returns a client's session as it is stored, or `None` if the client is not connected.
    /// A client without a session may have no bytes or an empty array.
    ///
    /// # Errors
    /// When the gateway does not answer, or is not connected.
    pub async fn session_bytes(&self, id: ClientId) -> Result<Option<Bytes>, Error> {
        let question = Question::Session(id.connection_id());
        let read = |answer: Bytes| Some((answer.as_ref() != b"N;").then_some(answer));
        self.ask_one(id.gateway(), question, read).await
    }

    /// Returns the sessions of all clients (`getAllClientSessions`). A session that cannot be
    /// read is an error of its own, and does not affect the others.
    ///
    /// # Errors
    /// When not all gateways have answered.
    pub async fn sessions(&self) -> AskResult<IndexMap<ClientId, Result<SessionData, SessionError>>> {
        self.sessions_of(Names::Any, Question::AllSessions).await
    }

    /// Returns the sessions of a group's members (`getClientSessionsByGroup`).
    ///
    /// # Errors
    /// When the group is empty or `"0"`, or not all gateways have answered.
    pub async fn sessions_by_group(
        &self,
        group: impl TryInto<GroupId, Error: Into<IdError>>,
    ) -> AskResult<IndexMap<ClientId, Result<SessionData, SessionError>>> {
        let group = group.try_into().map_err(Into::into)?;
        let names = Names::groups([group.as_bytes()]);
        self.sessions_of(names, Question::SessionsByGroup(group.as_bytes().clone())).await
    }

    async fn sessions_of(
        &self,
        names: Names,
        question: Question,
    ) -> AskResult<IndexMap<ClientId, Result<SessionData, SessionError>>> {
        self.ask_named(names, question).await?.gather(
            |gateway, answer| {
                let rows = decode::array(&answer)?;
                let row = |(id, session): (&Key, &Value)| {
                    let id = ClientId::new(gateway, decode::connection(id)?);
                    Some((id, SessionData::parse(session.as_bytes()?)))
                };
                rows.iter().map(row).collect::<Option<Vec<_>>>()
            },
            |all: &mut IndexMap<_, _>, rows| all.extend(rows),
        )
    }
}
