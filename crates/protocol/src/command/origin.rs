//! The address fields of a frame that a gateway sends to a worker.

use std::net::SocketAddrV4;

use crate::Frame;

/// The client that an event comes from, and its gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The address that the gateway announces to the register.
    pub gateway: SocketAddrV4,
    /// The client's address; 0.0.0.0 where the client came over IPv6.
    pub client: SocketAddrV4,
    /// The client's connection.
    pub connection_id: u32,
    /// The port that the client connected to.
    pub gateway_port: u16,
}

impl Origin {
    /// A frame of the event `cmd` of this client, with ext and body still empty.
    pub fn frame(&self, cmd: u8) -> Frame {
        Frame {
            cmd,
            local_ip: *self.gateway.ip(),
            local_port: self.gateway.port(),
            client_ip: *self.client.ip(),
            client_port: self.client.port(),
            connection_id: self.connection_id,
            gateway_port: self.gateway_port,
            ..Frame::default()
        }
    }

    #[inline]
    pub(super) fn of(frame: &Frame) -> Self {
        Self {
            gateway: SocketAddrV4::new(frame.local_ip, frame.local_port),
            client: SocketAddrV4::new(frame.client_ip, frame.client_port),
            connection_id: frame.connection_id,
            gateway_port: frame.gateway_port,
        }
    }
}
