//! Pure: what comes from the streams that a channel has in other regions: each publication once, and those of one region in its order.

use protocol::message::{Publication, StreamPosition};
use std::sync::Arc;

/// The next piece of a channel's stream in another region.
#[derive(Clone, Debug, PartialEq)]
pub struct Import {
    /// The region.
    pub region: Arc<str>,
    /// The offset after which nothing was published there before the piece; imports there do not count.
    pub after: u64,
    /// Where its stream stands with the piece.
    pub at: StreamPosition,
    /// What was published. `None`: publications that nobody has any more, or a stream of which nothing is known in place of one that
    /// was. One offset is left out of the stream here, so that whoever recovers from before it is told `recovered: false`.
    pub publication: Option<Publication>,
    /// The epoch of the stream in place of which another one is told. Not in place of a third, which somebody else was told meanwhile:
    /// what was heard late would go back to a stream that is over.
    pub instead: Option<Arc<str>>,
    /// Only a place, at which nobody has missed anything. Where nothing was known here of the stream, it is the one from which it is
    /// told; then it counts only where still nothing is known. Without it, who was here from then on would not be told of what is
    /// published and lost before anything has come. Or it is a [`Import::mark`].
    pub begins: bool,
}

/// What became of a piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Imported {
    /// It is in the channel's stream here.
    Taken,
    /// It was there before.
    Known,
    /// Something between what is known here and the piece is missing. Nothing has changed; ask that region from the known place on.
    Behind,
}

impl Import {
    /// A place up to which all has been in the channel here: what is known may have been lost with the stream here, so that
    /// everything would be published here anew.
    #[must_use]
    pub fn mark(region: Arc<str>, at: StreamPosition) -> Import {
        Import { region, after: 0, at, publication: None, instead: None, begins: true }
    }

    /// What is to become of the piece where `known` was the last of its region. `append.lua` decides the same.
    #[must_use]
    pub fn judge(&self, known: Option<&StreamPosition>) -> Imported {
        match known {
            Some(known) if known.epoch == self.at.epoch && self.at.offset <= known.offset => Imported::Known,
            Some(known) if known.epoch == self.at.epoch && self.after > known.offset => Imported::Behind,
            Some(known) if known.epoch != self.at.epoch && self.instead.as_deref() != Some(&known.epoch) => Imported::Behind,
            _ => Imported::Taken,
        }
    }
}

/// What a region has published into a channel itself, after some offset.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Own {
    /// The stream's epoch, and the offset of the last publication that was made in this region; 0 if there was none.
    pub last: StreamPosition,
    /// Oldest first, each with the offset of the one before it, 0 for the first. More may follow if there are as many as were asked for.
    pub publications: Vec<(u64, Publication)>,
}

impl Own {
    /// Where the stream stood before the first of the publications.
    #[must_use]
    pub fn place(&self) -> StreamPosition {
        let offset = self.publications.first().map_or(self.last.offset, |(before, _)| *before);
        StreamPosition { offset, epoch: self.last.epoch.clone() }
    }

    /// Whether nothing is missing between `since` and the first of the publications.
    #[must_use]
    pub fn follows(&self, since: &StreamPosition) -> bool {
        let place = self.place();
        since.epoch == place.epoch && place.offset <= since.offset
    }
}
