//! I/O: what the coordinator writes to etcd; each comes back as a result, and nothing is written twice for it.

use super::errands::Back;
use crate::{
    document::Document,
    etcd::{Leadership, Store, WriteError},
    wanted::Answer,
};

/// The way to etcd in one leadership: whoever is deposed writes nothing any more, whatever he still believes.
#[derive(Clone)]
pub(super) struct Pen {
    pub(super) store: Store,
    pub(super) leadership: Leadership,
}

impl Pen {
    /// Writes the document over that of the revision.
    pub(super) async fn write(self, document: Document, revision: i64) -> Back {
        match self.store.write(&document, revision, &self.leadership).await {
            Ok(_) => Back::Written("ok"),
            Err(error) => {
                tracing::warn!(%error, epoch = document.epoch, "coordinator: the ring was not written");
                Back::Written(if matches!(error, WriteError::Unknown(_)) { "unknown" } else { "refused" })
            }
        }
    }

    /// Takes a gateway's key away.
    pub(super) async fn expel(self, gateway: String) -> Back {
        match self.store.expel(&gateway, &self.leadership).await {
            Ok(_) => tracing::warn!(gateway, "coordinator: a gateway did not do its part in time; it has to come back as a new one"),
            Err(error) => tracing::warn!(gateway, %error, "coordinator: not expelled"),
        }
        Back::Nothing
    }

    /// Answers what was asked for at this revision, and takes the question away.
    pub(super) async fn answer(self, asked: i64, answer: Answer) -> Back {
        let Ok(json) = serde_json::to_vec(&answer) else { return Back::Nothing };
        match self.store.answer(asked, &json, &self.leadership).await {
            Ok(_) | Err(WriteError::Changed { .. }) => Back::Nothing,
            Err(error) => {
                tracing::warn!(%error, "coordinator: an answer was not written");
                Back::Unanswered
            }
        }
    }
}
