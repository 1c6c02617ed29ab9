//! Classes, threads, members and messages, in SQLite or PostgreSQL.
//!
//! The queries are the same in both; only the schema has a file for each. A database
//! that is not there costs a request its time-out and nobody else anything: the pool
//! connects when asked, and the schema is made with the first request that can.

use std::time::Duration;

use gatewayworker::BoxError;
use sqlx::any::{AnyPoolOptions, install_default_drivers};
use sqlx::{AnyPool, Executor};
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep};

use crate::Settings;
use crate::reply::{Page, Refusal};
use crate::request::{Draft, Place};

/// The most of each that a directory shows.
const MAX_CLASSES: i64 = 100;
const MAX_THREADS: i64 = 1_000;
const MAX_MEMBERS: i64 = 5_000;

/// When the schema is tried again that somebody else was making.
const AGAIN_AFTER: Duration = Duration::from_millis(20);

/// The most members of one class that are listed.
const MAX_CLASS_MEMBERS: i64 = 500;

/// A user's id and name.
pub(crate) type User = (i64, String);

/// A class.
#[derive(Debug)]
pub(crate) struct Class {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) threads: Vec<(i64, String)>,
    pub(crate) members: Vec<User>,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) id: i64,
    pub(crate) class: i64,
    pub(crate) thread: i64,
    pub(crate) speaker: i64,
    pub(crate) speaker_name: String,
    pub(crate) content: String,
    /// Milliseconds since 1970, by the database's clock.
    pub(crate) created_at: i64,
}

type Row = (i64, i64, i64, i64, String, String, i64);

