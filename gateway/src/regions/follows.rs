//! Pure: which channels' streams are followed in another region, and how far each is.

use crate::bus::import::Import;
use protocol::{
    message::{Publication, StreamPosition},
    name::Channel,
};
use std::{collections::HashMap, sync::Arc};

/// What happened.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)] // one at a time
pub(super) enum Input {
    /// The link to the region is there; nothing is followed over it yet.
    Up,
    /// It is not there any more.
    Down,
    /// Somebody here wants a channel.
    Want(Channel),
    /// Nobody does any more.
    Leave(Channel),
    /// What of the channel is known here, if anything; asked for by [`Order::Read`].
    Known(Channel, Option<StreamPosition>),
    /// A piece up to this place is in the channel here, now or before.
    Imported(Channel, StreamPosition),
    /// The channel's stream here was broken off. What was known in it may be lost.
    Lost(Channel),
    /// It cannot be read for now. It is asked for again after a while, by [`Input::Retry`].
    Unknown(Channel),
    /// What could not be done may be tried again.
    Retry,
    /// The region says something of a channel, in answer to the question of this number.
    Told { channel: Channel, follow: u64, word: Word },
    /// A piece did not follow on what is known here.
    Behind(Channel),
}

/// What a region says of a channel.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)] // one at a time
pub(super) enum Word {
    /// Its stream is told from `place` on; `follows`: nothing is missing after what was known.
    From { place: StreamPosition, follows: bool },
    /// Its next publication, with the offset of the one before it.
    Next { after: u64, publication: Publication },
    /// The publication at this offset is nothing that could be read, and would be nothing if it were asked for again.
    Unreadable(u64),
    /// All that was published before the channel was asked for has been told.
    Current,
    /// No more is told. `again`: it may be asked for anew.
    Ended { again: bool },
}

/// What is to be done. Orders of one channel are carried out in their order.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Order {
    /// Read what is known of the channel.
    Read(Channel),
    /// Ask the region for the channel, by this number, after what is known; `None`: from the oldest on that it keeps.
    Ask(Channel, u64, Option<StreamPosition>),
    /// Tell the region that the channel is not wanted any more.
    Unask(Channel),
    /// Take a piece into the channel.
    Import(Channel, Import),
    /// Give a publication that has no place in any stream to the subscribers of this gateway.
    Deliver(Channel, Publication),
    /// Whoever waits for the channel need not wait: it is as far as the region, or cannot be for now.
    Ready(Channel),
}

/// A channel that is followed.
#[derive(Debug)]
struct Followed {
    phase: Phase,
    /// How far its stream there is certain to have been in the channel here; kept for as long as it is followed, because the stream
    /// here, which knows it for all gateways, can be lost.
    last: Option<StreamPosition>,
}

/// How far a channel is.
#[derive(Clone, Debug, PartialEq)]
enum Phase {
    /// Nothing is under way: the link is not there, or the region does not tell it.
    Idle,
    /// What is known could not be read.
    Unread,
    /// What is known is being read.
    Reading,
    /// The region is asked.
    Asked { follow: u64, since: Option<StreamPosition> },
    /// It tells, of the stream of this epoch.
    Told { follow: u64, epoch: Arc<str> },
}

/// The streams followed in one region.
#[derive(Debug)]
pub(super) struct Follows {
    region: Arc<str>,
    is_up: bool,
    /// Questions so far.
    questions: u64,
    channels: HashMap<Channel, Followed>,
}

impl Follows {
    /// Nothing yet.
    #[must_use]
    pub(super) fn new(region: Arc<str>) -> Follows {
        Follows { region, is_up: false, questions: 0, channels: HashMap::new() }
    }

    /// The channels that are followed.
    pub(super) fn channels(&self) -> impl Iterator<Item = &Channel> {
        self.channels.keys()
    }

