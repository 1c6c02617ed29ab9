//! [`EventContext`]: what a gateway knows of an event and its client, beside the event itself.
//!
//! An event with [`FLAG_EVENT_CONTEXT`](crate::frame::FLAG_EVENT_CONTEXT) has it in front of its body, behind a
//! [`TraceContext`](crate::TraceContext) where it has both. Only a worker that lists `event-context` gets such an event.
//! The gateway writes the bytes ([`EventContext::write`]) and keeps them with the event; the worker takes them off
//! ([`EventContext::take`]).
//!
//! On the wire: the length of what follows (4 bytes), the number (8), flags (1), then names, each with its length in 4
//! bytes before it: the uid, if a flag says that there is one, and the groups. All numbers have the most significant
//! byte first.

use std::borrow::Cow;

use bytes::{Buf, Bytes};

/// The bytes before the names.
const HEADER_LEN: usize = 4 + 8 + 1;

/// The flag of a context with a uid.
const HAS_UID: u8 = 0x01;
/// The flag of a context that does not name all.
const IS_CUT: u8 = 0x02;

/// An event's number, and its client's uid and groups as they were when the event came to be: for a close, before the
/// client was taken out of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventContext {
    /// The event's number, which no other event of the gateway's process has. An event that is given again keeps it.
    /// [`id`](Self::id) makes an id of it.
    pub number: u64,
    /// The uid that the client was bound to.
    pub uid: Option<Bytes>,
    /// The groups that the client was in, in no order.
    pub groups: Vec<Bytes>,
    /// The client had a longer uid or more groups than a context may name ([`MAX_GROUPS`](Self::MAX_GROUPS),
    /// [`MAX_NAME_BYTES`](Self::MAX_NAME_BYTES)): some are left out.
    pub is_cut: bool,
}

impl EventContext {
    /// The most groups that a context names.
    pub const MAX_GROUPS: usize = 1000;
    /// The most bytes that the names in a context have together.
    pub const MAX_NAME_BYTES: usize = 64 * 1024;

    /// Returns an id that no other event has, and that an event keeps when it is given again; `instance` is the id of
    /// the gateway's process. 16 hexadecimal digits, a dash, and the number in hexadecimal digits.
    pub fn id(&self, instance: u64) -> String {
        format!("{instance:016x}-{:x}", self.number)
    }

    /// Returns the uid as text. Bytes that are no UTF-8 become `U+FFFD`.
    pub fn uid_text(&self) -> Option<Cow<'_, str>> {
        self.uid.as_deref().map(String::from_utf8_lossy)
    }

    /// Returns the groups as texts. Bytes that are no UTF-8 become `U+FFFD`.
    pub fn group_texts(&self) -> impl Iterator<Item = Cow<'_, str>> {
        self.groups.iter().map(|group| String::from_utf8_lossy(group))
    }

    /// Whether the client was in a group.
    pub fn is_in_group(&self, group: &[u8]) -> bool {
        self.groups.iter().any(|one| one == group)
    }

    /// Appends the bytes of a context to `out`. It names the first [`MAX_GROUPS`](Self::MAX_GROUPS) of the groups, as
    /// far as there is room for them in [`MAX_NAME_BYTES`](Self::MAX_NAME_BYTES).
    pub fn write<N: AsRef<[u8]>>(
        out: &mut Vec<u8>,
        number: u64,
        uid: Option<&[u8]>,
        groups: impl IntoIterator<Item = N>,
    ) {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER_LEN]);
        let mut room = Self::MAX_NAME_BYTES;
        let mut put = |name: &[u8]| {
            let fits = name.len() <= room;
            if fits {
                room -= name.len();
                // A name that fits is shorter than 4 GiB.
                out.extend_from_slice(&(name.len() as u32).to_be_bytes());
                out.extend_from_slice(name);
            }
            fits
        };
        let has_uid = uid.is_some_and(&mut put);
        let mut is_cut = uid.is_some() != has_uid;
        let mut groups = groups.into_iter();
        for group in groups.by_ref().take(Self::MAX_GROUPS) {
            is_cut |= !put(group.as_ref());
        }
        is_cut |= groups.next().is_some();
        let len = (out.len() - start - 4) as u32;
        let flags = if has_uid { HAS_UID } else { 0 } | if is_cut { IS_CUT } else { 0 };
        out[start..start + 4].copy_from_slice(&len.to_be_bytes());
        out[start + 4..start + 12].copy_from_slice(&number.to_be_bytes());
        out[start + 12] = flags;
    }

    /// Splits the bytes of a context from the body behind it; `None` where the body does not begin with whole ones.
    pub fn split(body: &[u8]) -> Option<(&[u8], &[u8])> {
        let len = u32::from_be_bytes(*body.first_chunk()?) as usize;
        body.split_at_checked(len.checked_add(4)?)
    }

    /// Takes the context off the front of a body. `None` where its bytes are no context; the body is shorter by them
    /// nevertheless, and empty where their length is wrong.
    ///
    /// The names share the body's memory.
    pub fn take(body: &mut Bytes) -> Option<Self> {
        let len = Self::split(body).map(|(context, _)| context.len());
        let bytes = body.split_to(len.unwrap_or(body.len()));
        len.and_then(|_| Self::read(bytes))
    }

    fn read(mut bytes: Bytes) -> Option<Self> {
        bytes.try_get_u32().ok()?;
        let number = bytes.try_get_u64().ok()?;
        let flags = bytes.try_get_u8().ok()?;
        let uid = if flags & HAS_UID == 0 { None } else { Some(read_name(&mut bytes)?) };
        let mut groups = Vec::new();
        while !bytes.is_empty() {
            if groups.len() == Self::MAX_GROUPS {
                return None;
            }
            groups.push(read_name(&mut bytes)?);
        }
        Some(Self { number, uid, groups, is_cut: flags & IS_CUT != 0 })
    }
}

