//! Pure: the map of this crate. Counters that every region may count in, that converge, and that survive a crash.
//!
//! | file | what |
//! |---|---|
//! | `cell`, `law`, `table`, `shard`, `blocks` | one PN-counter, with `crdts` as its law; and a hundred million of them, whose votes may be on disk |
//! | `cell_key`, `escrow`, `bounded` | what a cell is, by its key; rights to take from a counter that never goes below zero |
//! | `window`, `windowing` | what was counted in each minute, hour and day: cells of the same table, used in turn |
//! | `vote`, `voting` | who has voted: cells of the same table, and what they come to |
//! | `origin`, `lives`, `absorb` | who counts, and what becomes of it when a node loses its disk or never comes back |
//! | `replica`, `refusal`, `locating`, `apply`, `token`, `marks`, `producer`, `batch`, `ledger` | all counters, what makes retries exact, and all together: the durable state |
//! | `record`, `fact`, `group` | the bytes of the log, and of the streams between replicas |
//! | `chunk`, `feed`, `scan`, `links`, `serving` | the conversation of replicas |
//! | `recovery`, `replay`, `manifest` | from the bytes back to the state |
//! | `log`, `snapshot`, `on_disk`, `scratch` | the files |
//! | `inspect`, `export`, `import` | the files of a node that does not run |
//! | `shared`, `commit` | what all share; the log thread |
//! | `opening`, `op`, `engine`, `casting`, `outcomes`, `conversing`, `membership` | what callers use |
//! | `peers`, `outputs`, `producing`, `readings` | the connections to other nodes, and of gateways; the crate `peering` has what those are made of |
//! | `lane`, `lanes`, `remote`, `dialing`, `watches` | the counters of a gateway that has none: at the replicas of its region |
//! | `counters`, `questions` | either of the two, as a gateway uses them |
//! | `interest`, `hot` | who wants to hear of changes; what changes most often |
//! | `changes`, `change_cursor`, `change_feed` | what changed of late, and the feed of it that others read |
//! | `top`, `ranking` | the greatest counters of each namespace, from that feed |
//! | `resp` | the server for Redis clients |
//! | `fuzzing` | the decoders that are private, for the fuzz targets |

mod absorb;
mod apply;
pub mod batch;
pub mod blocks;
pub mod bounded;
mod casting;
pub mod cell;
pub mod cell_key;
mod change_cursor;
mod change_feed;
mod changes;
pub mod chunk;
mod commit;
mod conversing;
pub mod counters;
mod dialing;
pub mod engine;
pub mod escrow;
pub mod export;
pub mod fact;
pub mod feed;
#[doc(hidden)]
pub mod fuzzing;
pub mod group;
mod handing_over;
mod hot;
pub mod import;
pub mod inclusion;
mod index;
pub mod inspect;
mod interest;
mod lane;
pub mod lanes;
pub mod law;
pub mod ledger;
pub mod links;
pub mod lives;
mod locating;
mod log;
pub mod manifest;
pub mod marks;
pub mod membership;
mod metrics;
mod on_disk;
pub mod op;
mod opening;
pub mod origin;
pub mod outcomes;
mod outputs;
pub mod peers;
pub mod producer;
mod producing;
mod questions;
pub mod ranking;
mod reading;
pub mod readings;
pub mod record;
pub mod recovery;
pub mod refusal;
pub mod remote;
mod replay;
pub mod replica;
pub mod resp;
pub mod scan;
mod scratch;
mod serving;
pub mod session;
mod shard;
mod shared;
mod snapshot;
pub mod table;
pub mod token;
pub mod tokens;
mod top;
pub mod vote;
pub mod voting;
mod watches;
pub mod window;
pub mod windowing;

pub use bounded::Shortage;
pub use change_cursor::{BadCursor, ChangeCursor};
pub use change_feed::{ChangePage, ChangedCounter};
pub use counters::{Counters, ReadError, Seen, Wanted};
pub use engine::{Ack, AddOp, Added, Engine, EngineConfig, OpenError, Overflow};
pub use hot::Hottest;
pub use import::{Import, ImportRefusal};
pub use inspect::Inspection;
pub use interest::Interest;
pub use lanes::Counted;
pub use lives::ForgetRefusal;
pub use membership::ForgetError;
pub use metrics::METRICS;
pub use op::Adding;
pub use questions::TopError;
pub use ranking::{NotYet, Ranking};
pub use reading::Reading;
pub use readings::ReadOne;
pub use refusal::AddError;
pub use remote::{Remote, RemoteConfig, Unreachable};
pub use session::BadSession;
pub use token::{Token, TokenInvalid};
pub use top::TOP_MAX;
pub use window::Event;
pub use windowing::Bucket;