impl From<Row> for Stored {
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

/// Why the database did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error("the database: {0}")]
    Sql(#[from] sqlx::Error),
    #[error("the database did not answer in time")]
    TimedOut,
}

/// The database.
#[derive(Debug)]
pub(crate) struct Database {
    pool: AnyPool,
    schema: &'static str,
    demo_data: bool,
    timeout: Duration,
    /// Whether the schema was made.
    ready: OnceCell<()>,
}

impl Database {
    /// Connects when it is first needed.
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
            _ => return Err("app.database: neither sqlite: nor postgres://".into()),
        };
        let pool = AnyPoolOptions::new()
            .max_connections(settings.database_connections)
            .acquire_timeout(timeout)
            // What is given up here is to end there too.
            .after_connect(move |connection, _| {
                let own_limit = own_limit.clone();
                Box::pin(async move { connection.execute(&*own_limit).await.map(drop) })
            })
            .connect_lazy(&settings.database)
            .map_err(|error| format!("app.database: {error}"))?;
        let demo_data = settings.demo_data;
        Ok(Self { pool, schema, demo_data, timeout, ready: OnceCell::new() })
    }

    /// Makes the schema, where it is not there.
    pub(crate) async fn prepare(&self) -> Result<(), Trouble> {
        self.run(async { Ok(()) }).await
    }

    async fn run<T>(&self, query: impl Future<Output = sqlx::Result<T>>) -> Result<T, Trouble> {
        let all = async {
            self.ready.get_or_try_init(|| self.make_schema()).await?;
            query.await
        };
        // Twice: waiting for a connection has its own limit, and says more.
        let answer = tokio::time::timeout(self.timeout * 2, all).await;
        Ok(answer.map_err(|_| Trouble::TimedOut)??)
    }

    /// Workers that start together stand in each other's way, where SQLite does not wait:
    /// while one changes the journal's mode.
    async fn make_schema(&self) -> sqlx::Result<()> {
        let locked = |error: &sqlx::Error| {
            error.as_database_error().is_some_and(|error| error.message().contains("locked"))
        };
        let until = Instant::now() + self.timeout;
        loop {
            match self.try_make_schema().await {
                Err(error) if locked(&error) && Instant::now() < until => sleep(AGAIN_AFTER).await,
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

    /// Whether class and thread exist, and the speaker is a member.
    pub(crate) async fn check(&self, place: &Place) -> Result<Option<Refusal>, Trouble> {
        // No name has a NUL, which PostgreSQL does not take for text.
        let name = if place.speaker_name.contains('\0') { "" } else { &*place.speaker_name };
        let query = sqlx::query_as::<_, (i64, i64, i64)>(
            "SELECT (SELECT count(*) FROM classes WHERE id = $1), \
             (SELECT count(*) FROM threads WHERE id = $2 AND belong_class = $1), \
             (SELECT count(*) FROM users u JOIN members m ON m.user_id = u.id \
              WHERE m.class_id = $1 AND u.id = $3 AND u.name = $4)",
        );
        let query = query.bind(place.class).bind(place.thread).bind(place.speaker).bind(name.to_owned());
        let found = self.run(query.fetch_one(&self.pool)).await?;
        Ok(match found {
            (0, _, _) => Some(Refusal::NoClass),
            (_, 0, _) => Some(Refusal::NoThread),
            (_, _, 0) => Some(Refusal::NotMember),
            _ => None,
        })
    }

    /// Stores a message; its id and time are the database's. One that is there already, by
    /// its key, is left as it is, and returned.
    pub(crate) async fn store(&self, place: Place, draft: Draft) -> Result<Stored, Trouble> {
        // DO NOTHING would return nothing.
        let query = sqlx::query_as::<_, (i64, String, i64)>(
            "INSERT INTO messages (belong_class, belong_thread, speaker, content, send_key) \
             VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT (belong_thread, speaker, send_key) DO UPDATE SET send_key = excluded.send_key \
             RETURNING id, content, created_at",
        );
        let query = query.bind(place.class).bind(place.thread).bind(place.speaker);
        let query = query.bind(draft.content).bind(draft.key);
        let (id, content, created_at) = self.run(query.fetch_one(&self.pool)).await?;
        let Place { class, thread, speaker, speaker_name } = place;
        Ok(Stored { id, class, thread, speaker, speaker_name, content, created_at })
    }

    /// The speaker's message with this id, in this thread.
    pub(crate) async fn message(&self, place: &Place, id: i64) -> Result<Option<Stored>, Trouble> {
        let query = sqlx::query_as::<_, Row>(select_messages!(
            "WHERE m.id = $1 AND m.speaker = $2 AND m.belong_class = $3 AND m.belong_thread = $4"
        ));
        let query = query.bind(id).bind(place.speaker).bind(place.class).bind(place.thread);
        Ok(self.run(query.fetch_optional(&self.pool)).await?.map(Stored::from))
    }

    /// The messages of a thread before one, or the newest; at most `limit`.
    pub(crate) async fn page(&self, thread: i64, before: Option<i64>, limit: u32) -> Result<Page, Trouble> {
        let query = sqlx::query_as::<_, Row>(select_messages!(
            "WHERE m.belong_thread = $1 AND m.id < $2 ORDER BY m.id DESC LIMIT $3"
        ));
        let query = query.bind(thread).bind(before.unwrap_or(i64::MAX)).bind(i64::from(limit) + 1);
        let mut rows = self.run(query.fetch_all(&self.pool)).await?;
        let more = rows.len() > limit as usize;
        rows.truncate(limit as usize);
        Ok(Page { messages: rows.into_iter().rev().map(Stored::from).collect(), more })
    }

    /// The members of a class, by name.
    pub(crate) async fn members(&self, class: i64) -> Result<Vec<User>, Trouble> {
        let query = sqlx::query_as::<_, User>(
            "SELECT u.id, u.name FROM users u JOIN members m ON m.user_id = u.id \
             WHERE m.class_id = $1 ORDER BY u.id LIMIT $2",
        );
        self.run(query.bind(class).bind(MAX_CLASS_MEMBERS).fetch_all(&self.pool)).await
    }

    /// All classes with their threads and members.
    pub(crate) async fn directory(&self) -> Result<Vec<Class>, Trouble> {
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
