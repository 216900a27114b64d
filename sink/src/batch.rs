//! Pure: who may write a table, and what a page of the change feed becomes in it. The row of the table of states has the number of the
//! newest batch: a batch counts one up at least, and takes effect only over the number that it goes by. So of a counter's row no older
//! state ever takes the place of a newer one, whoever writes, and whatever was restored.

use counter::{ChangeCursor, ChangePage};
use protocol::name::CounterKey;

/// After so long without a word of the node that writes a table, another one may, in milliseconds.
pub const OWNER_SILENT_MS: i64 = 60_000;
/// For so long a node must have looked on, at a database that answers, before it takes the table of another one: after an outage of the
/// database the owner comes back first, since it waits for less between two tries.
pub const LOOKED_ON_MS: u64 = 20_000;
/// Numbers of batches stay below this: more is no number of ours, and could not be counted on from.
pub const SEQ_MAX: i64 = 1 << 60;

/// What the table of states says of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// `region/node` of the node that writes it.
    pub owner: String,
    /// How far that one has come in its feed.
    pub cursor: String,
    /// The number of the newest batch.
    pub seq: i64,
    /// What was acknowledged before this moment is in the table, in milliseconds since 1970.
    pub as_of_ms: i64,
    /// For so long nothing was heard of the owner, by the database's clock, in milliseconds.
    pub silent_ms: i64,
}

/// How far a table has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Where the next page of the feed begins; `None`: with all counters.
    pub cursor: Option<ChangeCursor>,
    /// The number of the newest batch.
    pub seq: i64,
    /// What was acknowledged before this moment is in the table; 0 if that was never so.
    pub as_of_ms: i64,
    /// When the walk over all counters began that is not over yet, if there is one and that is known.
    pub walks_since_ms: Option<i64>,
}

/// What one transaction writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The counters with their values.
    pub rows: Vec<(CounterKey, i128)>,
    /// When the values were read, in milliseconds since 1970.
    pub read_at_ms: i64,
    /// The number of the batch that must be the newest one.
    pub over: i64,
    /// How far the table has come with it.
    pub progress: Progress,
    /// Without it the cursor would not come far enough.
    pub is_walk: bool,
}

/// The table is not this node's to write now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The node that writes it was heard of lately.
    Owned(Standing),
    /// The number is none of ours.
    Number(i64),
}

/// Whether `node`, which has waited for the table so long, may write it, and from where on it has to. Without a state, the table may hold
/// rows up to the number `greatest`.
pub fn claim(state: Option<Standing>, greatest: i64, (node, waited_ms): (&str, u64)) -> Result<Progress, Refusal> {
    let is_free = |state: &Standing| state.silent_ms >= OWNER_SILENT_MS && waited_ms >= LOOKED_ON_MS;
    let progress = match state {
        None => Progress { cursor: None, seq: greatest, as_of_ms: 0, walks_since_ms: None },
        Some(state) if state.owner != node && !is_free(&state) => return Err(Refusal::Owned(state)),
        // A cursor of another node begins a walk by itself.
        Some(state) => Progress { cursor: state.cursor.parse().ok(), seq: state.seq, as_of_ms: state.as_of_ms, walks_since_ms: None },
    };
    if (0..SEQ_MAX).contains(&progress.seq) { Ok(progress) } else { Err(Refusal::Number(progress.seq)) }
}

impl Progress {
    /// What comes of a page that was read from where this ends. Of other namespaces than `namespaces` nothing is written, if some are named.
    #[must_use]
    pub fn batch(self, page: ChangePage, namespaces: &[String]) -> Batch {
        let is_wanted = |key: &CounterKey| {
            let of = key.namespace().unwrap_or_default();
            namespaces.is_empty() || namespaces.iter().any(|namespace| namespace == of)
        };
        let rows: Vec<_> =
            page.counters.into_iter().filter(|counter| is_wanted(&counter.key)).map(|counter| (counter.key, counter.value)).collect();
        // The feed's own number, so that both can be compared; but after a clock was put back, one more than before.
        let seq = if rows.is_empty() { self.seq } else { i64::try_from(page.seq).unwrap_or(i64::MAX).clamp(self.seq + 1, SEQ_MAX) };
        let read_at_ms = i64::try_from(page.read_at.wall_ms).unwrap_or(i64::MAX);
        let goes_on = self.cursor.is_some_and(|cursor| cursor.is_walking());
        let began_ms = if goes_on { self.walks_since_ms } else { page.is_walk.then_some(read_at_ms) };
        // A walk has everything from before it began, also where it comes to so much that has changed that the next one begins.
        let complete_ms = match (page.is_more, page.next.is_walking()) {
            (false, _) => Some(read_at_ms),
            (true, false) => began_ms,
            (true, true) => None,
        };
        let as_of_ms = self.as_of_ms.max(complete_ms.unwrap_or_default());
        let walks_since_ms = began_ms.filter(|_| page.next.is_walking());
        let progress = Progress { cursor: Some(page.next), seq, as_of_ms, walks_since_ms };
        Batch { rows, read_at_ms, over: self.seq, progress, is_walk: page.is_walk }
    }
}

