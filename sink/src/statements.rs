//! Pure: the SQL of both databases. A row is written over only by a newer batch, and only if the value is another one: a walk over all
//! counters leaves alone what is right already. `changed_at` is so when the value was first seen.

use crate::settings::{STATE_TABLE, TableName};

/// What a table's statements are. `$1` of all that ask for a state is the table's name.
#[derive(Clone, Debug)]
pub(crate) struct Statements {
    /// Both tables, where they are missing.
    pub(crate) create: String,
    /// Columns as in [`crate::batch::Standing`]; the row stays as it is until the transaction ends.
    pub(crate) state: String,
    /// The greatest number of a row, 0 without any.
    pub(crate) greatest: String,
    /// Takes the table: its name, the owner, cursor, number, and the moment.
    pub(crate) take: String,
    /// Moves the state on: the table's name, the owner, the number that it must have, cursor, number, moment. No row is changed if it has not.
    pub(crate) move_on: String,
    /// Writes rows.
    pub(crate) upsert: String,
}

/// Of PostgreSQL. The upsert takes keys, values as text, the number, and the moment in milliseconds since 1970.
pub(crate) fn postgres(table: &TableName) -> Statements {
    let table = table.as_str();
    let at = |parameter: &str| format!("to_timestamp({parameter}::bigint / 1000.0)");
    Statements {
        create: format!(
            "CREATE TABLE IF NOT EXISTS {STATE_TABLE} (table_name TEXT PRIMARY KEY, owner TEXT NOT NULL, cursor TEXT NOT NULL, \
             seq BIGINT NOT NULL, as_of TIMESTAMPTZ NOT NULL, seen_at TIMESTAMPTZ NOT NULL); \
             CREATE TABLE IF NOT EXISTS {table} (key TEXT COLLATE \"C\" PRIMARY KEY, value NUMERIC NOT NULL, seq BIGINT NOT NULL, \
             changed_at TIMESTAMPTZ NOT NULL)"
        ),
        state: format!(
            "SELECT owner, cursor, seq, (extract(epoch FROM as_of) * 1000)::bigint, \
             (extract(epoch FROM clock_timestamp() - seen_at) * 1000)::bigint FROM {STATE_TABLE} WHERE table_name = $1 FOR UPDATE"
        ),
        greatest: format!("SELECT coalesce(max(seq), 0) FROM {table}"),
        take: format!(
            "INSERT INTO {STATE_TABLE} AS t (table_name, owner, cursor, seq, as_of, seen_at) VALUES ($1, $2, $3, $4, {}, clock_timestamp()) \
             ON CONFLICT (table_name) DO UPDATE SET owner = excluded.owner, cursor = excluded.cursor, seen_at = excluded.seen_at \
             WHERE t.seq = excluded.seq",
            at("$5")
        ),
        move_on: format!(
            "UPDATE {STATE_TABLE} SET cursor = $4, seq = $5, as_of = {}, seen_at = clock_timestamp() \
             WHERE table_name = $1 AND owner = $2 AND seq = $3",
            at("$6")
        ),
        upsert: format!(
            "INSERT INTO {table} AS t (key, value, seq, changed_at) \
             SELECT u.key, u.value::numeric, $3::bigint, {} FROM unnest($1::text[], $2::text[]) AS u (key, value) \
             ON CONFLICT (key) DO UPDATE SET value = excluded.value, seq = excluded.seq, changed_at = excluded.changed_at \
             WHERE excluded.seq > t.seq AND excluded.value <> t.value",
            at("$4")
        ),
    }
}

/// Of SQLite. Moments are milliseconds since 1970; a value is an INTEGER, and TEXT where it is outside of 64 bits. The upsert takes one
/// row: key, value, number, moment.
pub(crate) fn sqlite(table: &TableName) -> Statements {
    let table = table.as_str();
    let now = "CAST((julianday('now') - 2440587.5) * 86400000.0 AS INTEGER)";
    Statements {
        create: format!(
            "CREATE TABLE IF NOT EXISTS {STATE_TABLE} (table_name TEXT PRIMARY KEY, owner TEXT NOT NULL, cursor TEXT NOT NULL, \
             seq INTEGER NOT NULL, as_of INTEGER NOT NULL, seen_at INTEGER NOT NULL); \
             CREATE TABLE IF NOT EXISTS {table} (key TEXT PRIMARY KEY, value NOT NULL, seq INTEGER NOT NULL, changed_at INTEGER NOT NULL) \
             WITHOUT ROWID"
        ),
        state: format!("SELECT owner, cursor, seq, as_of, {now} - seen_at FROM {STATE_TABLE} WHERE table_name = ?1"),
        greatest: format!("SELECT coalesce(max(seq), 0) FROM {table}"),
        take: format!(
            "INSERT INTO {STATE_TABLE} (table_name, owner, cursor, seq, as_of, seen_at) VALUES (?1, ?2, ?3, ?4, ?5, {now}) \
             ON CONFLICT (table_name) DO UPDATE SET owner = excluded.owner, cursor = excluded.cursor, seen_at = excluded.seen_at \
             WHERE {STATE_TABLE}.seq = excluded.seq"
        ),
        move_on: format!(
            "UPDATE {STATE_TABLE} SET cursor = ?4, seq = ?5, as_of = ?6, seen_at = {now} WHERE table_name = ?1 AND owner = ?2 AND seq = ?3"
        ),
        upsert: format!(
            "INSERT INTO {table} (key, value, seq, changed_at) VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT (key) DO UPDATE SET value = excluded.value, seq = excluded.seq, changed_at = excluded.changed_at \
             WHERE excluded.seq > {table}.seq AND excluded.value IS NOT {table}.value"
        ),
    }
}
