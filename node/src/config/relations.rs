//! Pure: what the values of several keys must be to each other.

use super::{Config, Roles, reader::Reader};
use core::net::SocketAddr;

/// Notes every relation that does not hold.
pub(super) fn check(config: &Config, reader: &mut Reader) {
    let limits = &config.limits;
    if limits.pong_timeout_ms >= limits.ping_interval_ms {
        let interval_s = limits.ping_interval_ms / 1000;
        reader.refuse("limits.pong_timeout_s", format!("must be less than limits.ping_interval_s, which is {interval_s}"));
    }
    if limits.outbox_bytes < limits.message_bytes {
        let message_bytes = limits.message_bytes;
        reader.refuse("limits.outbox_bytes", format!("must hold one message, and limits.message_bytes is {message_bytes}"));
    }
    if limits.queued_bytes < limits.outbox_bytes {
        let outbox_bytes = limits.outbox_bytes;
        reader.refuse("limits.queued_bytes", format!("must hold one client's queue, and limits.outbox_bytes is {outbox_bytes}"));
    }
    let listen = &config.listen;
    let public = [("listen.client", listen.client), ("listen.api", listen.api), ("listen.resp", listen.resp)];
    one_listener_per_address(reader, public.into_iter().chain([("listen.admin", listen.admin), ("listen.peer", listen.peer)]));
    counters_belong_together(config, reader);
    if !config.sinks.is_empty() && !config.node.roles.counter {
        reader.refuse("sink", "is for nodes with counters; set it there");
    }
    if config.etcd.is_none() {
        let Roles { gateway, counter, coordinator } = config.node.roles;
        if coordinator && !(gateway && counter) {
            reader.refuse("node.roles", "\"coordinator\" needs etcd.endpoints: the coordinator is elected, and the ring kept, in etcd");
        }
        for (key, is_set) in [("redis.password", config.redis.password.is_some()), ("redis.tls", config.redis.tls.is_some())] {
            if is_set {
                reader.refuse(key, "needs etcd.endpoints: which Redis nodes there are is kept in etcd");
            }
        }
    }
    if config.auth.development {
        development_stays_on_this_machine(config, reader, public);
    }
}

/// What nodes with counters, gateways without, and gateways of other regions need to find each other.
fn counters_belong_together(config: &Config, reader: &mut Reader) {
    let Config { node, listen, counter, regions, .. } = config;
    let needs = match (node.roles.gateway, node.roles.counter) {
        (true, false) => "for a gateway whose counters are elsewhere",
        (false, true) => "for a node with counters alone",
        (false, false) => return,
        _ if !counter.seeds.is_empty() => "with counter.seeds",
        _ if !counter.producers.is_empty() => "with counter.producers",
        _ if !regions.peers.is_empty() => "with regions.peers",
        _ => return,
    };
    if counter.key.is_none() && config.tls.is_none() {
        reader.refuse("counter.key", format!("must be set {needs}, unless tls.peer_ca is: it shows who belongs to the cluster"));
    }
    if !node.roles.counter {
        if counter.seeds.is_empty() && config.etcd.is_none() {
            let reason = format!("must name the peer listeners of the region's counter nodes {needs}, unless etcd.endpoints is set");
            reader.refuse("counter.seeds", reason);
        }
        if !counter.producers.is_empty() {
            reader.refuse("counter.producers", "is for nodes with counters; set it there");
        }
        if !regions.peers.is_empty() && listen.peer.is_none() {
            reader.refuse("listen.peer", "must be set with regions.peers: other nodes connect to it");
        }
        return;
    }
    if node.name.is_none() {
        reader.refuse("node.name", format!("must be set {needs}: a node that has lost its disk comes back under the same name"));
    }
    if listen.peer.is_none() {
        reader.refuse("listen.peer", format!("must be set {needs}: other nodes connect to it"));
    }
    let is_everywhere = listen.peer.is_some_and(|peer| peer.ip().is_unspecified());
    if config.etcd.is_some() && is_everywhere && counter.address.is_none() {
        reader.refuse("counter.address", "must be set with etcd.endpoints where listen.peer is every address: gateways are told it");
    }
}

fn one_listener_per_address(reader: &mut Reader, listeners: impl Iterator<Item = (&'static str, Option<SocketAddr>)>) {
    let mut taken: Vec<(&str, SocketAddr)> = Vec::new();
    for (key, address) in listeners.filter_map(|(key, address)| Some((key, address?))) {
        match taken.iter().find(|(_, other)| address.port() != 0 && *other == address) {
            Some((other, _)) => reader.refuse(key, format!("is taken by {other}")),
            None => taken.push((key, address)),
        }
    }
}

fn development_stays_on_this_machine(config: &Config, reader: &mut Reader, listeners: [(&str, Option<SocketAddr>); 3]) {
    for (key, address) in listeners {
        if address.is_some_and(|address| !address.ip().to_canonical().is_loopback()) {
            reader.refuse(
                key,
                "in development mode anonymous clients may do everything, so it listens on loopback only; use 127.0.0.1, or set \
                 auth.hmac_secrets, auth.public_keys, auth.jwks or auth.api_keys and leave auth.development at \"auto\"",
            );
        }
    }
    if config.auth.origins.iter().any(|origin| origin == "*") {
        reader.refuse("auth.origins", "in development mode \"*\" would let every web page in; name the origins");
    }
}
