//! Pure: which gateways are silent on all nodes. Silence counts only as long as this gateway hears its own canary there:
//! who hears nothing at all has learned nothing of others.

use ring_coordinator::redis::canary::CANARY_SILENT_MS;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// A canary comes every second. If the own one is missing for so long at a node, nothing is heard there, and silence is
/// measured anew from the next one on: after a stall it may come a moment before the others that waited with it.
const OWN_MISSING_MS: u64 = 2_500;

/// What was heard of one gateway.
#[derive(Debug, Default)]
struct Listened {
    /// When it was heard last, at any node.
    heard_ms: u64,
    /// Since when we listen, by node.
    since_ms: BTreeMap<Arc<str>, u64>,
}

/// The canaries of the gateways that are listened for. As many as those, times the nodes.
#[derive(Debug, Default)]
pub(super) struct Silence {
    /// By serving node, while the own canary is heard there: since when, and when it was last.
    own: BTreeMap<Arc<str>, Option<(u64, u64)>>,
    gateways: BTreeMap<Arc<str>, Listened>,
}

impl Silence {
    /// These are the nodes.
    pub(super) fn nodes(&mut self, nodes: &BTreeSet<Arc<str>>) {
        self.own.retain(|node, _| nodes.contains(node));
        nodes.iter().for_each(|node| _ = self.own.entry(node.clone()).or_default());
        self.gateways.values_mut().for_each(|listened| listened.since_ms.retain(|node, _| nodes.contains(node)));
    }

    /// Whether it is one of them.
    pub(super) fn is_node(&self, node: &str) -> bool {
        self.own.contains_key(node)
    }

    /// The gateway is listened for from now on.
    pub(super) fn listen(&mut self, gateway: &Arc<str>) {
        self.gateways.entry(gateway.clone()).or_default();
    }

    /// It is not any longer.
    pub(super) fn unlisten(&mut self, gateway: &str) {
        self.gateways.remove(gateway);
    }

    /// It can be heard at the node, or it cannot.
    pub(super) fn listening(&mut self, gateway: &str, node: &Arc<str>, is_listening: bool, now_ms: u64) {
        let is_node = self.is_node(node);
        let Some(Listened { since_ms, .. }) = self.gateways.get_mut(gateway) else { return };
        if is_listening && is_node {
            since_ms.entry(node.clone()).or_insert(now_ms);
        } else {
            since_ms.remove(node);
        }
    }

    /// The own canary was heard at the node.
    pub(super) fn heard_own(&mut self, node: &str, now_ms: u64) {
        if let Some(own) = self.own.get_mut(node) {
            let since_ms = own.filter(|(_, last_ms)| now_ms <= last_ms + OWN_MISSING_MS).map_or(now_ms, |(since_ms, _)| since_ms);
            *own = Some((since_ms, now_ms));
        }
    }

    /// That of another gateway was heard at a node.
    pub(super) fn heard(&mut self, gateway: &str, now_ms: u64) {
        self.gateways.get_mut(gateway).into_iter().for_each(|listened| listened.heard_ms = now_ms);
    }

    /// Whether the gateway was silent for long enough at all nodes at which it can be heard, one at least.
    pub(super) fn is_silent(&self, gateway: &str, now_ms: u64) -> bool {
        let Some(listened) = self.gateways.get(gateway) else { return false };
        let own = |node: &Arc<str>| self.own.get(node).copied().flatten().filter(|(_, last_ms)| now_ms <= last_ms + OWN_MISSING_MS);
        let mut since = listened.since_ms.iter().filter_map(|(node, since_ms)| Some(own(node)?.0.max(*since_ms))).peekable();
        since.peek().is_some() && since.all(|since_ms| now_ms >= since_ms.max(listened.heard_ms) + CANARY_SILENT_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two nodes, at which the own canary was heard at `own_ms`, and `g2` is listened for since 10 s.
    fn silence(own_ms: &[u64]) -> Silence {
        let mut silence = Silence::default();
        silence.nodes(&["a".into(), "b".into()].into());
        silence.listen(&"g2".into());
        for node in ["a", "b"] {
            own_ms.iter().for_each(|own_ms| silence.heard_own(node, *own_ms));
            silence.listening("g2", &node.into(), true, 10_000);
        }
        silence
    }

    const EVERY_SECOND: [u64; 8] = [9_000, 10_000, 11_000, 12_000, 13_000, 14_000, 15_000, 16_000];

    #[test]
    fn five_seconds_without_a_word_at_any_node_are_silence() {
        let mut silence = silence(&EVERY_SECOND);
        assert_eq!((silence.is_silent("g2", 14_999), silence.is_silent("g2", 15_000)), (false, true));
        assert!(!silence.is_silent("g3", 15_000), "nobody listens for it");
        silence.heard("g2", 11_500);
        assert_eq!((silence.is_silent("g2", 16_499), silence.is_silent("g2", 16_500)), (false, true));
        silence.nodes(&["b".into(), "c".into()].into());
        assert!(silence.is_silent("g2", 16_500));
        silence.listening("g2", &"b".into(), false, 16_500);
        assert!(!silence.is_silent("g2", 16_500), "it cannot be heard anywhere");
        silence.listening("g2", &"b".into(), true, 16_500);
        assert!(!silence.is_silent("g2", 16_500), "what was before is not known");
        (17..=22).for_each(|s| silence.heard_own("b", s * 1_000));
        silence.listening("g2", &"b".into(), true, 20_000);
        assert!(silence.is_silent("g2", 21_500), "to be told again changes nothing");
        (18..=22).for_each(|s| silence.heard_own("c", s * 1_000));
        silence.listening("g2", &"c".into(), true, 18_000);
        assert!(!silence.is_silent("g2", 22_000), "at one of two nodes it was silent for four seconds only");
    }

    #[test]
    fn where_the_own_canary_is_missing_no_silence_counts() {
        assert!(!silence(&[10_000, 11_000, 12_000]).is_silent("g2", 15_000), "both nodes hang");
        assert!(silence(&[10_000, 11_000, 12_000, 13_000]).is_silent("g2", 15_000));
        let stalled = silence(&[9_000, 10_000, 15_000, 16_000, 17_000, 18_000, 19_000]);
        assert_eq!(
            (stalled.is_silent("g2", 15_000), stalled.is_silent("g2", 19_999), stalled.is_silent("g2", 20_000)),
            (false, false, true)
        );
        let mut half = silence(&[10_000, 11_000]);
        EVERY_SECOND.iter().for_each(|own_ms| half.heard_own("a", *own_ms));
        assert!(half.is_silent("g2", 15_500), "one node is enough");
    }
}
