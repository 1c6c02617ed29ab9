//! Answers what an operator asks about the gateway: INSPECT.
//!
//! `link` calls it with a question that has come on the inner port, from a peer with the secret key. The core's walks
//! (`core::inspect`) say what the shards know: each slice of a walk is a message to a shard, so that clients are served
//! between two slices. At most [`MAX_INSPECTIONS`] questions are answered at the same time.

use std::net::SocketAddrV4;
use std::sync::Arc;

use bytes::Bytes;
use gatewayworker_protocol::ClientId;
use gatewayworker_protocol::inspect::{
    ClientDetail, ClientList, ClientQuery, ClientReport, CloseList, CloseReport, GatewayReport, GroupList,
    GroupReport, HandlerList, InspectAnswer, InspectRequest, ListenerReport, MAX_CLOSES, MAX_LISTED,
    MAX_NAME_BYTES, RegisterReport, WorkerHandlers, WorkerReport, session_to_json,
};
use gatewayworker_protocol::report::Report;
use tokio::sync::oneshot;

use crate::closes::Closed;
use crate::core::close::CloseRecord;
use crate::core::inspect::{
    self, ClientFilter, ClientWalk, FilterError, FoundClient, FullClient, GroupWalk, OldestEventWalk, Walked,
    connection_id,
};
use crate::gateway_state::{GatewayState, MAX_INSPECTIONS};
use crate::problem::{notices, problems};
use crate::shard::{Core, ShardMessage};
use crate::workers::WorkerLink;

/// This shard has ended, and the gateway ends next.
#[derive(Debug)]
pub(crate) struct ShardGone(pub(crate) usize);

/// Returns the answer to a question, as JSON. `now_ms` is the time of a shard's clock; all shards' clocks begin
/// together.
///
/// # Errors
/// When a shard has ended.
pub(crate) async fn answer(
    request: InspectRequest,
    state: &Arc<GatewayState>,
    now_ms: u64,
) -> Result<Bytes, ShardGone> {
    let answer = match state.inspections.try_acquire() {
        Ok(_permit) => answer_one(request, state, now_ms).await?,
        Err(_) => InspectAnswer::Error(format!(
            "the gateway answers {MAX_INSPECTIONS} such questions already: ask again in a moment"
        )),
    };
    Ok(answer.to_json().into())
}

async fn answer_one(
    request: InspectRequest,
    state: &Arc<GatewayState>,
    now_ms: u64,
) -> Result<InspectAnswer, ShardGone> {
    Ok(match request {
        InspectRequest::Gateway => InspectAnswer::Gateway(Box::new(gateway(state, now_ms).await?)),
        InspectRequest::Clients(query) => clients(&query, state, now_ms).await?,
        InspectRequest::Client { id } => client(&id, state, now_ms).await?,
        InspectRequest::Groups { limit } => InspectAnswer::Groups(groups(bounded(limit), state).await?),
        InspectRequest::Outbox { id, payloads } => outbox(&id, payloads, state).await?,
        InspectRequest::Closes { limit } => InspectAnswer::Closes(closes(limit, state)),
        InspectRequest::Handlers => InspectAnswer::Handlers(handlers(state, now_ms)),
        _ => InspectAnswer::Error(format!(
            "the gateway, version {}, does not know this question",
            env!("CARGO_PKG_VERSION")
        )),
    })
}

fn bounded(limit: u32) -> usize {
    limit.clamp(1, MAX_LISTED) as usize
}

/// Calls `ask` with the core of a shard, and returns what it returns.
pub(crate) async fn ask<T: Send + 'static>(
    state: &GatewayState,
    shard: usize,
    ask: impl FnOnce(&Core) -> T + Send + 'static,
) -> Result<T, ShardGone> {
    let (reply, answer) = oneshot::channel();
    let message = ShardMessage::Ask(Box::new(move |core| {
        // The link may have ended.
        let _ = reply.send(ask(core));
    }));
    // Where the shard has ended, `reply` is dropped, which the receiver notices.
    let _ = state.shards[shard].send(message).await;
    answer.await.map_err(|_| ShardGone(shard))
}

