//! I/O: the way of a publication to every gateway, with the history of its channel.

pub mod embedded;
pub mod feed;
pub mod stream;

pub use embedded::EmbeddedBus as Bus;