    /// Takes in what happened, and appends what is to be done. Whatever comes late, of a channel that is not followed any more or
    /// of a question asked before, changes nothing, or what the channel's stream itself refuses.
    pub(super) fn handle(&mut self, input: Input, out: &mut Vec<Order>) {
        match input {
            Input::Up => {
                self.is_up = true;
                let channels: Vec<Channel> = self.channels.keys().cloned().collect();
                channels.iter().for_each(|channel| self.read(channel, out));
            }
            Input::Down => {
                self.is_up = false;
                for (channel, followed) in &mut self.channels {
                    followed.phase = Phase::Idle;
                    out.push(Order::Ready(channel.clone()));
                }
            }
            Input::Want(channel) => match self.channels.get(&channel).map(|followed| &followed.phase) {
                None => {
                    self.channels.insert(channel.clone(), Followed { phase: Phase::Idle, last: None });
                    if self.is_up { self.read(&channel, out) } else { out.push(Order::Ready(channel)) }
                }
                Some(Phase::Idle | Phase::Unread | Phase::Told { .. }) => out.push(Order::Ready(channel)),
                // It is ready in a while.
                Some(Phase::Reading | Phase::Asked { .. }) => {}
            },
            Input::Leave(channel) => {
                if let Some(Followed { phase: Phase::Asked { .. } | Phase::Told { .. }, .. }) = self.channels.remove(&channel) {
                    out.push(Order::Unask(channel));
                }
            }
            Input::Known(channel, known) => {
                if known.is_none() {
                    self.mark(&channel, out);
                }
                if let Some(Followed { phase: phase @ Phase::Reading, last }) = self.channels.get_mut(&channel) {
                    self.questions += 1;
                    let since = known.or_else(|| last.clone());
                    since.iter().for_each(|since| go_to(last, since.clone()));
                    *phase = Phase::Asked { follow: self.questions, since: since.clone() };
                    out.push(Order::Ask(channel, self.questions, since));
                }
            }
            Input::Imported(channel, place) => {
                if let Some(followed) = self.channels.get_mut(&channel) {
                    go_to(&mut followed.last, place);
                }
            }
            Input::Lost(channel) => self.mark(&channel, out),
            Input::Unknown(channel) => {
                if let Some(Followed { phase: phase @ Phase::Reading, .. }) = self.channels.get_mut(&channel) {
                    *phase = Phase::Unread;
                    out.push(Order::Ready(channel));
                }
            }
            Input::Retry => {
                let unread = self.channels.iter().filter(|(_, followed)| followed.phase == Phase::Unread);
                let unread: Vec<Channel> = unread.map(|(channel, _)| channel.clone()).collect();
                unread.iter().for_each(|channel| self.read(channel, out));
            }
            Input::Told { channel, follow, word } => self.told(channel, follow, word, out),
            Input::Behind(channel) => {
                if let Some(Followed { phase: Phase::Told { .. }, .. }) = self.channels.get(&channel) {
                    out.push(Order::Unask(channel.clone()));
                    self.read(&channel, out);
                }
            }
        }
    }

    fn told(&mut self, channel: Channel, asked: u64, word: Word, out: &mut Vec<Order>) {
        let Some(Followed { phase, .. }) = self.channels.get_mut(&channel) else { return };
        let region = self.region.clone();
        let of_stream = |epoch: &Arc<str>, offset| StreamPosition { offset, epoch: epoch.as_ref().to_owned() };
        match (&*phase, word) {
            (Phase::Asked { follow, .. } | Phase::Told { follow, .. }, _) if *follow != asked => {}
            (Phase::Asked { follow, since }, Word::From { place, follows }) => {
                let (follow, since) = (*follow, since.clone());
                *phase = Phase::Told { follow, epoch: place.epoch.as_str().into() };
                match since {
                    None => out.push(Order::Import(channel, Import { after: place.offset, begins: true, ..nothing(region, place) })),
                    Some(_) if follows => {}
                    Some(StreamPosition { epoch, .. }) => {
                        out.push(Order::Import(channel, Import { instead: Some(epoch.into()), ..nothing(region, place) }));
                    }
                }
            }
            (Phase::Told { .. }, Word::Next { publication, .. }) if publication.offset == 0 => {
                out.push(Order::Deliver(channel, Publication { region: region.as_ref().to_owned(), ..publication }));
            }
            (Phase::Told { epoch, .. }, Word::Next { after, publication }) => {
                let at = of_stream(epoch, publication.offset);
                out.push(Order::Import(channel, Import { after, publication: Some(publication), ..nothing(region, at) }));
            }
            (Phase::Told { epoch, .. }, Word::Unreadable(offset)) => {
                let at = of_stream(epoch, offset);
                out.push(Order::Import(channel, nothing(region, at)));
            }
            (Phase::Told { .. }, Word::Current) => out.push(Order::Ready(channel)),
            (Phase::Asked { .. } | Phase::Told { .. }, Word::Ended { again }) => {
                *phase = Phase::Idle;
                if again && self.is_up { self.read(&channel, out) } else { out.push(Order::Ready(channel)) }
            }
            _ => {}
        }
    }

    /// Puts back what the stream here may have lost.
    fn mark(&self, channel: &Channel, out: &mut Vec<Order>) {
        let last = self.channels.get(channel).and_then(|followed| followed.last.clone());
        out.extend(last.map(|last| Order::Import(channel.clone(), Import::mark(self.region.clone(), last))));
    }

    fn read(&mut self, channel: &Channel, out: &mut Vec<Order>) {
        if let Some(followed) = self.channels.get_mut(channel) {
            followed.phase = Phase::Reading;
            out.push(Order::Read(channel.clone()));
        }
    }
}

/// A piece in which nothing is published, up to this place.
fn nothing(region: Arc<str>, at: StreamPosition) -> Import {
    Import { region, after: 0, at, publication: None, instead: None, begins: false }
}

/// Of one epoch the later place stays.
fn go_to(last: &mut Option<StreamPosition>, place: StreamPosition) {
    if last.as_ref().is_none_or(|last| last.epoch != place.epoch || last.offset < place.offset) {
        *last = Some(place);
    }
}
