//! How a gateway gives a connection of `gw.1` to the gateway that has its client.
//!
//! The connection between both begins with RESUME, whose body is a [`RelayedResume`]; it shows the secret key, as there is no
//! hello. [`RelayedAnswer`] is the answer, in the form of an answer to a question. Behind [`RelayedAnswer::Attached`] the
//! connection carries the client's bytes, in both directions. Both bodies are JSON; the handshake
//! stands in RESUME's ext.

use std::net::SocketAddrV4;

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::{Frame, HEADER_LEN, SecretKey, code, frame_answer};

/// The longest RESUME, and the longest answer, in bytes.
pub const MAX_RELAYED_LEN: usize = 64 * 1024;

/// A connection that asks for a client of the gateway that gets this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayedResume {
    /// The key of the cluster.
    pub secret_key: SecretKey,
    /// The client's token.
    pub token: String,
    /// The number of the client's attempt.
    pub attempt: u64,
    /// How many messages the client has.
    pub got: u64,
    /// Where the client's connection comes from.
    pub address: SocketAddrV4,
    /// The connection's handshake, as in ON_WEBSOCKET_CONNECT. It is left out where RESUME would be too long with it.
    #[serde(skip)]
    pub handshake: Bytes,
    /// What the handshake has agreed on about permessage-deflate: 0 where it was not offered, 1 where the offer was declined,
    /// or the bits of the window of compressed messages to the client, 9 to 15.
    #[serde(default)]
    pub compression: u8,
    /// What its token for admission says, where it has shown one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admission: Option<RelayedAdmission>,
}

/// What a token for admission says of its client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayedAdmission {
    /// Its uid.
    pub uid: Option<String>,
    /// For how much longer it is good, in ms; `None` for ever.
    pub left_ms: Option<u64>,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RelayedAnswer {
    /// The bytes of the client follow: it has come back, or is told why it does not.
    Attached,
    /// The client is not to be had, for this reason, as `lost` of `gw.1` names it. The connection ends.
    Lost(String),
}

impl RelayedResume {
    /// Reads the body of RESUME; `None` where it is none.
    pub fn from_frame(frame: &Frame) -> Option<Self> {
        let resume: Self = serde_json::from_slice(&frame.body).ok().filter(|_| frame.cmd == code::RESUME)?;
        Some(Self { handshake: frame.ext.clone(), ..resume })
    }

    /// Appends the frame to `out`.
    pub fn encode(&self, out: &mut BytesMut) {
        let body: Bytes = serde_json::to_vec(self).unwrap_or_default().into();
        let room = MAX_RELAYED_LEN.saturating_sub(HEADER_LEN + body.len());
        let ext = if self.handshake.len() <= room { self.handshake.clone() } else { Bytes::new() };
        Frame { cmd: code::RESUME, ext, body, ..Frame::default() }.encode(out);
    }
}

impl RelayedAnswer {
    /// Returns the answer as it is written.
    pub fn to_bytes(&self) -> BytesMut {
        let mut out = BytesMut::new();
        frame_answer(&serde_json::to_vec(self).unwrap_or_default(), &mut out);
        out
    }

    /// Reads the body of an answer; `None` where it is none.
    pub fn from_json(body: &[u8]) -> Option<Self> {
        serde_json::from_slice(body).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse_answer;

    #[test]
    fn a_resume_and_its_answers_are_read_as_they_were_written() {
        let resume = RelayedResume {
            secret_key: SecretKey::new("key"),
            token: "t".to_owned(),
            attempt: 3,
            got: 1 << 40,
            address: SocketAddrV4::new([10, 0, 0, 1].into(), 5),
            handshake: "a handshake".into(),
            compression: 15,
            admission: Some(RelayedAdmission { uid: Some("ann".to_owned()), left_ms: None }),
        };
        let mut out = BytesMut::new();
        resume.encode(&mut out);
        let frame = Frame::parse(&mut out, MAX_RELAYED_LEN).unwrap().unwrap();
        assert_eq!(RelayedResume::from_frame(&frame), Some(resume.clone()));
        assert_eq!(RelayedResume::from_frame(&Frame { cmd: code::PING, ..frame }), None);
        assert!(!format!("{resume:?}").contains("key\""), "the key is not shown");
        let long = RelayedResume { handshake: vec![b'x'; MAX_RELAYED_LEN].into(), ..resume.clone() };
        out.clear();
        long.encode(&mut out);
        let frame = Frame::parse(&mut out, MAX_RELAYED_LEN).unwrap().unwrap();
        let without = RelayedResume { handshake: Bytes::new(), ..resume };
        assert_eq!(RelayedResume::from_frame(&frame), Some(without));
        for (answer, json) in [
            (RelayedAnswer::Attached, r#""attached""#),
            (RelayedAnswer::Lost("expired".to_owned()), r#"{"lost":"expired"}"#),
        ] {
            let mut written = answer.to_bytes();
            let body = parse_answer(&mut written, MAX_RELAYED_LEN).unwrap().unwrap();
            assert_eq!((&body[..], written.len()), (json.as_bytes(), 0));
            assert_eq!(RelayedAnswer::from_json(&body), Some(answer));
        }
    }
}
