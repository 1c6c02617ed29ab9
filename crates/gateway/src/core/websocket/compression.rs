//! What a client and its listener have agreed on about compression, and how a listener compresses.
//!
//! Plain values. A [`Compression`] is one byte that stays with a client, whichever connection the client has; the
//! handshake makes it (`websocket::handshake::extensions`), `decode` and `outgoing` obey it. Nothing is compressed here.

/// How a client's messages may be compressed, both ways.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    #[default]
    Off,
    /// The client has offered permessage-deflate, and the offer was not accepted. Some clients compress nevertheless.
    /// Messages to it are not compressed.
    Declined,
    /// permessage-deflate is agreed on, without context takeover on either side. Messages to the client are compressed
    /// within this window.
    Agreed(Window),
}

/// The window of a compressed message: how far back it may refer to itself, as the power of two of a number of bytes.
/// The 8 of RFC 7692 is missing, as zlib cannot compress within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Window {
    /// 512 bytes.
    Bits9 = 9,
    /// 1 KB.
    Bits10,
    /// 2 KB.
    Bits11,
    /// 4 KB.
    Bits12,
    /// 8 KB.
    Bits13,
    /// 16 KB.
    Bits14,
    /// 32 KB, which is used without a limit of the client.
    Bits15,
}

impl Window {
    /// All of them, the smallest first.
    pub(crate) const ALL: [Self; 7] =
        [Self::Bits9, Self::Bits10, Self::Bits11, Self::Bits12, Self::Bits13, Self::Bits14, Self::Bits15];

    /// Returns the window of so many bits; `None` for a number that is not from 9 to 15.
    pub fn new(bits: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|window| window.bits() == bits)
    }

    /// How many bits it has.
    pub fn bits(self) -> u8 {
        self as u8
    }

    /// Its place in [`ALL`](Self::ALL).
    pub(crate) fn index(self) -> usize {
        usize::from(self.bits() - Self::Bits9.bits())
    }
}

/// How a listener compresses the messages to those of its clients that have agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompressionPolicy {
    /// The shortest message that is compressed, in bytes.
    pub min_bytes: usize,
    /// From 1, the fastest, to 9, the smallest output.
    pub level: u8,
}

/// The highest level of compression.
pub(crate) const MAX_LEVEL: u8 = 9;

/// How a message is compressed for a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deflation {
    pub(crate) policy: CompressionPolicy,
    pub(crate) window: Window,
}

impl Deflation {
    /// Returns how a message of so many bytes is compressed; `None` where it is too short for that. A message that is no
    /// longer than the window cannot refer farther back than that in any case: it is the same for all such clients.
    pub(crate) fn of_message(self, bytes: usize) -> Option<Self> {
        let window = if bytes <= 1 << self.window.bits() { Window::Bits15 } else { self.window };
        (self.policy.min_bytes <= bytes).then_some(Self { window, ..self })
    }
}

impl Compression {
    /// Returns how messages to a client are compressed at a listener with this policy; `None` where they are not.
    #[inline]
    pub(crate) fn deflation(self, policy: Option<CompressionPolicy>) -> Option<Deflation> {
        match (self, policy) {
            (Self::Agreed(window), Some(policy)) => Some(Deflation { policy, window }),
            _ => None,
        }
    }

    /// Its number, as gateways tell each other.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Off => 0,
            Self::Declined => 1,
            Self::Agreed(window) => window.bits(),
        }
    }

    /// The one with a number. To a client that has agreed on what is not known here nothing is compressed.
    pub(crate) fn of_number(number: u8) -> Self {
        match (number, Window::new(number)) {
            (0, _) => Self::Off,
            (_, None) => Self::Declined,
            (_, Some(window)) => Self::Agreed(window),
        }
    }

    /// Whether the client may send compressed messages.
    #[inline]
    pub(crate) fn may_receive(self) -> bool {
        self != Self::Off
    }
}

/// The lengths of a compressed frame, or message, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CompressedSizes {
    /// Not compressed.
    pub(crate) plain: usize,
    /// As it is on the wire.
    pub(crate) wire: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agreement_is_one_byte() {
        assert_eq!(size_of::<Compression>(), 1);
    }

    #[test]
    fn an_agreement_has_a_number() {
        let windows = Window::ALL.map(Compression::Agreed);
        for agreement in windows.into_iter().chain([Compression::Off, Compression::Declined]) {
            assert_eq!(Compression::of_number(agreement.number()), agreement);
        }
        assert_eq!(Compression::of_number(16), Compression::Declined);
    }

    #[test]
    fn a_window_has_9_to_15_bits() {
        let bits: Vec<u8> = (0..=u8::MAX).filter(|bits| Window::new(*bits).is_some()).collect();
        assert_eq!(bits, [9, 10, 11, 12, 13, 14, 15]);
        assert!(Window::ALL.into_iter().enumerate().all(|(index, window)| window.index() == index));
    }

    #[test]
    fn a_message_that_is_no_longer_than_the_window_is_the_same_for_all() {
        let policy = CompressionPolicy { min_bytes: 512, level: 1 };
        for (window, bytes, within) in [
            (Window::Bits9, 511, None),
            (Window::Bits9, 512, Some(Window::Bits15)),
            (Window::Bits9, 513, Some(Window::Bits9)),
            (Window::Bits14, 20_000, Some(Window::Bits14)),
        ] {
            let deflation = Deflation { policy, window };
            assert_eq!(deflation.of_message(bytes).map(|deflation| deflation.window), within, "{bytes}");
        }
    }
}
