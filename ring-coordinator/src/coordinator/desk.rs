//! I/O: where people ask the leader for something, besides etcd, and who waits for which answer.

use super::facts::{Input, Refusal};
use crate::wanted::{Wanted, Wish};
use tokio::sync::{mpsc, oneshot};

/// What people ask for and was not taken yet; more get no answer but an error at once.
const ASKED_MAX: usize = 16;
/// A wish, and where its answer goes.
pub(super) type Asked = (Wish, oneshot::Sender<Result<u64, Refusal>>);

/// Where people ask. Clones are the same.
#[derive(Clone, Debug)]
pub struct Desk(mpsc::Sender<Asked>);

impl Desk {
    pub(super) fn new() -> (Desk, mpsc::Receiver<Asked>) {
        let (sender, asked) = mpsc::channel(ASKED_MAX);
        (Desk(sender), asked)
    }

    /// Asks, and waits for the answer: the epoch that comes of it. [`Refusal::NotLeading`] also if nobody is there.
    pub async fn ask(&self, wish: Wish) -> Result<u64, Refusal> {
        let (sender, answer) = oneshot::channel();
        self.0.try_send((wish, sender)).map_err(|_| Refusal::Busy)?;
        answer.await.unwrap_or(Err(Refusal::NotLeading))
    }
}

/// Who waits for an answer.
pub(super) enum Asker {
    /// Who left a wish in etcd, at this revision.
    Etcd(i64, Wanted),
    /// Who asked here.
    Desk(oneshot::Sender<Result<u64, Refusal>>),
}

/// A wish as the coordinator takes it.
pub(super) fn told(wish: Wish, wanted: u64) -> Input {
    match wish {
        Wish::Become { layout, epoch } => Input::Wanted { wanted, base: epoch, layout },
        Wish::Abort => Input::Abort { wanted },
        Wish::Lose(nodes) => Input::Remove { wanted, nodes: nodes.into_iter().collect() },
        Wish::Publish => Input::Publish { wanted },
    }
}

/// Whether what stands in etcd is to be told again later instead of being refused. Other wishes than a layout, which waits for
/// the end of a change, find the coordinator busy only for as long as it takes to write a document.
pub(super) fn is_too_early(wish: &Wish, result: &Result<u64, Refusal>) -> bool {
    match result {
        Err(Refusal::NotLeading) => true,
        Err(Refusal::Busy) => !matches!(wish, Wish::Become { .. }),
        _ => false,
    }
}
