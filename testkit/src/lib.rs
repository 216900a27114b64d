//! I/O: for tests only: real nodes, Redis and etcd servers on free ports and clusters of them, faults between them and of
//! their disks, clients that add to counters or come and go and know what must come of it, waiting for conditions, and the table
//! of metrics.

pub mod authority;
pub mod chance;
pub mod cluster;
pub mod crowd;
pub mod etcd;
pub mod etcd_watch;
pub mod faulty_disk;
pub mod http;
pub mod load;
pub mod metric_table;
pub mod namespace;
pub mod node;
pub mod redis_server;
pub mod region;
pub mod resp;
pub mod small_disk;
pub mod tally;
pub mod traffic;
pub mod visitor;
pub mod wait;

pub use authority::{Authority, Identity};
pub use chance::Chance;
pub use cluster::{Cluster, ClusterOptions};
pub use crowd::{Guest, Watcher};
pub use etcd::{EtcdCluster, EtcdOptions, EtcdServer};
pub use etcd_watch::EtcdWatch;
/// Between nodes, for what may go wrong there.
pub use faultlink::{Direction, Proxy};
pub use faulty_disk::FaultyDisk;
pub use load::{Load, LoadOptions};
pub use namespace::open_namespace;
pub use node::{Node, NodeOptions, UNPACED};
pub use redis_server::{Disk, RedisServer};
pub use region::{Region, RegionOptions};
pub use small_disk::SmallDisk;
pub use tally::Tally;
pub use traffic::{Flow, Outcome, Traffic, TrafficOptions};
pub use visitor::{Begun, Visitor};
pub use wait::eventually;
