//! Awaiting a command: the future of a [`Sending`](crate::Sending) and of a
//! [`Closing`](crate::Closing).
//!
//! Most commands wait only where the handle is so new that its gateways are not known yet.
//! A command of `emulated.rs` asks the gateways first, and waits for the answers too.

use std::pin::Pin;
use std::task::{Context, Poll};

use crate::{Delivery, Error, Gateway};

/// A command that was made and is not started yet. Implemented in this crate only.
pub trait Operation: Send + Unpin + 'static {
    /// The handle to use.
    fn gateway(&self) -> &Gateway;

    /// Hands the command to the links, or begins to ask the gateways first.
    fn start(self) -> Dispatch;
}

/// How far a command has come.
pub enum Dispatch {
    /// The links have it.
    Done(Result<Delivery, Error>),
    /// The gateways are asked first.
    Asking(Waiting),
}

type Waiting = Pin<Box<dyn Future<Output = Result<Delivery, Error>> + Send>>;

/// A command being awaited. It returns the gateways that were not reached.
///
/// Cancel safe in that a frame is sent whole or not at all; of a long list of clients, some
/// may have been told.
#[must_use = "futures do nothing unless they are awaited"]
pub struct CommandFuture<O> {
    /// Taken at the first poll.
    operation: Option<O>,
    waiting: Option<Waiting>,
}

impl<O> CommandFuture<O> {
    pub(crate) fn new(operation: O) -> Self {
        Self { operation: Some(operation), waiting: None }
    }
}

impl<O: Operation> Future for CommandFuture<O> {
    type Output = Result<Delivery, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if let Some(operation) = this.operation.take() {
            if !operation.gateway().links().is_ready() {
                this.waiting = Some(Box::pin(start_when_ready(operation)));
            } else {
                match operation.start() {
                    Dispatch::Done(outcome) => return Poll::Ready(outcome),
                    Dispatch::Asking(waiting) => this.waiting = Some(waiting),
                }
            }
        }
        this.waiting.as_mut().expect("polled after it was ready").as_mut().poll(cx)
    }
}

async fn start_when_ready(operation: impl Operation) -> Result<Delivery, Error> {
    operation.gateway().links().ready().await;
    match operation.start() {
        Dispatch::Done(outcome) => outcome,
        Dispatch::Asking(waiting) => waiting.await,
    }
}
