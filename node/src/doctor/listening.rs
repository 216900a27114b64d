//! Pure: what to think of the addresses that the node is to listen on.

use super::{disk::Process, finding::Finding};
use core::net::SocketAddr;

/// What became of the try to bind an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bound {
    /// It is free.
    Free,
    /// Somebody listens there; who, as far as the system tells.
    Taken(Option<Process>),
    /// No address of this host.
    NotHere,
    /// The user may not.
    Forbidden,
    /// Something else.
    Failed(String),
}

/// Judges one listener; `node`: who holds the data directory.
#[must_use]
pub fn judge(name: &str, address: SocketAddr, bound: &Bound, node: Option<&Process>) -> Finding {
    const ID: &str = "listen-address";
    let of = format!("listen.{name}");
    match bound {
        Bound::Free if address.port() == 0 => Finding::ok(ID, &of, format!("{address}: any port that is free")),
        Bound::Free => Finding::ok(ID, &of, format!("{address} is free")),
        Bound::Taken(Some(by)) if node.is_some_and(|node| node.pid == by.pid) => {
            Finding::ok(ID, &of, format!("{address} is held by the node that runs here, {by}"))
        }
        Bound::Taken(by) => {
            let who = by.as_ref().map_or_else(|| "somebody whom this user may not see".to_owned(), ToString::to_string);
            let advice = format!("stop it, or set another {of}; `ss -ltnp` tells who listens where");
            Finding::fail(ID, &of, format!("{address} is held by {who}: the node cannot start"), advice)
        }
        Bound::NotHere => {
            let advice = format!("set {of} to an address of this host (`ip address`), or to 0.0.0.0");
            Finding::fail(ID, &of, format!("{address} is no address of this host"), advice)
        }
        Bound::Forbidden => {
            let advice = "AmbientCapabilities=CAP_NET_BIND_SERVICE in the systemd unit, or a port from 1024 on";
            Finding::fail(ID, &of, format!("this user may not listen on {address}"), advice)
        }
        Bound::Failed(reason) => Finding::fail(ID, &of, format!("{address}: {reason}"), format!("set another {of}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::finding::Status;

    #[test]
    fn an_address_is_fine_if_it_is_free_or_the_nodes_own() {
        let process = |pid, name: &str| Process { pid, name: name.to_owned() };
        let node = process(7, "headcount");
        for (bound, status, words) in [
            (Bound::Free, Status::Ok, "is free"),
            (Bound::Taken(Some(process(7, "headcount"))), Status::Ok, "the node that runs here"),
            (Bound::Taken(Some(process(8, "nginx"))), Status::Fail, "held by nginx (pid 8)"),
            (Bound::Taken(None), Status::Fail, "may not see"),
            (Bound::NotHere, Status::Fail, "no address of this host"),
            (Bound::Forbidden, Status::Fail, "may not listen"),
            (Bound::Failed("odd".into()), Status::Fail, "odd"),
        ] {
            let finding = judge("client", "10.0.0.1:80".parse().unwrap(), &bound, Some(&node));
            assert!(finding.status == status && finding.found.contains(words) && finding.of == "listen.client", "{finding}");
        }
        let other = judge("client", "10.0.0.1:80".parse().unwrap(), &Bound::Taken(Some(process(7, "headcount"))), None);
        assert_eq!(other.status, Status::Fail, "another node, with another directory");
    }
}
