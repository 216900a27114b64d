//! Pure: every number that the plan goes by, with its source. A test reads the reports and fails if one of them says something else.

use super::constant::{
    Constant,
    Source::{self, Assumed, Code, Notes, Policy, Words},
};
use counter::{links, remote, replica, tokens};
use presence::cluster::reaper;
use protocol::envelope;
use ring_coordinator::{document, etcd::lease, redis::canary};

/// Makes the constants and the list of all of them, so that none can be without a source, or hidden.
macro_rules! constants {
    ($($(#[$doc:meta])* $name:ident = $value:expr, $unit:literal, $source:expr;)*) => {
        $($(#[$doc])* pub(super) const $name: Constant = Constant { name: stringify!($name), value: $value, unit: $unit, source: $source };)*
        /// The table.
        pub const TABLE: &[Constant] = &[$($name),*];
    };
}

const fn report(file: &'static str, section: &'static str, row: &'static [&'static str], column: &'static str, number: usize) -> Source {
    Source::Report { file, section, row, column, number }
}

const CONNECT: &str = "CPU to connect, µs";
const DELIVERY: &str = "CPU of a delivery, µs";
const HEADCOUNT: &[&str] = &["headcount"];
const THROUGH_BUS: &str = "headcount: publications/s (CPU)";
const CHURN: &str = "Idle and churning members";
const QUIET: &str = "Nobody does anything";
const BY_MINUTE: &str = "CPU s/min";

constants! {
    /// Of a gateway, for a client that does nothing, in one channel with a roster.
    CLIENT_MEMORY = 2.46, "KiB", report("fanout.md", "19000 idle connections, WebSocket", HEADCOUNT, "idle, KiB a connection", 0);
    /// What the kernel keeps for that client's socket.
    SOCKET_MEMORY = 3.7, "KiB", Notes("slab objects of a TCP socket, its file and its epoll entry");
    /// Of a roster's row at a gateway which has that member's room, but not the member.
    ROW_MEMORY = 600.0, "B", Words { file: "docs/performance.md",
        words: "its place in the channel, the roster and the tables of users and connections (some 600)" };
    /// Of what a roster has told of a row, for two minutes.
    TOLD_MEMORY = 110.0, "B", Words { file: "docs/performance.md", words: "what the roster has told of it (some 110)" };
    /// Of a gateway, for one client who connects, with token, subscription and presence.
    CONNECT_CPU = 43.0, "µs", report("fanout.md", "10000 idle connections, WebSocket", HEADCOUNT, CONNECT, 0);
    /// Of a gateway, for a message to one client, when no other message goes along.
    DELIVERY_CPU = 4.94, "µs", report("fanout.md", "One channel of 1000, 20 messages/s, WebSocket", HEADCOUNT, DELIVERY, 0);
    /// The same with a tenth of a publication in it.
    TENTH_CPU = 5.38, "µs", report("fanout.md", "100 channels of 10, 2000 messages/s, WebSocket", HEADCOUNT, DELIVERY, 0);
    /// Of gateways, for a publication's way into Redis and out of it at one gateway.
    BUS_CPU = 8025.0, "ns", report("bus.md", "Publications", &["1", "0"], THROUGH_BUS, 2);
    /// How much of [`BUS_CPU`] each further gateway that listens needs.
    LISTENER_SHARE = 100.0, "%", Assumed("as much as publisher and first listener together");
    /// A request over HTTP or RPC (a like, a read) at a gateway, in parts of [`CONNECT_CPU`].
    REQUEST_SHARE = 100.0, "%", Assumed("as much as to connect, which has a TCP handshake, a request and a token in it");
    /// Deliveries that a ping and its answer cost as much as.
    PING_DELIVERIES = 2.0, "", Assumed("one write, one read");
    /// Between two pings.
    PING_S = 25.0, "s", Code("limits.ping_interval_s");

    /// Of Redis, for a publication without history to one gateway.
    PUBLISH_CPU = 2675.0, "ns", report("bus.md", "Publications", &["1", "0"], THROUGH_BUS, 1);
    /// The same with history.
    APPEND_CPU = 12400.0, "ns", report("bus.md", "Publications", &["1", "100"], THROUGH_BUS, 1);
    /// Of Redis, for each further gateway that listens.
    LISTENER_CPU = 0.16, "µs", Notes("PUBLISH to 1, 10 and 100 connections, pipelined");
    /// Of Redis, with all that is in it, for clients who leave and come back once a minute.
    CHURN_CPU = 0.989, "s/min", report("presence.md", CHURN, &["15000", "2000", "ours"], BY_MINUTE, 0);
    /// The same without the list of users online.
    CHURN_CHANNELS_CPU = 0.625, "s/min", report("presence.md", CHURN, &["15000", "2000", "ours, channels only"], BY_MINUTE, 0);
    /// The same with nobody who leaves.
    STILL_CPU = 0.105, "s/min", report("presence.md", CHURN, &["15000", "0", "ours"], BY_MINUTE, 0);
    /// Those who left and came back in that minute: two edges each.
    CHURNING = 2000.0, "clients", report("presence.md", CHURN, &["15000", "2000", "ours"], "churning", 0);
    /// What a session writes of each of its rows.
    SESSION_EDGES = 3.0, "edges", Assumed("it comes, it is lost, its grace is over: as if nobody said goodbye");
    /// Of Redis, with clients at two gateways who do nothing.
    QUIET_CPU = 0.135, "s/min", report("presence.md", QUIET, &["1000"], BY_MINUTE, 0);
    /// The same without clients.
    EMPTY_CPU = 0.111, "s/min", report("presence.md", QUIET, &["0"], BY_MINUTE, 0);
    /// What Redis is asked then, with clients.
    QUIET_COMMANDS = 31.2, "/s", report("presence.md", QUIET, &["1000"], "commands/s", 0);
    /// What Redis is asked then, without clients.
    EMPTY_COMMANDS = 10.6, "/s", report("presence.md", QUIET, &["0"], "commands/s", 0);
    /// Gateways in these four.
    QUIET_GATEWAYS = 2.0, "gateways", Words { file: "benches/reports/presence.md", words: "WebSocket clients at two gateways" };
    /// Channels of the fullest node over the mean, at worst.
    FULLEST_NODE = 1.083, "", report("ring.md", "100 nodes", &["Headcount, ring/v1"], "most / mean", 1);
    /// Of Redis, for a row of a roster or of the users online.
    PRESENCE_MEMORY = 208.0, "B", Notes("rows of an earlier layout, 154 to 208 B");
    /// Of Redis, for a channel that a gateway listens to.
    CHANNEL_MEMORY = 208.0, "B", Notes("the first subscription of a channel");
    /// Of Redis, for each further gateway that does.
    SUBSCRIPTION_MEMORY = 136.0, "B", Notes("each more of a channel");
    /// Of Redis, for a message that is kept, beside the message.
    KEPT_MEMORY = 90.0, "B", Notes("a stream of 100 entries of 100 B has 19 kB");
    /// Messages kept of a channel.
    HISTORY_SIZE = 100.0, "", Code("namespace_default.history_size");
    /// For how long.
    HISTORY_S = 300.0, "s", Code("namespace_default.history_ttl_s");
    /// Of the one Redis node that has a room, for one of many who come at once.
    CROWD_CPU = 23.1, "µs", report("presence.md", "100000 joins into one room", &["Redis CPU"], "value", 1);
    /// In which all of them come.
    CROWD_S = 10.0, "s", report("presence.md", "100000 joins into one room", &["joins said within"], "value", 0);
    /// Rows of a dead gateway that are taken away.
    REAPED = 124879.0, "rows/s", report("presence.md", "The rows of a dead gateway", &["100000", "1"], "rows/s", 0);

    /// Of a counter node, for an addition without a pipeline (ack memory: with fsync there is no such figure).
    ADD_CPU = 6550.0, "ns", report("counters.md", "Rates", &["1", "ack memory"], "headcount/s (CPU)", 1);
    /// What a read of a counter costs there, in parts of [`ADD_CPU`].
    READ_SHARE = 100.0, "%", Assumed("as much as an addition, which needs a log besides");
    /// Changes of other nodes that one takes in, each of another counter.
    APPLIED = 2053709.0, "/s", report("replication.md", "An empty replica", &["1000000", "0.49"], "counters/s", 0);
    /// Cores that it had, with the sender.
    APPLIED_CORES = 2.0, "cores", Words { file: "benches/reports/replication.md", words: "on 2 × AMD" };
    /// Of a counter, at its peak: while the log is replayed.
    COUNTER_MEMORY = 68.0, "B", report("growth.md", "Disk and recovery", &["10000000", "kill -9"], "peak memory, each", 0);
    /// Of a counter, for each further node that has counted in it.
    ORIGIN_MEMORY = 32.0, "B", Code("an entry of a list in counter/src/shard.rs");
    /// Of a counter in a snapshot; two are there for a moment.
    SNAPSHOT_DISK = 44.0, "B", report("growth.md", "Disk and recovery", &["1000000", "a clean stop"], "snapshot, each", 0);
    /// Of a change in the log.
    LOG_DISK = 44.4, "B", report("growth.md", "Disk and recovery", &["1000000", "kill -9"], "log, each", 0);
    /// Counters that a start reads after a crash.
    RECOVERED = 4714381.0, "/s", report("growth.md", "Disk and recovery", &["10000000", "kill -9"], "counters/s", 0);
    /// On the link, for a counter that changed in a flush.
    CHANGE_BYTES = 49.0, "B", report("replication.md", "Bytes between regions", &["1000000", "100083"], "B per change", 0);
    /// On a link between two counter nodes on which nothing happens.
    LINK_BYTES = 393.0, "B/s", report("replication.md", "Bytes between regions", &["eu → ap"], "B/s", 0);
    /// Between two flushes of a node's changes; a counter goes out once in each at most.
    FLUSH_MS = links::FLUSH_MS as f64, "ms", Code("counter/src/links.rs FLUSH_MS");

    /// What stands around a message to a client: push, channel, offset, and the head of a frame.
    PUSH_BYTES = 100.0, "B", Assumed("JSON; Protobuf has less");
    /// What stands around each packet.
    PACKET_BYTES = 66.0, "B", Assumed("Ethernet 14, IPv4 20, TCP with timestamps 32; TLS not counted");
    /// What stands before a publication on its way through Redis.
    ENVELOPE_BYTES = envelope::HEAD_BYTES as f64, "B", Code("protocol/src/envelope.rs HEAD_BYTES");
    /// For a join or leave, to a client who asked for them.
    JOIN_BYTES = 104.0, "B", report("presence.md", "10000 joins into one room by sockets", &["one with `join_leave` receives"], "value", 2);

    /// Of all cores, that is planned for.
    CPU_PERCENT = 60.0, "%", Policy("bursts, TLS, snapshots, and what the model leaves out");
    /// Of all memory, that is planned for.
    MEMORY_PERCENT = 60.0, "%", Policy("queues of slow clients, the kernel's buffers, a fork of Redis");
    /// Of a network card, that is planned for.
    NETWORK_PERCENT = 60.0, "%", Policy("bursts, and all who recover after a reconnect");
    /// Nodes of each kind that may be dead.
    SPARE_NODES = 1.0, "nodes", Policy("N+1: the others have room for its clients, channels and additions");
    /// Members of etcd.
    ETCD_MEMBERS = 3.0, "nodes", Policy("one may be dead; small machines with a disk that syncs fast");
    /// For the rows of a dead gateway to be taken away.
    REAP_MS = 2000.0, "ms", Policy("what is left of the promised 17 s after LEASE_TTL_MS and CANARY_SILENT_MS");

    /// So long a gateway that has crashed stays in etcd.
    LEASE_TTL_MS = lease::LEASE_TTL_MS as f64, "ms", Code("ring-coordinator/src/etcd/lease.rs LEASE_TTL_MS");
    /// So long nothing must be heard of it then.
    CANARY_SILENT_MS = canary::CANARY_SILENT_MS as f64, "ms", Code("ring-coordinator/src/redis/canary.rs CANARY_SILENT_MS");
    /// Changes of one roster that a gateway remembers.
    RECENT_ENTRIES_MAX = presence::RECENT_ENTRIES_MAX as f64, "", Code("presence/src/journal.rs RECENT_ENTRIES_MAX");
    /// For how long.
    RECENT_MS = presence::RECENT_MS as f64, "ms", Code("presence/src/journal.rs RECENT_MS");
    /// Gateways in a region of which presence keeps account.
    GATEWAYS_MAX = reaper::OWNERS_MAX as f64, "nodes", Code("presence/src/cluster/reaper.rs OWNERS_MAX");
    /// Nodes of a ring.
    REDIS_NODES_MAX = document::NODES_MAX as f64, "nodes", Code("ring-coordinator/src/document.rs NODES_MAX");
    /// Counters of a replica, and each replica has all.
    COUNTERS_MAX = replica::KEYS_MAX as f64, "", Code("counter/src/replica.rs KEYS_MAX");
    /// Counter nodes of a region that a gateway learns of.
    COUNTER_NODES_MAX = remote::LEARNED_MAX as f64, "nodes", Code("counter/src/remote.rs LEARNED_MAX");
    /// Tokens that each replica remembers, of all regions.
    TOKENS_MAX = tokens::TOKENS_MAX as f64, "", Code("counter/src/tokens.rs TOKENS_MAX");
    /// For how long.
    TOKEN_WINDOW_MS = tokens::TOKEN_WINDOW_MS as f64, "ms", Code("counter/src/tokens.rs TOKEN_WINDOW_MS");
    /// For how long a change of the ring waits for a gateway's word.
    ACK_MIN_MS = 20000.0, "ms", Code("ring-coordinator/src/coordinator/timing.rs ACK_MIN_MS");
    /// Words of gateways that etcd passes on to gateways.
    ETCD_EVENTS = 12500.0, "/s", Notes("20 kB to 100 watchers in 8.0 ms; words are smaller");
    /// Between two signs of life of a gateway in etcd.
    RENEW_MS = 3000.0, "ms", Code("ring-coordinator/src/etcd/lease.rs RENEW_MS");
}
