//! Pure: the names of everything that a region keeps in etcd.

/// What a key below the region's prefix stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// The ring document.
    Ring,
    /// A gateway, under its lease.
    Gateway(String),
    /// What a gateway thinks of a Redis node, under the gateway's lease.
    Vote {
        /// The Redis node.
        node: String,
        /// Who thinks so.
        gateway: String,
    },
    /// A counter node, under its lease.
    Counter(String),
    /// The layout that an operator has asked for.
    Wanted,
    /// What became of the one that was asked for last.
    WantedResult,
}

/// The keys of one region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    prefix: String,
}

impl Keys {
    /// Those of `region`: 1–64 bytes without `/`, as the configuration has checked.
    #[must_use]
    pub fn new(region: &str) -> Keys {
        Keys { prefix: format!("/headcount/{region}/") }
    }

    /// What all of them begin with.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The name of the election, below which its candidates have their keys.
    #[must_use]
    pub fn leader(&self) -> String {
        format!("{}leader", self.prefix)
    }

    /// The key as etcd has it.
    #[must_use]
    pub fn name(&self, key: &Key) -> String {
        let prefix = &self.prefix;
        match key {
            Key::Ring => format!("{prefix}ring"),
            Key::Gateway(gateway) => format!("{prefix}gw/{gateway}"),
            Key::Vote { node, gateway } => format!("{prefix}votes/{node}/{gateway}"),
            Key::Counter(node) => format!("{prefix}counters/{node}"),
            Key::Wanted => format!("{prefix}wanted"),
            Key::WantedResult => format!("{prefix}wanted/result"),
        }
    }

    /// Whether the key is one of the election's, which concern nobody else.
    #[must_use]
    pub fn is_election(&self, name: &[u8]) -> bool {
        name.strip_prefix(self.prefix.as_bytes()).is_some_and(|rest| rest.starts_with(b"leader/"))
    }

    /// What a name stands for; `None` for one that this version does not know.
    #[must_use]
    pub fn parse(&self, name: &[u8]) -> Option<Key> {
        let name = str::from_utf8(name.strip_prefix(self.prefix.as_bytes())?).ok()?;
        let parts: Vec<&str> = name.split('/').collect();
        if parts.iter().any(|part| part.is_empty()) {
            return None;
        }
        Some(match parts.as_slice() {
            ["ring"] => Key::Ring,
            ["gw", gateway] => Key::Gateway((*gateway).to_owned()),
            ["votes", node, gateway] => Key::Vote { node: (*node).to_owned(), gateway: (*gateway).to_owned() },
            ["counters", node] => Key::Counter((*node).to_owned()),
            ["wanted"] => Key::Wanted,
            ["wanted", "result"] => Key::WantedResult,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_the_name_of_the_contract_and_is_read_back() {
        let keys = Keys::new("eu");
        for (key, name) in [
            (Key::Ring, "/headcount/eu/ring"),
            (Key::Gateway("g1".into()), "/headcount/eu/gw/g1"),
            (Key::Vote { node: "redis-a".into(), gateway: "g1".into() }, "/headcount/eu/votes/redis-a/g1"),
            (Key::Counter("c1".into()), "/headcount/eu/counters/c1"),
            (Key::Wanted, "/headcount/eu/wanted"),
            (Key::WantedResult, "/headcount/eu/wanted/result"),
        ] {
            assert_eq!(keys.name(&key), name);
            assert_eq!(keys.parse(name.as_bytes()), Some(key));
        }
    }

    #[test]
    fn what_is_not_ours_is_not_taken_for_ours() {
        let keys = Keys::new("eu");
        for name in ["/headcount/us/ring", "/headcount/eu/", "/headcount/eu/gw/", "/headcount/eu/gw/a/b", "/headcount/eu/rings", "ring"] {
            assert_eq!(keys.parse(name.as_bytes()), None, "{name}");
        }
        assert_eq!(keys.parse(b"/headcount/eu/gw/\xff"), None);
        assert!(keys.is_election(b"/headcount/eu/leader/694d"));
        assert!(!keys.is_election(b"/headcount/eu/ring"));
    }
}
