//! Pure: whether a document is one: what is read from etcd, a Redis node, a disk or a file is checked here before anybody
//! computes with it.

use crate::{
    document::{Document, Layout, NODES_MAX, Node, PINS_MAX, Phase, VNODES, VNODES_MAX, WEIGHT_MAX},
    slot::SLOTS,
};
use core::net::Ipv6Addr;
use std::collections::BTreeMap;

/// Bytes of a document's JSON. What is longer is not read: the largest document that passes the checks is shorter, and etcd
/// takes 1.5 MiB.
pub const DOCUMENT_BYTES_MAX: usize = 1 << 20;
/// Bytes of a node's id.
pub const ID_BYTES_MAX: usize = 64;
/// Bytes of a node's URL.
pub const URL_BYTES_MAX: usize = 200;
/// Points of a layout, so that nobody is asked for gigabytes: the greatest weight at each of [`NODES_MAX`] nodes is well with
/// the usual number of points.
pub const POINTS_MAX: u64 = NODES_MAX as u64 * WEIGHT_MAX as u64 * VNODES as u64;

/// Why a text is no document, or a layout cannot be used. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// Longer than [`DOCUMENT_BYTES_MAX`].
    #[error("it has {0} bytes; at most {DOCUMENT_BYTES_MAX}")]
    TooLong(usize),
    /// Not JSON, a key that is unknown or missing, or a value of a wrong kind; with the place.
    #[error("{key}: {reason}")]
    Json {
        /// The key's path, `.` for the whole.
        key: String,
        /// What serde says.
        reason: String,
    },
    /// A value that cannot be.
    #[error("{key} = {value}: {reason}")]
    Value {
        /// The key's path, such as `next.nodes[3].weight`.
        key: String,
        /// The value as JSON.
        value: String,
        /// What it may be.
        reason: String,
    },
}

impl Flaw {
    fn new(key: impl Into<String>, value: impl serde::Serialize, reason: impl Into<String>) -> Flaw {
        Flaw::Value { key: key.into(), value: serde_json::json!(value).to_string(), reason: reason.into() }
    }

    /// The same flaw, its key one deeper.
    fn within(self, outer: &str) -> Flaw {
        match self {
            Flaw::Value { key, value, reason } => Flaw::Value { key: format!("{outer}.{key}"), value, reason },
            other => other,
        }
    }
}

impl Document {
    /// Reads a document and checks it.
    pub fn parse(json: &[u8]) -> Result<Document, Flaw> {
        let document: Document = parse(json)?;
        document.check()?;
        Ok(document)
    }

    /// Its JSON, which [`Document::parse`] reads.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("text, numbers, and keys that are either")
    }

    /// Tells the first value that cannot be.
    pub fn check(&self) -> Result<(), Flaw> {
        if !(1..=VNODES_MAX).contains(&self.vnodes) {
            return Err(Flaw::new("vnodes", self.vnodes, format!("is 1 to {VNODES_MAX}")));
        }
        let phase = |reason: &str| Err(Flaw::new("phase", self.phase, reason));
        match (self.phase, &self.next, &self.prev) {
            (Phase::Stable, None, None) | (Phase::Prepare | Phase::Fence, Some(_), None) | (Phase::Switch, None, Some(_)) => {}
            (Phase::Stable, ..) => return phase("goes with neither next nor prev"),
            (Phase::Prepare | Phase::Fence, ..) => return phase("goes with next and without prev"),
            (Phase::Switch, ..) => return phase("goes with prev and without next"),
        }
        self.current.check(self.vnodes)?;
        for (key, layout) in [("next", &self.next), ("prev", &self.prev)] {
            layout.as_ref().map_or(Ok(()), |layout| layout.check(self.vnodes)).map_err(|flaw| flaw.within(key))?;
        }
        Ok(())
    }
}

impl Layout {
    /// Reads a layout, as an operator writes it, and checks it.
    pub fn parse(json: &[u8], vnodes: u32) -> Result<Layout, Flaw> {
        let layout: Layout = parse(json)?;
        layout.check(vnodes)?;
        Ok(layout)
    }