fn read_name(bytes: &mut Bytes) -> Option<Bytes> {
    let len = bytes.try_get_u32().ok()? as usize;
    (len <= bytes.len()).then(|| bytes.split_to(len))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(number: u64, uid: Option<&str>, groups: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        EventContext::write(&mut out, number, uid.map(str::as_bytes), groups);
        out
    }

    #[test]
    fn a_context_stands_in_front_of_the_body() {
        for (uid, groups) in
            [(None, &[][..]), (Some("ann"), &["room-1", ""]), (Some(""), &[]), (None, &["room-1"])]
        {
            let mut bytes = written(7, uid, groups);
            bytes.extend_from_slice(b"body");
            assert_eq!(EventContext::split(&bytes).unwrap().1, b"body");
            let mut body = Bytes::from(bytes);
            let context = EventContext::take(&mut body).unwrap();
            assert_eq!((context.number, context.is_cut, &body[..]), (7, false, &b"body"[..]));
            assert_eq!(context.uid_text().as_deref(), uid);
            assert!(context.group_texts().eq(groups.iter().copied()), "{context:?}");
            assert!(groups.iter().all(|group| context.is_in_group(group.as_bytes())));
        }
    }

    #[test]
    fn bytes_that_are_no_context_are_none_and_harm_nothing() {
        let whole = written(7, Some("ann"), &["room"]);
        for len in 0..whole.len() {
            let mut cut = Bytes::copy_from_slice(&whole[..len]);
            assert_eq!(EventContext::take(&mut cut), None, "{len} bytes");
            assert_eq!(cut, "");
        }
        let is_none = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = whole.clone();
            change(&mut bytes);
            bytes.extend_from_slice(b"body");
            let mut body = Bytes::from(bytes);
            assert_eq!(EventContext::take(&mut body), None);
            body
        };
        // A context that says to be shorter than its names, and longer than there is anything.
        is_none(&|bytes| bytes[3] -= 1);
        assert_eq!(is_none(&|bytes| bytes[..4].fill(0xff)), "");
        // A uid, and a group, longer than what is left.
        assert_eq!(is_none(&|bytes| bytes[13] = 0xff), "body");
        assert_eq!(is_none(&|bytes| bytes[20] = 0xff), "body");
        let mut many = written(1, None, &["g"; EventContext::MAX_GROUPS]);
        many.extend_from_slice(b"\0\0\0\x01g");
        let len = (many.len() - 4) as u32;
        many[..4].copy_from_slice(&len.to_be_bytes());
        assert_eq!(EventContext::take(&mut Bytes::from(many)), None, "more groups than any context has");
    }

    #[test]
    fn a_context_that_would_be_too_long_is_cut_and_says_so() {
        let groups: Vec<String> = (0..=EventContext::MAX_GROUPS).map(|n| n.to_string()).collect();
        let (mut all, mut most) = (Vec::new(), Vec::new());
        EventContext::write(&mut all, 1, None, &groups);
        EventContext::write(&mut most, 1, None, &groups[1..]);
        let all = EventContext::take(&mut all.into()).unwrap();
        assert_eq!((all.groups.len(), all.is_cut), (EventContext::MAX_GROUPS, true));
        assert!(!EventContext::take(&mut most.into()).unwrap().is_cut);

        let long = "x".repeat(EventContext::MAX_NAME_BYTES);
        let longer = format!("{long}x");
        for (uid, groups, kept) in [
            (None, vec![&long[..]], vec![&long[..]]),
            (None, vec!["a", &long, "b"], vec!["a", "b"]),
            (Some(&longer[..]), vec!["a"], vec!["a"]),
        ] {
            let context = EventContext::take(&mut written(1, uid, &groups).into()).unwrap();
            assert_eq!(context.uid, None);
            assert!(context.group_texts().eq(kept.iter().copied()));
            assert_eq!(context.is_cut, kept != groups || uid.is_some());
        }
    }

    #[test]
    fn an_id_names_the_process_and_the_number() {
        let context = EventContext { number: 0x1_0000_0000_00ab, ..EventContext::default() };
        assert_eq!(context.id(0xabc), "0000000000000abc-10000000000ab");
    }
}
