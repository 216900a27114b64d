//! I/O: the connections of this node, found by id, by user and by emulation session.

use crate::hub::{
    outbox::{Control, Outbox},
    topic::ConnectionId,
};
use bytes::Bytes;
use parking_lot::Mutex;
use protocol::code::Disconnect;
use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};
use tokio::sync::mpsc;

/// What others need to reach a connection.
#[derive(Clone)]
pub struct Handle {
    /// Its queue.
    pub outbox: Arc<Outbox>,
    /// Its client id.
    pub client: Arc<str>,
    /// Its emulation session.
    pub session: Arc<str>,
    /// Where `POST /emulation` leaves its frames.
    pub inbound: Option<mpsc::Sender<Bytes>>,
}

/// All connections of this node.
#[derive(Default)]
pub struct Registry {
    tables: Mutex<Tables>,
}

#[derive(Default)]
struct Tables {
    connections: HashMap<ConnectionId, Handle>,
    by_session: HashMap<Arc<str>, ConnectionId>,
    by_user: HashMap<String, HashSet<ConnectionId>>,
}

impl Registry {
    /// Adds a connection, unless there are `most` already.
    #[must_use]
    pub fn add(&self, id: ConnectionId, handle: Handle, most: usize) -> bool {
        let mut tables = self.tables.lock();
        if tables.connections.len() >= most {
            return false;
        }
        tables.by_session.insert(handle.session.clone(), id);
        tables.connections.insert(id, handle);
        true
    }

    /// The connection has a user from now on.
    pub fn set_user(&self, id: ConnectionId, user: &str) {
        self.tables.lock().by_user.entry(user.to_owned()).or_default().insert(id);
    }

    /// Removes a connection; idempotent.
    pub fn remove(&self, id: ConnectionId, user: Option<&str>) {
        let mut tables = self.tables.lock();
        if let Some(handle) = tables.connections.remove(&id) {
            tables.by_session.remove(&handle.session);
        }
        if let Some(user) = user
            && let Some(ids) = tables.by_user.get_mut(user)
        {
            ids.remove(&id);
            if ids.is_empty() {
                tables.by_user.remove(user);
            }
        }
    }

    /// Lets a connection's task look around.
    pub fn wake(&self, id: ConnectionId) {
        if let Some(handle) = self.tables.lock().connections.get(&id) {
            handle.outbox.wake();
        }
    }

    /// The connection of an emulation session.
    #[must_use]
    pub fn of_session(&self, session: &str) -> Option<Handle> {
        let tables = self.tables.lock();
        tables.by_session.get(session).and_then(|id| tables.connections.get(id)).cloned()
    }

    /// The connections of a user, of only that client or session where one is named.
    #[must_use]
    pub fn of_user(&self, user: &str, client: Option<&str>, session: Option<&str>) -> Vec<Handle> {
        let tables = self.tables.lock();
        let ids = tables.by_user.get(user).into_iter().flatten();
        ids.filter_map(|id| tables.connections.get(id))
            .filter(|handle| client.is_none_or(|client| *handle.client == *client))
            .filter(|handle| session.is_none_or(|session| *handle.session == *session))
            .cloned()
            .collect()
    }

    /// Tells every connection to end, `wave` at a time with `pause` between waves.
    pub async fn close_all(&self, code: Disconnect, wave: usize, pause: std::time::Duration) {
        let outboxes: Vec<_> = self.tables.lock().connections.values().map(|handle| handle.outbox.clone()).collect();
        for (index, wave) in outboxes.chunks(wave.max(1)).enumerate() {
            if index > 0 {
                tokio::time::sleep(pause).await;
            }
            wave.iter().for_each(|outbox| outbox.control(Control::Close(code)));
        }
    }

    /// How many connections there are, and of how many users.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let tables = self.tables.lock();
        (tables.connections.len(), tables.by_user.len())
    }
}
