//! Pure: what a gateway says of itself in etcd. The key comes first, then the ring is read, and only then is anything
//! acknowledged: so a change that does not know of this gateway is one that this gateway knows of. A gateway whose key was
//! lost, or taken away, is a new one to everybody else.

use super::MemberConfig;
use crate::etcd::{Key, Tenure, record::Gateway};

/// A gateway's entry.
#[derive(Clone, Debug)]
pub struct Register {
    key: Key,
    said: Option<Gateway>,
    fresh: Gateway,
    /// The lease under which the key stands.
    term: Option<u64>,
    /// Since when.
    held_ms: u64,
    /// etcd was read after that.
    is_registered: bool,
    /// It stood there once.
    was_registered: bool,
}

impl Register {
    /// Not written yet.
    #[must_use]
    pub fn new(config: &MemberConfig, started_ms: u64) -> Register {
        let fresh = Gateway { address: config.address.clone(), version: config.version.clone(), started_ms, epoch: 0, acked: 0 };
        let key = Key::Gateway(config.gateway.clone());
        Register { key, said: None, fresh, term: None, held_ms: 0, is_registered: false, was_registered: false }
    }

    /// What to write, if it is another than was written last. `acked` counts once the gateway is registered.
    pub fn say(&mut self, epoch: u64, acked: u64) -> Option<Gateway> {
        let acked = if self.is_registered { acked.min(epoch) } else { 0 };
        let gateway = Gateway { epoch, acked, ..self.fresh.clone() };
        let is_new = self.said.as_ref() != Some(&gateway);
        is_new.then(|| self.said.insert(gateway).clone())
    }

    /// Takes in how it stands with the lease; etcd was read whole at `fresh_ms`. True: the gateway has come back, and others
    /// may have gone on without it.
    pub fn hold(&mut self, tenure: &Tenure, fresh_ms: Option<u64>, now_ms: u64) -> bool {
        if tenure.expelled.contains(&self.key) {
            // Written anew, as that of another one.
            (self.said, self.term, self.is_registered) = (None, None, false);
            return false;
        }
        if tenure.lease == 0 || self.term.is_some_and(|term| term != tenure.terms) {
            (self.term, self.is_registered) = (None, false);
        }
        if self.term.is_none() && tenure.lease != 0 && tenure.is_settled && self.said.is_some() {
            (self.term, self.held_ms) = (Some(tenure.terms), now_ms);
        }
        if self.term.is_some() && !self.is_registered && fresh_ms.is_some_and(|fresh_ms| fresh_ms >= self.held_ms) {
            self.is_registered = true;
            return std::mem::replace(&mut self.was_registered, true);
        }
        false
    }

    /// Whether it stands in etcd, and the ring was read after that.
    #[must_use]
    pub fn is_registered(&self) -> bool {
        self.is_registered
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::time::Now;

    fn register() -> Register {
        let config =
            MemberConfig { gateway: "g1".into(), address: "g1:8000".into(), version: "1".into(), may_be_stale: true, clock: Now::default };
        Register::new(&config, 5)
    }

    fn tenure(terms: u64) -> Tenure {
        Tenure { until_ms: 10_000, lease: 7, terms, is_settled: true, ..Tenure::default() }
    }

    fn said(register: &mut Register, epoch: u64, acked: u64) -> Option<(u64, u64)> {
        register.say(epoch, acked).map(|gateway| (gateway.epoch, gateway.acked))
    }

    #[test]
    fn nothing_is_acknowledged_before_the_key_stands_and_the_ring_was_read_after_that() {
        let mut register = register();
        assert_eq!(said(&mut register, 3, 3), Some((3, 0)));
        assert!(!register.hold(&tenure(1), Some(90), 100) && !register.is_registered());
        assert_eq!(said(&mut register, 3, 3), None);
        assert!(!register.hold(&tenure(1), Some(100), 120), "for the first time: nobody has gone on without it");
        assert_eq!(said(&mut register, 3, 3), Some((3, 3)));
        assert_eq!(said(&mut register, 3, 4), None, "no more than it goes by");
    }

    #[test]
    fn who_has_lost_the_lease_or_was_expelled_comes_back_as_new_and_in_doubt() {
        let mut register = register();
        said(&mut register, 3, 3);
        register.hold(&tenure(1), None, 100);
        register.hold(&tenure(1), Some(100), 100);
        said(&mut register, 3, 3);
        assert!(!register.hold(&tenure(2), Some(100), 200) && !register.is_registered());
        assert_eq!(said(&mut register, 3, 3), Some((3, 0)));
        assert!(register.hold(&tenure(2), Some(200), 210));
        assert_eq!(said(&mut register, 3, 3), Some((3, 3)));

        let expelled = Tenure { expelled: [Key::Gateway("g1".into())].into(), ..tenure(2) };
        assert!(!register.hold(&expelled, Some(300), 300) && !register.is_registered());
        assert_eq!(said(&mut register, 3, 3), Some((3, 0)), "written again");
        assert!(!register.hold(&tenure(2), Some(300), 310));
        assert!(register.hold(&tenure(2), Some(320), 320));
    }
}
