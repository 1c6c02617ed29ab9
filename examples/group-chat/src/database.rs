//! The store of classes, threads, members and messages, in SQLite or PostgreSQL.
//!
//! Both run the same queries; only the schema has a file for each. The application calls a
//! [`Database`] for each request. The pool connects on demand, and the first request that reaches
//! the database makes the schema. While the database cannot be reached, a request waits for its
//! time-out and fails; no other request waits for it.

use std::time::Duration;

use gatewayworker::BoxError;
use sqlx::any::{AnyPoolOptions, install_default_drivers};
use sqlx::{AnyPool, Executor};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};

use crate::refusal::Refusal;
use crate::request::{Draft, Membership};
use crate::settings::Settings;

/// The limits of the directory.
const MAX_CLASSES: i64 = 100;
const MAX_THREADS: i64 = 1_000;
const MAX_MEMBERS: i64 = 5_000;

/// The pause before a worker tries again to make the schema, while another worker makes it.
const SCHEMA_RETRY_PAUSE: Duration = Duration::from_millis(20);

/// The limit of the member list of a class.
const MAX_CLASS_MEMBERS: i64 = 500;

/// A user's id and name.
pub(crate) type User = (i64, String);

/// A class with its threads (id, name) and members.
#[derive(Debug)]
pub(crate) struct Class {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) threads: Vec<(i64, String)>,
    pub(crate) members: Vec<User>,
}

/// A stored message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredMessage {
    pub(crate) id: i64,
    pub(crate) class: i64,
    pub(crate) thread: i64,
    pub(crate) speaker: i64,
    pub(crate) speaker_name: String,
    pub(crate) content: String,
    /// Milliseconds since 1970, by the database's clock.
    pub(crate) created_at: i64,
}

/// A page of the history, the oldest message first.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) messages: Vec<StoredMessage>,
    /// Whether the thread has older messages than these.
    pub(crate) more: bool,
}

type Row = (i64, i64, i64, i64, String, String, i64);

impl From<Row> for StoredMessage {
    fn from((id, class, thread, speaker, speaker_name, content, created_at): Row) -> Self {
        Self { id, class, thread, speaker, speaker_name, content, created_at }
    }
}

/// `SELECT` with the columns of [`Row`].
macro_rules! select_messages {
    ($where:literal) => {
        concat!(
            "SELECT m.id, m.belong_class, m.belong_thread, m.speaker, u.name, m.content, m.created_at ",
            "FROM messages m JOIN users u ON u.id = m.speaker ",
            $where
        )
    };
}

/// The error of a query.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    #[error("the database has failed: {0}")]
    Sql(#[from] sqlx::Error),
    #[error("the database did not answer in time")]
    TimedOut,
}

/// The database with its pool of connections.
#[derive(Debug)]
pub(crate) struct Database {
    pool: AnyPool,
    schema: &'static str,
    demo_data: bool,
    timeout: Duration,
    /// Set once the schema is made.
    ready: OnceCell<()>,
}

impl Database {
    /// Returns the database of the settings. It connects with the first query.
    ///
    /// # Errors
    /// The URL is neither of SQLite nor of PostgreSQL.
    pub(crate) fn new(settings: &Settings) -> Result<Self, BoxError> {
        install_default_drivers();
        let timeout = settings.database_timeout();
        let scheme = settings.database.split(':').next().unwrap_or_default();
        let ms = settings.database_timeout_ms;
        let (schema, own_limit) = match scheme {
            "sqlite" => (include_str!("../schema/sqlite.sql"), format!("PRAGMA busy_timeout = {ms}")),
            "postgres" | "postgresql" => {
                (include_str!("../schema/postgres.sql"), format!("SET statement_timeout = {ms}"))
            }
            _ => return Err("app.database: must begin with sqlite: or postgres://".into()),
        };
        let pool = AnyPoolOptions::new()
            .max_connections(settings.database_connections)
            .acquire_timeout(timeout)
            // A query that the worker gives up ends in the database too.
            .after_connect(move |connection, _| {
                let own_limit = own_limit.clone();
                Box::pin(async move { connection.execute(&*own_limit).await.map(drop) })
            })
            .connect_lazy(&settings.database)
            .map_err(|error| format!("app.database: {error}"))?;
        let demo_data = settings.demo_data;
        Ok(Self { pool, schema, demo_data, timeout, ready: OnceCell::new() })
    }

    /// Makes the schema, unless it exists.
    pub(crate) async fn prepare(&self) -> Result<(), DatabaseError> {
        self.run(async { Ok(()) }).await
    }

    /// Runs a query, after the schema is made, within the time-out.
    async fn run<T>(&self, query: impl Future<Output = sqlx::Result<T>>) -> Result<T, DatabaseError> {
        let all = async {
            self.ready.get_or_try_init(|| self.make_schema()).await?;
            query.await
        };
        // The pool limits the wait for a connection to one time-out, with a better error.
        let answer = tokio::time::timeout(self.timeout * 2, all).await;
        Ok(answer.map_err(|_| DatabaseError::TimedOut)??)
    }

    /// Makes the schema, and tries again while the database is locked: while one worker changes the
    /// journal's mode, SQLite lets the others fail at once.
    async fn make_schema(&self) -> sqlx::Result<()> {
        let locked = |error: &sqlx::Error| {
            error.as_database_error().is_some_and(|error| error.message().contains("locked"))
        };
        let until = Instant::now() + self.timeout;
        loop {
            match self.try_make_schema().await {
                Err(error) if locked(&error) && Instant::now() < until => sleep(SCHEMA_RETRY_PAUSE).await,
                made => return made,
            }
        }
    }

