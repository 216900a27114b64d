//! Pure: the section `[limits]`.

use super::{Limits, reader::Reader};
use core::net::IpAddr;
use ipnet::IpNet;

/// Reads the section.
pub(super) fn read(reader: &mut Reader) -> Limits {
    let mut rate = |key: &str| u32::try_from(reader.number(key, 0..=1_000_000)).unwrap_or(u32::MAX);
    let [newcomers_per_s, resumes_per_s, address_per_s, commands_per_s, requests_per_s] = [
        rate("limits.newcomers_per_s"),
        rate("limits.resumes_per_s"),
        rate("limits.address_per_s"),
        rate("limits.commands_per_s"),
        rate("limits.requests_per_s"),
    ];
    Limits {
        newcomers_per_s,
        resumes_per_s,
        address_per_s,
        commands_per_s,
        requests_per_s,
        queued_bytes: reader.count("limits.queued_bytes", 1 << 20..=1 << 40),
        connections_per_user: reader.count("limits.connections_per_user", 0..=1_000_000),
        trusted_proxies: proxies(reader),
        message_bytes: reader.count("limits.message_bytes", 1024..=16 << 20),
        channels_per_client: reader.count("limits.channels_per_client", 1..=10_000),
        outbox_bytes: reader.count("limits.outbox_bytes", 1024..=1 << 30),
        connections: reader.count("limits.connections", 1..=10_000_000),
        handshake_timeout_ms: reader.seconds_as_ms("limits.handshake_timeout_s", 1..=300),
        body_timeout_ms: reader.seconds_as_ms("limits.body_timeout_s", 1..=600),
        stale_timeout_ms: reader.seconds_as_ms("limits.stale_timeout_s", 1..=300),
        ping_interval_ms: reader.seconds_as_ms("limits.ping_interval_s", 1..=3600),
        pong_timeout_ms: reader.seconds_as_ms("limits.pong_timeout_s", 1..=3599),
        expired_grace_ms: reader.seconds_as_ms("limits.expired_grace_s", 0..=3600),
    }
}

/// Networks, or addresses.
fn proxies(reader: &mut Reader) -> Vec<IpNet> {
    let network = |text: &String| text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map_err(|_| text.clone());
    let read: Result<Vec<IpNet>, String> = reader.texts("limits.trusted_proxies").iter().map(network).collect();
    read.unwrap_or_else(|bad| {
        reader.refuse("limits.trusted_proxies", format!("{bad:?} is neither an address nor a network such as 10.0.0.0/8"));
        Vec::new()
    })
}

#[cfg(test)]
mod tests {
    use crate::config::tests::{load, problems};

    #[test]
    fn a_limit_that_cannot_hold_is_told() {
        for (toml, expected) in [
            (
                "[limits]\npong_timeout_s = 25",
                "hc.toml:2: limits.pong_timeout_s = 25: must be less than limits.ping_interval_s, which is 25",
            ),
            (
                "[limits]\noutbox_bytes = 2000",
                "hc.toml:2: limits.outbox_bytes = 2000: must hold one message, and limits.message_bytes is 65536",
            ),
            (
                "[limits]\noutbox_bytes = 2000000\nqueued_bytes = 1100000",
                "hc.toml:3: limits.queued_bytes = 1100000: must hold one client's queue, and limits.outbox_bytes is 2000000",
            ),
            (
                "[limits]\ntrusted_proxies = [\"10.0.0.1\", \"10.0.0.0/33\"]",
                "hc.toml:2: limits.trusted_proxies = [\"10.0.0.1\", \"10.0.0.0/33\"]: \"10.0.0.0/33\" is neither an address nor a network such as 10.0.0.0/8",
            ),
        ] {
            assert_eq!(problems(toml, &[]), [expected], "{toml}");
        }
    }

    #[test]
    fn proxies_are_networks_or_addresses() {
        let config = load("[limits]\ntrusted_proxies = [\"10.0.0.0/8\", \"2001:db8::1\"]", &[]).unwrap();
        assert_eq!(config.limits.trusted_proxies.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.0/8", "2001:db8::1/128"]);
    }
}
