//! [`TraceContext`]: which trace a frame belongs to, as the W3C's Trace Context has it.
//!
//! A frame with [`FLAG_TRACE_CONTEXT`](crate::frame::FLAG_TRACE_CONTEXT) has it in front of its body, as bytes. HTTP has it as
//! text, in the header `traceparent`.

use bytes::{Buf, Bytes};

/// The sampled flag of a trace context: its spans are exported.
const SAMPLED: u8 = 0x01;

/// A span, and the trace that it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TraceContext {
    /// The trace; not 0.
    pub trace_id: u128,
    /// The span that is the parent of what follows; not 0.
    pub span_id: u64,
    /// Whether the spans of the trace are exported.
    pub is_sampled: bool,
}

impl TraceContext {
    /// The length in a frame, in bytes.
    pub const LEN: usize = 25;

    /// Returns the bytes: the trace, the span, both with the most significant byte first, and the flags.
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..16].copy_from_slice(&self.trace_id.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.span_id.to_be_bytes());
        bytes[24] = u8::from(self.is_sampled) * SAMPLED;
        bytes
    }

    /// Reads the bytes at the front of a body; `None` where they are no context.
    pub fn read(body: &[u8]) -> Option<Self> {
        let bytes = body.first_chunk::<{ Self::LEN }>()?;
        let trace_id = u128::from_be_bytes(*bytes.first_chunk()?);
        let span_id = u64::from_be_bytes(*bytes[16..].first_chunk()?);
        let is_sampled = bytes[24] & SAMPLED != 0;
        (trace_id != 0 && span_id != 0).then_some(Self { trace_id, span_id, is_sampled })
    }

    /// Takes the bytes off the front of a body, which is shorter by them then, whatever they are; `None` where
    /// they are no context.
    pub fn take(body: &mut Bytes) -> Option<Self> {
        let context = Self::read(body);
        body.advance(body.len().min(Self::LEN));
        context
    }

    /// Reads the header `traceparent`: `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01`, or that of a
    /// later version, which may have more behind it. `None` where it is none.
    pub fn from_traceparent(header: &[u8]) -> Option<Self> {
        let header = std::str::from_utf8(header).ok()?.trim_matches([' ', '\t']);
        let mut parts = header.splitn(5, '-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let lengths = [version, trace, span, flags].map(str::len);
        let is_hex = |part: &str| part.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        if lengths != [2, 32, 16, 2] || ![version, trace, span, flags].iter().all(|part| is_hex(part)) {
            return None;
        }
        if version == "ff" || (version == "00" && parts.next().is_some()) {
            return None;
        }
        let trace_id = u128::from_str_radix(trace, 16).ok()?;
        let span_id = u64::from_str_radix(span, 16).ok()?;
        let is_sampled = u8::from_str_radix(flags, 16).ok()? & SAMPLED != 0;
        (trace_id != 0 && span_id != 0).then_some(Self { trace_id, span_id, is_sampled })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTEXT: TraceContext = TraceContext {
        trace_id: 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736,
        span_id: 0x00f0_67aa_0ba9_02b7,
        is_sampled: true,
    };

    #[test]
    fn a_context_stands_in_front_of_the_body() {
        for context in [CONTEXT, TraceContext { is_sampled: false, ..CONTEXT }] {
            let mut body = Bytes::from([&context.to_bytes()[..], b"body"].concat());
            assert_eq!(TraceContext::take(&mut body), Some(context));
            assert_eq!(body, "body");
        }
        for mut wrong in [Bytes::new(), Bytes::from_static(b"short"), Bytes::from_static(&[0; 25])] {
            assert_eq!(TraceContext::take(&mut wrong), None);
            assert_eq!(wrong, "");
        }
    }

    #[test]
    fn a_traceparent_is_read_as_the_w3c_has_it() {
        let header = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-";
        let read = |text: &str| TraceContext::from_traceparent(text.as_bytes());
        assert_eq!(read(&format!(" {header}01")), Some(CONTEXT));
        assert_eq!(read(&format!("{header}00")), Some(TraceContext { is_sampled: false, ..CONTEXT }));
        let later = format!("cc{}01-what-comes", &header[2..]);
        assert_eq!(read(&later), Some(CONTEXT));
        for wrong in [
            "",
            "00",
            &format!("{header}01-more"),
            &format!("{header}1"),
            &format!("ff{}01", &header[2..]),
            &format!("{}01", header.to_uppercase()),
            &format!("{header}+1"),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-é",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
