//! I/O: the live channels `top:<namespace>`: the counters with the greatest values on subscribing, then the whole list whenever it has
//! changed.

use crate::{
    api::top::{Greatest, TOLD},
    gateway::Gateway,
    hub::broadcast::{Broadcast, Kind},
};
use bytes::Bytes;
use counter::TopError;
use futures_util::future::join_all;
use parking_lot::Mutex;
use protocol::{
    message::StreamPosition,
    name::{Channel, Name},
};
use std::{collections::HashMap, time::Duration};
use tokio::{sync::Notify, time::sleep};

/// Least time between two lists of one namespace; changes between them are told as one.
const INTERVAL: Duration = Duration::from_millis(500);

/// What was told last of each namespace that somebody is subscribed to: as many as namespaces at most.
#[derive(Default)]
pub(crate) struct Tops {
    told: Mutex<HashMap<String, Bytes>>,
    /// There is one to look after.
    wake: Notify,
}

/// Tells the lists that have changed. Asks for nothing while nobody is subscribed.
pub(crate) async fn run(gateway: &Gateway) {
    loop {
        let watched = gateway.tops.watched(|channel| gateway.hub.has_subscribers(channel));
        if watched.is_empty() {
            gateway.tops.wake.notified().await;
        } else {
            // All at once: one that cannot be told now must not hold up the others.
            join_all(watched.iter().map(|namespace| gateway.tell_top(namespace))).await;
        }
        sleep(INTERVAL).await;
    }
}

impl Tops {
    /// The namespaces to look after; those that nobody is subscribed to any more are forgotten.
    fn watched(&self, has_subscribers: impl Fn(&Channel) -> bool) -> Vec<String> {
        let mut told = self.told.lock();
        told.retain(|namespace, _| channel(namespace).is_some_and(|channel| has_subscribers(&channel)));
        told.keys().cloned().collect()
    }

    /// Notes what is told; says whether it is news.
    fn note(&self, namespace: &str, list: &Bytes) -> bool {
        match self.told.lock().get_mut(namespace) {
            Some(told) if told != list => {
                told.clone_from(list);
                true
            }
            _ => false,
        }
    }
}

impl Gateway {
    /// The list as it was told to the other subscribers, or as it is for the first one. Whoever asks is a subscriber at the hub already,
    /// so that no newer one is missed.
    pub(crate) async fn watch_top(&self, namespace: &str) -> Result<Bytes, TopError> {
        if let Some(told) = self.tops.told.lock().get(namespace) {
            return Ok(told.clone());
        }
        let list = self.top(namespace).await?;
        let told = self.tops.told.lock().entry(namespace.to_owned()).or_insert(list).clone();
        self.tops.wake.notify_one();
        Ok(told)
    }

    /// Tells a list if it has changed; one that is not known now is told later.
    async fn tell_top(&self, namespace: &str) {
        match self.top(namespace).await {
            Ok(list) if self.tops.note(namespace, &list) => {
                let push = |channel| Broadcast::state(channel, Kind::Top, &StreamPosition::default(), list);
                channel(namespace).map(push).iter().for_each(|push| self.hub.deliver(push));
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, namespace, "the greatest counters"),
        }
    }

    async fn top(&self, namespace: &str) -> Result<Bytes, TopError> {
        let greatest = Greatest::new(namespace.to_owned(), self.counters.top(namespace, TOLD).await?);
        Ok(serde_json::to_vec(&greatest).unwrap_or_default().into())
    }
}

fn channel(namespace: &str) -> Option<Channel> {
    Name::parse(&format!("top:{namespace}")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_told_when_it_has_changed_and_forgotten_when_nobody_is_subscribed() {
        let tops = Tops::default();
        let [first, second] = ["1", "2"].map(Bytes::from);
        assert!(!tops.note("likes", &first), "nobody is subscribed");
        tops.told.lock().insert("likes".to_owned(), first.clone());
        assert!(!tops.note("likes", &first));
        assert!(tops.note("likes", &second));
        assert!(!tops.note("likes", &second));
        assert_eq!(tops.watched(|channel| channel.as_str() == "top:likes"), ["likes"]);
        assert!(tops.watched(|_| false).is_empty());
        assert!(!tops.note("likes", &first));
    }
}
