//! Why a token is refused: a name for each reason, which metrics and answers have.
//!
//! `verifier` and `claims` give it. No reason has a part of the token in it.

use std::fmt;

/// Why a token is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// There is no token.
    Missing,
    /// It is no JSON Web Token, or longer than [`MAX_TOKEN_BYTES`](crate::MAX_TOKEN_BYTES).
    Malformed,
    /// Its algorithm is none of those that the keys are for; `none` is for no key.
    Algorithm,
    /// It names a key (`kid`) that is not known.
    Key,
    /// It was not signed with a key that is known.
    Signature,
    /// Its time, `exp`, is over.
    Expired,
    /// Its time has not begun: `nbf`.
    NotYet,
    /// It is not for `audience`.
    Audience,
    /// It is not of `issuer`.
    Issuer,
    /// A claim is missing, or none that a client may have. The sentence says which.
    Claims(&'static str),
    /// The keys of `jwks_url` were never fetched: nobody can say what the token is worth.
    KeysAway,
}

impl Refusal {
    /// The number of reasons: [`index`](Self::index) is below it.
    pub const COUNT: usize = Self::NAMES.len();

    /// The names of all reasons, in the order of [`index`](Self::index).
    pub const NAMES: [&'static str; 11] = [
        "missing",
        "malformed",
        "algorithm",
        "key",
        "signature",
        "expired",
        "not-yet",
        "audience",
        "issuer",
        "claims",
        "keys-away",
    ];

    /// Returns the place of the reason in [`NAMES`](Self::NAMES).
    pub fn index(self) -> usize {
        match self {
            Self::Missing => 0,
            Self::Malformed => 1,
            Self::Algorithm => 2,
            Self::Key => 3,
            Self::Signature => 4,
            Self::Expired => 5,
            Self::NotYet => 6,
            Self::Audience => 7,
            Self::Issuer => 8,
            Self::Claims(_) => 9,
            Self::KeysAway => 10,
        }
    }

    /// Returns the name of the reason.
    pub fn name(self) -> &'static str {
        Self::NAMES[self.index()]
    }

    /// Returns the reason as a sentence, for whoever has to mend it.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Missing => "there is no token",
            Self::Malformed => "the token is no JSON Web Token of at most 8192 bytes",
            Self::Algorithm => "the token's algorithm is none of those that the gateway has keys for",
            Self::Key => "the gateway does not know the key that the token names",
            Self::Signature => "the token was not signed with a key that the gateway knows",
            Self::Expired => "the token has expired",
            Self::NotYet => "the token is not valid yet",
            Self::Audience => "the token is for another audience",
            Self::Issuer => "the token is of another issuer",
            Self::Claims(sentence) => sentence,
            Self::KeysAway => "the gateway has no keys yet to check tokens with; connect again later",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name(), self.sentence())
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_name_of_its_own() {
        use Refusal::*;
        let all = [
            Missing,
            Malformed,
            Algorithm,
            Key,
            Signature,
            Expired,
            NotYet,
            Audience,
            Issuer,
            Claims("c"),
            KeysAway,
        ];
        let names: Vec<_> = all.iter().map(|refusal| refusal.name()).collect();
        assert_eq!(names, Refusal::NAMES);
        assert_eq!(Claims("sub: text").to_string(), "claims: sub: text");
    }
}