/// Walks over a shard, a slice in each message, until `advance` has seen all of it. Returns the walk.
async fn walk_over<W: Send + 'static>(
    state: &GatewayState,
    shard: usize,
    mut walk: W,
    advance: impl Fn(&mut W, &Core) -> Walked + Copy + Send + 'static,
) -> Result<W, ShardGone> {
    loop {
        let walked;
        (walk, walked) = ask(state, shard, move |core| {
            let walked = advance(&mut walk, core);
            (walk, walked)
        })
        .await?;
        if walked == Walked::All {
            return Ok(walk);
        }
    }
}

async fn gateway(state: &GatewayState, now_ms: u64) -> Result<GatewayReport, ShardGone> {
    let registers = &state.config.register_address;
    let workers = state.workers.all();
    let oldest = match workers.iter().any(|worker| worker.unfinished() > 0) {
        true => oldest_events(state).await?,
        false => Vec::new(),
    };
    Ok(GatewayReport {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        instance: hex(state.epochs.instance()),
        uptime_ms: state.started.elapsed().as_millis() as u64,
        address: state.address.to_string(),
        stopping: state.stopping.is_cancelled(),
        listeners: state
            .open_listeners()
            .iter()
            .map(|(url, open)| ListenerReport { url: url.clone(), clients: open.connections() as u64 })
            .collect(),
        stats: state.stats().into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        problems: problems(state),
        notices: notices(state),
        registers: registers
            .iter()
            .map(|address| RegisterReport {
                address: name(address.as_bytes()),
                connected: state.registers.is_up(address),
            })
            .collect(),
        workers: workers.iter().map(|worker| worker_report(worker, &oldest, now_ms)).collect(),
    })
}

/// Walks over the clients of all shards. Returns how long the oldest event of each worker has waited, in ms.
pub(crate) async fn oldest_events(state: &GatewayState) -> Result<Vec<(Arc<WorkerLink>, u64)>, ShardGone> {
    let mut walk = OldestEventWalk::new();
    for shard in 0..state.shards.len() {
        walk = walk_over(state, shard, walk, |walk, core| walk.advance(core)).await?;
    }
    Ok(walk.finish())
}

fn worker_report(worker: &Arc<WorkerLink>, oldest: &[(Arc<WorkerLink>, u64)], now_ms: u64) -> WorkerReport {
    let oldest = oldest.iter().find(|(link, _)| Arc::ptr_eq(link, worker));
    let state = match (worker.is_open(), worker.is_draining()) {
        (true, _) => "open",
        (_, true) => "draining",
        _ => "closing",
    };
    let last = worker.last_report();
    let report = last.as_ref().map(|last| &last.report);
    WorkerReport {
        key: name(worker.key().as_bytes()),
        address: worker.buffer.socket().peer().ok().map(|peer| peer.to_string()),
        process: worker.process().map(hex),
        state: state.to_owned(),
        clients: worker.clients() as u64,
        unfinished: worker.unfinished() as u64,
        unfinished_bytes: worker.unfinished_bytes() as u64,
        oldest_ms: oldest.map_or(0, |(_, oldest_ms)| *oldest_ms),
        version: report.map(|report| report.version.clone()),
        uptime_ms: report.map(|report| report.uptime_ms),
        round_trip_ms: report.and_then(round_trip_ms),
        report_age_ms: last.as_ref().map(|last| now_ms.saturating_sub(last.at_ms)),
        // People who may know no client may see this.
        handlers: report.map(|report| report.handlers.without_clients()),
    }
}

