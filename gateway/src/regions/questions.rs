//! I/O: what another region is asked of users: each question with its number, until the answer is there or it is too late.

use parking_lot::Mutex;
use peering::link::Sender;
use presence::UserPresence;
use protocol::region::{AskUsers, RegionMessage, UserKnown, UsersKnown};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{sync::oneshot, time::timeout};

/// How long an answer may take. Nobody who asks for a user waits for a silent region longer.
const PATIENCE: Duration = Duration::from_secs(1);
/// Questions to one region that wait for their answers; one more is not asked.
const QUESTIONS_MAX: usize = 10_000;

type Answer = oneshot::Sender<Vec<UserPresence>>;

/// The questions to one region.
#[derive(Default)]
pub(super) struct Questions(Mutex<Asked>);

#[derive(Default)]
struct Asked {
    /// The link that is there.
    link: Option<Sender>,
    /// Questions so far, over all links.
    last: u64,
    /// Who waits for which.
    waiting: HashMap<u64, Answer>,
}

impl Questions {
    /// The link is there.
    pub(super) fn up(&self, link: &Sender) {
        self.0.lock().link = Some(link.clone());
    }

    /// It is not any more; nobody waits any longer.
    pub(super) fn down(&self) {
        let mut asked = self.0.lock();
        asked.link = None;
        asked.waiting.clear();
    }

    /// What the region knows of each of `users`, in their order; `None` if it does not say so in time.
    pub(super) async fn ask(&self, users: &[Arc<str>]) -> Option<Vec<UserPresence>> {
        let (number, answered) = self.put(users)?;
        let answer = timeout(PATIENCE, answered).await.ok().and_then(Result::ok);
        if answer.is_none() {
            self.0.lock().waiting.remove(&number);
        }
        answer.filter(|known| known.len() == users.len())
    }

    fn put(&self, users: &[Arc<str>]) -> Option<(u64, oneshot::Receiver<Vec<UserPresence>>)> {
        let mut asked = self.0.lock();
        if asked.waiting.len() >= QUESTIONS_MAX {
            return None;
        }
        asked.last += 1;
        let number = asked.last;
        let users = users.iter().map(|user| user.as_ref().to_owned()).collect();
        asked.link.as_ref()?.send(RegionMessage::AskUsers(AskUsers { ask: number, users }).to_bytes()).ok()?;
        let (answer, answered) = oneshot::channel();
        asked.waiting.insert(number, answer);
        Some((number, answered))
    }

    /// An answer has come; one that nobody waits for is late.
    pub(super) fn answered(&self, UsersKnown { ask, users }: UsersKnown) {
        if let Some(answer) = self.0.lock().waiting.remove(&ask) {
            _ = answer.send(users.into_iter().map(presence).collect());
        }
    }

    /// The region cannot answer.
    pub(super) fn refused(&self, number: u64) {
        self.0.lock().waiting.remove(&number);
    }
}

fn presence(UserKnown { clients, last_seen_ms }: UserKnown) -> UserPresence {
    UserPresence { online: clients > 0, clients: usize::try_from(clients).unwrap_or(usize::MAX), last_seen_ms }
}
