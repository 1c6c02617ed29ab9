//! WORKER_CONNECT and GATEWAY_CLIENT_CONNECT: the first frame of a link, JSON in the body.

use serde::{Deserialize, Serialize};

use super::CommandError;
use crate::{Features, Frame, SecretKey};

/// How a link begins: the JSON body of commands 200 and 202.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// `Name:0`; only workers have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_key: Option<String>,
    /// The shared key. Where it is missing or null the gateway closes the link, as PHP does.
    #[serde(default)]
    pub secret_key: Option<SecretKey>,
    /// Ours: what the peer can do beyond the original; `None` where it lists nothing, not even an
    /// empty list. Only a worker with a list is answered. PHP ignores it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<Features>,
    /// Ours: the id of the worker's process, drawn at its start; a worker that lists
    /// `acknowledged-events` has one. PHP ignores it.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "crate::hex_id::option")]
    pub process: Option<u64>,
}

pub(super) fn decode(frame: &Frame) -> Result<Hello, CommandError> {
    serde_json::from_slice(&frame.body).map_err(|source| CommandError::Json { cmd: frame.cmd, source })
}

pub(super) fn encode(cmd: u8, hello: &Hello) -> Frame {
    let body = serde_json::to_vec(hello).expect("strings always serialize").into();
    Frame { cmd, body, ..Frame::default() }
}
