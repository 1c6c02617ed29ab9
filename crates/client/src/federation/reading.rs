//! Reading the bytes of another cluster: nothing in here panics, whatever they are.

use std::net::{Ipv4Addr, SocketAddrV4};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use gatewayworker_protocol::{Frame, MAX_FRAME_LEN};

/// The bytes of an address.
pub(super) const ADDRESS_LEN: usize = 6;

pub(super) fn read_address(bytes: &mut Bytes) -> Option<SocketAddrV4> {
    let ip = Ipv4Addr::from(bytes.try_get_u32().ok()?);
    Some(SocketAddrV4::new(ip, bytes.try_get_u16().ok()?))
}

pub(super) fn write_address(address: SocketAddrV4, out: &mut BytesMut) {
    out.put_u32((*address.ip()).into());
    out.put_u16(address.port());
}

/// Reads one frame, behind which nothing stands.
pub(super) fn read_frame(bytes: Bytes) -> Option<Frame> {
    let mut bytes = bytes.try_into_mut().unwrap_or_else(|bytes| BytesMut::from(&bytes[..]));
    let frame = Frame::parse(&mut bytes, MAX_FRAME_LEN).ok()??;
    bytes.is_empty().then_some(frame)
}
