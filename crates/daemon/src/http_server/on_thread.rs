//! A thread of its own for a listener: a daemon whose own threads are all held up is still asked how it goes.
//!
//! `gatewayworker-metrics` and `gatewayworker-admin` use it.

use std::convert::Infallible;
use std::io;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tracing::error;

/// Runs `serve` with a listener on a thread of its own, called `name`. What is returned resolves when `serve` has
/// returned.
///
/// # Errors
/// When the system has no thread left.
///
/// # Panics
/// Outside a tokio runtime.
pub fn serve_on_thread<F: Future<Output = ()>>(
    name: &'static str,
    listener: TcpListener,
    serve: impl FnOnce(TcpListener) -> F + Send + 'static,
) -> io::Result<oneshot::Receiver<Infallible>> {
    let listener = listener.into_std()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (ended, has_ended) = oneshot::channel();
    let run = move || {
        // Dropped at the end.
        let _ended: oneshot::Sender<Infallible> = ended;
        runtime.block_on(async move {
            match TcpListener::from_std(listener) {
                Ok(listener) => serve(listener).await,
                Err(error) => error!(%error, "the {name} listener is not served"),
            }
        });
        // A name look-up may go on.
        runtime.shutdown_background();
    };
    std::thread::Builder::new().name(name.into()).spawn(run)?;
    Ok(has_ended)
}
