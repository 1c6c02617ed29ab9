//! The users of each thread: joins, leaves, and the list of users who are online.
//!
//! The gateways hold it: a thread is a group, and a client's uid is its user. The watchers of a
//! thread are in a second group. A client's session repeats its user and threads for `on_close`,
//! when the gateway has removed the client from its groups. The application calls this module;
//! the database is not asked here.

use std::collections::HashSet;

use gatewayworker::client::{Column, Where};
use gatewayworker::{AskError, Client, Delivery, Error, Gateway, GroupId, Result, Uid};
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::error::RequestError;
use crate::limits::MAX_THREADS;
use crate::refusal::Refusal;
use crate::reply;
use crate::request::Membership;

/// The user of a client and its threads, as the session stores them.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Participant {
    user: i64,
    name: String,
    threads: Vec<i64>,
}

/// The session's key for the [`Participant`].
const SESSION_KEY: &str = "participant";

/// The group of a thread's clients.
pub(crate) fn group(thread: i64) -> String {
    format!("thread:{thread}")
}

/// The group of the clients that watch a thread.
fn watchers(thread: i64) -> String {
    format!("thread:{thread}:watch")
}

fn participant(client: &Client) -> std::result::Result<Participant, RequestError> {
    Ok(client.session().get(SESSION_KEY)?.unwrap_or_default())
}

/// Joins a thread, and notifies its watchers.
pub(crate) async fn join(
    client: &Client,
    membership: &Membership,
    watch: bool,
) -> std::result::Result<(), RequestError> {
    let mut participant = participant(client)?;
    if !participant.threads.contains(&membership.thread) {
        if participant.threads.len() == MAX_THREADS {
            return Err(Refusal::TooManyThreads.into());
        }
        participant.threads.push(membership.thread);
    }
    participant.user = membership.speaker;
    participant.name.clone_from(&membership.speaker_name);
    client.session().insert(SESSION_KEY, &participant)?;
    client.bind_uid(membership.speaker.to_string()).await?;
    client.join_group(group(membership.thread)).await?;
    if watch {
        client.join_group(watchers(membership.thread)).await?;
    }
    notify(client, &participant, membership.thread, true).await?;
    Ok(())
}

/// Leaves a thread, and notifies its watchers unless the user has another connection there.
pub(crate) async fn leave(client: &Client, thread: i64) -> std::result::Result<(), RequestError> {
    let mut participant = participant(client)?;
    let threads = participant.threads.len();
    participant.threads.retain(|joined| *joined != thread);
    if participant.threads.len() == threads {
        return Ok(());
    }
    client.session().insert(SESSION_KEY, &participant)?;
    client.leave_group(group(thread)).await?;
    client.leave_group(watchers(thread)).await?;
    notify_if_gone(client, &participant, &[thread]).await?;
    Ok(())
}

/// Notifies the watchers of all threads of a client that has closed.
pub(crate) async fn closed(client: &Client) -> Result {
    let Some(participant) = client.session().get::<Participant>(SESSION_KEY)? else { return Ok(()) };
    notify_if_gone(client, &participant, &participant.threads).await?;
    Ok(())
}

/// Returns the users in a thread, as far as the gateways answer.
pub(crate) async fn online(gateway: &Gateway, thread: i64) -> std::result::Result<HashSet<i64>, Error> {
    let uids = whole_or_part(gateway.uids_by_group(group(thread)).await)?;
    Ok(uids.iter().filter_map(|uid| std::str::from_utf8(uid.as_bytes()).ok()?.parse().ok()).collect())
}

/// Logs the gateways that a message has not reached. Their clients connect again, and get the history then.
pub(crate) fn log_unreached(delivery: Delivery) {
    for (gateway, why) in delivery.unreached {
        warn!(%gateway, %why, "a gateway was not reached, and its clients did not get a message");
    }
}

/// Notifies the watchers of the threads in which the user has no other connection.
async fn notify_if_gone(
    client: &Client,
    participant: &Participant,
    threads: &[i64],
) -> std::result::Result<(), Error> {
    if threads.is_empty() {
        return Ok(());
    }
    let uids = vec![Uid::try_from(participant.user.to_string())?];
    let others = client.gateway().select([Column::Groups], Where::default().with_uids(uids)).await;
    let others = whole_or_part(others)?;
    for thread in threads {
        let group = GroupId::try_from(group(*thread))?;
        let mut others = others.iter().filter(|(id, _)| **id != client.id());
        if !others.any(|(_, row)| row.groups.contains(&group)) {
            notify(client, participant, *thread, false).await?;
        }
    }
    Ok(())
}

/// Notifies the watchers of a thread, without the client itself.
async fn notify(
    client: &Client,
    participant: &Participant,
    thread: i64,
    online: bool,
) -> std::result::Result<(), Error> {
    let presence = reply::presence(thread, participant.user, &participant.name, online);
    log_unreached(client.gateway().send_to_group([watchers(thread)], presence).except([client.id()]).await?);
    Ok(())
}

/// Returns an answer even where some gateways have not given their part.
fn whole_or_part<T>(answer: std::result::Result<T, AskError<T>>) -> std::result::Result<T, Error> {
    match answer {
        Ok(whole) | Err(AskError::Incomplete { partial: whole, .. }) => Ok(whole),
        Err(AskError::NotAsked(error)) => Err(error),
    }
}
