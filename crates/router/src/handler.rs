//! The trait of handlers: the `async fn`s that a router takes.

use crate::{Failure, Reply};

/// An `async fn(&State, &Client, Parameters) -> Result<impl Into<Reply>, impl Into<Failure>>`.
///
/// Every such function implements it; applications need not. `'a` is the time of one request, for
/// which state and client are borrowed.
pub trait Handler<'a, S: 'a, C: 'a, P>: Send + Sync {
    /// The type of its reply.
    type Reply: Into<Reply>;
    /// The type of its error.
    type Error: Into<Failure>;
    /// The future that it returns.
    type Future: Future<Output = Result<Self::Reply, Self::Error>> + Send + 'a;

    /// Handles one request.
    fn call(&self, state: &'a S, client: &'a C, parameters: P) -> Self::Future;
}

impl<'a, S: 'a, C: 'a, P, F, Fut, R, E> Handler<'a, S, C, P> for F
where
    F: Fn(&'a S, &'a C, P) -> Fut + Send + Sync,
    Fut: Future<Output = Result<R, E>> + Send + 'a,
    R: Into<Reply>,
    E: Into<Failure>,
{
    type Reply = R;
    type Error = E;
    type Future = Fut;

    fn call(&self, state: &'a S, client: &'a C, parameters: P) -> Fut {
        self(state, client, parameters)
    }
}
