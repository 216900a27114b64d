//! Pure: the clients of one roster. Each is found by its own id, which is not kept a second time.

use crate::member::Member;
use std::{
    borrow::Borrow,
    collections::HashSet,
    hash::{Hash, Hasher},
    sync::Arc,
};

/// The table.
#[derive(Debug, Default)]
pub(crate) struct Clients(HashSet<ById>);

/// A client that is the same as another one of its id.
#[derive(Debug)]
struct ById(Arc<Member>);

impl Clients {
    pub(crate) fn get(&self, client: &str) -> Option<&Arc<Member>> {
        self.0.get(client).map(|ById(member)| member)
    }

    /// Adds a client, in place of the one of the same id.
    pub(crate) fn put(&mut self, member: Arc<Member>) {
        self.0.replace(ById(member));
    }

    pub(crate) fn remove(&mut self, client: &str) {
        self.0.remove(client);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// In no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.0.iter().map(|ById(member)| member)
    }
}

impl Borrow<str> for ById {
    fn borrow(&self) -> &str {
        &self.0.client
    }
}

impl PartialEq for ById {
    fn eq(&self, other: &ById) -> bool {
        self.0.client == other.0.client
    }
}

impl Eq for ById {}

impl Hash for ById {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.client.hash(state);
    }
}
