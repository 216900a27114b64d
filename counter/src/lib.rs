//! Pure: the map of this crate. Counters that every region may count in, that converge, and that survive a crash.
//!
//! | file | what |
//! |---|---|
//! | `cell` | one PN-counter, and `crdts` as its law |
//! | `replica` | all counters of a node, by origin |
//! | `token` | what makes retries exact |
//! | `ledger` | both together: the durable state |
//! | `record`, `group` | the bytes of the log |
//! | `recovery` | from the bytes back to the state |
//! | `log`, `snapshot` | the files |
//! | `commit` | the log thread |
//! | `engine` | what callers use |
//! | `interest` | who wants to hear of changes |
//! | `resp` | the server for Redis clients |

pub mod cell;
mod commit;
pub mod engine;
pub mod group;
mod interest;
pub mod ledger;
mod log;
mod metrics;
mod reading;
pub mod record;
pub mod recovery;
pub mod replica;
pub mod resp;
pub mod session;
mod snapshot;
pub mod token;

pub use engine::{Ack, AddOp, Added, Engine, EngineConfig, OpenError, Overflow};
pub use interest::Interest;
pub use ledger::AddError;
pub use metrics::METRICS;
pub use reading::Reading;
pub use session::BadSession;
pub use token::{Token, TokenInvalid};
