//! All questions that a handler can ask, asked once each. The application answers a client with the result.

use std::collections::BTreeMap;
use std::fmt::Display;

use gatewayworker::{BoxError, Client, ClientId, SessionData, SessionError};
use serde_json::{Value, json};

/// The answers, sorted: the original's order depends on which gateway answers first.
pub(super) async fn survey(client: &Client) -> Result<Value, BoxError> {
    let gateway = client.gateway();
    Ok(json!({
        "clients": gateway.client_count().await?,
        "ids": sorted(gateway.client_ids().await?),
        "ids of room": sorted(gateway.client_ids_by_group("room").await?),
        "uids": sorted(gateway.uids().await?),
        "uid count": gateway.uid_count().await?,
        "uids of room": sorted(gateway.uids_by_group("room").await?),
        "uid count of room": gateway.uid_count_by_group("room").await?,
        "groups": sorted(gateway.group_ids().await?),
        "uid counts": counts(gateway.uid_counts_of_all_groups().await?),
        "client counts": counts(gateway.client_counts_of_all_groups().await?),
        "ids of Bob": sorted(gateway.client_ids_by_uid("Bob").await?),
        "online": [
            gateway.is_online(client.id()).await?,
            gateway.is_uid_online("Bob").await?,
            gateway.is_uid_online("No").await?,
        ],
        "names": names(gateway.sessions().await?)?,
        "names in room": names(gateway.sessions_by_group("room").await?)?,
    }))
}

fn sorted(items: impl IntoIterator<Item = impl Display>) -> Vec<String> {
    let mut items: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    items.sort();
    items
}

fn counts(of: impl IntoIterator<Item = (impl Display, u64)>) -> BTreeMap<String, u64> {
    of.into_iter().map(|(name, count)| (name.to_string(), count)).collect()
}

fn names(
    sessions: impl IntoIterator<Item = (ClientId, Result<SessionData, SessionError>)>,
) -> Result<BTreeMap<String, Option<String>>, BoxError> {
    let name = |(id, session): (ClientId, Result<SessionData, SessionError>)| {
        Ok((id.to_string(), session?.get("name")?))
    };
    sessions.into_iter().map(name).collect()
}
