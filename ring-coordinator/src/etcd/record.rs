//! Pure: what stands in etcd beside the ring document, in JSON.

use serde::{Deserialize, Serialize};

pub use crate::redis::{Opinion, Vote};

/// A gateway that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Gateway {
    /// Where its clients connect, `HOST:PORT`.
    pub address: String,
    /// Of the program.
    pub version: String,
    /// When it started, in milliseconds since 1970.
    pub started_ms: u64,
    /// The document that it goes by.
    pub epoch: u64,
    /// The highest epoch whose phase it has finished: in `prepare` it listens for all moved channels at their new owners
    /// too, in `switch` nothing of its own is under way to the old ones.
    pub acked: u64,
    /// The incarnation under which it writes presence; 0 while it writes none.
    #[serde(default)]
    pub presence: u64,
}

/// A counter node that is there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CounterNode {
    /// Its region.
    pub region: String,
    /// Its peer listener, `HOST:PORT`.
    pub address: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_records_look_as_the_contract_says_and_fields_of_later_versions_do_no_harm() {
        let gateway = Gateway { address: "10.0.0.1:8000".into(), version: "0.1.0".into(), started_ms: 1, epoch: 7, acked: 6, presence: 17 };
        let json = r#"{"address":"10.0.0.1:8000","version":"0.1.0","started_ms":1,"epoch":7,"acked":6,"presence":17}"#;
        assert_eq!(serde_json::to_string(&gateway).unwrap(), json);
        let earlier = r#"{"address":"10.0.0.1:8000","version":"0.1.0","started_ms":1,"epoch":7,"acked":6}"#;
        assert_eq!(serde_json::from_str::<Gateway>(earlier).unwrap(), Gateway { presence: 0, ..gateway }, "it writes no presence");
        let vote: Opinion = serde_json::from_str(r#"{"vote":"down","since_ms":5,"reason":"silent","later":1}"#).unwrap();
        assert_eq!(vote, Opinion { vote: Vote::Down, since_ms: 5, reason: "silent".into() });
        let node = CounterNode { region: "eu".into(), address: "10.0.0.2:7400".into() };
        assert_eq!(serde_json::to_string(&node).unwrap(), r#"{"region":"eu","address":"10.0.0.2:7400"}"#);
    }
}
