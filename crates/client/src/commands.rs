//! Commands about one client, and about a whole group.
//!
//! Each method makes one command, and `gateway.rs` hands it to the client's gateway, or to
//! every gateway. A gateway never answers a command. Sends and closings are in
//! `send.rs` and `close.rs`.

use bytes::Bytes;
use gatewayworker_protocol::{ClientId, Command, GroupId, IdError, Uid, php};
use serde::Serialize;

use crate::elsewhere::Elsewhere;
use crate::names::Names;
use crate::{Delivery, Error, Gateway, SessionData};

impl Gateway {
    /// Closes a client's connection at once, and drops the messages on their way to it (the
    /// original's `destoryClient`).
    ///
    /// # Errors
    /// None today. The [`Delivery`] names an unreached gateway, as with every command.
    pub async fn destroy_client(&self, id: ClientId) -> Result<Delivery, Error> {
        self.tell_client(id, Command::Destroy(id.connection_id())).await
    }

    /// Closes a client's connection after the messages on their way to it, with a WebSocket close code: one that may be
    /// sent, 1008 otherwise. A gateway of the original closes without the code. Not in the original.
    ///
    /// # Errors
    /// None today. The [`Delivery`] names an unreached gateway, as with every command.
    pub async fn close_client_with_code(&self, id: ClientId, code: u16) -> Result<Delivery, Error> {
        let command = Command::Refuse { connection_id: id.connection_id(), message: None, code };
        self.tell_client(id, command).await
    }

    /// Binds a client to a uid instead of the one that it was bound to (`bindUid`).
    ///
    /// # Errors
    /// When the uid is empty or `"0"`.
    pub async fn bind_uid(
        &self,
        id: ClientId,
        uid: impl TryInto<Uid, Error: Into<IdError>>,
    ) -> Result<Delivery, Error> {
        let uid = uid.try_into().map_err(Into::into)?.as_bytes().clone();
        self.tell_client(id, Command::BindUid { connection_id: id.connection_id(), uid }).await
    }

    /// Unbinds a client from its uid (`unbindUid`).
    ///
    /// # Errors
    /// When the uid is empty or `"0"`.
    pub async fn unbind_uid(
        &self,
        id: ClientId,
        uid: impl TryInto<Uid, Error: Into<IdError>>,
    ) -> Result<Delivery, Error> {
        let uid = uid.try_into().map_err(Into::into)?.as_bytes().clone();
        self.tell_client(id, Command::UnbindUid { connection_id: id.connection_id(), uid }).await
    }

    /// Adds a client to a group (`joinGroup`). A second time has no effect.
    ///
    /// # Errors
    /// When the group is empty or `"0"`.
    pub async fn join_group(
        &self,
        id: ClientId,
        group: impl TryInto<GroupId, Error: Into<IdError>>,
    ) -> Result<Delivery, Error> {
        let group = group.try_into().map_err(Into::into)?.as_bytes().clone();
        self.tell_client(id, Command::JoinGroup { connection_id: id.connection_id(), group }).await
    }

    /// Removes a client from a group (`leaveGroup`).
    ///
    /// # Errors
    /// When the group is empty or `"0"`.
    pub async fn leave_group(
        &self,
        id: ClientId,
        group: impl TryInto<GroupId, Error: Into<IdError>>,
    ) -> Result<Delivery, Error> {
        let group = group.try_into().map_err(Into::into)?.as_bytes().clone();
        self.tell_client(id, Command::LeaveGroup { connection_id: id.connection_id(), group }).await
    }

    /// Removes all members from a group, on all gateways (`ungroup`).
    ///
    /// # Errors
    /// When the group is empty or `"0"`, or no gateway is known.
    pub async fn ungroup(
        &self,
        group: impl TryInto<GroupId, Error: Into<IdError>>,
    ) -> Result<Delivery, Error> {
        let group = group.try_into().map_err(Into::into)?.as_bytes().clone();
        self.links().ready().await;
        let frame = Command::Ungroup(group).into_frame();
        let mut delivery = self.tell_all(&frame)?;
        if let Some(federation) = self.federation() {
            // For all clusters: where it came a moment late, as a send to a group may, it would remove those who have joined since.
            let elsewhere = Elsewhere { names: Names::Any, frames: vec![frame], except: Vec::new() };
            // A group's name is short.
            elsewhere.into_calls(&**federation)?.publish(&**federation, &mut delivery);
        }
        Ok(delivery)
    }

    /// Replaces a client's session (`setSession`) with a struct, a map, a
    /// [`SessionData`], `serde_json::json!({…})`.
    ///
    /// # Errors
    /// When the value has no form as a PHP array, or one that is too large for a frame.
    pub async fn set_session(
        &self,
        id: ClientId,
        session: &(impl Serialize + ?Sized),
    ) -> Result<Delivery, Error> {
        let bytes = SessionData::of(session)?.to_bytes();
        self.set_session_bytes(id, bytes).await
    }

    /// Replaces a client's session with one that is serialized already
    /// (`setSocketSession`).
    ///
    /// # Errors
    /// When the session is too large for a frame.
    pub async fn set_session_bytes(&self, id: ClientId, session: Bytes) -> Result<Delivery, Error> {
        let command = Command::SetSession { connection_id: id.connection_id(), session: session.clone() };
        let delivery = self.tell_client(id, command).await?;
        if delivery.is_complete() {
            self.session_replaced(id, &session);
        }
        Ok(delivery)
    }

    /// Puts values over those of the same names in a client's session, in nested arrays too
    /// (`updateSession`).
    ///
    /// # Errors
    /// When the value has no form as a PHP array, or one that is too large for a frame.
    pub async fn update_session(
        &self,
        id: ClientId,
        session: &(impl Serialize + ?Sized),
    ) -> Result<Delivery, Error> {
        let with = php::Value::Array(SessionData::of(session)?.into_array());
        let session = php::serialize(&with).into();
        let command = Command::UpdateSession { connection_id: id.connection_id(), session };
        let delivery = self.tell_client(id, command).await?;
        if let (true, php::Value::Array(with)) = (delivery.is_complete(), &with) {
            self.session_merged(id, with);
        }
        Ok(delivery)
    }
}
