//! Pure: what a subscriber sees of a feed, whatever happens on the way.

use super::*;
use proptest::prelude::*;

fn envelope(epoch: &str, offset: u64, id: u128, repeated: bool) -> Envelope {
    Envelope { id, repeated, epoch: epoch.into(), publication: Publication { offset, ..Publication::default() } }
}

fn started(top: u64) -> Feed {
    let mut feed = Feed::new(true);
    feed.start("e".into(), top, 0, &mut Vec::new());
    feed
}

fn delivered(out: &[Order]) -> Vec<u64> {
    out.iter().filter_map(|order| if let Order::Deliver(_, publication) = order { Some(publication.offset) } else { None }).collect()
}

fn piece(epoch: &str, offsets: std::ops::RangeInclusive<u64>, top: u64) -> Piece {
    Piece { epoch: epoch.into(), top, publications: offsets.map(|offset| Publication { offset, ..Publication::default() }).collect() }
}

#[test]
fn before_the_place_is_known_everything_waits() {
    let (mut feed, mut out) = (Feed::new(true), Vec::new());
    for offset in [4, 5, 6] {
        feed.heard(envelope("e", offset, offset.into(), false), false, 0, &mut out);
    }
    assert_eq!(out, []);
    feed.start("e".into(), 4, 0, &mut out);
    assert_eq!(delivered(&out), [5, 6]);
    assert_eq!(feed.place(), &Place::At("e".into(), 6));
}

#[test]
fn two_nodes_are_merged_by_offset_and_history_is_asked_only_when_the_other_one_is_silent() {
    let (mut feed, mut out) = (started(4), Vec::new());
    for offset in [6, 5, 5, 6, 7] {
        feed.heard(envelope("e", offset, offset.into(), false), true, 1000, &mut out);
    }
    assert_eq!(delivered(&out), [5, 6, 7]);
    assert!(out.contains(&Order::ReadAt(1000 + OTHER_FEED_MS)));
    assert_eq!(feed.wanted(), None, "the other node has brought it");
    feed.heard(envelope("e", 9, 9, false), true, 2000, &mut out);
    assert_eq!(feed.wanted(), Some(7));
    out.clear();
    feed.read(piece("e", 8..=9, 9), 2200, &mut out);
    assert_eq!(delivered(&out), [8, 9]);
    assert_eq!(feed.wanted(), None);
}

#[test]
fn what_history_does_not_have_any_more_is_told() {
    let (mut feed, mut out) = (started(4), Vec::new());
    feed.broken();
    feed.whole(0, &mut out);
    assert_eq!((out.as_slice(), feed.wanted()), (&[Order::ReadAt(0)][..], Some(4)));
    out.clear();
    feed.read(piece("e", 7..=9, 9), 0, &mut out);
    assert_eq!(out, [Order::Note(Note::Lost), Order::Lost("e".into(), 9)]);
    feed.heard(envelope("e", 10, 10, false), false, 0, &mut out);
    assert_eq!(delivered(&out), [10]);
}

#[test]
fn a_new_stream_is_a_loss_unless_everything_was_heard() {
    let (mut feed, mut out) = (started(4), Vec::new());
    feed.heard(envelope("f", 1, 1, false), false, 0, &mut out);
    assert_eq!(delivered(&out), [1], "the old stream had expired");
    out.clear();
    feed.broken();
    feed.heard(envelope("g", 1, 2, false), false, 0, &mut out);
    assert_eq!((delivered(&out), feed.wanted()), (vec![], Some(1)));
    out.clear();
    feed.read(piece("g", 1..=1, 1), 0, &mut out);
    assert_eq!(out, [Order::Note(Note::Replaced), Order::Note(Note::Lost), Order::Lost("g".into(), 1)]);
}