    /// Tells the first value that cannot be.
    pub fn check(&self, vnodes: u32) -> Result<(), Flaw> {
        if self.nodes.len() > NODES_MAX {
            return Err(Flaw::new("nodes.length", self.nodes.len(), format!("is at most {NODES_MAX}")));
        }
        let (mut ids, mut places) = (BTreeMap::new(), BTreeMap::new());
        for (index, node) in self.nodes.iter().enumerate() {
            let within = |flaw: Flaw| flaw.within(&format!("nodes[{index}]"));
            let place = node.check().map_err(within)?;
            if let Some(other) = ids.insert(&node.id, index) {
                return Err(within(Flaw::new("id", &node.id, format!("nodes[{other}] has it already"))));
            }
            if let Some(other) = places.insert(place, index) {
                return Err(within(Flaw::new("url", &node.url, format!("nodes[{other}] is there already"))));
            }
        }
        let points = self.nodes.iter().map(|node| u64::from(node.weight)).sum::<u64>() * u64::from(vnodes);
        if points > POINTS_MAX {
            return Err(Flaw::new("vnodes", vnodes, format!("times all weights is {points}; at most {POINTS_MAX}")));
        }
        if self.pins.len() > PINS_MAX {
            return Err(Flaw::new("pins.length", self.pins.len(), format!("is at most {PINS_MAX}")));
        }
        for (slot, id) in &self.pins {
            if *slot >= SLOTS {
                return Err(Flaw::new(format!("pins.{slot}"), id, format!("slots are 0 to {}", SLOTS - 1)));
            }
            if !ids.contains_key(id) {
                return Err(Flaw::new(format!("pins.{slot}"), id, "no node has this id"));
            }
        }
        Ok(())
    }
}

impl Node {
    /// Where it is, in one spelling, if all of it can be.
    fn check(&self) -> Result<String, Flaw> {
        let is_id = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(&byte);
        if self.id.is_empty() || self.id.len() > ID_BYTES_MAX || !self.id.bytes().all(is_id) {
            return Err(Flaw::new("id", &self.id, format!("is 1 to {ID_BYTES_MAX} of a-z 0-9 . _ -")));
        }
        if !(1..=WEIGHT_MAX).contains(&self.weight) {
            return Err(Flaw::new("weight", self.weight, format!("is 1 to {WEIGHT_MAX}")));
        }
        if self.url.len() > URL_BYTES_MAX {
            return Err(Flaw::new("url", &self.url, format!("has at most {URL_BYTES_MAX} bytes")));
        }
        if self.url.contains('@') {
            // Not repeated: it holds a password.
            return Err(Flaw::new(
                "url",
                "***",
                "goes without credentials; those are redis.username and redis.password of the configuration",
            ));
        }
        place(&self.url).ok_or_else(|| Flaw::new("url", &self.url, "is redis://HOST:PORT or rediss://HOST:PORT"))
    }
}

/// `HOST:PORT` of a Redis URL, in lower case.
fn place(url: &str) -> Option<String> {
    let rest = url.strip_prefix("redis://").or_else(|| url.strip_prefix("rediss://"))?;
    let (host, port) = rest.rsplit_once(':')?;
    let is_port = !port.starts_with(['0', '+']) && port.parse::<u16>().is_ok();
    let is_name = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
    let is_v6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).is_some_and(|host| host.parse::<Ipv6Addr>().is_ok());
    (is_port && (is_name || is_v6)).then(|| rest.to_ascii_lowercase())
}

fn parse<'a, T: serde::Deserialize<'a>>(json: &'a [u8]) -> Result<T, Flaw> {
    if json.len() > DOCUMENT_BYTES_MAX {
        return Err(Flaw::TooLong(json.len()));
    }
    let mut reader = serde_json::Deserializer::from_slice(json);
    let value = serde_path_to_error::deserialize(&mut reader)
        .map_err(|error| Flaw::Json { key: error.path().to_string(), reason: error.inner().to_string() })?;
    reader.end().map_err(|error| Flaw::Json { key: ".".to_owned(), reason: error.to_string() })?;
    Ok(value)
}