    async fn try_make_schema(&self) -> sqlx::Result<()> {
        self.pool.execute(sqlx::raw_sql(self.schema)).await?;
        if self.demo_data {
            self.pool.execute(sqlx::raw_sql(include_str!("../schema/demo.sql"))).await?;
        }
        Ok(())
    }

    /// Verifies a claimed membership. Returns `None` if class and thread exist and the speaker is a member.
    pub(crate) async fn check(&self, membership: &Membership) -> Result<Option<Refusal>, DatabaseError> {
        // PostgreSQL refuses a NUL in a text, and no name has one.
        let name = if membership.speaker_name.contains('\0') { "" } else { &*membership.speaker_name };
        let query = sqlx::query_as::<_, (i64, i64, i64)>(
            "SELECT (SELECT count(*) FROM classes WHERE id = $1), \
             (SELECT count(*) FROM threads WHERE id = $2 AND belong_class = $1), \
             (SELECT count(*) FROM users u JOIN members m ON m.user_id = u.id \
              WHERE m.class_id = $1 AND u.id = $3 AND u.name = $4)",
        );
        let query = query
            .bind(membership.class)
            .bind(membership.thread)
            .bind(membership.speaker)
            .bind(name.to_owned());
        let found = self.run(query.fetch_one(&self.pool)).await?;
        Ok(match found {
            (0, _, _) => Some(Refusal::NoClass),
            (_, 0, _) => Some(Refusal::NoThread),
            (_, _, 0) => Some(Refusal::NotMember),
            _ => None,
        })
    }

    /// Stores a message and returns it, with the database's id and time. If one with its key is stored
    /// already, returns that one unchanged.
    pub(crate) async fn store(
        &self,
        membership: Membership,
        draft: Draft,
    ) -> Result<StoredMessage, DatabaseError> {
        // With DO NOTHING, RETURNING would return no row.
        let query = sqlx::query_as::<_, (i64, String, i64)>(
            "INSERT INTO messages (belong_class, belong_thread, speaker, content, send_key) \
             VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (belong_thread, speaker, send_key) DO UPDATE SET send_key = excluded.send_key \
             RETURNING id, content, created_at",
        );
        let query = query.bind(membership.class).bind(membership.thread).bind(membership.speaker);
        let query = query.bind(draft.content).bind(draft.key);
        let (id, content, created_at) = self.run(query.fetch_one(&self.pool)).await?;
        let Membership { class, thread, speaker, speaker_name } = membership;
        Ok(StoredMessage { id, class, thread, speaker, speaker_name, content, created_at })
    }

    /// Returns the speaker's message with this id, if it is in this thread.
    pub(crate) async fn message(
        &self,
        membership: &Membership,
        id: i64,
    ) -> Result<Option<StoredMessage>, DatabaseError> {
        let query = sqlx::query_as::<_, Row>(select_messages!(
            "WHERE m.id = $1 AND m.speaker = $2 AND m.belong_class = $3 AND m.belong_thread = $4"
        ));
        let query = query.bind(id).bind(membership.speaker).bind(membership.class).bind(membership.thread);
        Ok(self.run(query.fetch_optional(&self.pool)).await?.map(StoredMessage::from))
    }

    /// Returns a thread's messages before the message `before`, or the newest; at most `limit`.
    pub(crate) async fn page(
        &self,
        thread: i64,
        before: Option<i64>,
        limit: u32,
    ) -> Result<Page, DatabaseError> {
        let query = sqlx::query_as::<_, Row>(select_messages!(
            "WHERE m.belong_thread = $1 AND m.id < $2 ORDER BY m.id DESC LIMIT $3"
        ));
        let query = query.bind(thread).bind(before.unwrap_or(i64::MAX)).bind(i64::from(limit) + 1);
        let mut rows = self.run(query.fetch_all(&self.pool)).await?;
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        Ok(Page { messages: rows.into_iter().rev().map(StoredMessage::from).collect(), more })
    }

    /// Returns the members of a class.
    pub(crate) async fn members(&self, class: i64) -> Result<Vec<User>, DatabaseError> {
        let query = sqlx::query_as::<_, User>(
            "SELECT u.id, u.name FROM users u JOIN members m ON m.user_id = u.id \
             WHERE m.class_id = $1 ORDER BY u.id LIMIT $2",
        );
        self.run(query.bind(class).bind(MAX_CLASS_MEMBERS).fetch_all(&self.pool)).await
    }

    /// Returns all classes with their threads and members.
    pub(crate) async fn directory(&self) -> Result<Vec<Class>, DatabaseError> {
        let classes = sqlx::query_as::<_, (i64, String)>("SELECT id, name FROM classes ORDER BY id LIMIT $1");
        let classes = self.run(classes.bind(MAX_CLASSES).fetch_all(&self.pool)).await?;
        let threads = sqlx::query_as::<_, (i64, i64, String)>(
            "SELECT belong_class, id, name FROM threads ORDER BY id LIMIT $1",
        );
        let threads = self.run(threads.bind(MAX_THREADS).fetch_all(&self.pool)).await?;
        let members = sqlx::query_as::<_, (i64, i64, String)>(
            "SELECT m.class_id, u.id, u.name FROM members m JOIN users u ON u.id = m.user_id \
             ORDER BY m.class_id, u.id LIMIT $1",
        );
        let members = self.run(members.bind(MAX_MEMBERS).fetch_all(&self.pool)).await?;
        let of = |rows: &[(i64, i64, String)], class| {
            let rows = rows.iter().filter(|row| row.0 == class);
            rows.map(|(_, id, name)| (*id, name.clone())).collect()
        };
        let class = |(id, name)| Class { id, name, threads: of(&threads, id), members: of(&members, id) };
        Ok(classes.into_iter().map(class).collect())
    }
}
