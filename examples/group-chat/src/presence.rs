//! Who is in which thread.
//!
//! The gateways know: a thread is a group, and a client's uid is the user it speaks
//! for. A client's session holds what `on_close` has to know, when the gateway has
//! forgotten it. Those who watch a thread are in a group of their own.

use std::collections::HashSet;

use gatewayworker::client::{Column, Where};
use gatewayworker::{AskError, Client, Error, Gateway, GroupId, Result, Uid};
use serde::{Deserialize, Serialize};

use crate::note;
use crate::reply::{self, Failure, MAX_THREADS, Refusal};
use crate::request::Place;

/// In the session: whom a client speaks for, and where it hears.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Seat {
    user: i64,
    name: String,
    threads: Vec<i64>,
}

/// Where the session keeps it.
const SEAT: &str = "seat";

/// The group of those who hear a thread.
pub(crate) fn group(thread: i64) -> String {
    format!("thread:{thread}")
}

/// The group of those who want to know who comes and goes.
fn watchers(thread: i64) -> String {
    format!("thread:{thread}:watch")
}

fn seat(client: &Client) -> std::result::Result<Seat, Failure> {
    Ok(client.session().get(SEAT)?.unwrap_or_default())
}

/// Puts the client into a thread.
pub(crate) async fn join(client: &Client, place: &Place, watch: bool) -> std::result::Result<(), Failure> {
    let mut seat = seat(client)?;
    if !seat.threads.contains(&place.thread) {
        if seat.threads.len() == MAX_THREADS {
            return Err(Refusal::TooManyThreads.into());
        }
        seat.threads.push(place.thread);
    }
    seat.user = place.speaker;
    seat.name.clone_from(&place.speaker_name);
    client.session().insert(SEAT, &seat)?;
    client.bind_uid(place.speaker.to_string()).await?;
    client.join_group(group(place.thread)).await?;
    if watch {
        client.join_group(watchers(place.thread)).await?;
    }
    tell(client, &seat, place.thread, true).await?;
    Ok(())
}

/// Takes it out.
pub(crate) async fn leave(client: &Client, thread: i64) -> std::result::Result<(), Failure> {
    let mut seat = seat(client)?;
    let threads = seat.threads.len();
    seat.threads.retain(|joined| *joined != thread);
    if seat.threads.len() == threads {
        return Ok(());
    }
    client.session().insert(SEAT, &seat)?;
    client.leave_group(group(thread)).await?;
    client.leave_group(watchers(thread)).await?;
    tell_if_gone(client, &seat, &[thread]).await?;
    Ok(())
}

/// The client has closed.
pub(crate) async fn gone(client: &Client) -> Result {
    let Some(seat) = client.session().get::<Seat>(SEAT)? else { return Ok(()) };
    tell_if_gone(client, &seat, &seat.threads).await?;
    Ok(())
}

/// The users in a thread, as far as the gateways answer.
pub(crate) async fn online(gateway: &Gateway, thread: i64) -> std::result::Result<HashSet<i64>, Error> {
    let uids = whole_or_part(gateway.uids_by_group(group(thread)).await)?;
    Ok(uids.iter().filter_map(|uid| std::str::from_utf8(uid.as_bytes()).ok()?.parse().ok()).collect())
}

/// Tells those who watch, unless the user is still there by another connection.
async fn tell_if_gone(client: &Client, seat: &Seat, threads: &[i64]) -> std::result::Result<(), Error> {
    if threads.is_empty() {
        return Ok(());
    }
    let uids = vec![Uid::try_from(seat.user.to_string())?];
    let others = client.gateway().select([Column::Groups], Where::default().with_uids(uids)).await;
    let others = whole_or_part(others)?;
    for thread in threads {
        let group = GroupId::try_from(group(*thread))?;
        let mut others = others.iter().filter(|(id, _)| **id != client.id());
        if !others.any(|(_, row)| row.groups.contains(&group)) {
            tell(client, seat, *thread, false).await?;
        }
    }
    Ok(())
}

async fn tell(client: &Client, seat: &Seat, thread: i64, online: bool) -> std::result::Result<(), Error> {
    let presence = reply::presence(thread, seat.user, &seat.name, online);
    note(client.gateway().send_to_group([watchers(thread)], presence).except([client.id()]).await?);
    Ok(())
}

/// A gateway that does not answer has clients that nobody sees: better than none.
fn whole_or_part<T>(answer: std::result::Result<T, AskError<T>>) -> std::result::Result<T, Error> {
    match answer {
        Ok(whole) | Err(AskError::Incomplete { partial: whole, .. }) => Ok(whole),
        Err(AskError::NotAsked(error)) => Err(error),
    }
}
