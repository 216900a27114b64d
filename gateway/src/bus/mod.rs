//! I/O: the way of a publication to every gateway, with the history of its channel: inside of one process, or through the
//! Redis nodes of the ring.

pub mod embedded;
pub mod feed;
mod post;
pub mod stream;

pub use embedded::EmbeddedBus as Bus;
pub use post::{BusError, Post};
