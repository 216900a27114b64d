//! I/O: a table of a PostgreSQL server. One connection; whatever fails ends it, and the next attempt makes another one.

use crate::{
    batch::{Batch, Progress, Standing, claim},
    failure::SinkError,
    settings::{STATE_TABLE, Settings, TableName},
    statements::{self, Statements},
    tls::Tls,
};
use std::time::Duration;
use tokio::{task::JoinHandle, time::timeout};
use tokio_postgres::{Client, Config};

/// How long a batch, or a connection, may take; then it is given up.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long it may take to find out from where on a table is to be written. Without a state all rows are looked at.
const CLAIM_DEADLINE: Duration = Duration::from_secs(120);

/// A table, and the way to it.
pub(crate) struct Postgres {
    config: Config,
    tls: Tls,
    table: TableName,
    statements: Statements,
    connection: Option<Connection>,
}

struct Connection {
    client: Client,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        // A server that has gone silent would keep it for as long as the kernel does.
        self.driver.abort();
    }
}

impl Postgres {
    pub(crate) fn new(config: &Config, settings: &Settings) -> Result<Postgres, SinkError> {
        let (tls, table) = (Tls::new(settings.ca.as_deref())?, settings.table.clone());
        Ok(Postgres { config: config.clone(), tls, statements: statements::postgres(&table), table, connection: None })
    }

    /// Connects anew and takes the table for a node that has waited for it so long.
    pub(crate) async fn claim(&mut self, node: (&str, u64)) -> Result<Progress, SinkError> {
        self.connection = None;
        let mut connection = within(DEADLINE, self.connect(DEADLINE)).await?;
        within(DEADLINE, limit(&connection.client, CLAIM_DEADLINE)).await?;
        let progress = within(CLAIM_DEADLINE, self.take(&mut connection.client, node)).await?;
        within(DEADLINE, limit(&connection.client, DEADLINE)).await?;
        self.connection = Some(connection);
        Ok(progress)
    }

    /// Writes a batch, all of it or nothing. After an error the table must be claimed again.
    pub(crate) async fn write(&mut self, batch: &Batch, node: &str) -> Result<(), SinkError> {
        let mut connection = self.connection.take().ok_or(SinkError::Lost)?;
        within(DEADLINE, self.move_on(&mut connection.client, batch, node)).await?;
        self.connection = Some(connection);
        Ok(())
    }

    async fn connect(&self, most: Duration) -> Result<Connection, SinkError> {
        let mut config = self.config.clone();
        config.connect_timeout(most);
        let (client, connection) = config.connect(self.tls.clone()).await?;
        let driver = tokio::spawn(async move {
            // Whoever waits for an answer is told, too.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to PostgreSQL has ended");
            }
        });
        Ok(Connection { client, driver })
    }

    async fn take(&self, client: &mut Client, node: (&str, u64)) -> Result<Progress, SinkError> {
        let (sql, table) = (&self.statements, self.table.as_str());
        // Only where one is missing: a user who may not create tables can be given both.
        let missing = client.query_one("SELECT to_regclass($1) IS NULL OR to_regclass($2) IS NULL", &[&STATE_TABLE, &table]).await?;
        if missing.get(0) {
            client.batch_execute(&sql.create).await?;
        }
        let transaction = client.transaction().await?;
        let state = transaction.query_opt(&sql.state, &[&table]).await?.map(|row| Standing {
            owner: row.get(0),
            cursor: row.get(1),
            seq: row.get(2),
            as_of_ms: row.get(3),
            silent_ms: row.get(4),
        });
        let greatest = match state {
            None => transaction.query_one(&sql.greatest, &[]).await?.get(0),
            Some(_) => 0,
        };
        let progress = claim(state, greatest, node)?;
        let cursor = progress.cursor.map(|cursor| cursor.to_string()).unwrap_or_default();
        let taken = transaction.execute(&sql.take, &[&table, &node.0, &cursor, &progress.seq, &progress.as_of_ms]).await?;
        transaction.commit().await?;
        if taken == 1 { Ok(progress) } else { Err(SinkError::Lost) }
    }

    async fn move_on(&self, client: &mut Client, batch: &Batch, node: &str) -> Result<(), SinkError> {
        let (sql, Progress { seq, as_of_ms, .. }) = (&self.statements, batch.progress);
        let transaction = client.transaction().await?;
        // First the state: it keeps everybody else away from the rows.
        let state = transaction.prepare(&sql.move_on).await?;
        let moved = transaction.execute(&state, &[&self.table.as_str(), &node, &batch.over, &batch.cursor(), &seq, &as_of_ms]).await?;
        if moved != 1 {
            return Err(SinkError::Lost);
        }
        if !batch.rows.is_empty() {
            let keys: Vec<&str> = batch.rows.iter().map(|(key, _)| key.as_str()).collect();
            let values: Vec<String> = batch.rows.iter().map(|(_, value)| value.to_string()).collect();
            transaction.execute(&sql.upsert, &[&keys, &values, &seq, &batch.read_at_ms]).await?;
        }
        transaction.commit().await?;
        Ok(())
    }
}

/// The server gives up what takes longer, too; and what a node has begun that stands still, so that it does not keep the others from the table.
async fn limit(client: &Client, most: Duration) -> Result<(), SinkError> {
    let (most, idle) = (most.as_millis(), DEADLINE.as_millis());
    Ok(client.batch_execute(&format!("SET statement_timeout = {most}; SET idle_in_transaction_session_timeout = {idle}")).await?)
}

async fn within<T>(most: Duration, work: impl Future<Output = Result<T, SinkError>>) -> Result<T, SinkError> {
    timeout(most, work).await.unwrap_or(Err(SinkError::Late(most.as_secs())))
}
