//! Pure: the map of the connections to the ring's Redis nodes. Of the `redis` crate this takes the words: commands, scripts
//! and addresses; the loops around the sockets are our own, because a hung or dead node must be noticed, queues bounded,
//! and what was certainly not executed told from what may have been.
//!
//! | file | what |
//! |---|---|
//! | `nodes`, `keeping` | all nodes of the document: what callers use; one node, and its two connections for ever |
//! | `access`, `stream`, `greeting` | where a node is and how one is let in; the socket; the first words on it |
//! | `life`, `end` | which process with which data answers; why a connection ended |
//! | `watchdog` | whether the other end lives; when to try again is `crate::backoff`'s to say |
//! | `reply`, `script`, `failure` | what is read, what is called, and what becomes of a call that failed |
//! | `pipeline`, `link`, `commanding` | commands: the queue, what callers hold, the connection |
//! | `subscriber`, `hearing`, `listening` | subscriptions: what is wanted and confirmed, what was heard, the connection |
//! | `canary`, `opinion` | the proof of the round trip, and what a node is voted |
//! | `listeners` | which gateways listen at a node, whatever etcd knows of them |
//! | `fence` | `min_epoch`: who may no longer publish |
//! | `copy` | the ring document on each node |
//! | `inspect` | a look at a node from outside |
//! | `handover` | a channel's stream goes to the node that its slot has moved to |

mod access;
pub mod canary;
mod commanding;
mod copy;
pub mod end;
mod failure;
mod fence;
mod greeting;
mod handover;
mod hearing;
pub mod inspect;
mod keeping;
mod life;
mod link;
mod listeners;
mod listening;
mod metrics;
mod nodes;
pub mod opinion;
pub mod pipeline;
pub mod reply;
mod script;
mod stream;
pub mod subscriber;
pub mod watchdog;

pub use access::{Access, BadAccess, Secret, tls};
pub use canary::canary_channel;
pub use copy::{RING_KEY, leave_copy, read_copy};
pub use failure::{CallError, NotSent};
pub use fence::{fence, fence_key, fences};
pub use handover::{HandOverError, HandedOver, STREAM_BYTES_MAX, Swept, forget, hand_over, handover_scripts, sweep};
pub use hearing::{Heard, Hearing, What};
pub use life::Life;
pub use link::Link;
pub use listeners::{GATEWAYS_KEY, enter, listeners};
pub use metrics::METRICS;
pub use nodes::{Health, Nodes, NodesConfig};
pub use opinion::{Opinion, Vote};
pub use reply::Reply;
pub use script::Script;
