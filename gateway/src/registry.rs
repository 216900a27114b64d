//! I/O: the connections of this node, found by id, by user and by emulation session.

use crate::{
    admission::pace::SharedPace,
    hub::{
        outbox::{Control, Outbox},
        topic::ConnectionId,
    },
    transport::inbound::Inbound,
};
use parking_lot::Mutex;
use protocol::code::Disconnect;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// What others need to reach a connection.
#[derive(Clone)]
pub struct Handle {
    /// Its queue.
    pub outbox: Arc<Outbox>,
    /// Its client id.
    pub client: Arc<str>,
}

/// What makes a connection out of requests, or names a stream.
pub struct Emulated {
    /// The secret that its client was told.
    pub session: Arc<str>,
    /// Where `POST /emulation` leaves its frames; `None`: its client does not speak.
    pub inbound: Option<Arc<Inbound>>,
}

/// All connections of this node.
#[derive(Default)]
pub struct Registry {
    tables: Mutex<Tables>,
}

#[derive(Default)]
struct Tables {
    connections: HashMap<ConnectionId, Handle>,
    /// Of the few whose clients were told a session.
    by_session: HashMap<Arc<str>, (ConnectionId, Option<Arc<Inbound>>)>,
    by_user: HashMap<Arc<str>, User>,
    /// With what everybody was told to end, and whoever comes is refused.
    ends: Option<Disconnect>,
}

/// What is known of one user here.
struct User {
    connections: Connections,
    /// How its commands come, over all its connections; `None` for all those together that have no name.
    pace: Option<Arc<SharedPace>>,
}

/// The connections of one user, mostly one.
enum Connections {
    One(ConnectionId),
    #[allow(clippy::box_collection)] // a set takes three times the room that one id needs
    Many(Box<HashSet<ConnectionId>>),
}

impl Registry {
    /// Adds a connection. An error, with which it has to be closed, if there are `most` already or all are told to end: nothing has
    /// changed then.
    pub fn add(&self, id: ConnectionId, handle: Handle, emulated: Option<Emulated>, most: usize) -> Result<(), Disconnect> {
        let mut tables = self.tables.lock();
        if let Some(code) = tables.ends {
            return Err(code);
        }
        if tables.connections.len() >= most {
            return Err(Disconnect::ConnectionLimit);
        }
        if let Some(Emulated { session, inbound }) = emulated {
            tables.by_session.insert(session, (id, inbound));
        }
        tables.connections.insert(id, handle);
        Ok(())
    }

    /// The connection has a user from now on. Returns how that user's commands come, `None` for somebody without a name, and how many
    /// connections it has.
    pub(crate) fn set_user(&self, id: ConnectionId, user: &Arc<str>) -> (Option<Arc<SharedPace>>, usize) {
        let mut tables = self.tables.lock();
        let fresh = || User { connections: Connections::One(id), pace: (!user.is_empty()).then(Arc::default) };
        let user = tables.by_user.entry(user.clone()).or_insert_with(fresh);
        user.connections.add(id);
        (user.pace.clone(), user.connections.count())
    }

    /// Removes a connection; idempotent.
    pub fn remove(&self, id: ConnectionId, user: Option<&str>, session: Option<&str>) {
        let mut tables = self.tables.lock();
        tables.connections.remove(&id);
        if let Some(session) = session {
            tables.by_session.remove(session);
        }
        if let Some(user) = user
            && tables.by_user.get_mut(user).is_some_and(|user| user.connections.remove(id))
        {
            tables.by_user.remove(user);
        }
    }

    /// Lets a connection's task look around.
    pub fn wake(&self, id: ConnectionId) {
        if let Some(handle) = self.tables.lock().connections.get(&id) {
            handle.outbox.wake();
        }
    }

    /// Where frames for an emulation session are left.
    #[must_use]
    pub fn inbound(&self, session: &str) -> Option<Arc<Inbound>> {
        self.tables.lock().by_session.get(session).and_then(|(_, inbound)| inbound.clone())
    }

