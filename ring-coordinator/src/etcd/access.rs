//! Pure: where etcd is, who we are there, and what of that cannot be.

use std::{fmt, path::PathBuf};

/// How etcd is reached: the section `[etcd]` of the configuration.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// `http://HOST:PORT` each, or `https://HOST:PORT` each; at least one.
    pub endpoints: Vec<String>,
    /// If etcd asks for one; goes with `password`.
    pub username: Option<String>,
    /// Goes with `username`.
    pub password: Option<String>,
    /// A PEM file with the authorities that have signed the servers' certificates; needed for `https`.
    pub ca: Option<PathBuf>,
    /// A PEM file with our certificate, if etcd asks for one; goes with `key`.
    pub cert: Option<PathBuf>,
    /// A PEM file with our certificate's key.
    pub key: Option<PathBuf>,
    /// The name in the servers' certificates, where it is not the host of the endpoint.
    pub domain: Option<String>,
}

impl fmt::Debug for Access {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Access { endpoints, username, ca, cert, .. } = self;
        let mut shown = out.debug_struct("Access");
        shown.field("endpoints", endpoints).field("username", username).field("ca", ca).field("cert", cert).finish_non_exhaustive()
    }
}

impl Access {
    /// Whether the servers are asked for certificates.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.starts_with("https://"))
    }

    /// The keys whose values cannot be, or do not go together, each with the reason.
    #[must_use]
    pub fn flaws(&self) -> Vec<(&'static str, String)> {
        let mut flaws = Vec::new();
        let mut flaw = |key: &'static str, reason: &str| flaws.push((key, reason.to_owned()));
        let is_set = [self.ca.is_some(), self.cert.is_some(), self.key.is_some(), self.username.is_some(), self.password.is_some()];
        let mut set = ["ca", "cert", "key", "username", "password"].into_iter().zip(is_set).filter(|(_, is_set)| *is_set);
        if self.endpoints.is_empty() {
            match set.next() {
                Some((key, _)) => flaw(key, "needs etcd.endpoints"),
                None => flaw("endpoints", "must name a server"),
            }
            return flaws;
        }
        if let Some(endpoint) = self.endpoints.iter().find(|endpoint| !is_endpoint(endpoint)) {
            flaw("endpoints", &format!("{endpoint:?} is not http://HOST:PORT or https://HOST:PORT"));
        } else if self.is_tls() && self.endpoints.iter().any(|endpoint| endpoint.starts_with("http://")) {
            flaw("endpoints", "must all begin with http://, or all with https://");
        }
        match (&self.username, &self.password) {
            (Some(_), None) => flaw("password", "must be set with etcd.username"),
            (None, Some(_)) => flaw("username", "must be set with etcd.password"),
            _ => {}
        }
        match (&self.cert, &self.key) {
            (Some(_), None) => flaw("key", "must be set with etcd.cert"),
            (None, Some(_)) => flaw("cert", "must be set with etcd.key"),
            _ => {}
        }
        if self.is_tls() && self.ca.is_none() {
            flaw("ca", "must be set with https:// in etcd.endpoints: no authority is trusted by itself");
        }
        if !self.is_tls()
            && let Some((key, _)) = set.next().filter(|(key, _)| ["ca", "cert", "key"].contains(key))
        {
            flaw(key, "needs https:// in etcd.endpoints");
        }
        flaws
    }
}

/// Whether it is a scheme, a host and a port, and nothing else: credentials would be shown wherever it is.
fn is_endpoint(text: &str) -> bool {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let parts = rest.and_then(|rest| rest.rsplit_once(':'));
    parts.is_some_and(|(host, port)| !host.is_empty() && !host.contains(['/', '@', '?', '#', ' ']) && port.parse::<u16>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> Access {
        Access { endpoints: vec!["http://a:2379".into(), "http://[::1]:2379".into()], ..Access::default() }
    }

    fn tls() -> Access {
        Access { endpoints: vec!["https://a:2379".into()], ca: Some("ca.pem".into()), ..Access::default() }
    }

    #[test]
    fn what_cannot_be_is_told_with_its_key() {
        let of = |endpoints: &[&str]| Access { endpoints: endpoints.iter().map(|text| (*text).to_owned()).collect(), ..Access::default() };
        for (access, expected) in [
            (plain(), None),
            (tls(), None),
            (Access { username: Some("a".into()), password: Some("b".into()), ..plain() }, None),
            (Access { cert: Some("c".into()), key: Some("k".into()), ..tls() }, None),
            (of(&[]), Some(("endpoints", "must name a server"))),
            (of(&["a:2379"]), Some(("endpoints", "\"a:2379\" is not http://HOST:PORT"))),
            (of(&["http://a"]), Some(("endpoints", "is not http://HOST:PORT"))),
            (of(&["http://u:p@a:2379"]), Some(("endpoints", "is not http://HOST:PORT"))),
            (of(&["http://a:2379/v3"]), Some(("endpoints", "is not http://HOST:PORT"))),
            (Access { endpoints: vec!["http://a:1".into(), "https://b:1".into()], ..tls() }, Some(("endpoints", "must all begin"))),
            (Access { username: Some("a".into()), ..plain() }, Some(("password", "must be set with etcd.username"))),
            (Access { password: Some("a".into()), ..plain() }, Some(("username", "must be set with etcd.password"))),
            (Access { cert: Some("c".into()), ..tls() }, Some(("key", "must be set with etcd.cert"))),
            (Access { key: Some("k".into()), ..tls() }, Some(("cert", "must be set with etcd.key"))),
            (Access { ca: None, ..tls() }, Some(("ca", "must be set with https://"))),
            (Access { ca: Some("ca.pem".into()), ..plain() }, Some(("ca", "needs https://"))),
            (Access { ca: Some("ca.pem".into()), ..of(&[]) }, Some(("ca", "needs etcd.endpoints"))),
            (Access { username: Some("a".into()), password: Some("b".into()), ..of(&[]) }, Some(("username", "needs etcd.endpoints"))),
        ] {
            match (access.flaws().as_slice(), expected) {
                ([], None) => {}
                ([(key, reason)], Some((expected, why))) => assert!(*key == expected && reason.contains(why), "{key}: {reason}"),
                (flaws, expected) => panic!("{access:?}: {flaws:?}, not {expected:?}"),
            }
        }
    }

    #[test]
    fn no_log_shows_the_password() {
        let access = Access { username: Some("alice".into()), password: Some("wonder".into()), ..plain() };
        let shown = format!("{access:?}");
        assert!(shown.contains("alice") && !shown.contains("wonder"), "{shown}");
    }
}
