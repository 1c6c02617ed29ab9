//! The reasons to refuse a request, with the code and text that a client receives.
//!
//! `request`, `database`, `presence` and the application return one; `reply` makes it an answer.

/// The reason why a request is refused. Each has a code in the protocol; 106 is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    UnknownAction,
    NoThread,
    NoClass,
    Incomplete,
    NotMember,
    NoMessage,
    BadContent,
    TooOften,
    Unavailable,
    TooManyThreads,
}

impl Refusal {
    /// The `code` of the answer.
    pub(crate) fn code(self) -> u16 {
        match self {
            Self::UnknownAction => 101,
            Self::NoThread => 102,
            Self::NoClass => 103,
            Self::Incomplete => 104,
            Self::NotMember => 107,
            Self::NoMessage => 108,
            Self::BadContent => 109,
            Self::TooOften => 110,
            Self::Unavailable => 111,
            Self::TooManyThreads => 112,
        }
    }

    /// The `msg` of the answer.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::UnknownAction | Self::Incomplete => "Illegal request",
            Self::NoThread => "Thread does not exist",
            Self::NoClass => "Class does not exist",
            Self::NotMember => "User does not exist or not in the class",
            Self::NoMessage => "Illegal Request",
            Self::BadContent => "Message is empty or too long",
            Self::TooOften => "Too many requests",
            Self::Unavailable => "Service unavailable",
            Self::TooManyThreads => "Too many threads",
        }
    }
}
