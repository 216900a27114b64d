//! I/O: what is recorded of a Redis client: `DEL`, once it is known what became of it, and `AUTH` that was refused.

use super::{reply::Reply, request::Request};
use core::net::SocketAddr;
use protocol::{
    audit::{Entry, Sink, fingerprint},
    time::Clock,
};

/// What one client has done since its last replies went out.
#[derive(Debug)]
pub(crate) struct Trail {
    sink: Option<(Sink, Clock)>,
    remote: Option<SocketAddr>,
    api_key: Option<String>,
    waiting: Vec<Entry>,
}

impl Trail {
    pub(crate) fn new(sink: Option<(Sink, Clock)>, remote: Option<SocketAddr>) -> Trail {
        Trail { sink, remote, api_key: None, waiting: Vec::new() }
    }

    pub(super) fn logged_in(&mut self, password: &[u8], is_key: bool) {
        if self.sink.is_some() {
            self.api_key = is_key.then(|| fingerprint(&String::from_utf8_lossy(password)));
        }
    }

    pub(super) fn refused_auth(&mut self) {
        self.put("AUTH", |entry| {
            entry.api_key = None;
            entry.error = Some("WRONGPASS".to_owned());
        });
    }

    pub(super) fn del(&mut self, request: Request<'_, '_>, error: Option<&Reply>) {
        self.put("DEL", |entry| {
            request.words_from(1).for_each(|key| entry.name("counters", &String::from_utf8_lossy(key)));
            entry.error = error.map(|_| "ERR".to_owned());
        });
    }

    fn put(&mut self, command: &str, fill: impl FnOnce(&mut Entry)) {
        let Some((_, clock)) = &self.sink else { return };
        let (time_ms, api_key, remote) = (clock().wall_ms, self.api_key.clone(), self.remote);
        let mut entry = Entry { time_ms, door: "resp", api_key, remote, method: command.to_owned(), ..Entry::default() };
        fill(&mut entry);
        self.waiting.push(entry);
    }

    /// What was staged is not on disk: the replies say so, too.
    pub(super) fn withdraw(&mut self) {
        for entry in self.waiting.iter_mut().filter(|entry| entry.error.is_none()) {
            entry.error = Some("storage_unavailable".to_owned());
        }
    }

    /// Hands on what has been decided.
    pub(super) fn send(&mut self) {
        if let Some((sink, _)) = &self.sink {
            self.waiting.drain(..).for_each(|entry| (sink.record)(entry));
        }
    }
}
