//! In Redis: a stream of messages and a hash for each group, written and read by scripts, so that each step is atomic.
//!
//! The id of an entry is `OFFSET-0`, so Redis refuses an offset that is there already. The hash has the epoch, the last
//! offset, and the `run_id` of the Redis server that wrote them. A server that starts has another one, and so has a replica
//! that takes over: as either may lack the last messages, the group has a new epoch from then on. The clock is that of Redis.
//! Needs Redis 6.2.

use bytes::Bytes;
use gatewayworker_channel::redis_server;
use gatewayworker_protocol::GroupId;
use redis::aio::ConnectionManager;
use redis::{RedisError, Script};

use crate::page::{Contents, Range};
use crate::settings::Limits;
use crate::{Entry, Error, Position};

/// What both scripts begin with. Numbers are doubles there, exact up to 2^53; an epoch stays a text.
macro_rules! script {
    ($rest:literal) => {
        concat!(
            r"
local messages, state, max_age_ms, new_epoch = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local run_id = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') or '?'
local function text(number) return string.format('%.0f', number) end
local function offset(entry) return tonumber(string.match(entry[1], '^%d+')) end

-- Drops messages that are too old: so many at once, until a young one, or for once.
local function drop_old(at_once, again)
  repeat
    local oldest = redis.call('XRANGE', messages, '-', '+', 'COUNT', at_once)
    local old = 0
    while old < #oldest and tonumber(oldest[old + 1][2][2]) < now_ms - max_age_ms do old = old + 1 end
    if old > 0 then redis.call('XTRIM', messages, 'MINID', text(offset(oldest[old]) + 1)) end
  until not again or old == 0 or old < at_once
end

local was = redis.call('HMGET', state, 'epoch', 'head', 'run_id')
local epoch, head = was[1], tonumber(was[2] or 0)
if not epoch then
  local last = redis.call('XREVRANGE', messages, '+', '-', 'COUNT', 1)[1]
  if last then head = offset(last) end
end
if was[3] ~= run_id then epoch = new_epoch end
",
            $rest
        )
    };
}

/// Keeps a message. `ARGV`: age, new epoch, number of messages, kind, message.
const APPEND: &str = script!(
    r"
head = head + 1
redis.call('XADD', messages, text(head) .. '-0', 't', text(now_ms), 'k', ARGV[4], 'm', ARGV[5])
redis.call('XTRIM', messages, 'MAXLEN', ARGV[3])
drop_old(2, false)
redis.call('HSET', state, 'epoch', epoch, 'head', text(head), 'run_id', run_id)
redis.call('PEXPIRE', messages, max_age_ms)
redis.call('PEXPIRE', state, max_age_ms)
return {epoch, head, now_ms}
"
);

/// Reads messages, from the same offset as `Range::start`. `ARGV`: age, new epoch, limit, offset and epoch; no epoch for the last.
const READ: &str = script!(
    r"
drop_old(10, true)
local oldest = redis.call('XRANGE', messages, '-', '+', 'COUNT', 1)[1]
if not oldest then
  redis.call('DEL', messages, state)
  return {'0', 0, 1, {}}
end
if epoch ~= was[1] then
  redis.call('HSET', state, 'epoch', epoch, 'head', text(head), 'run_id', run_id)
  redis.call('PEXPIRE', state, math.max(redis.call('PTTL', messages), 1))
end
local first, limit, from = offset(oldest), tonumber(ARGV[3]), tonumber(ARGV[4])
if ARGV[5] == '' then
  from = math.max(first, head + 1 - limit)
elseif ARGV[5] == epoch and from <= head then
  from = math.max(first, from + 1)
else
  from = first
end
return {epoch, head, first, redis.call('XRANGE', messages, text(from), '+', 'COUNT', limit)}
"
);

pub(crate) struct Redis {
    connection: ConnectionManager,
    append: Script,
    read: Script,
}

impl Redis {
    /// Begins to connect.
    ///
    /// # Errors
    /// When the URL cannot be read.
    pub(crate) fn open(url: &str) -> Result<Self, Error> {
        let (_, connection) = redis_server::connect(url).map_err(server)?;
        Ok(Self { connection, append: Script::new(APPEND), read: Script::new(READ) })
    }

    /// Asks whether Redis is there.
    pub(crate) async fn check(&self) -> Result<(), Error> {
        redis::cmd("PING").query_async(&mut self.connection.clone()).await.map_err(server)
    }

    pub(crate) async fn append(
        &self,
        group: &GroupId,
        limits: Limits,
        message: Bytes,
        binary: bool,
    ) -> Result<Entry, Error> {
        let mut script = self.append.prepare_invoke();
        let [messages, state] = keys(group);
        script.key(messages).key(state).arg(limits.max_age_ms).arg(new_epoch()).arg(limits.max_messages);
        script.arg(if binary { "b" } else { "t" }).arg(&*message);
        let answer = script.invoke_async(&mut self.connection.clone()).await;
        let (epoch, offset, time_ms): (String, u64, u64) = answer.map_err(server)?;
        let position = Position { offset, epoch: epoch.parse().map_err(|_| unreadable())? };
        Ok(Entry { position, time_ms, message, binary })
    }

    pub(crate) async fn read(
        &self,
        group: &GroupId,
        limits: Limits,
        range: Range,
    ) -> Result<Contents, Error> {
        let mut script = self.read.prepare_invoke();
        let [messages, state] = keys(group);
        script.key(messages).key(state).arg(limits.max_age_ms).arg(new_epoch()).arg(range.limit());
        match range {
            Range::After(position, _) => script.arg(position.offset).arg(position.epoch),
            Range::Last(_) => script.arg(0).arg(""),
        };
        let answer = script.invoke_async(&mut self.connection.clone()).await;
        let (epoch, head, first, entries): (String, u64, u64, Vec<StreamEntry>) = answer.map_err(server)?;
        let epoch = epoch.parse().map_err(|_| unreadable())?;
        let entries = entries.into_iter().map(|entry| read_entry(entry, epoch).ok_or_else(unreadable));
        Ok(Contents { epoch, head, first, entries: entries.collect::<Result<_, _>>()? })
    }
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").finish_non_exhaustive()
    }
}

/// An id, and names and values.
type StreamEntry = (String, Vec<Vec<u8>>);

fn read_entry((id, fields): StreamEntry, epoch: u64) -> Option<Entry> {
    let offset = id.split('-').next()?.parse().ok()?;
    let [_, time_ms, _, kind, _, message] = <[Vec<u8>; 6]>::try_from(fields).ok()?;
    let time_ms = String::from_utf8(time_ms).ok()?.parse().ok()?;
    Some(Entry {
        position: Position { offset, epoch },
        time_ms,
        message: message.into(),
        binary: kind == b"b",
    })
}

/// The keys of the messages and of the state. The braces keep both on one node of Redis Cluster.
fn keys(group: &GroupId) -> [Vec<u8>; 2] {
    [b"m", b"s"].map(|kind| [b"gatewayworker:history:{", &**group.as_bytes(), b"}:", kind].concat())
}

/// The epoch that the group gets if it needs one.
fn new_epoch() -> u64 {
    rand::random_range(1..=u64::MAX)
}

fn server(error: RedisError) -> Error {
    Error::Server(error.into())
}

fn unreadable() -> Error {
    Error::Server("a key of Redis is not what a history has written".into())
}
