//! A link of a worker as one half of an epoch, and the words about its events.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use bytes::BytesMut;
use gatewayworker_protocol::{Command, Pairing, PingBody};

use super::Link;
use crate::Unreached;
use crate::call_connection::{CallConnection, CallLinkEnd};

impl Link {
    /// Attaches the connection to the epoch of a pairing. A connection of another epoch is closed,
    /// and the next one can be attached.
    pub(crate) fn attach(&self, pairing: Pairing, closed: &[u32]) -> Result<CallLinkEnd, Unreached> {
        let (epoch, process) = (pairing.epoch, self.settings.process);
        self.update(|core| {
            let connection = core.connection()?.clone();
            if core.epoch().is_some() {
                connection.writer.close(io::ErrorKind::ConnectionAborted);
            }
            core.attach(epoch, process, closed)?;
            self.instance.store(pairing.instance, Ordering::Relaxed);
            Ok(connection.end())
        })
    }

    /// Lets `hear` know of each read of the connection that is attached to this epoch.
    pub(crate) fn listen(
        &self,
        epoch: u32,
        hear: impl Fn(bool) + Send + Sync + 'static,
    ) -> Result<(), Unreached> {
        self.attached(epoch)?.listen(hear);
        Ok(())
    }

    /// Closes the connection if it is attached to this epoch.
    pub(crate) fn end_epoch(&self, epoch: u32) {
        if let Ok(connection) = self.attached(epoch) {
            connection.writer.close(io::ErrorKind::ConnectionAborted);
        }
    }

    /// Hands over a word about the events of an epoch, whatever waits on the link already.
    pub(crate) fn tell_in_epoch(
        &self,
        epoch: u32,
        encode: impl FnOnce(&mut BytesMut),
    ) -> Result<(), Unreached> {
        let connection = self.attached(epoch)?;
        connection.writer.push_over(encode)?;
        connection.writer.flush_soon();
        Ok(())
    }

    /// Gives an attached connection a sign of life, from any thread.
    pub(crate) fn ping(&self) {
        let core = self.core.read().unwrap_or_else(PoisonError::into_inner);
        let (Some(_), Ok(connection)) = (core.epoch(), core.connection()) else { return };
        // What waits is a sign of life, too; and where the gateway reads nothing, no pings pile up.
        if connection.unwritten() == 0 {
            let _ = connection.writer.push_over(|out| Command::Ping(PingBody::Empty.encode()).encode(out));
        }
        connection.writer.flush_directly();
    }

    /// Returns the connection that is attached to the epoch.
    fn attached(&self, epoch: u32) -> Result<Arc<CallConnection>, Unreached> {
        let core = self.core.read().unwrap_or_else(PoisonError::into_inner);
        if core.epoch() == Some(epoch) { core.connection().cloned() } else { Err(Unreached::NotConnected) }
    }
}
