//! Pure: what to think of other ends that the configuration names: peers, seeds, services and issuers of tokens.

use super::finding::Finding;

/// Above this a connection costs those who wait for it.
const SLOW_MS: u64 = 500;

/// Who is at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A counter node (`counter.seeds`).
    Seed,
    /// A gateway of another region (`regions.peers`).
    Peer,
    /// What is told of who comes and goes (`webhooks.url`).
    Webhooks,
    /// Where an issuer of tokens publishes its keys (`auth.jwks`).
    Keys,
}

/// How a connection is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// TCP alone.
    Clear,
    /// TLS, with the authorities that this host trusts.
    System,
    /// TLS as `[tls]` says, with this node's own certificate.
    Peers,
}

/// An address to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Who is there.
    pub kind: Kind,
    /// A name or an IP address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How.
    pub security: Security,
}

impl std::fmt::Display for Place {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Place { host, port, .. } = self;
        if host.contains(':') { write!(out, "[{host}]:{port}") } else { write!(out, "{host}:{port}") }
    }
}

impl Place {
    /// Of HOST:PORT; `None` if it is none.
    #[must_use]
    pub fn of_address(kind: Kind, address: &str, security: Security) -> Option<Place> {
        let (host, port) = address.rsplit_once(':')?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).to_owned();
        Some(Place { kind, host, port: port.parse().ok()?, security })
    }

    /// Of an `http` or `https` URL; `None` if it is none. The path stays behind: there may be a secret in it.
    #[must_use]
    pub fn of_url(kind: Kind, url: &str) -> Option<Place> {
        let (scheme, rest) = url.split_once("://")?;
        let (security, port) = match scheme {
            "https" => (Security::System, 443),
            "http" => (Security::Clear, 80),
            _ => return None,
        };
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let authority = authority.rsplit_once('@').map_or(authority, |(_, authority)| authority);
        let has_port = authority.rsplit_once(':').is_some_and(|(host, port)| !port.contains(']') && !host.is_empty());
        let address = if has_port { authority.to_owned() } else { format!("{authority}:{port}") };
        Place::of_address(kind, &address, security).filter(|place| !place.host.is_empty())
    }
}

/// What came of connecting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reached {
    /// It took so many milliseconds, TLS included.
    After(u64),
    /// The name has no address.
    Unknown(String),
    /// There is no connection.
    Unreachable(String),
    /// There is a connection, and TLS was refused by one of both ends.
    Untrusted(String),
}

/// Judges one.
#[must_use]
pub fn judge(place: &Place, reached: &Reached) -> Finding {
    let (id, cost) = match place.kind {
        Kind::Seed => ("seed-reachable", "increments of here and there are not exchanged"),
        Kind::Peer => ("region-reachable", "messages and rosters of that region do not come"),
        Kind::Webhooks => ("webhooks-reachable", "what happens is kept to be told, up to a bound"),
        Kind::Keys => ("jwks-reachable", "tokens that are signed with a new key are refused"),
    };
    let of = place.to_string();
    match reached {
        Reached::After(ms) if *ms > SLOW_MS => {
            Finding::warn(id, &of, format!("answers after {ms} ms"), "look at the way there: name service, firewalls, load")
        }
        Reached::After(ms) => Finding::ok(id, &of, format!("answers after {ms} ms")),
        Reached::Unknown(reason) => Finding::fail(
            id,
            &of,
            format!("the name has no address: {reason}; {cost}"),
            "correct the name, or the name service of this host",
        ),
        Reached::Unreachable(reason) => Finding::fail(
            id,
            &of,
            format!("{reason}; {cost}"),
            "start what should listen there, or let this host through; peers listen on listen.peer",
        ),
        Reached::Untrusted(reason) => {
            let advice = match place.security {
                Security::Peers => "both nodes need a certificate of the authority in tls.peer_ca, for the name that is dialed",
                _ => {
                    "the server needs a certificate for this name from an authority that this host trusts (package ca-certificates, or SSL_CERT_FILE)"
                }
            };
            Finding::fail(id, &of, format!("TLS: {reason}; {cost}"), advice)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;

    #[test]
    fn a_place_is_read_out_of_urls_and_addresses_without_their_secrets() {
        let of_url = |url: &str| Place::of_url(Kind::Webhooks, url).map(|place| (place.to_string(), place.security));
        for (url, expected) in [
            ("https://a.example/hooks?key=secret", Some(("a.example:443", Security::System))),
            ("https://a.example:8443", Some(("a.example:8443", Security::System))),
            ("http://127.0.0.1:9/x", Some(("127.0.0.1:9", Security::Clear))),
            ("https://me:secret@a.example/", Some(("a.example:443", Security::System))),
            ("https://[::1]/", Some(("[::1]:443", Security::System))),
            ("https://[::1]:8443/", Some(("[::1]:8443", Security::System))),
            ("ftp://a.example", None),
            ("https:///x", None),
        ] {
            assert_eq!(of_url(url), expected.map(|(text, security)| (text.to_owned(), security)), "{url}");
        }
        let seed = Place::of_address(Kind::Seed, "[2001:db8::1]:7400", Security::Peers).unwrap();
        assert_eq!((seed.host.as_str(), seed.port), ("2001:db8::1", 7400));
        assert_eq!(Place::of_address(Kind::Seed, "c1", Security::Clear), None);
    }

    #[test]
    fn who_is_not_reached_decides_what_it_costs() {
        let place = |kind, security| Place { kind, host: "a".into(), port: 1, security };
        for (kind, security, reached, id, status, words) in [
            (Kind::Seed, Security::Clear, Reached::After(3), "seed-reachable", Status::Ok, "3 ms"),
            (Kind::Peer, Security::Clear, Reached::After(900), "region-reachable", Status::Warn, "900 ms"),
            (Kind::Keys, Security::System, Reached::Unknown("no".into()), "jwks-reachable", Status::Fail, "tokens"),
            (Kind::Webhooks, Security::System, Reached::Unreachable("refused".into()), "webhooks-reachable", Status::Fail, "refused"),
            (Kind::Seed, Security::Peers, Reached::Untrusted("expired".into()), "seed-reachable", Status::Fail, "TLS: expired"),
        ] {
            let finding = judge(&place(kind, security), &reached);
            assert!(finding.id == id && finding.status == status && finding.found.contains(words), "{finding}");
        }
    }
}