/// Returns the last round trip, or how long the next one lasts already.
fn round_trip_ms(report: &Report) -> Option<f64> {
    let last = report.round_trip_us.map(|us| us as f64 / 1000.0);
    let next = Some(report.unanswered_ms as f64).filter(|ms| *ms > 0.0);
    last.into_iter().chain(next).reduce(f64::max)
}

fn handlers(state: &GatewayState, now_ms: u64) -> HandlerList {
    let of_worker = |worker: &Arc<WorkerLink>| {
        let last = worker.last_report()?;
        Some(WorkerHandlers {
            key: name(worker.key().as_bytes()),
            report_age_ms: now_ms.saturating_sub(last.at_ms),
            handlers: last.report.handlers.clone(),
        })
    };
    HandlerList { workers: state.workers.all().iter().filter_map(of_worker).collect() }
}

/// Walks over the clients of one shard after the other.
async fn clients(
    query: &ClientQuery,
    state: &Arc<GatewayState>,
    now_ms: u64,
) -> Result<InspectAnswer, ShardGone> {
    let filter = match ClientFilter::new(query, state.address, |listener| port_of(listener, state)) {
        Ok(filter) => filter,
        Err(FilterError::Elsewhere) => return Ok(InspectAnswer::Clients(ClientList::default())),
        Err(error) => return Ok(InspectAnswer::Error(error.to_string())),
    };
    let mut walk = ClientWalk::new(filter, query.sort, bounded(query.limit));
    let only = walk.connection_id().map(|connection_id| connection_id as usize % state.shards.len());
    for shard in (0..state.shards.len()).filter(|shard| only.is_none_or(|only| only == *shard)) {
        walk = walk_over(state, shard, walk, move |walk, core| walk.advance(core, now_ms)).await?;
    }
    let (total, found) = walk.finish();
    let clients = found.into_iter().map(|found| client_report(found, state)).collect();
    Ok(InspectAnswer::Clients(ClientList { total, clients }))
}

async fn client(id: &str, state: &Arc<GatewayState>, now_ms: u64) -> Result<InspectAnswer, ShardGone> {
    let connection_id = match connection_id(id, state.address) {
        Ok(connection_id) => connection_id,
        Err(FilterError::Elsewhere) => return Ok(InspectAnswer::Client(None)),
        Err(error) => return Ok(InspectAnswer::Error(error.to_string())),
    };
    let find = move |core: &Core| FullClient::find(core, connection_id, MAX_LISTED as usize, now_ms);
    let found = ask(state, connection_id as usize % state.shards.len(), find).await?;
    Ok(InspectAnswer::Client(found.map(|found| Box::new(client_detail(found, state)))))
}

async fn outbox(id: &str, payloads: bool, state: &Arc<GatewayState>) -> Result<InspectAnswer, ShardGone> {
    let connection_id = match connection_id(id, state.address) {
        Ok(connection_id) => connection_id,
        Err(FilterError::Elsewhere) => return Ok(InspectAnswer::Outbox(None)),
        Err(error) => return Ok(InspectAnswer::Error(error.to_string())),
    };
    let look = move |core: &Core| inspect::outbox(core, connection_id, payloads);
    Ok(InspectAnswer::Outbox(ask(state, connection_id as usize % state.shards.len(), look).await?))
}

fn closes(limit: u32, state: &GatewayState) -> CloseList {
    let closes = state.last_closes.latest(limit.clamp(1, MAX_CLOSES) as usize);
    CloseList { closes: closes.into_iter().map(|closed| close_report(closed, state)).collect() }
}

fn close_report(closed: Closed, state: &GatewayState) -> CloseReport {
    let Closed { id, address, reason, record, at_ms, age_ms } = closed;
    let CloseRecord { uid, port, code, frame, closer, connected_ms: _ } = record;
    CloseReport {
        id: id.to_string(),
        uid: uid.map(|uid| name(&uid)),
        address: known(address).map(|address| address.to_string()),
        listener: url_of(port, state),
        reason: reason.to_string(),
        code,
        client_code: frame.as_ref().map(|frame| frame.code),
        client_reason: frame.map(|frame| frame.reason).filter(|reason| !reason.is_empty()),
        closed_by: closer.by,
        closer: closer.name.map(|closer| name(closer.as_bytes())),
        at_ms,
        age_ms,
    }
}

