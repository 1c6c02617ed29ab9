//! Tasks that run as long as the gateway serves: a shard's flush, an acceptor.
//!
//! A gateway that has lost one of them would go on accepting clients and do nothing for
//! them. So each is watched by whoever started it: the end of any one, by a panic or
//! otherwise, is an error that names the task, and ends the gateway (`server`).

use std::collections::HashMap;

use anyhow::anyhow;
use tokio::task::{Id, JoinError, JoinSet};

/// Tasks of this thread that are not to end. Dropped, it ends them all.
#[derive(Debug, Default)]
pub(crate) struct PerpetualTasks {
    tasks: JoinSet<anyhow::Result<()>>,
    names: HashMap<Id, String>,
}

impl PerpetualTasks {
    /// Starts a task that runs for ever.
    ///
    /// # Panics
    /// Outside a `LocalSet`.
    pub(crate) fn spawn(&mut self, name: impl Into<String>, task: impl Future<Output = ()> + 'static) {
        self.spawn_fallible(name, async {
            task.await;
            Ok(())
        });
    }

    /// As [`spawn`](Self::spawn), for a task that says why it ends.
    ///
    /// # Panics
    /// Outside a `LocalSet`.
    pub(crate) fn spawn_fallible(
        &mut self,
        name: impl Into<String>,
        task: impl Future<Output = anyhow::Result<()>> + 'static,
    ) {
        let id = self.tasks.spawn_local(task).id();
        self.names.insert(id, name.into());
    }

    /// Waits until one of the tasks ends: an error that says which, and why.
    ///
    /// Cancel safe.
    pub(crate) async fn failure(&mut self) -> anyhow::Error {
        let Some(ended) = self.tasks.join_next_with_id().await else { return std::future::pending().await };
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let name = self.names.remove(&id).unwrap_or_default();
        match ended {
            Ok((_, Ok(()))) => anyhow!("{name} has ended"),
            Ok((_, Err(error))) => error.context(name),
            Err(error) => anyhow!("{name} has {}", cause(error)),
        }
    }

    /// Ends the tasks, and returns when they have ended.
    pub(crate) async fn stop(mut self) {
        self.tasks.shutdown().await;
    }

    /// Waits until all tasks have ended by themselves.
    pub(crate) async fn join(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

/// What has become of a task, behind "has": `panicked: index out of bounds`.
pub(crate) fn cause(error: JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else { return "been cancelled".into() };
    let message = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let message = message.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panicked: {}", message.unwrap_or_else(|| "without a message".into()))
}

#[cfg(test)]
mod tests {
    use anyhow::bail;
    use tokio::task::LocalSet;

    use super::*;

    /// What is said of a task that does this beside one that goes on.
    async fn said_of(task: impl Future<Output = anyhow::Result<()>> + 'static) -> String {
        let test = async {
            let mut tasks = PerpetualTasks::default();
            tasks.spawn("the other", std::future::pending());
            tasks.spawn_fallible("the task", task);
            format!("{:#}", tasks.failure().await)
        };
        LocalSet::new().run_until(test).await
    }

    #[tokio::test]
    async fn the_end_of_a_task_is_an_error_that_names_it() {
        assert_eq!(said_of(async { Ok(()) }).await, "the task has ended");
        assert_eq!(said_of(async { bail!("no more") }).await, "the task: no more");
        assert_eq!(said_of(async { panic!("by {}", "mistake") }).await, "the task has panicked: by mistake");
    }

    #[tokio::test]
    async fn tasks_that_are_stopped_have_ended() {
        let test = async {
            let (held, is_dropped) = tokio::sync::oneshot::channel::<()>();
            let mut tasks = PerpetualTasks::default();
            tasks.spawn("the task", async move {
                let _held = held;
                std::future::pending().await
            });
            tasks.stop().await;
            assert!(is_dropped.await.is_err());
        };
        LocalSet::new().run_until(test).await;
    }
}
