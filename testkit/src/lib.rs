//! I/O: for tests only: real nodes, Redis, etcd and PostgreSQL servers on free ports and clusters of them, faults between them and of
//! their disks and clocks, clients that add to counters or come and go and know what must come of it, waiting for conditions, the table of
//! metrics, and that of faults with what each was seen to cost.

pub mod authority;
pub mod chance;
pub mod cluster;
pub mod control_group;
pub mod crowd;
pub mod etcd;
pub mod etcd_watch;
pub mod fault_matrix;
pub mod faulty_disk;
pub mod figure;
pub mod http;
pub mod load;
pub mod metric_table;
pub mod mutation;
pub mod namespace;
pub mod node;
pub mod port;
pub mod postgres_server;
mod preloaded;
pub mod redis_server;
pub mod region;
pub mod resp;
pub mod skewed_clock;
pub mod small_disk;
pub mod tally;
pub mod traffic;
pub mod visitor;
pub mod wait;

pub use authority::{Authority, Identity};
pub use chance::Chance;
pub use cluster::{Cluster, ClusterOptions};
pub use control_group::ControlGroup;
pub use crowd::{Guest, Watcher};
pub use etcd::{EtcdCluster, EtcdOptions, EtcdServer};
pub use etcd_watch::EtcdWatch;
/// Between nodes, for what may go wrong there.
pub use faultlink::{Direction, Proxy};
pub use faulty_disk::FaultyDisk;
pub use figure::figure;
pub use load::{Load, LoadOptions};
pub use mutation::mutated;
pub use namespace::open_namespace;
pub use node::{Node, NodeOptions, UNPACED};
pub use port::Port;
pub use postgres_server::PostgresServer;
pub use redis_server::{Disk, RedisServer};
pub use region::{Region, RegionOptions};
pub use skewed_clock::SkewedClock;
pub use small_disk::SmallDisk;
pub use tally::Tally;
pub use traffic::{Flow, Outcome, Traffic, TrafficOptions};
pub use visitor::{Begun, Visitor};
pub use wait::eventually;
