//! Pure: the map of presence over the ring's Redis nodes. What is true of a client has one writer, the gateway that holds
//! its socket; Redis is the shared view of it, and every gateway that needs a room's roster follows Redis's changes.
//!
//! | file | what |
//! |---|---|
//! | `room`, `row`, `edge`, `change` | the words: rooms, who writes rows and what is in them, what is said of a client, what a node tells of changes |
//! | `owner` | a gateway's own clients, and what is to be written of them |
//! | `replica` | one room as a gateway follows it |
//! | `reaper`, `leases`, `silence` | which owners are dead: what etcd says of them, and what the nodes do |
//! | `telling` | from when on all that happens at a node is logged for services |

mod change;
mod edge;
mod leases;
pub mod owner;
pub mod reaper;
#[cfg(test)]
mod reaper_laws;
#[cfg(test)]
mod reaper_world;
pub mod replica;
mod room;
mod row;
mod silence;
pub mod telling;
#[cfg(test)]
mod telling_laws;

pub use change::{BadChange, CHANGE_EDGES_MAX, Change, RowChange};
pub use edge::Edge;
pub use reaper::Reaper;
pub use room::{RoomId, USER_PARTITIONS};
pub use row::{BadRow, OwnerId, Row};
pub use telling::Telling;
