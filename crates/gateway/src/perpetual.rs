//! Perpetual tasks: those that run as long as the gateway serves, such as a shard's flush or an
//! acceptor.
//!
//! A gateway without one of them would accept clients and do nothing for them. So `server` and
//! `shard::run` watch them: when one ends, by a panic or otherwise, that is an error that names the
//! task, and the gateway ends.

use std::collections::HashMap;

use anyhow::anyhow;
use tokio::task::{Id, JoinError, JoinSet};

/// The perpetual tasks of a thread. Dropping it aborts them.
#[derive(Debug, Default)]
pub(crate) struct PerpetualTasks {
    tasks: JoinSet<anyhow::Result<()>>,
    names: HashMap<Id, String>,
}

impl PerpetualTasks {
    /// Starts a task that is never to end.
    ///
    /// # Panics
    /// Outside a `LocalSet`.
    pub(crate) fn spawn(&mut self, name: impl Into<String>, task: impl Future<Output = ()> + 'static) {
        self.spawn_fallible(name, async {
            task.await;
            Ok(())
        });
    }

    /// Starts a task that is never to end, and whose error says why it did.
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

    /// Waits until one of the tasks ends. Returns an error that says which one, and why.
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

    /// Aborts the tasks, and waits until they have ended.
    pub(crate) async fn stop(mut self) {
        self.tasks.shutdown().await;
    }

    /// Waits until all tasks have ended by themselves.
    pub(crate) async fn join(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Returns how a task has ended, to follow the word "has": `panicked: index out of bounds`.
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

    /// Returns the error of a set with this task and one that never ends.
    async fn failure_of(task: impl Future<Output = anyhow::Result<()>> + 'static) -> String {
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
        assert_eq!(failure_of(async { Ok(()) }).await, "the task has ended");
        assert_eq!(failure_of(async { bail!("no more") }).await, "the task: no more");
        assert_eq!(
            failure_of(async { panic!("by {}", "mistake") }).await,
            "the task has panicked: by mistake"
        );
    }

    #[tokio::test]
    async fn stop_waits_until_the_tasks_have_ended() {
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
