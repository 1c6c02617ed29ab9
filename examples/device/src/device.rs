//! The protocol of the devices, for a gateway: `STX`, a length, the payload, and a check byte, the XOR of the payload.
//!
//! The gateway's listener calls it to cut the received bytes into messages, and to encode messages. The length has two
//! bytes, the most significant first. A device sends an empty message as a heartbeat.

use gatewayworker::gateway::protocol::{Decoded, Input, Protocol, Violation};

/// The first byte of every message.
const STX: u8 = 2;

/// The length of `STX` and the length field, before the payload; and of the check byte, after it.
const HEADER: usize = 3;
const CHECK: usize = 1;

/// The devices' protocol.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Device;

impl Protocol for Device {
    fn decode<'b>(&self, input: Input<'b>) -> Result<Decoded<'b>, Violation> {
        let [STX, high, low] = input[..input.len().min(HEADER)] else {
            let is_start = input[0] == STX;
            return if is_start { Ok(Decoded::Incomplete(HEADER)) } else { Err("no STX".into()) };
        };
        let end = HEADER + usize::from(u16::from_be_bytes([high, low]));
        let Some(payload) = input.bytes().get(HEADER..end) else {
            return Ok(Decoded::Incomplete(end + CHECK));
        };
        match input.get(end) {
            None => Ok(Decoded::Incomplete(end + CHECK)),
            Some(check) if *check != xor(payload) => Err("the check is wrong".into()),
            Some(_) if payload.is_empty() => Ok(Decoded::Nothing(end + CHECK)),
            Some(_) => Ok(Decoded::Message { len: end + CHECK, payload: payload.into() }),
        }
    }

    fn encode(&self, message: &[u8], out: &mut Vec<u8>) {
        // The length has two bytes, so a longer message is cut.
        let message = &message[..message.len().min(usize::from(u16::MAX))];
        out.push(STX);
        out.extend((message.len() as u16).to_be_bytes());
        out.extend_from_slice(message);
        out.push(xor(message));
    }
}

fn xor(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0, |all, byte| all ^ byte)
}

#[cfg(test)]
mod tests {
    use gatewayworker::gateway::Protocols;
    use gatewayworker_tests::{Cluster, TcpClient, WsClient};

    use super::*;

    fn said(message: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        Device.encode(message, &mut out);
        out
    }

    #[test]
    fn a_message_is_checked() {
        assert_eq!(said(b"\x01\x02"), [STX, 0, 2, 1, 2, 3]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn devices_and_browsers_receive_each_others_messages() {
        let cluster = Cluster::builder()
            .gateway(|config| config.protocols = Protocols::default().with("device", Device))
            .listen("listen = ['websocket://127.0.0.1:0', 'device://127.0.0.1:0']")
            .start()
            .await;
        let (mut browser, _) = WsClient::greeted(cluster.listener()).await;
        let listener = cluster.gateways[0].listeners[1];
        let mut device = TcpClient::connect(listener).await;
        device.bytes(said(&[0; 20]).len()).await;

        // A heartbeat says nothing; a message may come in pieces.
        let (first, second) = (said(b""), said(b"broadcast 21.5"));
        device.send(&[&first[..], &second[..5]].concat()).await;
        device.send(&second[5..]).await;
        assert_eq!(browser.text().await, "broadcast 21.5");
        assert_eq!(device.bytes(second.len()).await, second);

        let mut broken = TcpClient::connect(listener).await;
        broken.bytes(said(&[0; 20]).len()).await;
        broken.send(&[STX, 0, 1, 7, 8]).await;
        assert_eq!(broken.rest().await, b"");
    }
}
