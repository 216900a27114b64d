//! I/O: a table of a SQLite file, which is written by one blocking call after the other.

use crate::{
    batch::{Batch, Progress, Standing, claim},
    failure::SinkError,
    settings::TableName,
    statements::{self, Statements},
};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params, types::Value};
use std::{path::PathBuf, sync::Arc, time::Duration};
use tokio::{task::JoinHandle, time::timeout};

/// How long a batch may take; then it is given up.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long it may take to find out from where on a table is to be written. Without a state all rows are looked at.
const CLAIM_DEADLINE: Duration = Duration::from_secs(120);
/// How long a write waits for others that use the file.
const BUSY: Duration = Duration::from_secs(5);

/// A table, and the file.
pub(crate) struct Sqlite {
    path: PathBuf,
    table: TableName,
    statements: Arc<Statements>,
    connection: Option<Connection>,
    /// A call that was given up and has not ended: there is one at most.
    late: Option<JoinHandle<()>>,
}

impl Sqlite {
    pub(crate) fn new(path: PathBuf, table: TableName) -> Sqlite {
        Sqlite { path, statements: Arc::new(statements::sqlite(&table)), table, connection: None, late: None }
    }

    /// Opens the file anew and takes the table for a node that has waited for it so long.
    pub(crate) async fn claim(&mut self, (node, waited_ms): (&str, u64)) -> Result<Progress, SinkError> {
        self.connection = None;
        let (path, node, table, sql) = (self.path.clone(), node.to_owned(), self.table.clone(), self.statements.clone());
        let (connection, progress) = self.call(CLAIM_DEADLINE, move || take(&path, (&node, waited_ms), &table, &sql)).await?;
        self.connection = Some(connection);
        Ok(progress)
    }

    /// Writes a batch, all of it or nothing. After an error the table must be claimed again.
    pub(crate) async fn write(&mut self, batch: &Batch, node: &str) -> Result<(), SinkError> {
        let mut connection = self.connection.take().ok_or(SinkError::Lost)?;
        let (batch, node, table, sql) = (batch.clone(), node.to_owned(), self.table.clone(), self.statements.clone());
        let written = move || move_on(&mut connection, &batch, &node, &table, &sql).map(|()| connection);
        self.connection = Some(self.call(DEADLINE, written).await?);
        Ok(())
    }

    async fn call<T: Send + 'static>(
        &mut self,
        most: Duration,
        work: impl FnOnce() -> Result<T, SinkError> + Send + 'static,
    ) -> Result<T, SinkError> {
        let late = || SinkError::Late(most.as_secs());
        if let Some(before) = &mut self.late {
            _ = timeout(most, before).await.map_err(|_| late())?;
            self.late = None;
        }
        let (answer, answered) = tokio::sync::oneshot::channel();
        // Nobody may hear the answer any more.
        self.late = Some(tokio::task::spawn_blocking(move || drop(answer.send(work()))));
        let answer = timeout(most, answered).await.map_err(|_| late())?;
        self.late = None;
        answer.unwrap_or(Err(SinkError::Lost))
    }
}

fn take(path: &PathBuf, node: (&str, u64), table: &TableName, sql: &Statements) -> Result<(Connection, Progress), SinkError> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A power cut may take the last batches back, rows and state together.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.execute_batch(&sql.create)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let standing = |row: &rusqlite::Row<'_>| {
        Ok(Standing { owner: row.get(0)?, cursor: row.get(1)?, seq: row.get(2)?, as_of_ms: row.get(3)?, silent_ms: row.get(4)? })
    };
    let state = transaction.query_row(&sql.state, [table.as_str()], standing).optional()?;
    let greatest = match state {
        None => transaction.query_row(&sql.greatest, [], |row| row.get(0))?,
        Some(_) => 0,
    };
    let progress = claim(state, greatest, node)?;
    let cursor = progress.cursor.map(|cursor| cursor.to_string()).unwrap_or_default();
    transaction.execute(&sql.take, params![table.as_str(), node.0, cursor, progress.seq, progress.as_of_ms])?;
    transaction.commit()?;
    Ok((connection, progress))
}

fn move_on(connection: &mut Connection, batch: &Batch, node: &str, table: &TableName, sql: &Statements) -> Result<(), SinkError> {
    let Progress { seq, as_of_ms, .. } = batch.progress;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let state = params![table.as_str(), node, batch.over, batch.cursor(), seq, as_of_ms];
    if transaction.prepare_cached(&sql.move_on)?.execute(state)? != 1 {
        return Err(SinkError::Lost);
    }
    {
        let mut upsert = transaction.prepare_cached(&sql.upsert)?;
        for (key, value) in &batch.rows {
            upsert.execute(params![key.as_str(), stored(*value), seq, batch.read_at_ms])?;
        }
    }
    transaction.commit()?;
    Ok(())
}

/// SQLite has no numbers of more than 64 bits that are exact.
fn stored(value: i128) -> Value {
    i64::try_from(value).map_or_else(|_| Value::Text(value.to_string()), Value::Integer)
}