#[test]
fn of_two_nodes_one_may_bring_a_stream_that_is_over_so_history_says_which_is_new() {
    let (mut feed, mut out) = (started(4), Vec::new());
    feed.heard(envelope("f", 1, 1, false), true, 0, &mut out);
    assert_eq!((delivered(&out), feed.wanted()), (vec![], Some(4)));
    feed.read(piece("f", 1..=1, 1), 0, &mut out);
    assert_eq!(delivered(&out), [1], "the old stream had expired");
    assert!(out.contains(&Order::Note(Note::Renewed)) && !out.contains(&Order::Note(Note::Lost)));
    out.clear();
    feed.heard(envelope("e", 1, 2, false), true, 0, &mut out);
    assert_eq!(feed.wanted(), Some(1));
    feed.read(Piece { epoch: "f".into(), top: 1, publications: Vec::new() }, 0, &mut out);
    assert_eq!((delivered(&out), feed.place()), (vec![], &Place::At("f".into(), 1)));
}

#[test]
fn without_history_a_retry_is_known_by_its_id() {
    let (mut feed, mut out) = (Feed::new(false), Vec::new());
    for (id, repeated) in [(1, false), (2, false), (1, true), (2, true), (3, true)] {
        feed.heard(envelope("", 0, id, repeated), false, 0, &mut out);
    }
    assert_eq!(delivered(&out).len(), 3);
    // The retry at the new node may overtake the first try at the old one.
    feed.heard(envelope("", 0, 4, true), true, 0, &mut out);
    feed.heard(envelope("", 0, 4, false), true, 0, &mut out);
    assert_eq!(delivered(&out).len(), 4);
    assert!(feed.ids.len() <= IDS_MAX);
}

#[test]
fn a_flood_ahead_of_its_turn_is_dropped_and_read_instead() {
    let (mut feed, mut out) = (started(0), Vec::new());
    for offset in 2..HELD_MAX as u64 * 3 {
        feed.heard(envelope("e", offset, offset.into(), false), false, 0, &mut out);
        assert!(feed.held.len() <= HELD_MAX);
    }
    assert_eq!(feed.wanted(), Some(0));
}

/// What happens to a channel.
#[derive(Clone, Copy, Debug)]
enum Step {
    Publish,
    /// The node loses everything and begins a new stream.
    Forget,
    /// History has expired, long after anything was under way, and the next publication begins a new stream.
    Expire,
    /// Publications go to the other node from now on.
    Move,
    /// The next message of a node's connection arrives.
    Arrive(usize),
    Break(usize),
    Mend(usize),
    /// A read that was ordered happens, or fails.
    Read(bool),
    /// The answer to it arrives.
    Answer,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => Just(Step::Publish),
        1 => Just(Step::Forget),
        1 => Just(Step::Expire),
        1 => Just(Step::Move),
        12 => (0..2_usize).prop_map(Step::Arrive),
        1 => (0..2_usize).prop_map(Step::Break),
        2 => (0..2_usize).prop_map(Step::Mend),
        4 => any::<bool>().prop_map(Step::Read),
        4 => Just(Step::Answer),
    ]
}

/// A channel on one node or two, and a gateway that listens.
struct World {
    feed: Feed,
    two: bool,
    now_ms: u64,
    epoch: u32,
    log: Vec<Publication>,
    kept: usize,
    owner: usize,
    /// What is under way on each connection, and whether it stands.
    wires: [VecDeque<Envelope>; 2],
    whole: [bool; 2],
    ids: u128,
    due: bool,
    answer: Option<Option<Piece>>,
    /// Everything published, by epoch and offset.
    published: Vec<(Arc<str>, u64)>,
    /// How much of it a subscriber has seen or was told to have lost, and whether it was told so since the last one it saw.
    seen: usize,
    told: bool,
}

impl World {
    fn new(kept: usize, two: bool) -> World {
        let mut feed = Feed::new(true);
        feed.start("0".into(), 0, 0, &mut Vec::new());
        World {
            feed,
            two,
            now_ms: 0,
            epoch: 0,
            log: Vec::new(),
            kept,
            owner: 0,
            wires: Default::default(),
            whole: [true; 2],
            ids: 0,
            due: false,
            answer: None,
            published: Vec::new(),
            seen: 0,
            told: false,
        }
    }

