//! I/O: webhooks: services are told who came and who went, by HTTP, at least once and in order. [`presence::Presence`] says what
//! is to be told, and by whom.
//!
//! | file | what |
//! |---|---|
//! | `request` | a request as it is sent: body, id, signatures (pure) |
//! | `retry` | how long to wait before the next try (pure) |
//! | `standing` | whether the endpoint works, and what the log says of it (pure) |
//! | `delivery` | makes the requests |
//! | `metrics` | what is counted |

mod delivery;
mod metrics;
mod request;
mod retry;
mod standing;

pub(crate) use delivery::run;
pub use delivery::{Webhooks, WebhooksError};
pub use metrics::METRICS;
pub use request::{BadSecret, SigningSecret};

use crate::outbound;
use presence::{Hook, HookKind};
use protocol::name::NameRef;
use reqwest::Url;

/// All kinds of events with their names in requests and in the configuration.
pub const KINDS: [(&str, HookKind); 5] = [
    ("occupied", HookKind::Occupied),
    ("vacated", HookKind::Vacated),
    ("online", HookKind::Online),
    ("offline", HookKind::Offline),
    ("resync_needed", HookKind::ResyncNeeded),
];

/// Who is told what.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who.
    pub endpoint: Endpoint,
    /// Each of them signs, so that they can be rotated. At least one.
    pub secrets: Vec<SigningSecret>,
    /// What is told; [`HookKind::ResyncNeeded`] always is.
    pub kinds: Vec<HookKind>,
    /// Of which namespaces' channels: "" is that of names without one. Empty: of all.
    pub namespaces: Vec<String>,
}

impl Settings {
    /// Whether the endpoint is to hear of it.
    pub(crate) fn wants(&self, hook: &Hook) -> bool {
        match hook.kind {
            HookKind::ResyncNeeded => true,
            HookKind::Online | HookKind::Offline => self.kinds.contains(&hook.kind),
            HookKind::Occupied | HookKind::Vacated => self.kinds.contains(&hook.kind) && self.is_in_namespace(&hook.name),
        }
    }

    fn is_in_namespace(&self, channel: &str) -> bool {
        let is_named = |name: NameRef<'_>| self.namespaces.iter().any(|wanted| wanted == name.namespace().unwrap_or_default());
        self.namespaces.is_empty() || NameRef::parse(channel.as_bytes()).is_ok_and(is_named)
    }
}

/// Where requests go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(Url);

impl Endpoint {
    /// Reads a URL; an error says what it must be.
    pub fn parse(url: &str) -> Result<Endpoint, String> {
        let url = Url::parse(url).ok().filter(outbound::is_trustworthy);
        let url = url.ok_or_else(|| format!("{}, because it says who is where", outbound::TRUSTWORTHY))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must not hold a user or a password: requests are signed instead".to_owned());
        }
        Ok(Endpoint(url))
    }

    /// Host and port: what logs show, because there may be a secret in the path.
    pub(crate) fn host(&self) -> String {
        let port = self.0.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}{port}", self.0.host_str().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(kind: HookKind, name: &str) -> Hook {
        Hook { id: "1".into(), kind, name: name.into(), stamp: presence::Stamp::default(), time_ms: 0 }
    }

    fn wanted(kinds: &[HookKind], namespaces: &[&str]) -> Vec<String> {
        let settings = Settings {
            endpoint: Endpoint::parse("https://a.example").unwrap(),
            secrets: Vec::new(),
            kinds: kinds.to_vec(),
            namespaces: namespaces.iter().map(|name| (*name).to_owned()).collect(),
        };
        let channels = ["room", "chat:a", "$chat:b", "chats:c"];
        let happened = KINDS.iter().flat_map(|(label, kind)| match kind {
            HookKind::Occupied | HookKind::Vacated => channels.map(|channel| (*label, hook(*kind, channel))).to_vec(),
            kind => vec![(*label, hook(*kind, "chat:a"))],
        });
        happened.filter(|(_, hook)| settings.wants(hook)).map(|(label, hook)| format!("{label} {}", hook.name)).collect()
    }

    #[test]
    fn kinds_choose_events_and_namespaces_channels_and_that_something_is_missing_is_always_told() {
        use HookKind::{Occupied, Offline, Vacated};
        let missing = "resync_needed chat:a";
        assert_eq!(wanted(&[], &[]), [missing]);
        assert_eq!(wanted(&[Occupied], &[]), ["occupied room", "occupied chat:a", "occupied $chat:b", "occupied chats:c", missing]);
        assert_eq!(wanted(&[Vacated], &["chat"]), ["vacated chat:a", "vacated $chat:b", missing]);
        assert_eq!(wanted(&[Occupied], &["", "chats"]), ["occupied room", "occupied chats:c", missing]);
        assert_eq!(wanted(&[Offline], &["nothing of users"]), ["offline chat:a", missing]);
    }

    #[test]
    fn a_kind_is_named_as_requests_name_it() {
        for (label, kind) in KINDS {
            assert_eq!(serde_json::to_value(kind).unwrap(), label);
        }
    }

    #[test]
    fn an_endpoint_is_https_or_on_this_machine_and_holds_no_password() {
        for (url, host) in [
            ("https://a.example/hooks?key=1", "a.example"),
            ("https://a.example:8443", "a.example:8443"),
            ("http://127.0.0.1:9/x", "127.0.0.1:9"),
            ("http://[::1]/", "[::1]"),
            ("http://localhost", "localhost"),
        ] {
            assert_eq!(Endpoint::parse(url).map(|endpoint| endpoint.host()).as_deref(), Ok(host));
        }
        for url in ["http://a.example", "http://10.0.0.1/", "ftp://localhost/", "a.example", "https://", "http://localhost:x@a.example/"] {
            assert!(Endpoint::parse(url).unwrap_err().starts_with("must begin with https:// (http:// on loopback only)"), "{url}");
        }
        for url in ["https://ann@a.example/", "https://:pass@a.example/", "http://ann:pass@localhost/"] {
            assert!(Endpoint::parse(url).unwrap_err().starts_with("must not hold a user or a password"), "{url}");
        }
    }
}