/// Finds the largest groups of each shard, and then adds up the members that each of them has on all shards.
async fn groups(limit: usize, state: &Arc<GatewayState>) -> Result<GroupList, ShardGone> {
    let mut names = Vec::new();
    for shard in 0..state.shards.len() {
        let walk = walk_over(state, shard, GroupWalk::new(limit), |walk, core| walk.advance(core)).await?;
        names.extend(walk.finish());
    }
    names.sort_unstable();
    names.dedup();
    let names = Arc::new(names);
    let mut sizes = vec![0; names.len()];
    for shard in 0..state.shards.len() {
        let names = names.clone();
        let members = move |core: &Core| -> Vec<usize> {
            names.iter().map(|name| core.table().group(name).len()).collect()
        };
        let members = ask(state, shard, members).await?;
        sizes.iter_mut().zip(members).for_each(|(size, members)| *size += members);
    }
    // A group may have gone between the two looks.
    let mut groups: Vec<_> = names.iter().zip(sizes).filter(|(_, size)| *size > 0).collect();
    groups.sort_by(|(a, of_a), (b, of_b)| of_b.cmp(of_a).then_with(|| a.cmp(b)));
    groups.truncate(limit);
    let report =
        |(group, members): (&Bytes, usize)| GroupReport { name: name(group), members: members as u64 };
    Ok(GroupList { groups: groups.into_iter().map(report).collect() })
}

fn client_report(found: FoundClient, state: &GatewayState) -> ClientReport {
    ClientReport {
        id: ClientId::new(state.address, found.connection_id).to_string(),
        uid: found.uid.map(|uid| name(&uid)),
        groups: found.groups as u64,
        address: known(found.address).map(|address| address.to_string()),
        listener: url_of(found.port, state),
        age_ms: found.age_ms,
        messages: found.messages.into(),
        outbox_bytes: found.outbox_bytes as u64,
        unfinished: found.unfinished as u64,
        worker: name(found.worker.as_bytes()),
        is_pending: found.is_pending,
        oldest_ms: found.oldest_ms,
    }
}

fn client_detail(found: FullClient, state: &GatewayState) -> ClientDetail {
    ClientDetail {
        client: client_report(found.client, state),
        group_names: found.groups.iter().map(|group| name(group)).collect(),
        session: session_to_json(&found.session),
        session_bytes: found.session.len() as u64,
        silent_ms: found.silent_ms,
        is_paused: found.is_paused,
    }
}

/// Returns an address, unless it is that of a client which came over IPv6.
fn known(address: SocketAddrV4) -> Option<SocketAddrV4> {
    Some(address).filter(|address| !address.ip().is_unspecified())
}

/// Returns the URL of the listener with this port.
fn url_of(port: u16, state: &GatewayState) -> String {
    let listener = state.open_listeners().iter().find(|(_, listener)| listener.policy.port == port);
    listener.map_or_else(|| port.to_string(), |(url, _)| url.clone())
}

/// Returns the port of the listener with this URL or port.
fn port_of(listener: &str, state: &GatewayState) -> Option<u16> {
    let mut ports = state.open_listeners().iter().map(|(url, open)| (url, open.policy.port));
    ports.find(|(url, port)| *url == listener || port.to_string() == listener).map(|(_, port)| port)
}

/// Returns a name as text, cut where it is long.
fn name(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(MAX_NAME_BYTES)];
    let mut text = String::from_utf8_lossy(cut).into_owned();
    if cut.len() < bytes.len() {
        text.push('…');
    }
    text
}

fn hex(id: u64) -> String {
    format!("{id:016x}")
}
