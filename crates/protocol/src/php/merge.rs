//! Merging sessions: PHP's `array_replace_recursive`, and what UPDATE_SESSION makes of it.

use super::{Array, Error, Value, serialize, unserialize};

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
/// Where nothing is stored (empty, or `0`, which PHP takes for nothing too) the update becomes the
/// session as it is, unread, as in the original's `Gateway::onWorkerMessage`.
///
/// # Errors
///
/// If either cannot be read, or is not an array. The original dies of it; here the caller keeps what
/// was stored.
pub fn merge_sessions(stored: &[u8], update: &[u8]) -> Result<Vec<u8>, Error> {
    if matches!(stored, b"" | b"0") {
        return Ok(update.to_vec());
    }
    let merged = array_replace_recursive(read_session(stored)?, read_session(update)?);
    Ok(serialize(&merged.into()))
}

fn read_session(session: &[u8]) -> Result<Array, Error> {
    match unserialize(session)? {
        Value::Array(array) => Ok(array),
        other => Err(Error::NotAnArray(other.type_name())),
    }
}