    fn sever(&mut self, wire: usize) {
        self.wires[wire].clear();
        if std::mem::take(&mut self.whole[wire]) {
            self.feed.broken();
        }
    }

    fn take(&mut self, step: Step) -> Result<(), TestCaseError> {
        let mut out = Vec::new();
        self.now_ms += 10;
        match step {
            Step::Publish => {
                self.ids += 1;
                let envelope = envelope(&self.epoch.to_string(), self.log.len() as u64 + 1, self.ids, false);
                self.published.push((self.epoch.to_string().into(), envelope.publication.offset));
                self.log.push(envelope.publication.clone());
                if self.whole[self.owner] {
                    self.wires[self.owner].push_back(envelope);
                }
            }
            Step::Forget => {
                self.epoch += 1;
                self.log.clear();
                // A node that lost everything has lost its connections too.
                self.sever(self.owner);
            }
            Step::Expire if self.wires.iter().all(VecDeque::is_empty) => {
                self.epoch += 1;
                self.log.clear();
            }
            Step::Expire => {}
            Step::Move => self.owner = if self.two { 1 - self.owner } else { 0 },
            Step::Arrive(wire) => {
                if let Some(envelope) = self.wires[wire].pop_front() {
                    self.feed.heard(envelope, self.two, self.now_ms, &mut out);
                }
            }
            Step::Break(wire) => self.sever(wire),
            Step::Mend(wire) if !self.whole[wire] => {
                self.whole[wire] = true;
                self.feed.whole(self.now_ms, &mut out);
            }
            Step::Mend(_) => {}
            Step::Read(works) => {
                if std::mem::take(&mut self.due)
                    && let Some(since) = self.feed.wanted()
                {
                    let kept = self.log.iter().rev().take(self.kept).rev().filter(|publication| publication.offset > since);
                    let piece = Piece {
                        epoch: self.epoch.to_string().into(),
                        top: self.log.len() as u64,
                        publications: kept.take(3).cloned().collect(),
                    };
                    self.answer = Some(works.then_some(piece));
                }
            }
            Step::Answer => match self.answer.take() {
                Some(Some(piece)) => self.feed.read(piece, self.now_ms, &mut out),
                Some(None) => self.feed.unread(self.now_ms, &mut out),
                None => {}
            },
        }
        for order in out {
            match order {
                Order::ReadAt(_) => {
                    prop_assert!(!self.due && self.answer.is_none(), "two reads at once");
                    self.due = true;
                }
                Order::Deliver(epoch, publication) => {
                    let which = (epoch, publication.offset);
                    let at = self.published.iter().position(|published| *published == which).unwrap();
                    let follows = if self.told { at >= self.seen } else { at == self.seen };
                    prop_assert!(follows, "{which:?} is number {at}, after {} that were seen", self.seen);
                    (self.seen, self.told) = (at + 1, false);
                }
                Order::Lost(..) => self.told = true,
                Order::Note(_) => {}
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn a_subscriber_sees_each_offset_once_and_in_order_or_is_told(steps in prop::collection::vec(step(), 1..120), kept in 0..12_usize, two: bool) {
        let mut world = World::new(kept, two);
        for step in steps {
            world.take(step)?;
        }
        // Everything mends and arrives: what was not told is complete.
        for _ in 0..400 {
            for step in [Step::Mend(0), Step::Mend(1), Step::Arrive(0), Step::Arrive(1), Step::Read(true), Step::Answer] {
                world.take(step)?;
            }
        }
        prop_assert!(world.told || world.seen == world.published.len(), "{} of {} seen", world.seen, world.published.len());
        // A new stream is unknown until something is published in it.
        if !world.log.is_empty() {
            prop_assert_eq!(world.feed.place(), &Place::At(world.epoch.to_string().into(), world.log.len() as u64));
        }
    }
}
