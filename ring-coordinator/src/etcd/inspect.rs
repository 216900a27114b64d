//! I/O: looking at one etcd server from outside: what it says of itself, and whether its user may write. Nothing is written.

use super::{
    connection::{CallError, ConfigError, options, stream_error},
    keys::Keys,
};
use crate::etcd::Access;
use etcd_client::{AlarmAction, AlarmType, Client, Compare, CompareOp, Txn, TxnOp};
use std::time::Duration;
use tokio::time::timeout;

/// How long each step may take.
const STEP: Duration = Duration::from_secs(2);

/// What one server says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inspection {
    /// Its version, such as `3.5.13`.
    pub version: String,
    /// Of the cluster that it is of.
    pub cluster_id: u64,
    /// Of this server.
    pub member_id: u64,
    /// Of the member that leads; 0 if there is none.
    pub leader: u64,
    /// How many members the cluster has; `None` if it could not be asked.
    pub members: Option<usize>,
    /// It does not vote yet.
    pub is_learner: bool,
    /// Bytes of its database on disk.
    pub db_bytes: u64,
    /// Bytes of that which are in use; 0 if it does not tell.
    pub db_used_bytes: u64,
    /// The revision that it has.
    pub revision: i64,
    /// Alarms of the cluster and errors of this server, as it writes them.
    pub alarms: Vec<String>,
    /// Why nothing can be read through a majority; `None`: it can.
    pub unreadable: Option<String>,
    /// Why the region's keys cannot be written; `None`: they could be.
    pub unwritable: Option<String>,
}

/// Why there is nothing to tell.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// It cannot be used as it is configured. Nothing was tried.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// It cannot be reached, lets nobody in, or does not answer.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// Looks at the server of this endpoint, as `access` is let in, for the keys of `region`. Each step has a deadline of two seconds.
pub async fn inspect(access: &Access, endpoint: &str, region: &str) -> Result<Inspection, InspectError> {
    let options = options(access)?;
    let late = |op| CallError { op, code: "deadline", text: format!("no answer within {STEP:?}") };
    let client = timeout(STEP, Client::connect([endpoint], Some(options))).await.map_err(|_| late("connect"))?;
    let mut client = client.map_err(|error| stream_error("connect", &error))?;
    let status = timeout(STEP, client.status()).await.map_err(|_| late("status"))?.map_err(|error| stream_error("status", &error))?;
    let header = status.header();
    let mut found = Inspection {
        version: status.version().to_owned(),
        cluster_id: header.map_or(0, |header| header.cluster_id()),
        member_id: header.map_or(0, |header| header.member_id()),
        revision: header.map_or(0, |header| header.revision()),
        leader: status.leader(),
        is_learner: status.is_learner(),
        db_bytes: u64::try_from(status.db_size()).unwrap_or_default(),
        db_used_bytes: u64::try_from(status.raft_used_db_size()).unwrap_or_default(),
        alarms: status.errors().to_vec(),
        ..Inspection::default()
    };
    if let Ok(Ok(alarms)) = timeout(STEP, client.alarm(AlarmAction::Get, AlarmType::None, None)).await {
        for alarm in alarms.alarms() {
            let name = if alarm.alarm() == AlarmType::Nospace { "NOSPACE" } else { "CORRUPT" };
            if !found.alarms.iter().any(|known| known.contains(name)) {
                found.alarms.push(format!("{name} at member {:x}", alarm.member_id()));
            }
        }
    }
    if let Ok(Ok(members)) = timeout(STEP, client.member_list()).await {
        found.members = Some(members.members().len());
    }
    let prefix = Keys::new(region).prefix().to_owned();
    found.unreadable = outcome(timeout(STEP, client.get(format!("{prefix}ring"), None)).await);
    found.unwritable = outcome(timeout(STEP, client.txn(write_of_nothing(&prefix))).await);
    Ok(found)
}

/// etcd checks the rights to all that a transaction may do before it looks whether it is to be done: this one never is, because no
/// revision is below 0.
fn write_of_nothing(prefix: &str) -> Txn {
    let key = format!("{prefix}ring");
    Txn::new().when([Compare::mod_revision(key.clone(), CompareOp::Less, 0)]).and_then([TxnOp::put(key, "", None)])
}

fn outcome<T>(answer: Result<Result<T, etcd_client::Error>, tokio::time::error::Elapsed>) -> Option<String> {
    match answer {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(stream_error("ask", &error).text),
        Err(_) => Some(format!("no answer within {STEP:?}")),
    }
}
