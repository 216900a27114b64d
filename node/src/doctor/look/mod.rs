//! I/O: gathers the facts that the doctor judges. Nothing is changed, but for one file in the data directory that is gone
//! afterwards.

pub(super) mod disk;
pub(super) mod reach;
pub(super) mod region;
pub(super) mod sockets;
pub(super) mod system;
pub(super) mod tls;
