-- What SQLite says in its own way; the queries are those of PostgreSQL.
PRAGMA journal_mode = WAL;

CREATE TABLE IF NOT EXISTS classes (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS threads (
    id INTEGER PRIMARY KEY,
    belong_class INTEGER NOT NULL REFERENCES classes (id),
    name TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS users (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS members (
    class_id INTEGER NOT NULL REFERENCES classes (id),
    user_id INTEGER NOT NULL REFERENCES users (id),
    PRIMARY KEY (class_id, user_id)
);

-- created_at: milliseconds since 1970, by the database's clock.
-- send_key: what the client called it, so that it is stored once however often it is sent.
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    belong_class INTEGER NOT NULL REFERENCES classes (id),
    belong_thread INTEGER NOT NULL REFERENCES threads (id),
    speaker INTEGER NOT NULL REFERENCES users (id),
    content TEXT NOT NULL,
    created_at INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    send_key TEXT
);

CREATE INDEX IF NOT EXISTS messages_of_thread ON messages (belong_thread, id);
CREATE UNIQUE INDEX IF NOT EXISTS messages_once ON messages (belong_thread, speaker, send_key);
