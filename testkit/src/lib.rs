//! I/O: for tests only: real nodes on free ports, faults between them, waiting for conditions, and the table of metrics.

pub mod http;
pub mod metric_table;
pub mod node;
pub mod proxy;
pub mod wait;

pub use node::{Node, NodeOptions};
pub use proxy::{Direction, Proxy};
pub use wait::eventually;
