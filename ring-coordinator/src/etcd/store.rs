//! I/O: writes of the ring document, which only the elected coordinator makes, and only over what it has seen; and what an
//! operator asks of it.

use super::{
    connection::{CallError, Connection},
    election::Leadership,
    keys::{Key, Keys},
    mirror::list,
    snapshot::Snapshot,
};
use crate::document::Document;
use etcd_client::{Compare, CompareOp, Txn, TxnOp, TxnOpResponse};

/// Why nothing was written, or why that is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Nothing was written: somebody else has changed it. Read it, and decide anew.
    #[error("somebody else has changed it (revision {revision}, not {expected})")]
    Changed {
        /// The revision that was expected.
        expected: i64,
        /// The revision that there is; 0 if there is nothing.
        revision: i64,
    },
    /// Nothing was written: another one leads.
    #[error("this node was elected no longer")]
    Deposed,
    /// Nothing was written: etcd has refused it, and will do so again.
    #[error("{0}")]
    Refused(CallError),
    /// Nobody knows whether it was written. Read before you try again; to try the same again does no harm.
    #[error("{0}")]
    Unknown(CallError),
}

/// Reads and writes.
#[derive(Clone)]
pub struct Store {
    connection: Connection,
    keys: Keys,
}

impl Store {
    pub(super) fn new(connection: Connection, keys: Keys) -> Store {
        Store { connection, keys }
    }

    /// Reads everything, as the majority has it.
    pub async fn read(&self) -> Result<Snapshot, CallError> {
        Ok(list(&self.connection, &self.keys).await?.0)
    }

    /// Writes the document over the one of revision `expected` (0: there is none yet), and returns its own revision.
    pub async fn write(&self, document: &Document, expected: i64, leadership: &Leadership) -> Result<i64, WriteError> {
        self.put_ring("write", document, expected, leadership, None).await
    }

    /// As [`Store::write`], and answers what was asked for at revision `asked` in the same step: so that a successor never
    /// finds it done and unanswered. [`WriteError::Changed`] also when the question is no longer there.
    pub async fn write_and_answer(
        &self,
        document: &Document,
        expected: i64,
        asked: i64,
        result: &[u8],
        leadership: &Leadership,
    ) -> Result<i64, WriteError> {
        self.put_ring("write", document, expected, leadership, Some((asked, result))).await
    }

    async fn put_ring(
        &self,
        op: &'static str,
        document: &Document,
        expected: i64,
        leadership: &Leadership,
        answer: Option<(i64, &[u8])>,
    ) -> Result<i64, WriteError> {
        let name = self.keys.name(&Key::Ring);
        let mut writes = vec![TxnOp::put(name.clone(), document.to_json(), None)];
        let mut when = vec![leads(leadership)];
        if let Some((asked, result)) = answer {
            when.push(Compare::mod_revision(self.keys.name(&Key::Wanted), CompareOp::Equal, asked));
            writes.extend(self.answers(result));
        }
        self.swap(op, &name, expected, Some(leadership), when, writes).await
    }

    /// Takes a gateway's key away: it has to come back as new. False: it has none.
    pub async fn expel(&self, gateway: &str, leadership: &Leadership) -> Result<bool, WriteError> {
        let name = self.keys.name(&Key::Gateway(gateway.to_owned()));
        let is_there = Compare::create_revision(name.clone(), CompareOp::Greater, 0);
        let txn = Txn::new()
            .when([is_there, leads(leadership)])
            .and_then([TxnOp::delete(name, None)])
            .or_else([TxnOp::get(leadership.key.clone(), None)]);
        let answer = self.connection.call("expel", async |client| client.txn(txn).await).await.map_err(not_written)?;
        if !answer.succeeded() && first_revisions(&answer.op_responses(), 0).1 != leadership.create_revision {
            return Err(WriteError::Deposed);
        }
        Ok(answer.succeeded())
    }

    /// Asks the coordinator for a change, in JSON. One at a time: [`WriteError::Changed`] while another one waits.
    pub async fn ask(&self, wanted: &[u8]) -> Result<i64, WriteError> {
        let name = self.keys.name(&Key::Wanted);
        let delete = TxnOp::delete(self.keys.name(&Key::WantedResult), None);
        let put = TxnOp::put(name.clone(), wanted, None);
        self.swap("ask", &name, 0, None, Vec::new(), vec![put, delete]).await
    }

    /// Asks instead of what was asked for at revision `standing` and has no answer yet: who wants a change dropped need not
    /// wait for its end. [`WriteError::Changed`] if that is no longer there, or the ring is not that of revision `ring`.
    pub async fn ask_instead(&self, wanted: &[u8], standing: i64, ring: i64) -> Result<i64, WriteError> {
        let name = self.keys.name(&Key::Wanted);
        let is_as_seen = Compare::mod_revision(self.keys.name(&Key::Ring), CompareOp::Equal, ring);
        self.swap("ask", &name, standing, None, vec![is_as_seen], vec![TxnOp::put(name.clone(), wanted, None)]).await
    }

    /// Answers what was asked for at revision `asked`, in JSON, and takes the question away.
    pub async fn answer(&self, asked: i64, result: &[u8], leadership: &Leadership) -> Result<i64, WriteError> {
        let name = self.keys.name(&Key::Wanted);
        self.swap("answer", &name, asked, Some(leadership), vec![leads(leadership)], self.answers(result).into()).await
    }

    fn answers(&self, result: &[u8]) -> [TxnOp; 2] {
        let put = TxnOp::put(self.keys.name(&Key::WantedResult), result, None);
        [put, TxnOp::delete(self.keys.name(&Key::Wanted), None)]
    }

    /// Does `writes` if `name` is of revision `expected` and all of `when` holds; returns their revision.
    async fn swap(
        &self,
        op: &'static str,
        name: &str,
        expected: i64,
        leadership: Option<&Leadership>,
        mut when: Vec<Compare>,
        writes: Vec<TxnOp>,
    ) -> Result<i64, WriteError> {
        when.push(Compare::mod_revision(name, CompareOp::Equal, expected));
        let mut otherwise = vec![TxnOp::get(name, None)];
        otherwise.extend(leadership.map(|leadership| TxnOp::get(leadership.key.clone(), None)));
        let txn = Txn::new().when(when).and_then(writes).or_else(otherwise);
        let answer = self.connection.call(op, async |client| client.txn(txn).await).await.map_err(not_written)?;
        if answer.succeeded() {
            return Ok(answer.header().map_or(0, etcd_client::ResponseHeader::revision));
        }
        let responses = answer.op_responses();
        match leadership {
            Some(leadership) if first_revisions(&responses, 1).1 != leadership.create_revision => Err(WriteError::Deposed),
            _ => Err(WriteError::Changed { expected, revision: first_revisions(&responses, 0).0 }),
        }
    }
}

fn leads(leadership: &Leadership) -> Compare {
    Compare::create_revision(leadership.key.clone(), CompareOp::Equal, leadership.create_revision)
}

/// The revisions of last change and of creation of the key that the response of this index has read; 0 if it is not there.
fn first_revisions(responses: &[TxnOpResponse], index: usize) -> (i64, i64) {
    match responses.get(index) {
        Some(TxnOpResponse::Get(read)) => read.kvs().first().map_or((0, 0), |pair| (pair.mod_revision(), pair.create_revision())),
        _ => (0, 0),
    }
}

fn not_written(error: CallError) -> WriteError {
    match error.code {
        "permission_denied" | "unauthenticated" | "invalid_argument" | "resource_exhausted" => WriteError::Refused(error),
        _ => WriteError::Unknown(error),
    }
}
