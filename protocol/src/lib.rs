//! Pure: the words of Headcount. Every message, code, name rule and limit that crosses a process
//! boundary is defined here and nowhere else; golden tests hold the bytes.

pub mod audit;
pub mod code;
pub mod control;
pub mod counting;
pub mod envelope;
pub mod excerpt;
pub mod frame;
pub mod limits;
pub mod message;
pub mod name;
pub mod namespace;
pub mod object;
pub mod payload;
pub mod peer;
pub mod producer;
pub mod region;
mod schema;
pub mod subscriptions;
pub mod time;
pub mod trace;
pub mod window;
