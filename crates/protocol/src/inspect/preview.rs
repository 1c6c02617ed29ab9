//! The first bytes of a payload in an answer: as text where they are text, else as base64.

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

/// The first bytes of a payload. `payload` and `payload_base64` are both `None` where payloads were not asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Preview {
    /// The bytes, where they are UTF-8.
    pub payload: Option<String>,
    /// The bytes as base64, where they are not UTF-8.
    pub payload_base64: Option<String>,
    /// The payload is longer than what is shown.
    pub cut: bool,
}

impl Preview {
    /// The first `limit` bytes of a payload; text is cut before the character that would be cut in two.
    pub fn new(payload: &[u8], limit: usize) -> Self {
        let shown = &payload[..payload.len().min(limit)];
        let cut = shown.len() < payload.len();
        let text = match std::str::from_utf8(shown) {
            Ok(text) => Some(text),
            // The last character goes on behind the limit.
            Err(error) if cut && error.error_len().is_none() => {
                std::str::from_utf8(&shown[..error.valid_up_to()]).ok()
            }
            Err(_) => None,
        };
        let payload_base64 = text.is_none().then(|| BASE64.encode(shown));
        Self { payload: text.map(str::to_owned), payload_base64, cut }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_text_and_anything_else_is_base64() {
        for (bytes, payload, payload_base64, cut) in [
            (&b""[..], Some(""), None, false),
            (b"1234", Some("1234"), None, false),
            (b"12345", Some("1234"), None, true),
            ("123é".as_bytes(), Some("123"), None, true),
            ("12é".as_bytes(), Some("12é"), None, false),
            (b"\xff\xfe", None, Some("//4="), false),
            (b"12\xff45", None, Some("MTL/NA=="), true),
            // Not cut, so nothing of the character will come.
            (b"12\xc3", None, Some("MTLD"), false),
        ] {
            let preview = Preview {
                payload: payload.map(str::to_owned),
                payload_base64: payload_base64.map(str::to_owned),
                cut,
            };
            assert_eq!(Preview::new(bytes, 4), preview, "{bytes:?}");
        }
    }
}
