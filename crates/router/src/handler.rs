//! What can handle a method.

use crate::{Failure, Reply};

/// An `async fn(&State, &Client, Parameters) -> Result<impl Into<Reply>, impl Into<Failure>>`.
///
/// Nobody has to implement it. `'a` is the time of one request, for which state and
/// client are borrowed.
pub trait Handler<'a, S: 'a, C: 'a, P>: Send + Sync {
    /// What it replies.
    type Reply: Into<Reply>;
    /// How it fails.
    type Error: Into<Failure>;
    /// What it returns before it is awaited.
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
