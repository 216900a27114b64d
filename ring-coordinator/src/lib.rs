//! Pure: the map of this crate. A channel has a slot ([`slot`]), a slot a Redis node ([`table`]), by one document
//! ([`document`]) that everybody holds a copy of. While the document changes, [`view`] says who publishes and who listens
//! where.

pub mod document;
pub mod key;
pub mod redis;
pub mod slot;
pub mod table;
pub mod view;
