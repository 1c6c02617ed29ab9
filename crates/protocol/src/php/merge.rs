//! Merging sessions: PHP's `array_replace_recursive`, and what UPDATE_SESSION makes of it.

use super::graph::{ArrayId, Graph, Id, MAX_DEPTH};
use super::unserialize::ELEMENT;
use super::{Array, Error, Value};

/// `base` with every element of `with` put over it; where both hold an array under a key, the same is
/// done inside. Lists are no exception: they are merged index by index.
pub fn array_replace_recursive(mut base: Array, with: Array) -> Array {
    replace(&mut base, with);
    base
}

fn replace(base: &mut Array, with: Array) {
    for (key, value) in with {
        match (base.get_mut(&key), value) {
            (Some(Value::Array(inner)), Value::Array(with)) => replace(inner, with),
            (Some(place), value) => *place = value,
            (None, value) => {
                base.insert(key, value);
            }
        }
    }
}

/// The session that UPDATE_SESSION leaves behind, from the stored one and the update, all three
/// serialized.
///
/// Objects, enums and references pass with their identity, as they do through the original's
/// `unserialize`, `array_replace_recursive` and `serialize`; unlike there, what a class has written
/// itself (`C:`) and enums, which a gateway does not have, keep their content.
///
/// Where nothing is stored (empty, or `0`, which PHP takes for nothing too) the update becomes the
/// session as it is, unread, as in the original's `Gateway::onWorkerMessage`.
///
/// # Errors
///
/// If either cannot be read, or is not an array, or the session would be longer than `limit` bytes.
/// The original dies of the first two; here the caller keeps what was stored.
pub fn merge_sessions(stored: &[u8], update: &[u8], limit: usize) -> Result<Vec<u8>, Error> {
    if matches!(stored, b"" | b"0") {
        return Ok(update.to_vec());
    }
    let mut graph = Graph::default();
    let root = graph.read(stored)?;
    let base = array_in(&graph, root)?;
    let stored_nodes = graph.nodes();
    let with = graph.read(update)?;
    let with = array_in(&graph, with)?;
    let merged = merge(&mut graph, (root, base), with, limit)?;
    // Not those of the update, which the original still holds when it writes the session.
    graph.release_lone_references(merged, stored_nodes);
    graph.write(merged, limit)
}

fn array_in(graph: &Graph<'_>, id: Id) -> Result<ArrayId, Error> {
    graph.array(id).ok_or(Error::NotAnArray(graph.type_name(id)))
}

/// Two arrays that are being merged.
struct Merging {
    base: ArrayId,
    /// Nobody else has the base's inner arrays, so they may be changed as they are.
    is_own: bool,
    with: ArrayId,
    /// The place in `with` of the element that comes next.
    next: usize,
}

/// Puts an array over another one, which a node holds; returns the node that holds what comes of it.
///
/// A base that is a reference is copied first, as in PHP: its other holders do not see the merge. So with
/// references an array may be met, and copied, in many ways or without end. Each element that is copied
/// or put stands in the result, which bounds them.
fn merge(
    graph: &mut Graph<'_>,
    (root, base): (Id, ArrayId),
    with: ArrayId,
    limit: usize,
) -> Result<Id, Error> {
    let mut room = limit / ELEMENT;
    let mut open = Vec::new();
    let root =
        begin(graph, &mut open, &mut room, (root, base, true), with).ok_or(Error::TooLong { limit })?;
    while let Some(Merging { base, is_own, with, next }) = open.last_mut() {
        let (base, is_own, at) = (*base, *is_own, *next);
        *next += 1;
        let Some((key, update)) = graph.element(*with, at) else {
            open.pop();
            continue;
        };
        let old = graph.find(base, &key);
        let inner = old.and_then(|old| Some((old, graph.array(old)?, is_own)));
        let place = match (inner, graph.array(update)) {
            (Some(_), Some(_)) if open.len() > MAX_DEPTH => {
                return Err(Error::TooDeep { limit: MAX_DEPTH, offset: 0 });
            }
            (Some(inner), Some(with)) => {
                begin(graph, &mut open, &mut room, inner, with).ok_or(Error::TooLong { limit })?
            }
            _ => update,
        };
        graph.put(base, key, place);
    }
    Ok(root)
}

/// Opens a pair, with a base that may be changed; returns the node that holds this base, or none where
/// there is no room for what comes of it. `is_own` says that of the array the base stands in.
fn begin(
    graph: &mut Graph<'_>,
    open: &mut Vec<Merging>,
    room: &mut usize,
    (id, base, is_own): (Id, ArrayId, bool),
    with: ArrayId,
) -> Option<Id> {
    let is_own = is_own && !graph.is_reference(id);
    let copied = if is_own { 0 } else { graph.len(base) };
    *room = room.checked_sub(copied.max(graph.len(with)))?;
    let (base, id) = if is_own { (base, id) } else { graph.copy(base) };
    open.push(Merging { base, is_own, with, next: 0 });
    Some(id)
}
