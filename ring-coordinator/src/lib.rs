//! Pure: the map of this crate. A channel has a slot ([`slot`]), a slot a Redis node ([`table`]), by one document
//! ([`document`]) that everybody holds a copy of. While the document changes, [`view`] says who publishes and who listens
//! where. The document is changed by the [`coordinator`] alone; what each gateway does about it is in [`member`].
//! where. The document is changed by the [`coordinator`] alone; gateways follow it ([`following`]) and tell how far they are ([`agent`]).

pub mod backoff;
pub mod change;
pub mod coordinator;
pub mod disk;
pub mod document;
pub mod etcd;
pub mod key;
pub mod member;
pub mod plan;
pub mod redis;
pub mod slot;
pub mod source;
pub mod status;
pub mod table;
pub mod validate;
pub mod view;
pub mod wanted;
