//! GET_SESSION_BY_CLIENT_ID: a client's session, which tells no client from an empty session.

use bytes::Bytes;

use super::Gather;
use crate::core::ports::Ports;
use crate::core::table::Table;

pub(super) struct Session(pub(super) u32);

impl Gather for Session {
    type Part = Option<Bytes>;

    fn connection_id(&self) -> Option<u32> {
        Some(self.0)
    }

    fn part<P: Ports>(&self, table: &Table<P>) -> Option<Bytes> {
        table.client(self.0).map(|client| Bytes::copy_from_slice(&client.session))
    }

    fn whole(&self, parts: Vec<Option<Bytes>>) -> Bytes {
        match parts.into_iter().flatten().next() {
            None => Bytes::from_static(b"N;"),
            Some(session) if session.is_empty() || session.as_ref() == b"0" => Bytes::from_static(b"a:0:{}"),
            // It goes out as it is stored, serialized already.
            Some(session) => session,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_tells_offline_from_empty() {
        assert_eq!(Session(1).whole(vec![None]), "N;");
        assert_eq!(Session(1).whole(vec![Some(Bytes::new())]), "a:0:{}");
    }
}