    /// The connections of a user, of only that client or session where one is named.
    #[must_use]
    pub fn of_user(&self, user: &str, client: Option<&str>, session: Option<&str>) -> Vec<Handle> {
        let tables = self.tables.lock();
        let of_session = session.map(|session| tables.by_session.get(session).map(|(id, _)| *id));
        let ids = tables.by_user.get(user).map(|user| user.connections.ids()).into_iter().flatten();
        ids.filter(|id| of_session.is_none_or(|of_session| of_session == Some(*id)))
            .filter_map(|id| tables.connections.get(&id))
            .filter(|handle| client.is_none_or(|client| *handle.client == *client))
            .cloned()
            .collect()
    }

    /// Tells every connection to end, `wave` at a time with `pause` between waves; no more are added from now on.
    pub async fn close_all(&self, code: Disconnect, wave: usize, pause: std::time::Duration) {
        let outboxes: Vec<_> = {
            let mut tables = self.tables.lock();
            tables.ends = Some(code);
            tables.connections.values().map(|handle| handle.outbox.clone()).collect()
        };
        for (index, wave) in outboxes.chunks(wave.max(1)).enumerate() {
            if index > 0 {
                tokio::time::sleep(pause).await;
            }
            wave.iter().for_each(|outbox| outbox.control(Control::Close(code)));
        }
    }

    /// The queues of all connections.
    #[must_use]
    pub fn outboxes(&self) -> Vec<Arc<Outbox>> {
        self.tables.lock().connections.values().map(|handle| handle.outbox.clone()).collect()
    }

    /// How many connections there are, and of how many users.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let tables = self.tables.lock();
        (tables.connections.len(), tables.by_user.len())
    }
}

impl Connections {
    fn add(&mut self, id: ConnectionId) {
        match self {
            Connections::One(one) if *one == id => {}
            Connections::One(one) => *self = Connections::Many(Box::new(HashSet::from([*one, id]))),
            Connections::Many(ids) => _ = ids.insert(id),
        }
    }

    /// Whether none is left.
    fn remove(&mut self, id: ConnectionId) -> bool {
        match self {
            Connections::One(one) => *one == id,
            Connections::Many(ids) => {
                ids.remove(&id);
                ids.is_empty()
            }
        }
    }

    fn count(&self) -> usize {
        match self {
            Connections::One(_) => 1,
            Connections::Many(ids) => ids.len(),
        }
    }

    fn ids(&self) -> impl Iterator<Item = ConnectionId> {
        let (one, many) = match self {
            Connections::One(one) => (Some(*one), None),
            Connections::Many(ids) => (None, Some(ids.iter().copied())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::broadcast::Wire;

    #[tokio::test]
    async fn nobody_is_let_in_after_all_were_sent_away_or_while_there_are_too_many() {
        let (registry, outbox) = (Registry::default(), Arc::new(Outbox::new(Wire::Json, 1_000, None)));
        let add = |id| registry.add(id, Handle { outbox: outbox.clone(), client: "c".into() }, None, 1);
        assert_eq!((add(1), add(2)), (Ok(()), Err(Disconnect::ConnectionLimit)));
        registry.close_all(Disconnect::Shutdown, 1, std::time::Duration::ZERO).await;
        registry.remove(1, None, None);
        assert_eq!(add(3), Err(Disconnect::Shutdown), "it would stay until it is cut off");
        assert_eq!(registry.counts().0, 0);
    }

    #[test]
    fn a_user_has_the_connections_that_came_and_did_not_go() {
        let mut connections = Connections::One(1);
        let ids = |connections: &Connections| connections.ids().collect::<std::collections::BTreeSet<_>>();
        connections.add(1);
        assert_eq!(ids(&connections), [1].into());
        assert!(!connections.remove(2), "another one is not here, and this one stays");
        [2, 3, 2].into_iter().for_each(|id| connections.add(id));
        assert_eq!(ids(&connections), [1, 2, 3].into());
        assert!(!connections.remove(1) && !connections.remove(3) && !connections.remove(3));
        assert_eq!(ids(&connections), [2].into());
        assert!(connections.remove(2), "nobody is left");
    }
}