impl Batch {
    /// The cursor as text.
    pub(crate) fn cursor(&self) -> String {
        self.progress.cursor.map(|cursor| cursor.to_string()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use counter::ChangedCounter;
    use protocol::time::Now;

    fn standing(owner: &str, silent_ms: i64) -> Standing {
        Standing { owner: owner.to_owned(), cursor: "1.7.5".to_owned(), seq: 40, as_of_ms: 1_000, silent_ms }
    }

    fn page(seq: u64, keys: &[&str], is_more: bool) -> ChangePage {
        let counters = keys.iter().map(|key| ChangedCounter { key: CounterKey::parse(key).unwrap(), value: 3 }).collect();
        let read_at = Now { mono_ms: 0, wall_ms: 2_000 };
        ChangePage { counters, seq, next: "1.7.9".parse().unwrap(), is_walk: false, is_more, read_at }
    }

    #[test]
    fn a_table_is_written_by_its_owner_and_by_others_once_that_was_silent_for_long() {
        let cursor = Some("1.7.5".parse().unwrap());
        let on = Progress { cursor, seq: 40, as_of_ms: 1_000, walks_since_ms: None };
        assert_eq!(claim(Some(standing("eu/c1", 0)), 0, ("eu/c1", 0)), Ok(on));
        let other = standing("eu/c2", OWNER_SILENT_MS - 1);
        assert_eq!(claim(Some(other.clone()), 0, ("eu/c1", LOOKED_ON_MS)), Err(Refusal::Owned(other)));
        assert_eq!(claim(Some(standing("eu/c2", OWNER_SILENT_MS)), 0, ("eu/c1", LOOKED_ON_MS)), Ok(on));
        let silent = standing("eu/c2", OWNER_SILENT_MS);
        assert_eq!(
            claim(Some(silent.clone()), 0, ("eu/c1", LOOKED_ON_MS - 1)),
            Err(Refusal::Owned(silent)),
            "the owner may be about to come back"
        );
        assert_eq!(claim(None, 70, ("eu/c1", 0)), Ok(Progress { cursor: None, seq: 70, as_of_ms: 0, walks_since_ms: None }));
        let garbled = Standing { cursor: "?".to_owned(), ..standing("eu/c1", 0) };
        assert_eq!(claim(Some(garbled), 0, ("eu/c1", 0)).unwrap().cursor, None);
        for seq in [-1, SEQ_MAX, i64::MAX] {
            assert_eq!(claim(Some(Standing { seq, ..standing("eu/c1", 0) }), 0, ("eu/c1", 0)), Err(Refusal::Number(seq)));
        }
    }

    #[test]
    fn the_number_of_a_batch_is_the_feeds_or_at_least_one_more_than_the_last() {
        let begun = Progress { cursor: None, seq: 40, as_of_ms: 1_000, walks_since_ms: None };
        let batch = begun.batch(page(50, &["a", "b"], true), &[]);
        assert_eq!((batch.over, batch.progress.seq, batch.progress.as_of_ms, batch.rows.len()), (40, 50, 1_000, 2));
        assert_eq!(
            begun.batch(page(40, &["a"], false), &[]).progress,
            Progress { cursor: batch.progress.cursor, seq: 41, as_of_ms: 2_000, walks_since_ms: None }
        );
        assert_eq!(begun.batch(page(3, &["a"], false), &[]).progress.seq, 41);
        assert_eq!(begun.batch(page(50, &[], false), &[]).progress.seq, 40, "without rows there is nothing to tell apart");
    }

    #[test]
    fn a_walk_that_is_over_has_everything_from_before_it_began_though_more_has_changed() {
        let begun = Progress { cursor: None, seq: 40, as_of_ms: 1_000, walks_since_ms: None };
        let step = |progress: Progress, wall_ms: u64, next: &str| {
            let read_at = Now { mono_ms: 0, wall_ms };
            progress.batch(ChangePage { read_at, is_walk: true, next: next.parse().unwrap(), ..page(50, &["a"], true) }, &[]).progress
        };
        let first = step(begun, 5_000, "1.7.9.0.8.8");
        assert_eq!((first.as_of_ms, first.walks_since_ms), (1_000, Some(5_000)));
        let second = step(first, 6_000, "1.7.9.2.8.8");
        assert_eq!((second.as_of_ms, second.walks_since_ms), (1_000, Some(5_000)));
        let last = step(second, 7_000, "1.7.9");
        assert_eq!((last.as_of_ms, last.walks_since_ms), (5_000, None));
        let again = step(last, 8_000, "1.7.20.0.8.8");
        assert_eq!((again.as_of_ms, again.walks_since_ms), (5_000, Some(8_000)), "the ring did not reach so far: another walk");
        let unknown = Progress { walks_since_ms: None, ..second };
        assert_eq!(step(unknown, 7_000, "1.7.9").as_of_ms, 1_000, "one that another connection began");
    }

    #[test]
    fn other_namespaces_are_left_out_and_the_table_comes_as_far() {
        let begun = Progress { cursor: None, seq: 0, as_of_ms: 0, walks_since_ms: None };
        let of = |namespaces: &[&str]| {
            let namespaces: Vec<String> = namespaces.iter().map(|&name| name.to_owned()).collect();
            let batch = begun.batch(page(9, &["a", "likes:1", "views:1"], false), &namespaces);
            assert_eq!((batch.cursor(), batch.progress.as_of_ms), ("1.7.9".to_owned(), 2_000));
            batch.rows.into_iter().map(|(key, _)| key.as_str().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(of(&[]), ["a", "likes:1", "views:1"]);
        assert_eq!(of(&["likes", ""]), ["a", "likes:1"]);
        assert_eq!(of(&["others"]), [""; 0]);
    }
}
